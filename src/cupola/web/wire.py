"""Pictures to sockets without a copy for each viewer.

uvicorn would put its frame or chunk around every message of every viewer, which copies 300 KB each time.
Here `core.hub` has done so once for all, and these subclasses of its protocols write what is ready as it is.
Handshakes, headers, closing, flow control and everything that is not a picture stay uvicorn's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

FRAME, WRITER = "cupola.frame", "cupola.writer"


def framed(frame: bytes) -> dict[str, Any]:
    """The ASGI message that sends a complete, unmasked WebSocket frame through a `LiveSocket`."""
    return {"type": "websocket.send", FRAME: frame}


class LiveSocket(WebSocketsSansIOProtocol):
    """Sends ready-made frames between uvicorn's own."""

    async def send(self, message: Any) -> None:
        frame = message.get(FRAME)
        if frame is None:
            await super().send(message)
            return
        await self.writable.wait()
        if self.disconnected or self.close_sent or self.transport.is_closing():
            raise ClientDisconnected
        self.transport.write(frame)


class LiveHttp(HttpToolsProtocol):
    """Lets the handler of a request write ready-made chunks behind the head of its answer."""

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        cycle = self.cycle

        async def write(chunk: bytes) -> None:
            if not cycle.disconnected:
                await self.flow.drain()
                self.transport.write(chunk)

        self.scope[WRITER] = write  # type: ignore[typeddict-unknown-key]


def writer_of(scope: MutableMapping[str, Any]) -> Callable[[bytes], Awaitable[None]]:
    """Writes a chunk to the viewer of this request, once the answer's head and a first chunk were sent the usual way."""
    return scope[WRITER]
