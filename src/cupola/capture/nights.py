"""The scheduler: one keeper a camera, and what is done when a night or day is over, up to its summary.

A period is finished once all its images are developed and its products are done (`finish`, which the darkroom's side sets). That runs beside
the next window, and is taken up again after a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from cupola.capture.keeper import Deeds, Keeper
from cupola.capture.schedule import Timetable, Window
from cupola.capture.session import Sessions
from cupola.capture.summary import summary
from cupola.core.bus import Bus
from cupola.core.clock import utc_now
from cupola.core.errors import CupolaError, StorageFailed, StorageFull
from cupola.core.events import NightFinished, ScheduleFailed
from cupola.core.frame import Controls
from cupola.storage.catalogue import Catalogue
from cupola.storage.files import folder_of, write_durable
from cupola.storage.periods import PeriodRow, Periods

TICK_S = 0.25
RETRY_S = 5.0  # after a disk or a catalogue that refused
LAST_S = 3.0  # for the image under way at the end to reach the catalogue, once its exposure is over
LOOK_S = 0.5  # between looks at what is still to be developed

StationState = Literal["idle", "waiting", "capturing", "creating_video"]
NightState = Literal["idle", "waiting", "capturing", "paused", "stopped", "creating_video"]


class Scheduler:
    """`resume` before the cameras start, then `run` as a task; the rest is called from the same loop and tells of the state.

    `connect(camera)` opens a camera, `wanted(camera)` are its settings of stills; `left_s(camera)` is how long the exposure under way lasts. `finish(period)` is awaited when all images of a
    period are developed, and returns when its products are done; what it raises is told, and the summary made without, unless it is the disk's.
    """

    def __init__(
        self,
        timetables: Mapping[str, Timetable],
        sessions: Sessions,
        catalogue: Catalogue,
        bus: Bus,
        root: Path,
        log: Callable[..., None],
        *,
        connect: Callable[[str], None],
        wanted: Callable[[str], Controls],
        left_s: Callable[[str], float],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.periods = Periods(catalogue)
        self._sessions, self._catalogue, self._bus, self._root, self._log = sessions, catalogue, bus, root, log
        self._left_s, self._clock = left_s, clock
        self.finish: Callable[[PeriodRow], Awaitable[None]] = _nothing
        deeds = Deeds(connect, wanted, bus.publish, log, self._ended, self._reopened)
        self.keepers = {camera: Keeper(camera, timetable, sessions, catalogue, deeds) for camera, timetable in timetables.items()}
        self._finishing: dict[int, tuple[PeriodRow, asyncio.Task[None]]] = {}
        self._trouble: dict[str, float] = {}  # camera → when it is tried again, by the loop's clock
        self.problems: dict[str, str] = {}  # camera → why its schedule cannot be followed now

    async def resume(self) -> None:
        """Take up the periods that an earlier server left; where the disk does not allow it, `run` tries again."""
        now = self._clock()
        for keeper in self.keepers.values():
            with contextlib.suppress(StorageFull, StorageFailed):
                await keeper.take_up(now)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                for keeper in self.keepers.values():
                    if keeper.timetable or keeper.period is not None or not keeper.taken_up:
                        await self._tick(keeper)
                await asyncio.sleep(TICK_S)
        finally:
            for _, task in self._finishing.values():
                task.cancel()

    async def _tick(self, keeper: Keeper) -> None:
        """One that fails is told once, and tried again."""
        camera, now = keeper.camera, asyncio.get_running_loop().time()
        if now < self._trouble.get(camera, 0.0):
            return
        try:
            await keeper.tick(self._clock())
        except (StorageFull, StorageFailed) as error:
            self._failed(camera, f'The schedule of camera "{camera}" waits: {error}', "storage")
        except Exception as error:  # one camera's schedule must not take the live view and the other cameras with it
            self._failed(camera, f'The schedule of camera "{camera}" failed, and is tried again: {error!r}.', "capture", error)
        else:
            self._trouble.pop(camera, None)
            self.problems.pop(camera, None)

    def _failed(self, camera: str, message: str, event: str, error: Exception | None = None) -> None:
        if camera not in self._trouble:
            self._bus.publish(ScheduleFailed(camera=camera, message=message))
            self._log("ERROR", message, event=event, camera=camera, exception=error)
        self._trouble[camera] = asyncio.get_running_loop().time() + RETRY_S
        self.problems[camera] = message

    async def go_on(self, camera: str) -> None:
        """Go on with the schedule after a camera was stopped or started by hand. Raises NotAllowed where no window is open."""
        await self.keepers[camera].go_on(self._clock())

    # ── the end of a night ─────────────────────────────────────────────────

    def _ended(self, period: PeriodRow) -> None:
        if period.id not in self._finishing:
            task = asyncio.create_task(self._finish(period), name=f"end of the {period.kind} of {period.day} of {period.camera}")
            self._finishing[period.id] = (period, task)

    def _reopened(self, period: PeriodRow) -> None:
        _, task = self._finishing.pop(period.id, (None, None))
        if task is not None:
            task.cancel()

    async def _finish(self, period: PeriodRow) -> None:
        await asyncio.sleep(self._left_s(period.camera) + LAST_S)
        told = False
        while True:
            try:
                while await self._catalogue.run(self.periods.waiting, period.id):
                    await asyncio.sleep(LOOK_S)
                await self._conclude(period)
                break
            except (StorageFull, StorageFailed) as error:
                if not told:
                    self._log("ERROR", f"The {period.kind} of {period.day} cannot be concluded yet: {error}", event="storage", camera=period.camera)
                told = True
                await asyncio.sleep(RETRY_S)
        self._finishing.pop(period.id, None)

    async def _conclude(self, period: PeriodRow) -> None:
        try:
            await self.finish(period)
        except (StorageFull, StorageFailed):
            raise
        except Exception as error:  # the summary says which products there are
            words = f"The products of the {period.kind} of {period.day} are not complete: {error}"
            self._log("ERROR", words, event="capture", camera=period.camera, exception=None if isinstance(error, CupolaError) else error)
        made = await self.summary(period)
        path = folder_of(self._root, period.camera, period.day) / f"{period.prefix}summary.json"
        await asyncio.to_thread(write_durable, path, json.dumps(made, indent=2).encode())
        await self._catalogue.run(self.periods.finish, period.id, made)
        self._bus.publish(NightFinished(camera=period.camera, period=period.id, period_kind=period.kind, day=period.day, summary=made))
        of = f" of {made['expected']}" if made["expected"] is not None else ""
        words = f"The {period.kind} of {period.day} is finished: {made['photos']} photos{of}, {len(made['gaps'])} gaps, {path.name}."
        self._log("INFO", words, event="capture", camera=period.camera)

    async def summary(self, period: PeriodRow) -> dict[str, Any]:
        """As of now, also of a period that goes on."""
        run, periods = self._catalogue.run, self.periods
        images = await run(periods.shots, period.id)
        measured, products = await run(periods.measurements, period.id), await run(periods.products, period.id)
        parts = await asyncio.to_thread(self._parts, period)
        return await asyncio.to_thread(summary, period, images, measured, products, parts)

    def _parts(self, period: PeriodRow) -> list[tuple[datetime, datetime]]:
        """Of the window, without the moon; by the schedule as it is configured now."""
        keeper = self.keepers.get(period.camera)
        windows = keeper.timetable.windows(period.starts_at, period.ends_at) if keeper else []
        same = next((window for window in windows if (window.kind, window.day) == (period.kind, period.day)), None)
        return list(same.parts) if same is not None and (same.starts_at, same.ends_at) == (period.starts_at, period.ends_at) else []

    # ── what is told ───────────────────────────────────────────────────────

    @property
    def state(self) -> StationState:
        """Of the whole station, in the words of the status file."""
        if any(self._sessions.of(camera) is not None for camera in self.keepers):
            return "capturing"
        if self._finishing:
            return "creating_video"
        return "waiting" if any(self.state_of(camera) in ("waiting", "paused") for camera in self.keepers) else "idle"

    def state_of(self, camera: str) -> NightState:
        """Of one camera's schedule: `waiting` from the beginning of the night or day until its window opens, `paused` by the moon, `stopped` by hand."""
        keeper = self.keepers[camera]
        if keeper.period is not None:
            return "capturing" if self._sessions.of(camera) is not None else "stopped" if keeper.held else "paused"
        if self.finishing(camera) is not None:
            return "creating_video"
        return "waiting" if keeper.waits_from is not None and keeper.waits_from <= self._clock() else "idle"

    def finishing(self, camera: str) -> PeriodRow | None:
        """The period of a camera that is over and not finished yet."""
        return next((period for period, _ in self._finishing.values() if period.camera == camera), None)

    def day(self, camera: str) -> str | None:
        """The date of the period that is open, or has just been."""
        keeper = self.keepers[camera]
        period = keeper.period or self.finishing(camera)
        return None if period is None else period.day

    async def windows(self, days: int) -> dict[str, list[Window]]:
        """The windows of each camera from now on."""
        now = self._clock()
        found: dict[str, list[Window]] = {}
        for camera, keeper in self.keepers.items():
            with contextlib.suppress(OverflowError):  # the last days of the calendar
                found[camera] = await asyncio.to_thread(keeper.timetable.windows, now, now + timedelta(days=days))
        return found


async def _nothing(period: PeriodRow) -> None:
    """Products are not grown."""
