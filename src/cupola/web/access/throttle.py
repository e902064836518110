"""How often somebody may try. In memory: a restart forgives."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable

from cupola.core.errors import CupolaError

KEYS_MAX = 4096


class TooManyTries(CupolaError):
    """Wait as long as `retry_in_s` says."""

    def __init__(self, retry_in_s: float) -> None:
        super().__init__(f"Too many tries. Wait {max(1, round(retry_in_s))} s.")
        self.retry_in_s = retry_in_s


class Throttle:
    """At most `tries` of one key within `within_s`."""

    def __init__(self, tries: int, within_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._tries, self._within_s, self._clock = tries, within_s, clock
        self._tried: OrderedDict[str, deque[float]] = OrderedDict()

    def take(self, *keys: str) -> None:
        """Count a try of all keys. Raises TooManyTries, and counts nothing, when one of them has none left."""
        now = self._clock()
        for key in keys:
            tried = self._tried.get(key)
            while tried and now - tried[0] >= self._within_s:
                tried.popleft()
            if tried and len(tried) >= self._tries:
                raise TooManyTries(self._within_s - (now - tried[0]))
        for key in keys:
            self._tried.setdefault(key, deque()).append(now)
            self._tried.move_to_end(key)
        while len(self._tried) > KEYS_MAX:
            self._tried.popitem(last=False)

    def forgive(self, *keys: str) -> None:
        """The last try was right after all; those before it still count."""
        for key in keys:
            if tried := self._tried.get(key):
                tried.pop()
