"""Pictures to sockets without a copy for each viewer.

uvicorn would put its frame or chunk around every message of every viewer, which copies 300 KB each time.
Here `core.hub` has done so once for all, and these subclasses of its protocols write what is ready as it is.
Handshakes, closing, flow control and everything that is not a picture stay uvicorn's.

uvicorn would also wait for ever for the end of a request's head or body. `LiveHttp` gives both a deadline, and `Doors`
limits how many connections there are, how many one place has, and how many that have not asked anything yet, so that those who say nothing do
not take the places of those who do. Nor does uvicorn limit what comes by a WebSocket: one read may hold 40,000 empty frames, which cost the loop a
second. `Frugal`, the parser, stops at the first one beyond what a client may send.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, MutableMapping
from typing import Any, ClassVar, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState, ProtocolError
from websockets.frames import CloseCode, Frame
from websockets.server import ServerProtocol

from cupola.web.access.place import is_this_machine, place_of

HEADER_S, BODY_S = 10.0, 30.0
OPEN_MAX = 200  # of one place
SPARE = 16  # more of this machine itself
HEAD_MAX = 320 * 1024  # bytes of a head or of trailers; one read has up to 256 KiB
SILENT_OF_ONE_MAX, SILENT_MAX = 100, 256  # above what comes in one moment, before the first is read
LINGER_S = 5.0  # for a viewer who took nothing to hear why it ended
FRAMES_A_SECOND, FRAMES_AT_ONCE = 20, 100  # messages, their fragments, pings: a page sends one every few seconds
TOLD_S, TOLD_MAX = 60.0, 1000  # one record a minute of one place
FRAME, WRITER = "cupola.frame", "cupola.writer"


def framed(frame: bytes) -> dict[str, Any]:
    """The ASGI message that sends a complete, unmasked WebSocket frame through a `LiveSocket`."""
    return {"type": "websocket.send", FRAME: frame}


class TooManyFrames(ProtocolError):
    """A client sends more than it may."""


class Frugal(ServerProtocol):
    """Parses what a client sends, as long as it is `FRAMES_A_SECOND` in the long run and `FRAMES_AT_ONCE` at a time; then fails with 1008."""

    _left = float(FRAMES_AT_ONCE)
    _at = 0.0

    def recv_frame(self, frame: Frame) -> None:
        now = time.monotonic()
        self._left = min(self._left + (now - self._at) * FRAMES_A_SECOND, float(FRAMES_AT_ONCE)) - 1
        self._at = now
        if self._left < 0:
            self.fail(CloseCode.POLICY_VIOLATION, "Too many frames.")
            raise TooManyFrames
        super().recv_frame(frame)


class LiveSocket(WebSocketsSansIOProtocol):
    """Sends ready-made frames between uvicorn's own. `left` is called when it has ended."""

    left: Callable[[], None] | None = None
    _told: ClassVar[dict[str, float]] = {}  # by place, when it was last said of it that it sent too much

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = Frugal(max_size=self.config.ws_max_size, logger=self.logger)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.left is not None:
            self.left()

    def send_receive_event_to_app(self) -> None:
        """A text that is no UTF-8 ends the connection with 1007; uvicorn logs each with its traceback, and fails at a second one in the same packet."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                with contextlib.suppress(InvalidState):  # it is being closed already
                    self.conn.send_close(1007)
                    self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def handle_cont(self, event: Frame) -> None:
        """Empty fragments would be kept, however many, until the message ends."""
        if event.data or event.fin:
            super().handle_cont(event)

    def handle_parser_exception(self) -> None:
        if isinstance(self.conn.parser_exc, TooManyFrames):
            self._tell()
        if self.conn.close_sent is None:  # it did not wait for the answer to its handshake: there is nothing to close yet
            self.disconnected = True
            self.transport.abort()
            return
        super().handle_parser_exception()
        self.loop.call_later(LINGER_S, self.transport.abort)  # who takes nothing would not be gone

    def _tell(self) -> None:
        place, now = place_of(self.client[0] if self.client else ""), self.loop.time()
        if now - self._told.get(place, -TOLD_S) < TOLD_S:
            return
        if len(self._told) >= TOLD_MAX:
            self._told.clear()
        self._told[place] = now
        self.logger.warning("A WebSocket of %s was closed (1008): it sent more than %d frames a second.", place, FRAMES_A_SECOND)

    def handle_ping(self) -> None:
        """A viewer who reads nothing gets no pongs either: they would pile up."""
        if self.close_sent or not self.writable.is_set():
            self.conn.data_to_send()
            return
        super().handle_ping()

    async def send(self, message: Any) -> None:
        frame = message.get(FRAME)
        if message["type"] == "websocket.close" and not self.writable.is_set():
            # Who takes nothing would keep this waiting, too. It goes behind what is on its way, for whoever wakes up in time.
            self.writable.set()
            self.loop.call_later(LINGER_S, self.transport.abort)
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


class Connection(Protocol):
    """What `Doors` can turn out."""

    def hang_up(self) -> None: ...


class Doors:
    """Counts connections: all together, and by place (an address, or an IPv6 network). `many` says which addresses stand for many people:
    reverse proxies. `most`: so many are let in; a few more from this machine itself, so that its owner's commands still get through.
    """

    def __init__(self, many: Callable[[str], bool], most: int) -> None:
        self._many, self._most = many, most
        self._inside: dict[Connection, str] = {}  # and their places
        self._open: Counter[str] = Counter()
        self._silent: dict[Connection, str] = {}  # the oldest first

    def enter(self, connection: Connection, address: str) -> bool:
        """Whether it may stay. The oldest one that has not asked anything yet makes place for a new one."""
        place, alone = place_of(address), not self._many(address)
        most = self._most + (SPARE if alone and is_this_machine(address) else 0)
        if alone and self._open[place] >= OPEN_MAX:
            return False
        if self._open.total() >= most:
            if not self._silent:
                return False
            self._turn_out(next(iter(self._silent)))
        self._inside[connection] = self._silent[connection] = place
        self._open[place] += 1
        own = [other for other, its in self._silent.items() if its == place]
        if len(own) > SILENT_OF_ONE_MAX and alone:
            self._turn_out(own[0])
        elif len(self._silent) > SILENT_MAX:
            self._turn_out(next(iter(self._silent)))
        return True

    def asked(self, connection: Connection) -> None:
        self._silent.pop(connection, None)

    def leave(self, connection: Connection) -> None:
        """It is gone, or was never let in: harmless."""
        self._silent.pop(connection, None)
        place = self._inside.pop(connection, None)
        if place is None:
            return
        self._open[place] -= 1
        if self._open[place] <= 0:
            del self._open[place]

    def _turn_out(self, connection: Connection) -> None:
        """Its place is free at once: it notices only when the loop comes to it, and a whole burst enters before that."""
        self.leave(connection)
        connection.hang_up()


class LiveHttp(HttpToolsProtocol):
    """Lets the handler of a request write ready-made chunks behind the head of its answer; hangs up on requests that do not end."""

    doors: Doors
    _deadline: asyncio.TimerHandle | None = None
    _in_request = _head_done = False
    _unsaid = 0  # bytes since a head or a piece of a body was complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        address = self.client[0] if self.client else ""
        if self.doors.enter(self, address):
            self._within(HEADER_S)
        else:
            self.hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self._within(None)
        self.doors.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deadline is None and not self._in_request:
            self._within(HEADER_S)  # the next request on a connection that was kept
        self._unsaid += len(data)
        super().data_received(data)
        if self._unsaid > HEAD_MAX:
            self.hang_up()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Trailers behind a body are nobody's headers: they would count like those a proxy has set."""
        if not self._head_done:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._unsaid = 0
        super().on_body(body)

    def handle_websocket_upgrade(self) -> None:
        self._within(None)
        transport = self.transport
        super().handle_websocket_upgrade()
        protocol = transport.get_protocol()
        if isinstance(protocol, LiveSocket) and not protocol.handshake_initiated:
            transport.abort()  # it was refused without a word, and nothing else would end it
        if isinstance(protocol, LiveSocket):
            protocol.left = lambda: self.doors.leave(self)  # the place is given back when the socket ends

    def on_message_begin(self) -> None:
        self._in_request, self._head_done = True, False
        if self._deadline is None:
            self._within(HEADER_S)  # it began behind the end of another request, in the same packet
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._in_request, self._unsaid = False, 0
        answered = self.cycle is not None and self.cycle.response_complete
        self._within(HEADER_S if answered else None)  # answered before its end: uvicorn sets no deadline for the next one
        super().on_message_complete()

    def hang_up(self) -> None:
        """Without a word: nothing was asked."""
        self._within(None)
        if self.transport is not None:
            self.transport.abort()

    def _within(self, seconds: float | None) -> None:
        """What is under way has to be complete in this time; None: it is."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self.hang_up)

    def on_headers_complete(self) -> None:
        self._head_done, self._unsaid = True, 0
        self.doors.asked(self)
        self._within(BODY_S)
        super().on_headers_complete()
        if "path" in self.scope:  # otherwise it becomes a WebSocket
            self.scope[WRITER] = Writer(self, self.cycle)  # type: ignore[typeddict-unknown-key]


def writer_of(scope: MutableMapping[str, Any]) -> Writer:
    """The writer to the viewer of this request."""
    return scope[WRITER]
