"""What a supervisor is given: the camera's part of the configuration in plain types, and where stills end up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from cupola.camera.messages import Plan
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
    storage: Mapping[str, Any]  # root, queue (None: originals are kept), lock
    live_view: Mapping[str, Any]  # quality, fps_max, width_max
    live: Controls
    still: Controls
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
