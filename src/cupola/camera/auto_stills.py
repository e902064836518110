"""Auto exposure of one camera's stills: asks the controller before each one, meters it after.

Used by the driver thread, between two exposures, so that the next still already has what the last one showed. The arithmetic is
`auto_exposure`'s, looking at pixels `metering`'s; which settings are automatic is the server's to say (`settings`).
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping
from typing import Any

from cupola.camera.auto_exposure import AutoExposure, Dial, Limits, dials_of
from cupola.camera.messages import Plan
from cupola.core.frame import CameraInfo, Capability, Controls, Frame, Packet

MARGIN_S = 0.05  # between the end of a readout and the next opening of a series with an interval
READOUTS = 9  # of so many the median counts: one hiccup does not shorten the exposures
MISSED = 1.7  # so many times the pause before, and a picture is missing between two


class AutoStills:
    """`limits` and `region` are those of the configuration, in plain types; None: the camera has no auto exposure.

    `names`: the controls that are automatic; set by any thread, as a whole.
    """

    def __init__(self, limits: Mapping[str, Any] | None, region: Mapping[str, Any] | None) -> None:
        self._limits = None if limits is None else Limits(**limits)
        self._region_values = region
        self._info: CameraInfo | None = None
        self._all: tuple[Dial, ...] = ()
        self._controller: AutoExposure | None = None
        self._opened_ns, self._pause_ns = 0, 0  # of the newest still, and between it and the one before
        self._readouts: deque[float] = deque(maxlen=READOUTS)
        self.names: frozenset[str] = frozenset()

    def opened(self, info: CameraInfo) -> None:
        """What the camera can do. One that was opened again goes on where it was."""
        if self._limits is None or Capability.CONTINUOUS in info.capabilities:
            return
        self._all = dials_of(info.controls, self._limits)
        if self._controller is None or info.controls != (self._info.controls if self._info else None):
            gain = info.controls.get("gain")
            scale = None if gain is None else gain.scale or self._limits.gain_scale
            self._controller = AutoExposure((), self._limits.target, scale)
        self._info = info

    @property
    def active(self) -> bool:
        """Whether any control of this camera is automatic."""
        return self._controller is not None and any(dial.name in self.names for dial in self._all)

    def read_out(self, seconds: float) -> None:
        """How long the camera took for a still beyond its exposure."""
        self._readouts.append(seconds)

    def controls(self, wanted: Controls, plan: Plan | None) -> Controls:
        """The settings of the next still: `wanted`, with what is automatic chosen. Its exposure fits into the series' interval."""
        if self._controller is None or not self.active:
            return wanted
        names = self.names
        self._controller.use(tuple(dial for dial in self._all if dial.name in names))
        return self._controller.controls(wanted, exposure_max_s=self._longest_s(plan))

    def _longest_s(self, plan: Plan | None) -> float | None:
        """The longest exposure that lets the camera be ready in time; half of the interval where it never would be."""
        if plan is None or plan.interval_s is None:
            return None
        told = 0.0 if self._info is None else self._info.readout_s
        readout_s = max(told, statistics.median(self._readouts) if self._readouts else 0.0)
        return max(plan.interval_s - readout_s - MARGIN_S, plan.interval_s / 2)

    def measured(self, picture: Frame | Packet, taken: Controls) -> float | None:
        """Look at a still whose settings `controls` chose: the stops by which developing should brighten it, None if that is unknown.

        `taken`: what the hardware said it has, for what the picture itself does not tell.
        """
        if self._controller is None or not self.active:
            return None
        from cupola.camera.metering import Region, level_of  # brings in numpy, which a camera that encodes by itself does without

        level = level_of(picture, Region(**self._region_values or {}))
        if level is None:
            self._controller.gap()
            return None
        pause_ns = picture.monotonic_ns - self._opened_ns if self._opened_ns else 0
        if self._pause_ns and pause_ns > MISSED * self._pause_ns:
            self._controller.gap()
        self._opened_ns, self._pause_ns = picture.monotonic_ns, pause_ns
        return self._controller.measured(level, picture.applied.over(taken))
