"""What the sensors say now, what they said before, and what is wrong with this machine."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from cupola.config.sensors import Source
from cupola.core.clock import utc_now
from cupola.core.errors import InvalidSetting
from cupola.core.events import HostAlarm
from cupola.web.runtime import runtime_of

router = APIRouter(tags=["sensors"])
SERIES_MAX = 20


class SeriesNow(BaseModel):
    series: str
    value: float
    unit: str
    at: datetime
    age_s: float


class SensorStatus(BaseModel):
    name: str
    source: Source
    silent: bool = Field(description="Nothing was heard for longer than silent_s.")
    problem: str | None
    good: int = Field(description="What it said since the start.")
    bad: int = Field(description="What it said that made no sense.")


class OutputStatus(BaseModel):
    name: str
    on: bool
    known: bool = Field(description="False: it is switched to what is safe, as the value that decides is not known.")
    problem: str | None


class SensorList(BaseModel):
    items: list[SeriesNow]
    sensors: list[SensorStatus]
    outputs: list[OutputStatus]
    alarms: list[HostAlarm]
    next: None = None


class HistoryPoint(BaseModel):
    at: datetime
    value: float = Field(description="The mean until the next point.")
    low: float
    high: float


class SeriesHistory(BaseModel):
    series: str
    unit: str | None = Field(description="null: nobody knows this series.")
    every_s: float = Field(description="So far apart the points are at least.")
    points: list[HistoryPoint]


class HistoryList(BaseModel):
    items: list[SeriesHistory]
    next: None = None


@router.get("/api/sensors")
async def sensors(request: Request) -> SensorList:
    """The newest value of every series, how each sensor does, and what is switched."""
    watch = runtime_of(request).watch
    now, newest = time.monotonic(), watch.sensors.newest
    return SensorList(
        items=[
            SeriesNow(series=series, value=round(one.value, 3), unit=one.unit, at=one.at, age_s=round(now - one.mono, 1))
            for series, one in sorted(newest.items())
        ],
        sensors=[
            SensorStatus(
                name=one.sensor.name, source=one.sensor.source, silent=one.silent is not None, problem=one.problem, good=one.good, bad=one.bad
            )
            for one in watch.sensors.states
        ],
        outputs=[
            OutputStatus(name=one.output.name, on=one.on, known=one.known, problem=watch.outputs.problems.get(one.output.name))
            for one in watch.outputs.switches
        ],
        alarms=watch.alarms,
    )


@router.get("/api/history")
async def history(
    request: Request,
    series: Annotated[str, Query(description="Names as in /api/sensors, separated by commas.", max_length=2000)],
    begin: Annotated[datetime | None, Query(alias="from", description="A day ago by default.")] = None,
    end: Annotated[datetime | None, Query(alias="to", description="Now by default.")] = None,
    points: Annotated[int, Query(ge=2, le=5000, description="At most so many of each series; more are put together.")] = 500,
) -> HistoryList:
    watch = runtime_of(request).watch
    names = list(dict.fromkeys(name.strip() for name in series.split(",") if name.strip()))
    if len(names) > SERIES_MAX:
        raise InvalidSetting("series", f"At most {SERIES_MAX} series can be asked for at a time.")
    now = utc_now()
    first, last = (_ms(moment, name, default) for moment, name, default in ((begin, "from", now - timedelta(days=1)), (end, "to", now)))
    if first >= last:
        raise InvalidSetting("from", "from must be before to.")
    sensors, run = watch.sensors, watch.telemetry.run
    await run(sensors.history.flush)
    units = await run(sensors.history.series)
    items: list[SeriesHistory] = []
    for name in names:
        width_ms, found = await run(sensors.history.read, name, first, last, points, int(now.timestamp() * 1000))
        values = [HistoryPoint(at=datetime.fromtimestamp(one.at_ms / 1000, UTC), value=one.value, low=one.low, high=one.high) for one in found]
        items.append(SeriesHistory(series=name, unit=units.get(name), every_s=width_ms / 1000, points=values))
    return HistoryList(items=items)


def _ms(moment: datetime | None, name: str, default: datetime) -> int:
    moment = moment or default
    if moment.tzinfo is None:
        raise InvalidSetting(name, f"{name} needs a timezone: write it as in 2026-11-21T23:15:00Z.")
    return int(moment.timestamp() * 1000)
