"""From a still on disk to an announced row: the supervisors' way into the catalogue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from cupola.camera.messages import Plan
from cupola.capture.session import Sessions
from cupola.core.bus import Bus
from cupola.core.clock import observing_day, parse_utc
from cupola.core.errors import CupolaError
from cupola.core.events import CaptureFailed, ImageCaptured, StorageFull
from cupola.core.frame import Controls, Station
from cupola.process.wire import Head
from cupola.storage.catalogue import Catalogue, FileRow, NewImage
from cupola.storage.files import Reserve, free_space
from cupola.storage.reconcile import reconcile

RETRY_S = (0.2, 1.0, 2.0, 5.0)


class Archive:
    """One for all cameras; implements `camera.supervisor.Archive`."""

    def __init__(
        self, catalogue: Catalogue, sessions: Sessions, bus: Bus, station: Station, root: Path, queue: Path, reserve: Reserve, log: Callable[..., None]
    ) -> None:
        self._catalogue, self._sessions, self._bus, self._station = catalogue, sessions, bus, station
        self._root, self._queue, self._reserve, self._log = root, queue, reserve, log
        self.stored: Callable[[], None] = lambda: None  # the darkroom is told here that there is work
        self._tasks: set[asyncio.Task[None]] = set()

    async def prepare(self, camera: str) -> int:
        """Adopt what an earlier process left; the next sequence number of the camera."""
        catalogue = self._catalogue
        report = await catalogue.run(reconcile, catalogue, self._root, self._queue, camera, self._station)
        for row in report.adopted:
            await self._sessions.stored(camera, row.session, row.opened_at)
            self._log("WARNING", f"Took up {row.files[0].path}, which was stored but not in the catalogue.", event="storage", camera=camera)
            self._announce(row)
        if report.deleted_tmp:
            self._log("WARNING", f"Deleted {report.deleted_tmp} unfinished files of camera \"{camera}\".", event="storage", camera=camera)
        for path in report.flagged_missing:
            self._log("ERROR", f"The file {path} is in the catalogue but gone from the disk.", event="storage", camera=camera)
        self.stored()
        return await catalogue.run(catalogue.last_sequence, camera) + 1
