"""Whoever looks at the live pictures of a station over Redis."""

from __future__ import annotations

import threading
from typing import Any

from redis.exceptions import RedisError

from cupola.stream.format import FramePacket, unpack_frame
from tests.support.redis_server import RedisServer


class LiveReader(threading.Thread):
    """A consumer that takes each packet as soon as it is there, and comes back to a Redis that was away."""

    def __init__(self, server: RedisServer, stream: str) -> None:
        super().__init__(daemon=True)
        self.frames: list[FramePacket] = []
        self._server, self._stream, self._ended = server, stream, threading.Event()

    def run(self) -> None:
        client, after = self._server.client(), "0-0"
        while not self._ended.is_set():
            try:
                answer: Any = client.xread({self._stream: after}, block=100, count=100)
            except RedisError:
                self._ended.wait(0.02)
                continue
            for id_, raw in answer[0][1] if answer else []:
                after = id_.decode()
                self.frames.append(unpack_frame(self._stream, after, raw))

    def close(self) -> None:
        self._ended.set()
        self.join(10)
