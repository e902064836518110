"""What the routes work on. Put together by `cupola.app`, reached through `runtime_of`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import Request, WebSocket

from cupola.camera.supervisor import CameraSupervisor
from cupola.capture.keeping import Keeping
from cupola.capture.nights import Scheduler
from cupola.capture.session import Sessions
from cupola.clips.clips import Clips
from cupola.clips.triggers import Triggers
from cupola.config.model import Settings
from cupola.core.bus import Bus
from cupola.core.errors import CupolaError
from cupola.core.logtail import LogTail
from cupola.darkroom.growing import Growing
from cupola.darkroom.queue import Darkroom
from cupola.status.writer import StatusWriter
from cupola.storage.catalogue import Catalogue
from cupola.storage.files import inside
from cupola.watch.station import StationWatch
from cupola.web.access.address import Addresses
from cupola.web.access.desk import Desk
from cupola.web.access.lease import Leases
from cupola.web.lan import LanWindow


class NoSuchThing(CupolaError):
    """The address names a camera or an image that does not exist."""

    kind = "not_found"


class NotYours(CupolaError):
    """It is somebody else's to do, or nobody's any more."""

    kind = "not_allowed"


@dataclass(slots=True)
class Runtime:
    settings: Settings
    cameras: dict[str, CameraSupervisor]
    sessions: Sessions
    scheduler: Scheduler
    catalogue: Catalogue
    darkroom: Darkroom
    bus: Bus
    log: Callable[..., None]
    desk: Desk
    leases: Leases
    addresses: Addresses
    url: str
    clips: Clips
    triggers: Triggers
    keeping: Keeping
    growing: Growing
    logtail: LogTail
    watch: StationWatch
    status: StatusWriter
    lan: LanWindow = field(default_factory=LanWindow)
    started: float = field(default_factory=time.monotonic)
    viewers: int = 0
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)  # one look for attached cameras at a time
    listeners: int = 0  # sockets that want events
    log_readers: int = 0

    def camera(self, name: str) -> CameraSupervisor:
        """Raises NoSuchThing, naming those that exist."""
        try:
            return self.cameras[name]
        except KeyError:
            known = ", ".join(sorted(self.cameras)) or "none"
            raise NoSuchThing(f'There is no camera "{name[:40]}". Configured: {known}.') from None

    async def stored(self, name: str, what: str, advice: str = "") -> Path:
        """Where a file of the catalogue's lies. Raises NoSuchThing, also for one that a symlink leads out of the images' folder."""
        try:
            path = await asyncio.to_thread(inside, self.settings.storage.root, name)
        except ValueError:
            raise NoSuchThing(f"The file of {what} lies outside of the images' folder.") from None
        if not path.is_file():
            raise NoSuchThing(f"The file {name} of {what} is gone from the disk.{advice}")
        return path

    def is_public(self, name: str) -> bool:
        """Whether anybody may see the newest still of this camera."""
        return any(camera.name == name and camera.public_latest for camera in self.settings.cameras)

    def first_camera(self) -> CameraSupervisor:
        if not self.cameras:
            raise NoSuchThing("No camera is configured. Add one to the configuration file; `cupola init` writes a first one.")
        return next(iter(self.cameras.values()))


def runtime_of(connection: Request | WebSocket) -> Runtime:
    return connection.app.state.runtime
