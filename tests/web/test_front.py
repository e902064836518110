"""Arrivals in bursts: who is refused hears so at once, and every place is given back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest
from fastapi import FastAPI

from cupola.config.model import Tls
from cupola.web.server import Server, listen, make_server
from cupola.web.tls import certificate_for
from cupola.web.wire import OPEN_MAX, SILENT_OF_ONE_MAX

HELLO = b"\x16\x03\x01\x02\x00\x01\x00"  # of a TLS handshake, and no more


@asynccontextmanager
async def door(folder: Path) -> AsyncIterator[tuple[Server, int, ssl.SSLContext]]:
    """A server with nothing behind it, its port, and what trusts it."""
    folder.mkdir(exist_ok=True)
    certificate = certificate_for(Tls(mode="self_signed"), folder, [])
    assert certificate is not None
    server = make_server(FastAPI(), certificate, lambda _: False)
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    sock = listen("127.0.0.1", 0)
    front = await server.listen(sock)
    try:
        yield server, sock.getsockname()[1], ssl.create_default_context(cafile=str(certificate.certificate))
    finally:
        front.close()


def knock(stack: ExitStack, port: int, count: int) -> list[socket.socket]:
    """Connections that the server has not seen yet, as its loop does not run meanwhile: one of three says nothing, the others begin."""
    knocking: list[socket.socket] = []
    for number in range(count):
        knocking.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10)))
        if number % 3:
            knocking[-1].sendall((HELLO, b"GET / HT")[number % 3 - 1])
        knocking[-1].setblocking(False)
    return knocking


async def ended(sock: socket.socket) -> bool:
    """Whether the server hangs up on it."""
    with contextlib.suppress(ConnectionError):
        while await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 4096), 5):
            pass
    return True


async def answered(port: int, context: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost"), 15)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return await asyncio.wait_for(reader.readline(), 15)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


async def test_the_last_one_who_is_refused_is_hung_up_on_too(tmp_path: Path) -> None:
    async with door(tmp_path / "secrets") as (server, port, _):
        server.doors._open["127.0.0.1"] = OPEN_MAX  # as if so many were in: nobody else may enter  # pyright: ignore[reportPrivateUsage]
        with ExitStack() as stack:
            (alone,) = knock(stack, port, 1)
            assert await ended(alone)


async def test_a_burst_leaves_room_for_who_asks_something(tmp_path: Path) -> None:
    """The silent ones of one moment make place for each other, and for more than one who comes after them."""
    async with door(tmp_path / "secrets") as (server, port, context):
        with ExitStack() as stack:
            knock(stack, port, OPEN_MAX + SILENT_OF_ONE_MAX)
            assert await asyncio.gather(*(answered(port, context) for _ in range(20))) == [b"HTTP/1.1 404 Not Found\r\n"] * 20
            assert server.doors._open["127.0.0.1"] <= SILENT_OF_ONE_MAX + 20  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("leave", [False, True])
async def test_every_place_is_given_back_after_bursts(tmp_path: Path, leave: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Whether they are hung up on or go by themselves, in the middle of a handshake too."""
    doors_open: dict[str, int] = {}
    async with door(tmp_path / "secrets") as (server, port, context):
        for burst in (40, 260, 130):
            with ExitStack() as stack:
                knocking = knock(stack, port, burst)
                for _ in range(burst % 7):  # the server gets more and less far with them
                    await asyncio.sleep(0)
                if leave:
                    continue
                await answered(port, context)
                for sock in knocking:
                    with contextlib.suppress(OSError):
                        sock.send(b"\r\n")
        doors_open = server.doors._open  # pyright: ignore[reportPrivateUsage]
        async with asyncio.timeout(30):
            while doors_open or server.doors._silent:  # pyright: ignore[reportPrivateUsage]
                await asyncio.sleep(0.02)
        assert await answered(port, context) == b"HTTP/1.1 404 Not Found\r\n"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR], caplog.text
