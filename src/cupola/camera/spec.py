"""What a supervisor is given: the camera's part of the configuration in plain types, and where stills end up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Protocol

from cupola.camera.messages import Plan
from cupola.camera.recovery import Policy
from cupola.camera.settings import CameraSettings, ModeSettings
from cupola.core.frame import Controls, Station
from cupola.process.wire import Head


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


def configure_head(spec: CameraSpec, settings: CameraSettings, next_sequence: int, trouble: str | None) -> Head:
    """The first message to a camera process. `trouble`: the kind of error an earlier one failed with, as far as it matters."""

    def wanted(mode: ModeSettings) -> Head:
        return {"generation": mode.generation, "controls": mode.requested.to_dict()}

    return {
        "type": "configure",
        "camera": spec.name,
        "driver": spec.driver_path,
        "options": spec.options,
        "station": asdict(spec.station),
        "storage": spec.storage,
        "live": spec.live_view,
        "recovery": {"reopen": spec.recovery.reopen, "frozen_after_s": spec.recovery.frozen_after_s, "trouble": trouble},
        "next_sequence": next_sequence,
        "live_settings": wanted(settings.live),
        "still_settings": wanted(settings.still),
    }
