"""Tells in the log of answers that somebody had to wait for, with the address as the API names it, never as it was asked."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.types import Message, Send

SLOW_S = 1.0
AGAIN_S = 60.0  # of one address no more often


class Slow:
    """`key`: of the route, which are few."""

    def __init__(self, log: Callable[..., None], clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log, clock
        self._told: dict[str, float] = {}  # when an address was told of last
        self._untold: dict[str, int] = {}  # how often it was slow since

    def timed(self, key: str, send: Send) -> Send:
        """What sends an answer that is asked for now. What counts is its beginning: the rest is as fast as who takes it."""
        began = self._clock()

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and self._clock() - began > SLOW_S:
                self._tell(key, self._clock() - began)
            await send(message)

        return sent

    def _tell(self, key: str, took_s: float) -> None:
        if self._clock() < self._told.get(key, -AGAIN_S) + AGAIN_S:
            self._untold[key] = self._untold.get(key, 0) + 1
            return
        self._told[key] = self._clock()
        before = self._untold.pop(key, 0)
        self._log("INFO", f"{key} was answered{f', as {before} more since the last record' if before else ''}", event="performance", took_s=took_s)
