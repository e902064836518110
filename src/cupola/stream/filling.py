"""How full the spools are, and when they will be, from how they filled in the last minutes. Pure; what lies in them is `publisher`'s business."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

WATCHED_S, EVERY_S = 600.0, 10.0
LEAST_S = 30.0  # before anything is said


class Filling:
    """`caps`: how many bytes each spool may hold. Times are monotonic."""

    def __init__(self, *caps: int) -> None:
        self._caps = caps
        self._looks: deque[tuple[float, Sequence[int]]] = deque()

    def look(self, now: float, *held: int) -> None:
        """So many bytes are in each now. Cheap; may be called more often than is of use."""
        if not self._looks or now - self._looks[-1][0] >= EVERY_S:
            self._looks.append((now, held))
            while now - self._looks[0][0] > WATCHED_S:
                self._looks.popleft()

    def percent(self, *held: int) -> float:
        """Of the fuller one."""
        return 100.0 * max(bytes_ / cap for bytes_, cap in zip(held, self._caps, strict=True))

    @property
    def full_in_s(self) -> float | None:
        """When the first of them will be full if they go on like this; None while none fills up, or it is not known yet."""
        if not self._looks or (took := self._looks[-1][0] - self._looks[0][0]) < LEAST_S:
            return None
        (_, before), (_, now) = self._looks[0], self._looks[-1]
        left = [max(0.0, (cap - new) * took / (new - old)) for cap, old, new in zip(self._caps, before, now, strict=True) if new > old]
        return min(left, default=None)
