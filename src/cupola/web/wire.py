"""Pictures to sockets without a copy for each viewer.

uvicorn would put its frame or chunk around every message of every viewer, which copies 300 KB each time.
Here `core.hub` has done so once for all, and these subclasses of its protocols write what is ready as it is.
Handshakes, headers, closing, flow control and everything that is not a picture stay uvicorn's.
"""

from __future__ import annotations

from collections.abc import MutableMapping
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


class Writer:
    """Writes ready-made chunks of one answer, once its head was sent the usual way."""

    def __init__(self, protocol: LiveHttp, cycle: Any) -> None:
        self._protocol, self._cycle = protocol, cycle
        self._chunked = protocol.scope["http_version"] != "1.0"

    def begin(self) -> None:
        """Call before the head is sent: HTTP/1.0 knows no chunks, but uvicorn would announce them."""
        if not self._chunked:
            self._cycle.chunked_encoding = False

    async def __call__(self, chunk: bytes) -> None:
        """Waits until the viewer's socket has room."""
        if not self._cycle.disconnected:
            await self._protocol.flow.drain()
            self._protocol.transport.write(chunk if self._chunked else chunk.partition(b"\r\n")[2][:-2])

    def abort(self) -> None:
        """Hang up at once; what the viewer has not taken is thrown away."""
        self._protocol.transport.abort()


class LiveHttp(HttpToolsProtocol):
    """Lets the handler of a request write ready-made chunks behind the head of its answer."""

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self.scope[WRITER] = Writer(self, self.cycle)  # type: ignore[typeddict-unknown-key]


def writer_of(scope: MutableMapping[str, Any]) -> Writer:
    """The writer to the viewer of this request."""
    return scope[WRITER]
