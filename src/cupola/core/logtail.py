"""The newest records of the log, in memory, for programs and pages that read along: numbered, so that they go on where they stopped.

What is written to files, and when, is `cupola.logs`'; who may read what is `web.routes.logs`'.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from cupola.core.clock import iso_utc

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
KEPT = 1000


@dataclass(frozen=True, slots=True)
class LogLine:
    """`id` grows from record to record, also over a restart: thousandths of a second since 1970, and three digits to tell apart those of one.

    `private`: about who logs in, or tries to.
    """

    id: int
    at: datetime
    level: str
    event: str
    camera: str
    message: str
    private: bool = False

    def to_dict(self) -> dict[str, object]:
        return {"id": self.id, "at": iso_utc(self.at), "level": self.level, "event": self.event, "camera": self.camera, "message": self.message}


class LogTail:
    """`add` from any thread; everything else too."""

    def __init__(self) -> None:
        self._lines: deque[LogLine] = deque(maxlen=KEPT)
        self._lock = threading.Lock()
        self._last = 0
        self._wake: set[Callable[[], None]] = set()

    def add(self, at: datetime, level: str, event: str, camera: str, message: str, *, private: bool = False) -> None:
        with self._lock:
            self._last = max(self._last + 1, int(at.timestamp() * 1000) * 1000)
            self._lines.append(LogLine(self._last, at, level, event, camera, message, private))
            wake = tuple(self._wake)
        for call in wake:
            call()

    @contextmanager
    def heard(self, wake: Callable[[], None]) -> Generator[None]:
        """`wake` is called, by whoever writes, after each new record. It must not block, nor log."""
        with self._lock:
            self._wake.add(wake)
        try:
            yield
        finally:
            with self._lock:
                self._wake.discard(wake)

    @property
    def last(self) -> int:
        """The newest record's id."""
        return self._last

    def after(self, last: int) -> list[LogLine]:
        """Records newer than the one with this id, oldest first, as far as they are kept."""
        with self._lock:
            return [line for line in self._lines if line.id > last]

    def newest(self, count: int, fits: Callable[[LogLine], bool]) -> list[LogLine]:
        """The newest that fit, oldest first."""
        with self._lock:
            return list(islice(filter(fits, reversed(self._lines)), count))[::-1]
