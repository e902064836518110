"""What the server has seen of a camera's live pictures: the newest one, its age, whether it may be called live, and their rate."""

from __future__ import annotations

import time

from cupola.core.frame import Packet
from cupola.process.wire import Head

RATE_OVER_S = 1.0


class Seen:
    """Fed by the supervisor with each packet and each beat."""

    def __init__(self) -> None:
        self.newest: Packet | None = None
        self.fps = 0.0
        self._counted: tuple[float, int] | None = None  # when, and frames then

    def restarted(self) -> None:
        """A new process counts its frames anew; the newest picture stays, and grows old."""
        self.fps, self._counted = 0.0, None

    def beat(self, head: Head, now: float) -> None:
        frames = int(head["frames"])
        if self._counted is None:
            self._counted = (now, frames)
        elif (passed_s := now - self._counted[0]) >= RATE_OVER_S:
            self.fps = max(0.0, frames - self._counted[1]) / passed_s
            self._counted = (now, frames)

    @property
    def age_s(self) -> float | None:
        """Age of the newest live picture, from the opening of its shutter."""
        return None if self.newest is None else max(0.0, (time.monotonic_ns() - self.newest.monotonic_ns) / 1e9)

    @property
    def live(self) -> bool:
        """Live means: since the shutter closed less than max(0.5 s, exposure + 1 s) have passed.

        From its opening the limit would be over before the next picture of a series can be there.
        """
        if self.newest is None:
            return False
        since_close_s = (time.monotonic_ns() - self.newest.closed_ns) / 1e9
        return since_close_s < max(0.5, (self.newest.applied.exposure_s or 0.0) + 1.0)
