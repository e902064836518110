"""A series of stills inside the camera process: when the next one is due, and how many are still to be taken.

Kept by the exposer under its own lock. Which series runs, and what it has got, is `capture.session`'s.
"""

from __future__ import annotations

import math
from dataclasses import replace

from cupola.camera.messages import Plan

FAILED_PAUSE_S = 5.0  # at least, between an exposure that failed and the next one
SAME_BEAT = 1e-6  # of an interval: two moments as close as this are the same opening


class Series:
    """Times are seconds of the monotonic clock."""

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self._first_opening = self._next_opening = 0.0
        self._in_flight = 0  # taken, and not yet known to be on disk

    def set(self, plan: Plan | None, now: float) -> bool:
        """Another series or none; whether one ended by that. One that runs already goes on, for another night or day."""
        if plan is not None and self.plan is not None and plan.session == self.plan.session:
            self.plan = replace(self.plan, day=plan.day, period=plan.period)
            return False
        ended = self.plan is not None
        self.plan, self._in_flight = plan, 0
        self._first_opening = self._next_opening = plan.first_at_s if plan is not None and plan.first_at_s is not None else now
        return ended

    @property
    def active(self) -> bool:
        """Whether there is another still to take, now or later."""
        return self.plan is not None and (self.plan.remaining is None or self.plan.remaining > self._in_flight)

    def due(self, now: float) -> bool:
        return self.active and now >= self._next_opening

    def wait_s(self, now: float) -> float:
        """Until the next opening."""
        return max(0.0, self._next_opening - now)

    def opened(self, plan: Plan | None, at: float, exposure_s: float) -> None:
        """A still of `plan` is being taken: the next one follows from it."""
        if plan is None:
            return
        if plan.interval_s is None:
            self._next_opening = at + exposure_s + plan.delay_s
        else:
            self._next_opening = self._on_grid(plan.interval_s, at + 2 * SAME_BEAT * plan.interval_s)

    def taken(self) -> None:
        """A still was handed on to be stored."""
        self._in_flight += 1

    def stored(self, session: int | None, ok: bool) -> None:
        """A still handed on earlier is on disk, or is not."""
        if self.plan is not None and session == self.plan.session:
            self._in_flight = max(0, self._in_flight - 1)
            if ok and self.plan.remaining is not None:
                self.plan = replace(self.plan, remaining=self.plan.remaining - 1)

    def again(self, plan: Plan, now: float) -> None:
        """The still under way was interrupted: it is taken now."""
        if self._is(plan):
            self._next_opening = now

    def failed(self, plan: Plan, now: float) -> None:
        """The still under way failed in the camera: the next one waits a little."""
        if self._is(plan):
            earliest = max(self._next_opening, now + FAILED_PAUSE_S)
            self._next_opening = earliest if plan.interval_s is None else self._on_grid(plan.interval_s, earliest)

    def _on_grid(self, interval_s: float, earliest: float) -> float:
        """The first opening from a moment on, on the grid of the first one, whatever came between; one that was missed is not made up for."""
        return self._first_opening + interval_s * math.ceil((earliest - self._first_opening) / interval_s - SAME_BEAT)

    def _is(self, plan: Plan) -> bool:
        """Whether this series is still the one of `plan`, which was counted down meanwhile."""
        return self.plan is not None and self.plan.session == plan.session
