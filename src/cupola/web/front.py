"""Accepts connections under TLS, and tells apart by their first byte who speaks TLS and who speaks plain HTTP.

asyncio's own server has TLS on a socket or not: people who type the address without https would see a broken connection.
A second port for them would have to be configured, opened and explained. Here the first byte is looked at and left where it
is (MSG_PEEK): 22 begins a TLS handshake, no HTTP request begins with it. What is said in the clear goes to the same protocol, and
`web.guard` sends it on to https before anything else sees it. Without TLS, and on Windows, whose event loop cannot peek,
asyncio's server is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from cupola.web.wire import Doors

HANDSHAKE = 0x16
HANDSHAKE_S = 10.0
NO_DESCRIPTORS_S = 0.2


class Front:
    """Listens on `sock` until it is closed; what was accepted lives on. Connections count as silent ones (`Doors`) until their handshake is done."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, protocol: Callable[[], asyncio.Protocol], doors: Doors, backlog: int) -> None:
        self._sock, self._context, self._protocol, self._doors = sock, context, protocol, doors
        sock.listen(backlog)
        self._arriving: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.get_running_loop().create_task(self._accept(), name="front")

    def close(self) -> None:
        """Takes nobody new. `accept` is given up first: a closed descriptor's number may belong to another by then."""
        self._accepting.cancel()
        self._accepting.add_done_callback(lambda _: self._sock.close())
        for task in self._arriving:
            task.cancel()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(self._sock)
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    await asyncio.sleep(NO_DESCRIPTORS_S)  # until somebody has left
                continue  # the others are about one connection that is gone already
            task = loop.create_task(_Arrival(self._doors, str(address[0])).run(sock, self._receive))
            self._arriving.add(task)
            task.add_done_callback(self._arriving.discard)

    async def _receive(self, sock: socket.socket) -> None:
        """Hand the connection to its protocol, with TLS or without."""
        loop = asyncio.get_running_loop()
        handed = False
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                first = await _peek(sock)
            if first:
                secure = first[0] == HANDSHAKE
                handed = True
                context, within_s = (self._context, HANDSHAKE_S) if secure else (None, None)
                await loop.connect_accepted_socket(self._protocol, sock, ssl=context, ssl_handshake_timeout=within_s)
        except (OSError, TimeoutError):
            pass  # ssl.SSLError is an OSError: who cannot speak TLS with us is hung up on
        finally:
            if not handed:
                sock.close()


class _Arrival:
    """A connection that has not asked anything yet, as `Doors` counts them."""

    def __init__(self, doors: Doors, address: str) -> None:
        self._doors, self._address = doors, address
        self._task: asyncio.Task[Any] | None = None

    async def run(self, sock: socket.socket, receive: Callable[[socket.socket], Awaitable[None]]) -> None:
        self._task = asyncio.current_task()
        if not self._doors.enter(self, self._address):
            sock.close()  # at once: who is refused would wait for an answer as long as anything here still knows the socket
            return
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await receive(sock)
        finally:
            self._doors.leave(self)

    def hang_up(self) -> None:
        if self._task is not None:
            self._task.cancel()


async def _peek(sock: socket.socket) -> bytes:
    """The first byte, which stays to be read; nothing when the connection has ended."""
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock, lambda: readable.done() or readable.set_result(None))
    try:
        await readable
    finally:
        loop.remove_reader(sock)
    return sock.recv(1, socket.MSG_PEEK)
