"""Ends what keeps an idle ZWO camera busy: video that nobody has taken a picture from for a minute.

Video that is kept open exposes and reads out without pause, wanted or not: small cameras grow 10 to 20 degrees warmer by it,
with more hot pixels, and it takes its share of the USB bus. Shorter pauses are not worth a new start, which some models do not like.
The library is not thread-safe, so the driver's thread and this one take turns.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

REST_AFTER_S = 60.0


class Rest:
    """From `start` to `end` a thread calls `stop` when `turn` was last left longer ago than `REST_AFTER_S`."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop_video = stop
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._used = time.monotonic()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._used = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="zwo-rest", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Idempotent. Does not wait for a library that hangs."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(1.0)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """A call to the library, with what belongs to it."""
        with self._lock:
            try:
                yield
            finally:
                self._used = time.monotonic()

    def _run(self) -> None:
        while not self._ended.wait(REST_AFTER_S / 12):
            if time.monotonic() - self._used > REST_AFTER_S and self._lock.acquire(blocking=False):
                try:
                    if time.monotonic() - self._used > REST_AFTER_S and not self._ended.is_set():
                        self._stop_video()
                finally:
                    self._lock.release()
