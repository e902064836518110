"""What the driver thread is doing, and how long it may take: a call past its deadline is interrupted, then given up."""

from __future__ import annotations

import time
from dataclasses import dataclass

from cupola.camera.messages import Mode
from cupola.core.errors import CameraUnresponsive
from cupola.core.frame import CameraInfo

MIN_BUDGET_S = 2.0
GRACE_S = 1.0  # after a missed deadline interrupt() has so long to bring the driver back


@dataclass(frozen=True, slots=True)
class Phase:
    """What the thread is doing. When `budget_s` is over, it hangs; None: it is not in the driver."""

    name: str
    since: float
    budget_s: float | None
    mode: Mode | None = None
    exposure_s: float | None = None


class Deadline:
    """The phase of one driver thread. Set by that thread, looked at by any; a phase is replaced whole, so no lock is needed."""

    def __init__(self) -> None:
        self._interrupted: Phase | None = None
        self.readout_s = 0.0  # as learned
        self.busy_until = 0.0  # a cancelled exposure that the camera finishes all the same; until then it is given time
        self.enter("opening", None)

    def enter(self, name: str, budget_s: float | None, mode: Mode | None = None, exposure_s: float | None = None) -> None:
        now = time.monotonic()
        if budget_s is not None:
            budget_s += max(0.0, self.busy_until - now)
        self.phase = Phase(name, now, budget_s, mode, exposure_s)

    def patience_s(self, info: CameraInfo | None) -> float:
        """How long a picture may take beyond its exposure."""
        return max(MIN_BUDGET_S, 3 * self.readout_s, info.frame_timeout_s if info is not None else 0.0)

    def learn(self, readout_s: float) -> None:
        """Follows a slower readout at once and a faster one slowly."""
        self.readout_s = max(readout_s, 0.95 * self.readout_s + 0.05 * readout_s, 0.0)

    def missed(self) -> bool:
        """Whether the phase under way is over its budget; True once only, for the one who interrupts it."""
        phase = self.phase
        if phase.budget_s is None or self._interrupted is phase or time.monotonic() <= phase.since + phase.budget_s:
            return False
        self._interrupted = phase
        return True

    @property
    def late(self) -> bool:
        """Whether the phase under way was interrupted for its lateness."""
        return self._interrupted is self.phase

    def left_s(self, otherwise: float) -> float:
        """Seconds until the driver hangs for good; `otherwise` while it is not in a call."""
        phase = self.phase
        if phase.budget_s is None:
            return otherwise
        grace = GRACE_S if self._interrupted is phase else 0.0
        return phase.since + phase.budget_s + grace - time.monotonic()

    def goes_on(self) -> None:
        """The camera cannot end the exposure that was cancelled: the next call has to wait for it."""
        phase = self.phase
        if phase.name in ("exposing", "live") and phase.budget_s is not None:
            self.busy_until = phase.since + phase.budget_s

    def failure(self) -> CameraUnresponsive:
        """The phase under way took too long, in words."""
        phase = self.phase
        of = f" of a {phase.exposure_s:g} s exposure" if phase.exposure_s else ""
        return CameraUnresponsive(
            f"The camera did not answer within {phase.budget_s or 0.0:.0f} s ({phase.name}{of}). If this repeats, check its power and cable."
        )
