"""The status document: what stands in the status file, at /status and, as numbers, in the metrics.

`look` reads what only the catalogue knows, in its thread; `make` puts it together with what the running parts say, in the server's loop. When that is done, and
who writes it, is `writer`'s business.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from cupola import __version__
from cupola.camera.recovery import CAUSES
from cupola.camera.supervisor import CameraSupervisor
from cupola.capture.keeping import Keeping
from cupola.capture.nights import Scheduler
from cupola.capture.schedule import Window
from cupola.capture.session import Sessions
from cupola.clips.clips import Clips
from cupola.config.model import Settings
from cupola.core.clock import iso_utc, utc_now
from cupola.core.errors import BadImage, CameraLost, CameraUnresponsive, ExposureFailed, StorageFailed, StorageFull
from cupola.core.events import Event
from cupola.darkroom.queue import Darkroom
from cupola.status.counting import Counts
from cupola.status.files import boot_id, uptime_s
from cupola.status.host import cpu_zone, temperature_c
from cupola.storage.catalogue import Catalogue
from cupola.storage.files import day_of
from cupola.storage.periods import PeriodRow
from cupola.storage.products import Products
from cupola.storage.rows import ImageRow

# Told from the start, as 0: Prometheus sees no increase from nothing to one.
ERRORS = dict.fromkeys(error.kind for error in (CameraLost, CameraUnresponsive, ExposureFailed, BadImage, StorageFull, StorageFailed))


@dataclass(slots=True)
class _Looked:
    """What the catalogue said at the last look."""

    today: dict[str, int] = field(default_factory=dict[str, int])
    newest: dict[str, ImageRow] = field(default_factory=dict[str, ImageRow])
    photo: Path | None = None
    video: Path | None = None
    last_video: dict[str, Any] | None = None
    video_problem: dict[str, Any] | None = None


class Document:
    """`sensors` may be set to what gives the newest temperature of each sensor, in °C; `troubles` to what gives, by a key of its own, what is wrong with this
    machine or its sensors; `redis` to what tells how streaming does.
    """

    def __init__(
        self,
        settings: Settings,
        cameras: dict[str, CameraSupervisor],
        sessions: Sessions,
        scheduler: Scheduler,
        catalogue: Catalogue,
        darkroom: Darkroom,
        keeping: Keeping,
        clips: Clips,
    ) -> None:
        self._settings, self._cameras, self._sessions, self._scheduler = settings, cameras, sessions, scheduler
        self._catalogue, self._darkroom, self._keeping, self._clips = catalogue, darkroom, keeping, clips
        self._root = settings.storage.root.absolute()
        self._fps = {camera.name: camera.products.timelapse.fps for camera in settings.cameras}
        self._products = Products(catalogue)
        self._counts = {name: Counts() for name in cameras}
        self._looked = _Looked()
        self._since: dict[str, datetime] = {}  # when each problem was first told
        self._boot, self._zone = boot_id(), cpu_zone()
        self.sensors: Callable[[], dict[str, float]] = dict
        self.troubles: Callable[[], dict[str, str]] = dict
        self.redis: Callable[[], dict[str, Any] | None] = lambda: None

    @property
    def photo(self) -> Path | None:
        """The newest developed image of all cameras, as of the last look."""
        return self._looked.photo

    @property
    def video(self) -> Path | None:
        """The newest finished video of a night or day, as of the last look."""
        return self._looked.video

    def saw(self, event: Event) -> None:
        """Count what happened."""
        if event.camera is not None and (counts := self._counts.get(event.camera)) is not None:
            counts.saw(event)

    async def look(self) -> None:
        """Ask the catalogue, once for all cameras. Raises StorageFailed."""
        windows = {name: self._window(name) for name in self._cameras}
        days = {
            name: day_of(utc_now(), camera.spec.station) if (window := windows[name]) is None else window.day
            for name, camera in self._cameras.items()
        }
        self._looked = await self._catalogue.run(
            self._look, days, {name: window.id for name, window in windows.items() if isinstance(window, PeriodRow)}
        )
        for name, row in self._looked.newest.items():
            self._counts[name].begin(row)

    def _look(self, days: dict[str, str], periods: dict[str, int]) -> _Looked:
        found, catalogue, newest = _Looked(), self._catalogue, None
        for name, day in days.items():
            found.today[name] = self._products.count(periods[name]) if name in periods else catalogue.count_day(name, day)
            if (row := catalogue.latest(name)) is not None:
                found.newest[name] = row
            developed = catalogue.latest(name, developed=True)
            jpg = developed and developed.file("jpg")
            if developed is not None and jpg is not None and (newest is None or developed.opened_at > newest):
                newest, found.photo = developed.opened_at, self._root / jpg.path
        if (last := self._products.newest("timelapse", "finished")) is not None and last[1].path is not None:
            span, row = last
            found.video = self._root / last[1].path
            found.last_video = {
                "date": span.day,
                "filename": row.path,
                "duration_seconds": round(row.images / self._fps.get(span.camera, 25), 3),
                "photos_used": row.images,
                "backed_up": None,
                "youtube_url": None,
            }
        if (last := self._products.newest("timelapse", "finished", "failed")) is not None and last[1].state == "failed":
            span, row = last
            words = f"The video of the {span.kind} of {span.day} was not made. {row.message or ''}".strip()
            found.video_problem = {"time": iso_utc(span.ends_at), "kind": "product_failed", "camera": span.camera, "message": words}
        return found

    def _window(self, camera: str) -> PeriodRow | Window | None:
        """The night or day that is open or being finished, else the one that comes next; None without a schedule."""
        keeper = self._scheduler.keepers[camera]
        return keeper.period or self._scheduler.finishing(camera) or keeper.following

    # ── what is told ───────────────────────────────────────────────────────

    def make(self, *, running: bool = True, sequence: int = 0) -> dict[str, Any]:
        """As of now, in JSON types."""
        now, free = utc_now(), self._keeping.state.free
        cameras = {name: self._camera(camera, now) for name, camera in self._cameras.items()}
        errors = self._errors(now)
        lasts = [counts.last for counts in self._counts.values() if counts.last is not None]
        return {
            "device_id": self._settings.station.name,
            "status": self._status(cameras),
            "running": running,
            "version": __version__,
            "updated_at": iso_utc(now),
            "uptime_seconds": round(uptime_s(), 3),
            "boot_id": self._boot,
            "sequence": sequence,
            "disk_percent": round(100.0 - free.percent, 2),
            "disk_free_bytes": free.bytes,
            "cpu_temperature_celsius": temperature_c(self._zone),
            "sensors": self.sensors(),
            "today": self._today(cameras, now),
            "last_backup_time": None,
            "last_capture": max(lasts, key=lambda last: last["time"], default=None),
            "last_video": self._looked.last_video,
            "errors": errors,
            "active_captures": sum(self._sessions.of(name) is not None for name in cameras),
            "images_waiting": self._darkroom.pending,
            "redis": self.redis(),
            "cameras": cameras,
        }

    def _status(self, cameras: dict[str, dict[str, Any]]) -> str:
        """`error` while something that should be captured cannot be; else what the station does."""
        broken = self._keeping.state.rung == "none" or any(
            facts["problem"] is not None and (facts["state"] == "recovering" or facts["session"] is not None) for facts in cameras.values()
        )
        return "error" if broken else self._scheduler.state

    def _today(self, cameras: dict[str, dict[str, Any]], now: datetime) -> dict[str, Any]:
        """All cameras together: from the first opening of a window to the last closing."""
        windows = [window for name in cameras if (window := self._window(name)) is not None]
        expected = [facts["photos_expected_today"] for facts in cameras.values() if facts["photos_expected_today"] is not None]
        station = next(iter(self._cameras.values())).spec.station if self._cameras else None
        day = windows[0].day if windows else day_of(now, station) if station is not None else now.date().isoformat()
        return {
            "date": day,
            "photos_captured": sum(facts["photos_captured_today"] for facts in cameras.values()),
            "expected_photos": sum(expected) if expected else None,
            "start_time": iso_utc(min(window.starts_at for window in windows)) if windows else None,
            "end_time": iso_utc(max(window.ends_at for window in windows)) if windows else None,
            "interval_seconds": windows[0].interval_s if windows else None,
        }

    def _camera(self, camera: CameraSupervisor, now: datetime) -> dict[str, Any]:
        name, counts, beat = camera.name, self._counts[camera.name], camera.beat
        problem, session, window = camera.problem or camera.still_problem, self._sessions.of(camera.name), self._window(camera.name)
        due = beat.get("next_opening_in_s")
        return {
            "state": "degraded" if camera.state == "running" and problem is not None else camera.state,
            "connected": camera.info is not None,
            "problem": None if problem is None else problem.message,
            "session": None if session is None else session.id,
            "night": self._scheduler.state_of(name),
            "next_exposure_seconds": None if due is None else round(max(0.0, due - (time.monotonic() - camera.beat_at)), 3),
            "photos_captured_today": self._looked.today.get(name, 0),
            "photos_expected_today": None if window is None else window.expected,
            "last_capture": counts.last,
            "temperature_celsius": camera.temperature_c,
            "frame_age_seconds": None if camera.seen.age_s is None else round(camera.seen.age_s, 3),
            "capture_age_seconds": None if counts.last_opened_at is None else round(max(0.0, (now - counts.last_opened_at).total_seconds()), 3),
            "duty_cycle": None if (duty := counts.duty_cycle(None if session is None else session.id)) is None else round(duty, 4),
            "viewers": camera.hub.viewers,
            "images_captured": counts.captured,
            "capture_errors": {kind: counts.errors[kind] for kind in (*ERRORS, *(counts.errors.keys() - ERRORS))},
            "capture_duration_seconds": counts.durations(),
            "frames": {
                "taken": beat.get("frames", 0),
                "encoded": beat.get("encoded", 0),
                "published": 0 if camera.hub.newest is None else camera.hub.newest.seq,
            },
            "frames_dropped": {"encoder": beat.get("dropped", 0), "viewer": camera.hub.dropped},
            "restarts": {cause: camera.tally.restarts[cause] for cause in ("crash", "failed", *CAUSES.values())},
            "clips": {state: counts.clips[state] for state in ("saved", "failed")} if name in self._clips.rings else {},
        }

    def _errors(self, now: datetime) -> list[dict[str, Any]]:
        """Those that are not solved, the oldest first."""
        found: dict[str, tuple[str, str | None, str, datetime | None]] = {}
        for name, camera in self._cameras.items():
            for number, problem in enumerate((camera.problem, camera.still_problem)):
                if problem is not None:
                    found[f"{name} {number}"] = (problem.kind, name, problem.message, problem.since)
        space = self._keeping.state
        if space.low:
            kind = "storage_full" if space.rung == "none" else "storage_low"
            found[kind] = (kind, None, f"{space.free.percent:.1f} % of the disk is free ({space.free.bytes / 1e9:.1f} GB).", None)
        if space.problem is not None:
            found["storage"] = ("storage_failed", None, space.problem, None)
        if self._darkroom.problem is not None:
            found["darkroom"] = ("darkroom", None, self._darkroom.problem, None)
        found |= {f"schedule {name}": ("schedule_failed", name, message, None) for name, message in self._scheduler.problems.items()}
        found |= {f"host {what}": ("host_alarm", None, message, None) for what, message in self.troubles().items()}
        self._since = {key: self._since.get(key, now) for key in found}
        told = [
            {"time": iso_utc(since or self._since[key]), "kind": kind, "camera": name, "message": message}
            for key, (kind, name, message, since) in found.items()
        ]
        if self._looked.video_problem is not None:
            told.append(self._looked.video_problem)
        return sorted(told, key=lambda error: error["time"])
