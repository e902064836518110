"""Triggers become clips: which are recorded now, what is asked of whom, and what the catalogue and the world are told.

The ring of each camera is `preroll`'s, the writing of a clip `recorder`'s.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from cupola.clips.copies import Copies
from cupola.clips.journal import SUFFIX
from cupola.clips.preroll import Ring
from cupola.clips.recorder import LEEWAY_NS, ClipFailed, Recorder
from cupola.core.bus import Bus
from cupola.core.clock import iso_utc, monotonic_ns, utc_now
from cupola.core.errors import NotAllowed, StorageFailed, StorageFull
from cupola.core.events import ClipFailed as ClipFailedEvent
from cupola.core.events import ClipSaved, ClipStarted, TriggerReceived
from cupola.core.frame import Packet
from cupola.core.hub import FrameHub
from cupola.process.wire import Head
from cupola.storage.catalogue import Catalogue
from cupola.storage.clips import ClipRow, ClipRows
from cupola.storage.files import camera_folder, inside, relative_name, sha256_of
from cupola.storage.space import free_space

RETRY_S = 10.0  # what a full disk did not take is tried again


@dataclass(frozen=True, slots=True)
class PreRoll:
    """`cameras[].preroll` of one camera."""

    seconds: float
    bytes_max: int
    before_s: float
    after_s: float
    longest_s: float


@dataclass(frozen=True, slots=True)
class Trigger:
    """What was asked; None: as the camera's configuration says. `source` says where it came from: api, cli, mqtt, poll, motion, event."""

    label: str
    before_s: float | None = None
    after_s: float | None = None
    source: str = "api"
    payload: Any = None
    at_ns: int | None = None  # when it happened, by the monotonic clock; None: now


class NoPreRoll(NotAllowed):
    """The camera keeps no packets."""


class TooManyClips(NotAllowed):
    """As many clips are recorded as the configuration allows."""

    retry_in_s = 5.0


class Clips:
    """All of a station's clips. Everything is called from the server's loop; `run` is its task."""

    def __init__(
        self,
        catalogue: Catalogue,
        bus: Bus,
        root: Path,
        state: Path,
        *,
        timezone: str,
        log: Callable[..., None],
        at_once: int,
        min_free_percent: float,
    ) -> None:
        self.rows = ClipRows(catalogue)
        self.copies = Copies(catalogue, root, min_free_percent=min_free_percent, log=log)
        self._catalogue, self._bus, self._log = catalogue, bus, log
        self._root, self._journals, self._zone = root.absolute(), state.absolute() / "clips", ZoneInfo(timezone)
        self._at_once, self._min_free = at_once, min_free_percent
        self._prerolls: dict[str, PreRoll] = {}
        self.rings: dict[str, Ring] = {}
        self._running: dict[Recorder, int] = {}  # their clips
        self._summing = asyncio.Lock()  # one checksum at a time: a disk that stalls takes no more than one thread
        self._turn: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # one trigger of a camera at a time
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self, camera: str, hub: FrameHub, preroll: PreRoll) -> None:
        """Keep the packets of a camera from now on."""
        ring = self.rings[camera] = Ring(preroll.seconds + LEEWAY_NS / 1e9, preroll.bytes_max)
        self._prerolls[camera] = preroll

        def take(packet: Packet) -> None:
            ring.add(packet)
            for recorder in self._running:
                if recorder.camera == camera:
                    recorder.add(packet)

        hub.tap(take)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Those that keep a pre-roll."""
        return tuple(self._prerolls)

    @property
    def active(self) -> int:
        """Clips that are recorded or written now."""
        return len(self._running)

    async def trigger(self, camera: str, wanted: Trigger) -> ClipRow:
        """Begin a clip, or make the one longer that runs for the same camera and label; its row, committed.

        Raises NoPreRoll, TooManyClips, StorageFull, StorageFailed.
        """
        now_ns, at = monotonic_ns(), utc_now()
        if wanted.at_ns is not None:
            at, now_ns = at - timedelta(microseconds=max(0, now_ns - wanted.at_ns) // 1000), min(now_ns, wanted.at_ns)
        preroll = self._prerolls.get(camera)
        if preroll is None:
            raise NoPreRoll(f'Camera "{camera}" keeps no pre-roll, so there is nothing to make a clip of. Give it a preroll in the configuration.')
        self._bus.publish(TriggerReceived(camera=camera, label=wanted.label, source=wanted.source))
        told = {"at": iso_utc(at), "source": wanted.source, "payload": wanted.payload}
        after_s = preroll.after_s if wanted.after_s is None else wanted.after_s
        async with self._turn[camera]:
            for recorder, clip in self._running.items():
                if (recorder.camera, recorder.label) == (camera, wanted.label) and recorder.open:
                    reaches_s = recorder.extend(after_s, now_ns)
                    return await self._catalogue.run(self.rows.extend, clip, told, round(reaches_s, 3))
            if self.active >= self._at_once:
                raise TooManyClips(f"{self._at_once} clips are recorded already, the most that clips.at_once allows. Try again when one is finished.")
            free = await asyncio.to_thread(free_space, self._root)
            if free.percent < self._min_free:
                raise StorageFull(
                    f"Only {free.percent:.1f} % of the disk is free: below storage.min_free_percent no clip is begun. Delete or move old images."
                )
            before_s = min(preroll.before_s if wanted.before_s is None else wanted.before_s, preroll.seconds)
            after_s = min(after_s, preroll.longest_s)
            row = await self._catalogue.run(self.rows.begin, camera, wanted.label, at, told, before_s, after_s)
            beginning = self.rings[camera].since(now_ns - round(before_s * 1e9) - LEEWAY_NS)
            recorder = Recorder(camera, wanted.label, now_ns, before_s, after_s, preroll.longest_s, beginning, self._log)
            self._running[recorder] = row.id
        self._bus.publish(ClipStarted(camera=camera, id=row.id, label=row.label))
        self._spawn(row, recorder)
        return row

    def _spawn(self, row: ClipRow, recorder: Recorder) -> None:
        self._running[recorder] = row.id
        self._begin(row, self._record(row, recorder))

    def _begin(self, row: ClipRow, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"clip {row.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _record(self, row: ClipRow, recorder: Recorder) -> None:
        journal, target = self._journals / f"{row.id}{SUFFIX}", self._target(row)
        try:
            while True:
                try:
                    async with recorder.written(journal, target) as made:
                        await self._saved(row, target, journal, made)
                    return None
                except ClipFailed as failure:
                    if not failure.full:
                        return await self._failed(row, str(failure))
                    self._log("ERROR", f"Clip {row.id} waits: {failure}", event="clip", camera=row.camera)
                except Exception as error:  # a mistake about one clip must not leave it recording for ever
                    return await self._failed(row, f"It failed by a mistake in Cupola: {error!r}")
                await asyncio.sleep(RETRY_S)
        finally:
            del self._running[recorder]

    async def _saved(self, row: ClipRow, target: Path, journal: Path, made: Head) -> None:
        values = {key: value for key, value in made.items() if key != "type"}
        noted = await self._note(row, state="saved", path=relative_name(target, self._root), **values)
        if noted is None:
            return
        row = noted
        self._begin(row, self._sum(row, target))
        self._bus.publish(
            ClipSaved(camera=row.camera, id=row.id, label=row.label, path=str(row.path), duration_s=made["duration_s"], frames=made["frames"])
        )
        gaps = f", {len(row.missing)} {'gap' if len(row.missing) == 1 else 'gaps'}" if row.missing else ""
        self._log("INFO", f"Saved the clip {row.path}: {made['duration_s']:.1f} s, {made['frames']} frames{gaps}", event="clip", camera=row.camera)
        with suppress(OSError):  # if it stays, the next start deletes it
            await asyncio.to_thread(journal.unlink, missing_ok=True)

    async def _sum(self, row: ClipRow, path: Path) -> None:
        """Its checksum, into its row: nobody waits for that who wants to see the clip."""
        try:
            async with self._summing:
                digest = await asyncio.to_thread(sha256_of, path)
        except StorageFailed as error:  # the next start tries again
            if path.exists():
                self._log("ERROR", f"The checksum of clip {row.id} is missing: {error}", event="clip", camera=row.camera)
        else:
            await self._note(row, sha256=digest)

    async def _failed(self, row: ClipRow, message: str) -> None:
        self._log("ERROR", f"Clip {row.id} failed: {message}", event="clip", camera=row.camera)
        if await self._note(row, state="failed", message=message) is not None:
            self._bus.publish(ClipFailedEvent(camera=row.camera, id=row.id, label=row.label, message=message))

    async def _note(self, row: ClipRow, **values: Any) -> ClipRow | None:
        """Into its row, as soon as the catalogue's disk takes it: how a clip ended is not forgotten. None when it has no row any more."""
        told = ""
        while True:
            try:
                return await self._catalogue.run(self.rows.update, row.id, **values)
            except (StorageFull, StorageFailed) as error:
                if await self._catalogue.run(self.rows.one, row.id) is None:
                    return None
                if told != (told := str(error)):
                    self._log("ERROR", f"How clip {row.id} ended cannot be noted yet: {error}", event="clip", camera=row.camera)
            await asyncio.sleep(RETRY_S)

    def _target(self, row: ClipRow) -> Path:
        """`<root>/<camera>/YYYY/MM/DD/clips/20261121T231502Z_000017_door.mp4`, of the station's calendar day."""
        local = row.triggered_at.astimezone(self._zone)
        folder = camera_folder(self._root, row.camera).joinpath(f"{local:%Y}", f"{local:%m}", f"{local:%d}", "clips")
        return folder / f"{row.triggered_at:%Y%m%dT%H%M%SZ}_{row.id:06d}_{row.label}.mp4"

    async def recover(self) -> None:
        """Finish the clips that were recorded when the server ended; what nobody needs of them is deleted."""
        unfinished = await self._catalogue.run(self.rows.unfinished)
        journals = await asyncio.to_thread(lambda: {path.name: path for path in self._journals.glob(f"*{SUFFIX}")})
        for row in unfinished:
            if journals.pop(f"{row.id}{SUFFIX}", None) is not None:
                self._log(
                    "WARNING", f"Clip {row.id} was being recorded when Cupola ended: it is made of what was written.", event="clip", camera=row.camera
                )
                self._spawn(row, Recorder.recovered(row.camera, row.label, row.after_s, self._log))
            else:
                self._begin(row, self._failed(row, "Cupola ended before any of it was written."))
        for row in await self._catalogue.run(self.rows.unsummed):
            if row.path is not None:
                self._begin(row, self._sum(row, inside(self._root, row.path)))
        for path in journals.values():
            row = await self._catalogue.run(self.rows.one, int(path.stem)) if path.stem.isdigit() else None
            if row is None or row.state == "saved":
                with suppress(OSError):
                    await asyncio.to_thread(path.unlink, missing_ok=True)

    async def close(self) -> None:
        """Leave what is recorded in its journals; the next start finishes it."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.copies.close()

    async def delete(self, row: ClipRow) -> None:
        """A finished clip and its file. Raises NotAllowed while it is recorded."""
        if row.state == "recording" and row.id in self._running.values():
            raise NotAllowed(f"Clip {row.id} is being recorded; delete it when it is finished.")
        await self._catalogue.run(self.rows.delete, row.id)
        if row.path is not None:
            await self.copies.delete(row)
            with suppress(OSError, ValueError):
                await asyncio.to_thread(lambda: inside(self._root, str(row.path)).unlink())
