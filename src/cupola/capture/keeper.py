"""One camera's schedule, kept from moment to moment: its window opens, a series of stills runs in it, it closes.

`tick` compares what should be with what is, so that it does not matter why they differ: a window that opened, a restart, a clock that was set. When
windows are is the business of `schedule`; what is made of a night that is over, that of `nights`.

By hand comes before the schedule. A series that was stopped by hand (or with its camera) is not begun again in the same window; one that was started by
hand takes the scheduled one's place, belongs to the night while the window is open, and when it ends by itself the schedule goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cupola.capture.schedule import Timetable, Window
from cupola.capture.session import Request, Sessions
from cupola.core.errors import NotAllowed
from cupola.core.events import Event, NightStarted, ScheduleMade
from cupola.core.frame import Controls
from cupola.storage.catalogue import Catalogue
from cupola.storage.periods import PeriodRow, Periods

BEHIND, AHEAD = timedelta(days=1), timedelta(days=3)  # what is worked out at a time
WORTH = timedelta(days=1)  # and how long it is used
SLACK = timedelta(minutes=10)  # a clock set back by so little neither ends a window that just opened nor opens one again that just closed


@dataclass(frozen=True, slots=True)
class Deeds:
    """What a keeper can do beside the series: open its camera, ask for its settings of stills, tell, hand on a period whose window is over, or
    take one back."""

    connect: Callable[[str], None]
    wanted: Callable[[str], Controls]
    publish: Callable[[Event], None]
    log: Callable[..., None]
    ended: Callable[[PeriodRow], None]
    reopened: Callable[[PeriodRow], None]


class Keeper:
    """`tick` is called again and again by one task; `go_on` by others, one after the other."""

    def __init__(self, camera: str, timetable: Timetable, sessions: Sessions, catalogue: Catalogue, deeds: Deeds) -> None:
        self.camera, self.timetable = camera, timetable
        self._sessions, self._catalogue, self._deeds = sessions, catalogue, deeds
        self._periods = Periods(catalogue)
        self.period: PeriodRow | None = None
        self.window: Window | None = None  # of the period
        self.following: Window | None = None  # the next one that opens
        self.waits_from: datetime | None = None  # when its night or day begins
        self.held = False  # stopped by hand
        self._known: int | None = None  # the series that was last seen in the period
        self._judged = True  # whether it is known how that one ended
        self._windows: list[Window] = []
        self._worth: tuple[datetime, datetime] | None = None
        self._suspended: list[PeriodRow] = []  # the clock was set back to before their windows
        self._over: Window | None = None  # it is open, but was finished before
        self._refused = False  # for good: a later one has begun
        self.taken_up = False
        self._made: tuple[str, str] | None = None
        self._one = asyncio.Lock()

    async def take_up(self, now: datetime) -> None:
        """After a start of the server, before any series is resumed: what is taken next belongs to the period that is open. Raises as `tick`."""
        async with self._one:
            await self._take_up(now)

    async def _take_up(self, now: datetime) -> None:
        await self._sweep(now)
        await self._look(now)
        if (window := self._open_at(now)) is not None:
            await self._enter(window, now)
        await self._close_others()
        self._look_ahead(now)
        self.taken_up = True

    async def _close_others(self) -> None:
        """A scheduled series of a period that is over, or at another pace than the schedule's now, is not resumed."""
        window, goes_on = self.window, None if self.period is None else self.period.session
        for row in await self._catalogue.run(self._catalogue.running_sessions):
            if row.camera != self.camera or not row.plan.get("scheduled"):
                continue
            paced = window is not None and (row.plan["interval_s"], row.plan["delay_s"]) == (window.interval_s, window.delay_s)
            if row.id == goes_on and paced:
                continue
            if (session := self._sessions.of(self.camera)) is not None and session.id == row.id:
                await self._sessions.stop(self.camera, "finished")
            else:
                await self._catalogue.run(self._catalogue.close_session, row.id, "finished")

    async def tick(self, now: datetime) -> None:
        """Make it so. Raises StorageFull and StorageFailed; the next tick tries again."""
        async with self._one:
            await self._tick(now)

    async def _tick(self, now: datetime) -> None:
        if not self.taken_up:
            await self._take_up(now)
        await self._look(now)
        period = self.period
        if period is not None and not period.starts_at - SLACK <= now < period.ends_at:
            await self._leave(period, now)
        if any(row.ends_at <= now for row in self._suspended):
            await self._sweep(now)
        if self.period is None:
            window = self._open_at(now)
            known = window == self._over and (self._refused or window is None or window.ends_at - now < SLACK)
            if window is not None and not known:
                await self._enter(window, now)
        if self.period is not None and self.window is not None:
            await self._keep(self.period, self.window, now)
        self._look_ahead(now)

    async def go_on(self, now: datetime) -> None:
        """The series was stopped by hand, or another one runs by hand: the schedule's goes on. Raises NotAllowed where no window is open."""
        async with self._one:
            await self._tick(now)
            if self.period is None:
                at = f"; the next one opens at {self.following.starts_at:%Y-%m-%d %H:%M} UTC" if self.following else ""
                raise NotAllowed(f'No window of camera "{self.camera}" is open{at}.')
            session = self._sessions.of(self.camera)
            if session is not None and not session.request.scheduled:
                await self._sessions.stop(self.camera, "finished")
            self.held, self._judged = False, True
            self._deeds.connect(self.camera)
            await self._tick(now)

    async def _look(self, now: datetime) -> None:
        if self._worth is None or not self._worth[0] <= now < self._worth[1]:
            self._windows = await asyncio.to_thread(self.timetable.windows, now - BEHIND, now + AHEAD)
            self._worth = (now - SLACK, now + WORTH)

    def _look_ahead(self, now: datetime) -> None:
        following = next((window for window in self._windows if window.parts and window.starts_at > now), None)
        if following is not self.following:
            self.following = following
            self.waits_from = self.timetable.opens_on(following) if following is not None else None
        self._tell_plan(self._open_at(now) or following)

    def _open_at(self, now: datetime) -> Window | None:
        return next((window for window in self._windows if window.parts and window.starts_at <= now < window.ends_at), None)

    def _tell_plan(self, window: Window | None) -> None:
        if window is None or (window.kind, window.day) == self._made:
            return
        self._made = (window.kind, window.day)
        plan = {"starts_at": window.starts_at, "ends_at": window.ends_at, "interval_s": window.interval_s, "expected": window.expected}
        self._deeds.publish(ScheduleMade(camera=self.camera, period_kind=window.kind, day=window.day, **plan))

    async def _sweep(self, now: datetime) -> None:
        """Periods that were left open and whose window is over, or is none any more, are ended."""
        self._suspended = []
        for row in await self._catalogue.run(self._periods.unfinished, self.camera):
            if row.state == "finishing":
                self._deeds.ended(row)
            elif self.period is not None and row.id == self.period.id:
                continue
            elif row.ends_at <= now or not self.timetable:
                self._deeds.ended(await self._catalogue.run(self._periods.end, row.id))
            else:
                self._suspended.append(row)

    async def _enter(self, window: Window, now: datetime) -> None:
        run, periods = self._catalogue.run, self._periods
        row, new = await run(periods.open, self.camera, window.kind, window.day, window.starts_at, window.ends_at, window.interval_s, window.expected)
        if row.state != "capturing":
            newest = await run(periods.newest, self.camera)
            if window.ends_at - now < SLACK or newest is None or newest.id != row.id:
                self._over, self._refused = window, newest is not None and newest.id != row.id
                if self._refused:
                    self._deeds.log(
                        "ERROR",
                        f"By the clock it is the {window.kind} of {window.day}, but a later one has begun before: nothing is taken. Set this machine's clock.",
                        event="capture",
                        camera=self.camera,
                    )
                return
            row = await run(periods.reopen, row.id)
            self._deeds.reopened(row)
        self._over = None
        self.period, self.window = row, window
        self.held, self._known, self._judged = False, row.session, row.session is None
        self._sessions.belong(self.camera, row.day, row.id)
        self._deeds.connect(self.camera)
        if new:
            plan = {"starts_at": row.starts_at, "ends_at": row.ends_at, "interval_s": row.interval_s, "expected": row.expected}
            self._deeds.publish(NightStarted(camera=self.camera, period=row.id, period_kind=row.kind, day=row.day, **plan))
        words = "begins" if new else "goes on"
        self._deeds.log(
            "INFO", f"The {row.kind} of {row.day} {words}, until {row.ends_at:%Y-%m-%d %H:%M:%S} UTC.", event="capture", camera=self.camera
        )
        await self._sweep(now)

    async def _leave(self, period: PeriodRow, now: datetime) -> None:
        """The window is over; or the clock was set back to before it: then it is open again when its time comes."""
        if now >= period.ends_at:
            self._deeds.ended(await self._catalogue.run(self._periods.end, period.id))
        else:
            self._suspended.append(period)
        self.period = self.window = None
        self.held = False
        session = self._sessions.of(self.camera)
        try:
            if session is not None and session.request.scheduled:
                await self._sessions.stop(self.camera, "finished", finish=True)
        finally:
            self._sessions.belong(self.camera, None, None)

    async def _keep(self, period: PeriodRow, window: Window, now: datetime) -> None:
        takes = window.takes(max(now, window.starts_at))
        session = self._sessions.of(self.camera)
        if session is not None:
            if session.id != self._known:
                self.period = await self._catalogue.run(self._periods.take, period.id, session.id)
                self._known = session.id
            self._judged, self.held = False, False
            if session.request.scheduled and not takes:
                await self._sessions.stop(self.camera, "finished", finish=True)
            return
        if not self._judged and self._known is not None:
            ended = await self._catalogue.run(self._catalogue.session, self._known)
            self.held, self._judged = ended is not None and ended.state in ("stopped", "replaced"), True
            if self.held:
                words = f"The series was stopped by hand: the schedule goes on after {period.ends_at:%Y-%m-%d %H:%M:%S} UTC, or after a series started by hand."
                self._deeds.log("INFO", words, event="capture", camera=self.camera)
        if takes and not self.held:
            told = self._deeds.wanted(self.camera)
            request = Request(told.exposure_s, told.gain, told.f_number, window.delay_s, window.interval_s, scheduled=True)
            session = await self._sessions.start(self.camera, request)
            self.period = await self._catalogue.run(self._periods.take, period.id, session.id)
            self._known, self._judged = session.id, False
