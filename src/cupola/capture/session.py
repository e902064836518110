"""Running series of stills, one a camera at most. Kept in the catalogue, so a series survives the server.

The camera process runs a series by itself (`camera.exposer`); this module says which one, counts what
came of it, and ends it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime

from cupola.camera.messages import Plan
from cupola.core.bus import Bus
from cupola.core.clock import utc_now
from cupola.core.events import CaptureStarted, CaptureStopped
from cupola.storage.catalogue import Catalogue
from cupola.storage.rows import SessionRow, SessionState


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for; stored with the session. Exposure, gain and f-number are facts for the reader: the
    camera's still settings are what counts."""

    exposure_s: float | None = None
    gain: float | None = None
    f_number: float | None = None
    delay_s: float | None = None
    interval_s: float | None = None
    count: int | None = None
    scheduled: bool = False  # begun by the schedule, not by hand
    darks: bool = False  # with the lens covered: of no night or day


@dataclass(slots=True)
class Session:
    id: int
    camera: str
    request: Request
    started_at: datetime
    done: int = 0
    failed: int = 0
    first_opened_at: datetime | None = None
    day: str | None = None  # of the night or day it runs in, as of Plan
    period: int | None = None

    @property
    def period_s(self) -> float:
        """From one opening to the next, at least."""
        return self.request.interval_s or (self.request.exposure_s or 0.0) + (self.request.delay_s or 0.0)

    def plan(self) -> Plan:
        """What is left to do, on the grid of the first opening: those that were missed are not made up for."""
        first_at_s, interval_s = None, self.request.interval_s
        if interval_s is not None and self.first_opened_at is not None:
            since_s = (utc_now() - self.first_opened_at).total_seconds()
            first_at_s = time.monotonic() + (-since_s) % interval_s
        remaining = None if self.request.count is None else max(0, self.request.count - self.done)
        return Plan(self.id, remaining, interval_s, self.request.delay_s or 0.0, first_at_s, self.day, self.period)


class Sessions:
    """`changed(camera, finish)` is called whenever a camera's plan is another one; with `finish` the exposure under way is let end."""

    def __init__(self, catalogue: Catalogue, bus: Bus) -> None:
        self._catalogue, self._bus = catalogue, bus
        self._running: dict[str, Session] = {}
        self._belongs: dict[str, tuple[str, int]] = {}
        self.changed: Callable[[str, bool], None] = lambda camera, finish: None

    def of(self, camera: str) -> Session | None:
        return self._running.get(camera)

    def belong(self, camera: str, day: str | None, period: int | None) -> None:
        """The camera's series, the one that runs and those to come, are of a night or day of the schedule; None: of none any more."""
        if day is None or period is None:
            self._belongs.pop(camera, None)
        else:
            self._belongs[camera] = (day, period)
        session = self._running.get(camera)
        if session is not None and not session.request.darks and (session.day, session.period) != (day, period):
            session.day, session.period = day, period
            self.changed(camera, False)

    async def resume(self, cameras: set[str]) -> list[Session]:
        """Take up the series that were running when the server ended. One that had all its images then is finished."""
        for row in await self._catalogue.run(self._catalogue.running_sessions):
            if row.camera in cameras:
                session = self._running[row.camera] = self._session(row)
                session.first_opened_at = await self._catalogue.run(self._catalogue.first_opening, row.id)
                await self._finish_if_complete(session)
            else:
                await self._catalogue.run(self._catalogue.close_session, row.id, "stopped")
        return list(self._running.values())

    async def start(self, camera: str, request: Request) -> Session:
        """Begin a series; one that was running is replaced."""
        await self.stop(camera, "replaced")
        row = await self._catalogue.run(self._catalogue.open_session, camera, asdict(request))
        session = self._running[camera] = self._session(row)
        self._bus.publish(CaptureStarted(camera=camera, session=session.id, exposure_s=request.exposure_s, count=request.count))
        self.changed(camera, False)
        return session

    async def stop(self, camera: str, reason: SessionState = "stopped", *, finish: bool = False) -> Session | None:
        """End the camera's series; None when there was none. The exposure under way is cancelled, unless it shall `finish`."""
        session = self._running.pop(camera, None)
        if session is None:
            return None
        self.changed(camera, finish)
        await self._catalogue.run(self._catalogue.close_session, session.id, reason)
        self._bus.publish(CaptureStopped(camera=camera, session=session.id, done=session.done, failed=session.failed, reason=reason))
        return session

    async def stored(self, camera: str, session_id: int | None, opened_at: datetime) -> None:
        """An image of a series is in the catalogue."""
        session = self._running.get(camera)
        if session is None or session.id != session_id:
            return
        session.done += 1
        session.first_opened_at = session.first_opened_at or opened_at
        await self._finish_if_complete(session)

    async def _finish_if_complete(self, session: Session) -> None:
        if session.request.count is not None and session.done >= session.request.count:
            await self.stop(session.camera, "finished")

    async def failed(self, camera: str, session_id: int | None) -> None:
        session = self._running.get(camera)
        if session is not None and session.id == session_id:
            session.failed += 1
            await self._catalogue.run(self._catalogue.session_failed_once, session.id)

    def _session(self, row: SessionRow) -> Session:
        request = Request(**row.plan)
        day, period = (None, None) if request.darks else self._belongs.get(row.camera, (None, None))
        return Session(row.id, row.camera, request, row.started_at, row.done, row.failed, day=day, period=period)
