"""Viewers: many that only count pictures, and one that notes when each picture's last byte came."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

WARM_UP_S = 1.5
MARKER = b"image/jpeg"  # once in each part's header


@dataclass(frozen=True, slots=True)
class Load:
    """CPU in percent of one core over the measured time, of whatever `cpu_s` told about; frames a second of the slowest viewer."""

    cpu_percent: tuple[float, ...]
    fps_least: float


class _Clock:
    def __init__(self, cpu_s: Callable[[], tuple[float, ...]]) -> None:
        self._cpu_s = cpu_s
        self._before, self._at = cpu_s(), time.monotonic()

    def load(self, frames: list[int]) -> Load:
        seconds = time.monotonic() - self._at
        spent = tuple(100 * (after - before) / seconds for before, after in zip(self._before, self._cpu_s(), strict=True))
        return Load(spent, min(frames, default=0) / seconds)


def with_token(url: str) -> tuple[str, dict[str, str]]:
    """An address without the token in front of its host, and the header that shows it."""
    token, at, rest = url.partition("://")[2].rpartition("@")
    return f"{url.partition('://')[0]}://{rest}", {"Authorization": f"Bearer {token}"} if at else {}


def mjpeg_connection(url: str) -> socket.socket:
    url, headers = with_token(url)
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=20)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    shown = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n{shown}\r\n".encode())
    return connection


class _Counter:
    __slots__ = ("connection", "frames", "tail")

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.frames, self.tail = connection, 0, b""


class MjpegViewers:
    """Any number of them on one epoll; they look for part headers and nothing else."""

    def __init__(self, url: str, count: int) -> None:
        self._poll = select.epoll()
        self._counters: dict[int, _Counter] = {}
        self._buffer = bytearray(len(MARKER) + (1 << 20))
        for _ in range(count):
            connection = mjpeg_connection(url)
            connection.setblocking(False)
            self._poll.register(connection, select.EPOLLIN)
            self._counters[connection.fileno()] = _Counter(connection)

    def watch(self, seconds: float) -> list[int]:
        """Pictures of each viewer in this time. Raises ConnectionError when the server closes one."""
        for counter in self._counters.values():
            counter.frames = 0
        keep, view, end = len(MARKER) - 1, memoryview(self._buffer), time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for number, _ in self._poll.poll(left):
                counter = self._counters[number]
                start = keep - len(counter.tail)
                view[start:keep] = counter.tail
                received = counter.connection.recv_into(view[keep:])
                if not received:
                    raise ConnectionError("the server closed a viewer's connection")
                stop = keep + received
                counter.frames += self._buffer.count(MARKER, start, stop)
                counter.tail = bytes(view[max(start, stop - keep) : stop])
        return [counter.frames for counter in self._counters.values()]

    def close(self) -> None:
        for counter in self._counters.values():
            counter.connection.close()
        self._poll.close()


def watch_mjpeg(url: str, count: int, seconds: float, cpu_s: Callable[[], tuple[float, ...]]) -> Load:
    viewers = MjpegViewers(url, count)
    try:
        viewers.watch(WARM_UP_S)
        clock = _Clock(cpu_s)
        return clock.load(viewers.watch(seconds))
    finally:
        viewers.close()


async def _watch_ws(url: str, count: int, seconds: float, cpu_s: Callable[[], tuple[float, ...]]) -> Load:
    frames = [0] * count
    url, headers = with_token(url)

    async def view(session: aiohttp.ClientSession, index: int) -> None:
        async with session.ws_connect(url, headers=headers, max_msg_size=0, compress=0) as connection:
            async for message in connection:
                if message.type == aiohttp.WSMsgType.BINARY:
                    frames[index] += 1
        raise ConnectionError("the server closed a viewer's connection")

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        viewers = [asyncio.create_task(view(session, index)) for index in range(count)]
        try:
            await asyncio.wait(viewers, timeout=WARM_UP_S, return_when=asyncio.FIRST_EXCEPTION)
            clock, before = _Clock(cpu_s), frames.copy()
            ended, _ = await asyncio.wait(viewers, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
            for one in ended:
                one.result()
            return clock.load([now - then for now, then in zip(frames, before, strict=True)])
        finally:
            for one in viewers:
                one.cancel()
            await asyncio.gather(*viewers, return_exceptions=True)


def watch_ws(url: str, count: int, seconds: float, cpu_s: Callable[[], tuple[float, ...]]) -> Load:
    return asyncio.run(_watch_ws(url, count, seconds, cpu_s))


def pictures(url: str) -> Iterator[tuple[float, dict[str, str], bytes]]:
    """Each part of an MJPEG stream with the moment its last byte was here (time.time()), its headers in lower case, and the JPEG."""
    connection = mjpeg_connection(url)
    buffer = bytearray()

    def more() -> None:
        piece = connection.recv(1 << 20)
        if not piece:
            raise ConnectionError("the server closed the stream")
        buffer.extend(piece)

    with connection:
        while True:
            while (start := buffer[:8192].lower().find(b"content-type: image/jpeg")) < 0 or (end := buffer.find(b"\r\n\r\n", start)) < 0:
                more()
            lines = buffer[start:end].decode("latin-1").split("\r\n")
            headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            size = int(headers["content-length"])
            while len(buffer) < end + 4 + size:
                more()
            at = time.time()
            jpeg = bytes(buffer[end + 4 : end + 4 + size])
            del buffer[: end + 4 + size]
            yield at, headers, jpeg
