"""What else the darkroom's process is asked for: previews of stored images, master darks. Few at a time, and images go on between them.

When one is due, and who does it, is decided by `darkroom.queue`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from cupola.core.errors import CupolaError, NotAllowed, StorageFailed, StorageFull
from cupola.darkroom.worker import Answer
from cupola.process.wire import Head

MOST = 4  # that wait


@dataclass(frozen=True, slots=True)
class Errand:
    """A job for the process. Whoever asked may have gone meanwhile."""

    job: Head
    deadline_s: float
    answer: asyncio.Future[Answer]

    def give(self, answer: Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def refuse(self, error: CupolaError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


def refusal(head: Head) -> CupolaError:
    """What a `failed` answer means for whoever asked."""
    kinds: dict[str, type[CupolaError]] = {"storage_full": StorageFull, "original": NotAllowed}
    return kinds.get(head["kind"], StorageFailed)(head["message"])


class Errands:
    """One event loop."""

    def __init__(self) -> None:
        self._waiting: deque[Errand] = deque()
        self._turn = True

    def ask(self, job: Head, deadline_s: float) -> asyncio.Future[Answer] | None:
        """The answer to come; None when MOST wait already."""
        self._waiting = deque(errand for errand in self._waiting if not errand.answer.done())
        if len(self._waiting) >= MOST:
            return None
        errand = Errand(job, deadline_s, asyncio.get_running_loop().create_future())
        self._waiting.append(errand)
        return errand.answer

    def due(self) -> Errand | None:
        """The oldest that somebody still waits for, taken; None when there is none, or an image goes first."""
        while self._turn and self._waiting:
            errand = self._waiting.popleft()
            if not errand.answer.done():
                self._turn = False
                return errand
        return None

    def their_turn(self) -> bool:
        """An image was done, or there is none: the next errand may come. Whether that lets one go that waits."""
        waited = not self._turn and bool(self._waiting)
        self._turn = True
        return waited

    def refuse_all(self, error: CupolaError) -> None:
        while self._waiting:
            self._waiting.popleft().refuse(error)
