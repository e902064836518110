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
from cupola.web import models
from cupola.web.runtime import Runtime, runtime_of

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
    alarms: list[models.AlarmStatus]
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


def alarms(runtime: Runtime) -> list[models.AlarmStatus]:
    """Those that last: of this machine, and of silent sensors."""
    lasting = [*runtime.host.active, *runtime.sensors.active]
    return [models.AlarmStatus(what=one.what, level=one.level, message=one.message, since=one.at) for one in lasting]


@router.get("/api/sensors")
async def sensors(request: Request) -> SensorList:
    """The newest value of every series, how each sensor does, and what is switched."""
    runtime = runtime_of(request)
    now, newest = time.monotonic(), runtime.sensors.newest
    return SensorList(
        items=[
            SeriesNow(series=series, value=round(one.value, 3), unit=one.unit, at=one.at, age_s=round(now - one.mono, 1))
            for series, one in sorted(newest.items())
        ],
        sensors=[
            SensorStatus(
                name=one.sensor.name, source=one.sensor.source, silent=one.silent is not None, problem=one.problem, good=one.good, bad=one.bad
            )
            for one in runtime.sensors.states
        ],
        outputs=[
            OutputStatus(name=one.output.name, on=one.on, known=one.known, problem=runtime.outputs.problems.get(one.output.name))
            for one in runtime.outputs.switches
        ],
        alarms=alarms(runtime),
    )


@router.get("/api/history")
async def history(
    request: Request,
    series: Annotated[str, Query(description="Names as in /api/sensors, separated by commas.", max_length=2000)],
    begin: Annotated[datetime | None, Query(alias="from", description="A day ago by default.")] = None,
    end: Annotated[datetime | None, Query(alias="to", description="Now by default.")] = None,
    points: Annotated[int, Query(ge=2, le=5000, description="At most so many of each series; more are put together.")] = 500,
) -> HistoryList:
    runtime = runtime_of(request)
    names = list(dict.fromkeys(name.strip() for name in series.split(",") if name.strip()))
    if len(names) > SERIES_MAX:
        raise InvalidSetting("series", f"At most {SERIES_MAX} series can be asked for at a time.")
    now = utc_now()
    first, last = (_ms(moment, name, default) for moment, name, default in ((begin, "from", now - timedelta(days=1)), (end, "to", now)))
    if first >= last:
        raise InvalidSetting("from", "from must be before to.")
    sensors, run = runtime.sensors, runtime.telemetry.run
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
