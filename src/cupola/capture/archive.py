"""From a still on disk to an announced row: the supervisors' way into the catalogue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from cupola.camera.messages import Plan
from cupola.capture.session import Sessions
from cupola.core.bus import Bus
from cupola.core.clock import parse_utc
from cupola.core.errors import CupolaError
from cupola.core.events import CaptureFailed, ImageDeveloped, StorageFull
from cupola.core.frame import Controls, Station
from cupola.process.wire import Head
from cupola.storage.catalogue import Catalogue
from cupola.storage.reconcile import reconcile
from cupola.storage.rows import FileRow, ImageRow, NewImage, captured_event
from cupola.storage.space import Reserve, free_space

RETRY_S = (0.2, 1.0, 2.0, 5.0)


class Archive:
    """One for all cameras; implements `camera.spec.Archive`."""

    def __init__(
        self,
        catalogue: Catalogue,
        sessions: Sessions,
        bus: Bus,
        station: Station,
        root: Path,
        queue: Path,
        reserve: Reserve,
        log: Callable[..., None],
    ) -> None:
        self._catalogue, self._sessions, self._bus, self._station = catalogue, sessions, bus, station
        self._root, self._queue, self._reserve, self._log = root, queue, reserve, log
        self.stored: Callable[[], None] = lambda: None  # the darkroom is told here that there is work
        self._to_check: set[str] = set()  # cameras whose folders are looked through whole at the next chance
        self._tasks: set[asyncio.Task[None]] = set()

    def check_all(self, cameras: set[str]) -> None:
        """The catalogue is new: look through all folders of these cameras before they start."""
        self._to_check = set(cameras)

    async def prepare(self, camera: str) -> int:
        """Adopt what an earlier process left; the next sequence number of the camera."""
        catalogue = self._catalogue
        full = camera in self._to_check
        self._to_check.discard(camera)
        report = await asyncio.to_thread(reconcile, catalogue, self._root, camera, self._station, full=full, queue=self._queue, darkroom_busy=True)
        for adopted in report.adopted:
            file, row, was = adopted.file, adopted.image, adopted.was
            if was is None:  # the others count already
                await self._sessions.stored(camera, row.session, row.opened_at)
            self._log("WARNING", f"Took up {file.path}, which was stored but not in the catalogue.", event="storage", camera=camera)
            if row.acknowledged and not (was is not None and was.acknowledged):
                self._announce(row, file.path)
            if row.developed and was is not None and not was.developed:
                self._bus.publish(ImageDeveloped(camera=camera, id=row.id, sequence=row.sequence, path=file.path, took_ms=None))
        if report.deleted_tmp:
            self._log(
                "WARNING", f"Deleted {len(report.deleted_tmp)} unfinished files: {', '.join(report.deleted_tmp)}.", event="storage", camera=camera
            )
        for path in report.flagged_missing:
            self._log("ERROR", f"The file {path} is in the catalogue but gone from the disk.", event="storage", camera=camera)
        for text in report.problems:
            self._log("ERROR", text, event="storage", camera=camera)
        self.stored()
        return await catalogue.run(catalogue.last_sequence, camera) + 1

    async def captured(self, camera: str, head: Head) -> int:
        """Commit the row, then announce. A full or failing disk is waited for: the image is on disk already."""
        file = head["file"]
        controls = Controls.from_dict(head["applied"])
        opened_at = parse_utc(head["opened_at"])
        files = [file] if head["native"] is None else [head["native"], file]
        new = NewImage(
            camera=camera,
            sequence=head["sequence"],
            opened_at=opened_at,
            ended_at=parse_utc(head["ended_at"]),
            clock_synced=head["clock_synced"],
            exposure_s=controls.exposure_s,
            gain=controls.gain,
            f_number=controls.f_number,
            temperature_c=head["temperature_c"],
            width=head["width"],
            height=head["height"],
            session=head["session"],
            day=head["day"],
            period=head["period"],
            correction=head["correction"],
            files=tuple(self._row_of(one) for one in files),
        )
        attempt = 0
        while True:
            try:
                row = await self._catalogue.run(self._catalogue.add_image, new)
                break
            except CupolaError as error:
                self._log("ERROR", f"The row of {file['path']} cannot be written yet: {error}", event="storage", camera=camera)
                self._reserve.release()
                await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
                attempt += 1
        try:
            await self._sessions.stored(camera, row.session, row.opened_at)
        except CupolaError as error:  # the image is safe, and the ones behind it wait; the next start finds the series complete
            self._log("ERROR", f'The end of the series of camera "{camera}" cannot be written: {error}', event="storage", camera=camera)
        if row.acknowledged:
            self._announce(row, row.files[0].path, head["took_s"])
        self.stored()
        return row.id

    def _row_of(self, file: Head) -> FileRow:
        base = self._queue if file["kind"] == "queue" else self._root
        return FileRow(file["kind"], Path(file["path"]).relative_to(base).as_posix(), file["bytes"], file["sha256"])

    def _announce(self, row: ImageRow, path: str, took_s: float | None = None) -> None:
        """`took_s`: to encode it and write it durably, where that is known."""
        self._bus.publish(captured_event(row, path))
        stored = "" if took_s is None else ", stored"
        self._log("INFO", f"Captured {path}{stored}", event="capture", camera=row.camera, took_s=took_s)

    def failed(self, camera: str, head: Head) -> None:
        """An exposure or its storing failed: said, counted, and on a full disk some room given back."""
        self._bus.publish(CaptureFailed(camera=camera, error_type=head["kind"], message=head["message"], session=head["session"]))
        self._log("ERROR", head["message"], event="storage" if head["kind"].startswith("storage") else "capture", camera=camera)
        if head["kind"] == "storage_full":
            self._reserve.release()
            self._bus.publish(StorageFull(camera=camera, free_bytes=free_space(self._root).bytes, message=head["message"]))
        task = asyncio.create_task(self._sessions.failed(camera, head["session"]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def plan(self, camera: str) -> Plan | None:
        session = self._sessions.of(camera)
        return session.plan() if session else None
