"""What a supervisor is given: the camera's part of the configuration in plain types, and where stills end up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Protocol

from cupola.camera.auto_exposure import Limits, dials_of
from cupola.camera.messages import Plan
from cupola.camera.recovery import Policy
from cupola.camera.settings import CameraSettings, ModeSettings
from cupola.core.frame import CameraInfo, Capability, Controls, Station
from cupola.process.wire import Head


@dataclass(frozen=True, slots=True)
class AutoSpec:
    """Auto exposure of stills: whether it is on at the start, its limits, and the region that is metered, as the camera process takes them."""

    on: bool
    limits: Mapping[str, Any]
    region: Mapping[str, Any] | None = None

    @property
    def names(self) -> frozenset[str]:
        """The settings that it chooses, where the camera has them."""
        aperture = any(self.limits.get(name) is not None for name in ("f_number_min", "f_number_max"))
        return frozenset({"exposure_s", "gain", "f_number"} if aperture else {"exposure_s", "gain"})

    def of(self, info: CameraInfo) -> frozenset[str]:
        """Those of an opened camera."""
        if Capability.CONTINUOUS in info.capabilities:
            return frozenset()
        return frozenset(dial.name for dial in dials_of(info.controls, Limits(**self.limits)))


@dataclass(frozen=True, slots=True)
class CameraSpec:
    """What the configuration says of one camera, in plain types."""

    name: str
    driver: str
    driver_path: str  # "module:Class"
    options: Mapping[str, Any]
    station: Station
    storage: Mapping[str, Any]  # root, queue, keep_originals, lock, min_free_percent, keep_free_percent
    live_view: Mapping[str, Any]  # quality, fps_max, width_max
    live: Controls
    still: Controls
    exclusive: bool = False  # the driver's devices are used by one camera only, and told apart by their serial numbers
    recovery: Policy = field(default_factory=Policy)
    auto: AutoSpec | None = None  # None: without auto exposure
    python: str | None = None  # the interpreter the driver needs; None: the server's own


@dataclass(frozen=True, slots=True)
class Problem:
    kind: str
    message: str
    since: datetime


class Archive(Protocol):
    """Where stills end up; see `capture.archive`."""

    async def prepare(self, camera: str) -> int:
        """Bring files and rows in step while nobody writes; the next sequence number."""
        ...

    async def captured(self, camera: str, head: Head) -> int:
        """Make the row of a durable image and announce it; its id. Does not give up."""
        ...

    def failed(self, camera: str, head: Head) -> None: ...

    def plan(self, camera: str) -> Plan | None:
        """What is left of the running series of stills."""
        ...


def wanted_head(mode: ModeSettings) -> Head:
    """What is wanted in a mode, as the camera process is told."""
    return {"generation": mode.generation, "controls": mode.begin_with.to_dict(), "automatic": sorted(mode.automatic)}


def configure_head(spec: CameraSpec, settings: CameraSettings, next_sequence: int, trouble: str | None) -> Head:
    """The first message to a camera process. `trouble`: the kind of error an earlier one failed with, as far as it matters."""

    return {
        "type": "configure",
        "camera": spec.name,
        "driver": spec.driver_path,
        "options": spec.options,
        "station": asdict(spec.station),
        "storage": spec.storage,
        "live": spec.live_view,
        "auto_exposure": None if spec.auto is None else {"limits": spec.auto.limits, "region": spec.auto.region},
        "recovery": {"reopen": spec.recovery.reopen, "frozen_after_s": spec.recovery.frozen_after_s, "trouble": trouble},
        "next_sequence": next_sequence,
        "live_settings": wanted_head(settings.live),
        "still_settings": wanted_head(settings.still),
    }
