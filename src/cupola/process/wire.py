"""Messages between the server and a child process, over one stream socket.

A message is a JSON object, the head, and a block of bytes, the payload:
`uint32 head length | uint32 payload length | head | payload`, big-endian. Every head has a `type`;
which types exist is the business of the two ends (`camera.messages`, `darkroom.process`).

`Link` is the child's blocking end, `MessageProtocol` the server's asyncio end. The server's end reads
a payload straight into the buffer that it hands on, so a frame is not copied on its way in.
"""

import asyncio
import json
import os
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable
from typing import Any

Head = dict[str, Any]
Payload = bytes | bytearray | memoryview

PREFIX = struct.Struct("!II")
HEAD_LIMIT = 1 << 20
PAYLOAD_LIMIT = 256 << 20


class WireError(Exception):
    """The other end does not speak our format; the connection is of no further use."""


def pack_head(head: Head, payload_length: int) -> bytes:
    """Prefix and head of a message; the payload is sent behind it, uncopied."""
    text = json.dumps(head, separators=(",", ":"), allow_nan=False).encode()
    return PREFIX.pack(len(text), payload_length) + text


def _lengths(prefix: Payload) -> tuple[int, int]:
    head, payload = PREFIX.unpack(prefix)
    if not 2 <= head <= HEAD_LIMIT or payload > PAYLOAD_LIMIT:
        raise WireError(f"a message claims a head of {head} bytes and a payload of {payload}")
    return head, payload


def _parse(text: Payload) -> Head:
    try:
        head = json.loads(bytes(text))
    except ValueError as error:
        raise WireError(f"a message's head is not JSON: {error}") from None
    if not isinstance(head, dict) or "type" not in head:
        raise WireError("a message's head is not an object with a type")
    return head  # pyright: ignore[reportUnknownVariableType]


class Link:
    """The child's end: `send` from any thread, `receive` from one."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lock = threading.Lock()

    @classmethod
    def from_argv(cls, argv: list[str]) -> "Link":
        """The link a `process.child.Child` gave to this process on its command line."""
        if len(argv) != 2 or not argv[1].startswith("--link="):
            raise SystemExit("this program is started by the Cupola server, not by hand: use `cupola run`")
        if sys.platform == "win32":
            return cls(socket.fromshare(sys.stdin.buffer.read()))  # pyright: ignore[reportAttributeAccessIssue,reportUnknownArgumentType]
        return cls(socket.socket(fileno=int(argv[1].removeprefix("--link="))))

    def send(self, head: Head, payload: Payload = b"") -> None:
        """Blocks while the server does not read. Raises OSError when it is gone."""
        start = pack_head(head, len(payload))
        with self._lock:
            if payload and hasattr(self._socket, "sendmsg"):
                sent = self._socket.sendmsg([start, payload])
                if sent < len(start):
                    self._socket.sendall(start[sent:])
                    sent = len(start)
                self._socket.sendall(memoryview(payload)[sent - len(start) :])
            else:
                self._socket.sendall(start)
                if payload:  # sending nothing would still fail when the server left after it had the head
                    self._socket.sendall(payload)

    def receive(self) -> tuple[Head, bytearray] | None:
        """The next message, or None when the server is gone."""
        try:
            prefix = self._exactly(PREFIX.size)
            if prefix is None:
                return None
            head_length, payload_length = _lengths(prefix)
            text, payload = self._exactly(head_length), self._exactly(payload_length)
        except OSError:
            return None
        return None if text is None or payload is None else (_parse(text), payload)

    def waits(self, within_s: float) -> bool:
        """Whether something can be received within so many seconds: a message, or the end."""
        return bool(select.select([self._socket], [], [], within_s)[0])

    def _exactly(self, count: int) -> bytearray | None:
        buffer = bytearray(count)
        view, filled = memoryview(buffer), 0
        while filled < count:
            received = self._socket.recv_into(view[filled:])
            if not received:
                return None
            filled += received
        return buffer

    def close(self) -> None:
        self._socket.close()


def serve_server(serve: Callable[[Link], int], niceness: int) -> int:
    """The main of a child process that works beside the cameras and yields to them: `serve` until the server ends it. The exit code."""
    if hasattr(os, "nice"):
        os.nice(niceness)
    return serve(Link.from_argv(sys.argv))


class MessageProtocol(asyncio.BufferedProtocol):
    """The server's end. `on_message` is called in the event loop, in order; `on_closed` once."""

    def __init__(self, on_message: Callable[[Head, bytearray], None], on_closed: Callable[[Exception | None], None]) -> None:
        self._on_message, self._on_closed = on_message, on_closed
        self._transport: asyncio.Transport | None = None
        self._expect(bytearray(PREFIX.size), self._prefix_done)

    def _expect(self, buffer: bytearray, then: Callable[[bytearray], None]) -> None:
        self._buffer, self._view, self._filled, self._then = buffer, memoryview(buffer), 0, then

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        if self._filled < len(self._buffer):
            return
        try:
            self._then(self._buffer)
        except WireError as error:
            self._fail(error)

    def _prefix_done(self, buffer: bytearray) -> None:
        head_length, self._payload_length = _lengths(buffer)
        self._expect(bytearray(head_length), self._head_done)

    def _head_done(self, buffer: bytearray) -> None:
        self._head = _parse(buffer)
        if self._payload_length:
            self._expect(bytearray(self._payload_length), self._message_done)
        else:
            self._message_done(bytearray())

    def _message_done(self, payload: bytearray) -> None:
        head = self._head
        self._expect(bytearray(PREFIX.size), self._prefix_done)
        self._on_message(head, payload)

    def _fail(self, error: WireError) -> None:
        self._expect(bytearray(PREFIX.size), self._prefix_done)
        closed, self._on_closed = self._on_closed, _ignore
        if self._transport is not None:
            self._transport.abort()
        closed(error)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_closed(exc)

    def send(self, head: Head, payload: Payload = b"") -> None:
        """Queue a message; silently nothing when the child is already gone."""
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(pack_head(head, len(payload)))
        if payload:
            self._transport.write(payload)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _ignore(_: Exception | None) -> None:
    pass


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected stream sockets with buffers for a frame, so that a send is one system call."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    return ours, theirs
