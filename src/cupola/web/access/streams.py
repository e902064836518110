"""What is open for longer than one answer, by whom: so that it ends with the session or token it was opened with."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

ENDED_KEPT = 1024


class Streams:
    def __init__(self) -> None:
        self._open: dict[str, set[asyncio.Event]] = {}
        self._ended: dict[str, None] = {}

    @contextmanager
    def opened(self, who_id: str) -> Generator[asyncio.Event]:
        """The event is set when the stream has to end."""
        over = asyncio.Event()
        self._open.setdefault(who_id, set()).add(over)
        if who_id in self._ended:
            over.set()
        try:
            yield over
        finally:
            streams = self._open[who_id]
            streams.discard(over)
            if not streams:
                del self._open[who_id]

    def end(self, who_id: str) -> None:
        """Ids are never used again, so what is opened by it later, by a request under way, ends too."""
        self._ended[who_id] = None
        while len(self._ended) > ENDED_KEPT:
            del self._ended[next(iter(self._ended))]
        for over in self._open.get(who_id, ()):
            over.set()

    def ended(self, who_id: str) -> bool:
        return who_id in self._ended

    def count(self) -> Counter[str]:
        """How many are open, by whom."""
        return Counter({who_id: len(streams) for who_id, streams in self._open.items()})
