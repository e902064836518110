"""When to make room, and what is said of it: the server's side of retention.

Owns the looks at the disk, the pace of the deleting, the reserve, events and the forecast. What goes, and how it goes safely, is
the business of `storage.retention`; what cameras still store when nothing is left to delete, of `storage.space.Thrift`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from cupola.core.bus import Bus
from cupola.core.errors import StorageFailed, StorageFull
from cupola.core.events import StorageLow
from cupola.storage.catalogue import Catalogue
from cupola.storage.forecast import Forecast, Nights, forecast
from cupola.storage.retention import Report, Retention, Run
from cupola.storage.space import Free, Reserve, Rung, Thrift

T = TypeVar("T")
LOOK_S = 30.0  # between looks at the disk when nothing is stored
GAP_S = 0.5  # at least, while images come
AGES_S = 600.0  # between looks at what is too old, and at what the nights stored
PAUSE_S = 0.05  # between steps, for everybody else who wants the disk
REST_S = 600.0  # after deleting did not do what it should
ASTRAY_MANY = 64  # a whole folder: looking through it again is worth a rest

WORDS: dict[Rung, str] = {
    "all": "everything is stored",
    "no_originals": "images are stored without their originals",
    "every_2nd": "every 2nd image is stored, without its original",
    "every_4th": "every 4th image is stored, without its original",
    "none": "no image is stored",
}


@dataclass(frozen=True, slots=True)
class SpaceState:
    """As of the last look. `low`: less is free than is to be kept free, and there is nothing to delete."""

    free: Free
    low: bool
    rung: Rung
    forecast: Forecast
    problem: str | None = None


class Keeping:
    """Runs retention in the server's loop, in threads beside it; one run at a time, by itself or asked for."""

    def __init__(
        self, catalogue: Catalogue, retention: Retention, nights: Nights, thrift: Thrift, reserve: Reserve, bus: Bus, log: Callable[..., None]
    ) -> None:
        self._catalogue, self._retention, self._nights, self._thrift = catalogue, retention, nights, thrift
        self._reserve, self._bus, self._log = reserve, bus, log
        self._awake = asyncio.Event()
        self._one = asyncio.Lock()
        self._ages_due = self._rests_until = 0.0
        self._stored: dict[str, int] = {}
        self._problem: str | None = None
        self._astray: str | None = None  # words about what the last run passed over
        self._told_astray = ""  # the first file of it
        self.state = self._look(retention.free(), low=False)

    def wake(self) -> None:
        """Something was stored: look soon."""
        self._awake.set()

    async def run(self) -> None:
        """Keep looking. Failures of disk and catalogue are told, once each, and survived."""
        while True:
            try:
                await self._round()
            except (StorageFull, StorageFailed) as error:
                self._failed(error)
            await asyncio.sleep(GAP_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S - GAP_S):
                    await self._awake.wait()
            self._awake.clear()

    async def plan(self) -> Report:
        """What a run would delete now. Raises StorageFailed."""
        return await asyncio.to_thread(self._retention.plan)

    async def sweep(self) -> Report:
        """A run, now. Raises StorageFailed and StorageFull."""
        run = await self._sweep(ages=True)
        await self._judge(short=run.short)
        return run.report

    async def held(self) -> list[tuple[str, int, int]]:
        """Kind, files and bytes of everything there is, deletable or not."""
        return await asyncio.to_thread(lambda: [(kind.name, *kind.held()) for kind in self._retention.kinds])

    async def _round(self) -> None:
        now = time.monotonic()
        ages = now >= self._ages_due
        if ages:
            self._ages_due = now + AGES_S
        if self._astray is not None and await asyncio.to_thread(self._retention.ours, self._told_astray) is not None:
            self._astray = None
        free = await asyncio.to_thread(self._retention.free)
        short = free.percent < self._retention.keep_free_percent
        if (short or (ages and self._retention.by_age)) and now >= self._rests_until:
            short = (await self._sweep(ages=ages)).short
        if ages or not self._stored:
            self._stored = await self._catalogue.run(self._nights.note)
        await self._judge(short=short)

    async def _sweep(self, *, ages: bool) -> Run:
        async with self._one:
            try:
                run = await self._with_reserve(lambda: self._retention.begin(ages=ages))
                try:
                    while await self._with_reserve(run.step):
                        await asyncio.sleep(PAUSE_S)
                finally:
                    self._say(run.report)
            except StorageFailed:
                self._rests_until = time.monotonic() + REST_S
                raise
            self._problem = None
            self._tell_astray(sorted(run.report.astray))
            if run.short and len(run.report.astray) > ASTRAY_MANY:
                self._rests_until = time.monotonic() + REST_S
            return run

    async def _with_reserve(self, work: Callable[[], T]) -> T:
        """In a thread; where the disk is too full even to delete, once more with the reserve given back."""
        try:
            return await asyncio.to_thread(work)
        except StorageFull:
            if not self._reserve.release():
                raise
            return await asyncio.to_thread(work)

    async def _judge(self, *, short: bool) -> None:
        """Tell of a change for the worse or the better, and keep the reserve."""
        free = await asyncio.to_thread(self._retention.free)
        was, low = self.state, short or free.percent < self._thrift.min_free_percent
        self.state = self._look(free, low=low)
        words = WORDS[self.state.rung]
        if low and not was.low:
            self._bus.publish(StorageLow(free_bytes=free.bytes, free_percent=free.percent, message=words))
        if (low, self.state.rung) != (was.low, was.rung):
            left = f"{free.percent:.1f} % of the disk is free ({free.bytes / 1e9:.1f} GB)"
            advice = " Make room, or lower storage.retention.days." if low else ""
            nothing = ", and nothing is left that may be deleted" if low and self._retention.keep_free_percent else ""
            self._log("WARNING" if low else "INFO", f"{left}{nothing}: {words}.{advice}", event="storage")
        if 100 * (free.bytes - self._reserve.size_bytes) >= self._thrift.min_free_percent * free.usable_bytes:
            await asyncio.to_thread(self._reserve.restore)

    def _look(self, free: Free, *, low: bool) -> SpaceState:
        full = free.usable_bytes * (self._retention.keep_free_percent or self._thrift.min_free_percent) / 100
        problem = (self._problem if time.monotonic() < self._rests_until else None) or self._astray
        return SpaceState(free, low, self._thrift.rung(free.percent), forecast(self._stored, free.bytes, full), problem)

    def _failed(self, error: StorageFull | StorageFailed) -> None:
        if self._problem != str(error):
            self._log("ERROR", str(error), event="storage")
        self._problem = str(error)
        self.state = replace(self.state, problem=self._problem)

    def _tell_astray(self, names: list[str]) -> None:
        """Once for the first of them."""
        self._astray = None
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            self._astray = f"Not deleted, because a link leads out of storage.root: {names[0]}{more}. Put the files back there, without links."
            if self._told_astray != names[0]:
                self._log("WARNING", self._astray, event="storage")
            self._told_astray = names[0]

    def _say(self, report: Report) -> None:
        """One record a run."""
        parts = [
            f"{one.files} of {one.kind} ({one.bytes / 1e6:.1f} MB, {one.first_day}{'' if one.first_day == one.last_day else f' to {one.last_day}'}) "
            f"{'to make room' if one.reason == 'space' else 'for their age'}"
            for one in report.deleted
        ]
        if report.gone:
            parts.append(f"{report.gone} were gone already")
        if parts:
            self._log("INFO", f"Old files were deleted: {'; '.join(parts)}.", event="storage")
