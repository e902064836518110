"""The schedule, and the nights and days that were made by it."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from cupola.storage.periods import PeriodRow
from cupola.web.runtime import NoSuchThing, Runtime, runtime_of

router = APIRouter(tags=["nights"])
MOST_DAYS = 60
State = Literal["idle", "waiting", "capturing", "paused", "stopped", "creating_video"]
Kind = Literal["night", "day"]


class Part(BaseModel):
    starts_at: datetime
    ends_at: datetime


class ScheduledWindow(BaseModel):
    """A night or day to come, or the one that is open."""

    kind: Kind
    day: str = Field(description="Its date at the station: of a night, that of its evening.")
    starts_at: datetime
    ends_at: datetime
    parts: list[Part] = Field(description="When stills are taken in it: all of it, unless the moon forbids some; none where it forbids all.")
    interval_s: float | None
    expected: int | None = Field(description="Photos it makes; null where no interval is set.")


class CameraSchedule(BaseModel):
    camera: str
    state: State = Field(description="waiting: its night or day has begun, the window not; paused: by the moon; stopped: by hand.")
    windows: list[ScheduledWindow]


class ScheduleList(BaseModel):
    items: list[CameraSchedule]
    next: str | None = None


class Period(BaseModel):
    """A night or day of the schedule."""

    id: int
    camera: str
    kind: Kind
    day: str
    state: Literal["capturing", "finishing", "finished"]
    starts_at: datetime
    ends_at: datetime
    interval_s: float | None
    expected: int | None
    photos: int
    finished_at: datetime | None


class PeriodWhole(Period):
    summary: dict[str, Any] = Field(description="What summary.json holds; of a period that goes on, as of now.")


class PeriodPage(BaseModel):
    items: list[Period]
    next: str | None


@router.get("/api/schedule")
async def schedule(request: Request, days: Annotated[int, Query(ge=1, le=MOST_DAYS)] = 7) -> ScheduleList:
    """The windows of each camera, from the one that is open on."""
    scheduler = runtime_of(request).scheduler
    found = await scheduler.windows(days)
    items = [
        CameraSchedule(
            camera=camera,
            state=scheduler.state_of(camera),
            windows=[
                ScheduledWindow(
                    kind=window.kind,
                    day=window.day,
                    starts_at=window.starts_at,
                    ends_at=window.ends_at,
                    parts=[Part(starts_at=begin, ends_at=end) for begin, end in window.parts],
                    interval_s=window.interval_s,
                    expected=window.expected,
                )
                for window in windows
            ],
        )
        for camera, windows in found.items()
    ]
    return ScheduleList(items=items)


@router.get("/api/nights")
async def nights(
    request: Request,
    camera: Annotated[str | None, Query(max_length=40)] = None,
    after: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 30,
) -> PeriodPage:
    """Nights and days, newest first. `next` of one page is `after` of the following."""
    runtime = runtime_of(request)
    if camera is not None:
        runtime.camera(camera)
    rows, following = await runtime.catalogue.run(runtime.scheduler.periods.page, camera, after, limit)
    return PeriodPage(items=[Period(**_facts(row, photos)) for row, photos in rows], next=following)


@router.get("/api/nights/{camera}/{date}")
async def night(request: Request, camera: str, date: Annotated[date, Path(description="As in 2026-11-21.")], kind: Kind = "night") -> PeriodWhole:
    """One night, or with `kind=day` one day, and its summary."""
    runtime = runtime_of(request)
    row = await period_of(runtime, camera, date, kind)
    photos = await runtime.catalogue.run(runtime.scheduler.periods.count, row.id)
    made = row.summary if row.summary is not None else await runtime.scheduler.summary(row)
    return PeriodWhole(**_facts(row, photos), summary=dict(made))


async def period_of(runtime: Runtime, camera: str, day: date, kind: Kind) -> PeriodRow:
    """Raises NoSuchThing with the newest one there is."""
    runtime.camera(camera)
    periods = runtime.scheduler.periods
    row = await runtime.catalogue.run(periods.of_day, camera, kind, day.isoformat())
    if row is None:
        newest = await runtime.catalogue.run(periods.newest, camera, kind)
        hint = f"The newest is that of {newest.day}." if newest else "There is none yet: see cupola schedule."
        raise NoSuchThing(f'There is no {kind} of {day} of camera "{camera}". {hint}')
    return row


def _facts(row: PeriodRow, photos: int) -> dict[str, Any]:
    return {**{name: getattr(row, name) for name in Period.model_fields if name != "photos"}, "photos": photos}
