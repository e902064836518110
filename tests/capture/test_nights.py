"""Nights begin, go on and end as the schedule says, whatever the clock, the owner and the power do. The clock is a fake; catalogue, series and disk are real."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.capture.test_schedule import TROMSO, ZURICH, timetable

from cupola.capture import nights
from cupola.capture.nights import Scheduler
from cupola.capture.session import Request, Session, Sessions
from cupola.core.bus import Bus, Subscription
from cupola.core.errors import NotAllowed, StorageFull
from cupola.core.events import Event
from cupola.core.frame import Controls
from cupola.storage.catalogue import Catalogue
from cupola.storage.periods import PeriodRow, Periods
from cupola.storage.rows import FileRow, NewImage

EVENING = datetime(2026, 11, 21, 15, 0, tzinfo=UTC)  # in Zurich, an hour before sunset
SUNSET, SUNRISE = datetime(2026, 11, 21, 15, 42, tzinfo=UTC), datetime(2026, 11, 22, 6, 38, tzinfo=UTC)


@dataclass
class Night:
    """A scheduler, and what a test does to it."""

    catalogue: Catalogue
    root: Path
    sessions: Sessions
    scheduler: Scheduler
    events: Subscription
    now: datetime
    connected: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    sequence: int = 0

    async def at(self, moment: datetime) -> None:
        """Set the clock, and let the scheduler look."""
        self.now = moment
        for keeper in self.scheduler.keepers.values():
            await self.scheduler._tick(keeper)

    async def go(self, until: datetime, step: timedelta = timedelta(minutes=10)) -> None:
        while self.now < until:
            await self.at(min(until, self.now + step))

    @property
    def session(self) -> Session | None:
        return self.sessions.of("sky")

    @property
    def state(self) -> str:
        return self.scheduler.state_of("sky")

    def periods(self) -> list[PeriodRow]:
        return [row for row, _ in self.scheduler.periods.page()[0]][::-1]

    def image(self, opened_at: datetime, *, developed: bool = True, **facts: Any) -> int:
        """An image of the series that runs, as the camera process would deliver it."""
        self.sequence += 1
        session = self.session
        assert session is not None
        name = f"sky/{session.day}/{self.sequence}"
        file = FileRow("jpg", f"{name}.jpg", 1, "00") if developed else FileRow("raw", f"{name}.fits.fz", 1, "00")
        facts = {"exposure_s": 20.0, "ended_at": opened_at + timedelta(seconds=20), **facts}
        day = session.day or "none"
        return self.catalogue.add_image(
            NewImage("sky", self.sequence, opened_at, day, (file,), session=session.id, period=session.period, **facts)
        ).id

    def told(self, *kinds: str) -> list[Event]:
        return [event for event in self.events._waiting if event.kind in kinds]

    async def finished(self, count: int = 1) -> list[PeriodRow]:
        async with asyncio.timeout(20):
            while len(done := [row for row in self.periods() if row.state == "finished"]) < count:
                await asyncio.sleep(0.01)
        return done


Make = Callable[..., Any]


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr(nights, "LAST_S", 0.0)
    monkeypatch.setattr(nights, "RETRY_S", 0.05)

    @asynccontextmanager
    async def make(
        at: datetime = EVENING, place: tuple[float, float, str] = ZURICH, finish: Any = None, capture: str = "", **rules: str
    ) -> AsyncGenerator[Night]:
        rules = rules or {"night": "window: sunset..sunrise, interval_s: 30"}
        bus = Bus()
        with Catalogue(tmp_path / "catalogue.sqlite") as catalogue, bus.subscribe(10_000) as events:
            sessions = Sessions(catalogue, bus)
            scheduler = Scheduler(
                {"sky": timetable(place, capture, **rules)},
                sessions,
                catalogue,
                bus,
                tmp_path / "images",
                lambda level, message, **_: made.log.append(f"{level} {message}"),
                connect=lambda camera: made.connected.append(camera),
                wanted=lambda _: Controls(20.0, 200.0),
                left_s=lambda _: 0.0,
                clock=lambda: made.now,
            )
            if finish is not None:
                scheduler.finish = finish
            made = Night(catalogue, tmp_path / "images", sessions, scheduler, events, at)
            await scheduler.resume()
            await sessions.resume({"sky"})
            await made.at(at)
            yield made
            tasks = [task for _, task in scheduler._finishing.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    return make


async def test_a_night_begins_with_its_window_and_ends_with_it(night: Make) -> None:
    async with night() as n:
        assert (n.state, n.session, n.periods(), n.connected) == ("waiting", None, [], [])
        await n.at(SUNSET + timedelta(minutes=3))
        (period,) = n.periods()
        assert (n.state, n.connected) == ("capturing", ["sky"])
        assert (period.kind, period.day, period.state, period.interval_s) == ("night", "2026-11-21", "capturing", 30)
        assert (n.session.day, n.session.period, n.session.request) == (
            "2026-11-21",
            period.id,
            Request(20.0, 200.0, None, None, 30.0, None, scheduled=True),
        )
        assert period.session == n.session.id
        await n.go(SUNRISE - timedelta(minutes=3))
        assert len(n.periods()) == 1
        await n.at(SUNRISE + timedelta(minutes=3))
        assert n.session is None
        assert n.state == "creating_video"
        (finished,) = await n.finished()
        assert finished.id == period.id
        assert n.state == "idle"
        await n.at(SUNRISE + timedelta(hours=5))  # after noon: the next one
        assert n.state == "waiting"
        kinds = [event.kind for event in n.told("schedule_made", "night_started", "capture_started", "capture_stopped", "night_finished")]
        assert kinds == ["schedule_made", "night_started", "capture_started", "capture_stopped", "schedule_made", "night_finished"]


async def test_a_series_ends_at_the_windows_end_without_cutting_the_exposure_under_way(night: Make) -> None:
    async with night() as n:
        changes: list[tuple[str, bool]] = []
        n.sessions.changed = lambda camera, finish: changes.append((camera, finish))
        await n.at(SUNSET + timedelta(minutes=3))
        await n.at(SUNRISE + timedelta(minutes=3))
        assert changes == [("sky", False), ("sky", True)]


async def test_a_restart_in_the_middle_carries_on_the_same_night_and_series(night: Make) -> None:
    async with night(SUNSET + timedelta(hours=1)) as n:
        n.image(n.now)
        before, series = n.periods(), n.session.id
    async with night(SUNSET + timedelta(hours=3)) as n:
        assert (n.state, n.periods()) == ("capturing", before)
        assert (n.session.id, n.session.period, n.session.done) == (series, before[0].id, 1)
        assert n.told("night_started", "capture_started") == []


async def test_a_night_that_a_power_cut_took_the_end_of_is_finished_at_the_next_start(night: Make) -> None:
    async with night(SUNSET + timedelta(hours=1)) as n:
        n.image(n.now)
    async with night(SUNRISE + timedelta(hours=2)) as n:
        (period,) = await n.finished()
        assert n.session is None
        assert period.summary["photos"] == 1
        assert n.catalogue.running_sessions() == []


async def test_a_power_cut_over_a_whole_day_ends_one_night_and_begins_the_other(night: Make) -> None:
    async with night(SUNSET + timedelta(hours=1)) as n:
        first = n.session.id
    async with night(SUNSET + timedelta(days=1, hours=1)) as n:
        assert [row.day for row in await n.finished()] == ["2026-11-21"]
        assert [(row.day, row.state) for row in n.periods()][1:] == [("2026-11-22", "capturing")]
        assert n.session.id != first and n.session.day == "2026-11-22"


async def test_a_night_whose_end_was_cut_off_while_it_was_being_finished_is_finished_at_the_next_start(night: Make) -> None:
    never = asyncio.Event()

    async def hangs(period: PeriodRow) -> None:
        await never.wait()

    async with night(SUNSET + timedelta(hours=1), finish=hangs) as n:
        await n.at(SUNRISE + timedelta(minutes=5))
        assert [row.state for row in n.periods()] == ["finishing"]
    async with night(SUNRISE + timedelta(hours=1)) as n:
        await n.finished()
        assert len(n.told("night_finished")) == 1


# By hand


async def test_a_series_stopped_by_hand_is_not_begun_again_before_the_next_window(night: Make) -> None:
    async with night(SUNSET + timedelta(hours=1)) as n:
        await n.sessions.stop("sky")
        await n.go(SUNRISE - timedelta(hours=1))
        assert (n.session, n.state) == (None, "stopped")
        await n.go(SUNRISE + timedelta(days=1) - timedelta(hours=10))
        assert n.state == "capturing"
        assert n.session.day == "2026-11-22"


async def test_what_was_stopped_by_hand_stays_so_over_a_restart(night: Make) -> None:
    async with night(SUNSET + timedelta(hours=1)) as n:
        await n.sessions.stop("sky")
    async with night(SUNSET + timedelta(hours=2)) as n:
        await n.at(SUNSET + timedelta(hours=3))
        assert (n.session, n.state) == (None, "stopped")


async def test_the_schedule_goes_on_when_it_is_told_to(night: Make) -> None:
    async with night(SUNSET + timedelta(hours=1)) as n:
        await n.sessions.stop("sky")
        await n.at(SUNSET + timedelta(hours=2))
        await n.scheduler.go_on("sky")
        assert n.session.request.scheduled
        mine = await n.sessions.start("sky", Request(exposure_s=5.0))
        await n.at(SUNSET + timedelta(hours=3))
        await n.scheduler.go_on("sky")
        assert n.session.request.scheduled and n.session.id != mine.id
        await n.at(SUNRISE + timedelta(minutes=5))
        with pytest.raises(NotAllowed, match='No window of camera "sky" is open; the next one opens at 2026-11-22 15:4'):
            await n.scheduler.go_on("sky")


async def test_a_series_started_by_hand_takes_the_scheduled_ones_place_and_when_it_is_done_the_schedule_goes_on(night: Make) -> None:
    async with night(SUNSET + timedelta(hours=1)) as n:
        scheduled = n.session
        mine = await n.sessions.start("sky", Request(exposure_s=5.0, count=1))
        await n.at(SUNSET + timedelta(hours=2))
        assert n.session is mine
        assert (mine.day, mine.period) == (scheduled.day, scheduled.period)
        await n.sessions.stored("sky", mine.id, n.now)  # the one it was asked for
        await n.at(SUNSET + timedelta(hours=3))
        assert n.session.request.scheduled and n.session.id not in (scheduled.id, mine.id)
        assert len(n.periods()) == 1


async def test_dark_frames_in_the_middle_of_a_night_are_not_of_it_and_the_schedule_goes_on_after_them(night: Make) -> None:
    async with night(SUNSET + timedelta(hours=1)) as n:
        scheduled = n.session
        darks = await n.sessions.start("sky", Request(exposure_s=5.0, count=1, darks=True))
        await n.at(SUNSET + timedelta(hours=2))
        assert n.session is darks
        assert (darks.day, darks.period) == (None, None)
        assert (darks.plan().day, darks.plan().period) == (None, None)
        await n.sessions.stored("sky", darks.id, n.now)
        await n.at(SUNSET + timedelta(hours=3))
        assert n.session.request.scheduled and (n.session.day, n.session.period) == (scheduled.day, scheduled.period)


async def test_a_series_started_by_hand_outlives_the_window_and_is_of_no_night_then(night: Make) -> None:
    async with night(SUNSET + timedelta(hours=1)) as n:
        mine = await n.sessions.start("sky", Request(exposure_s=5.0))
        await n.at(SUNRISE + timedelta(minutes=5))
        assert n.session is mine
        assert (mine.day, mine.period) == (None, None)
        await n.finished()
        await n.at(SUNSET + timedelta(days=1, minutes=5))
        assert n.session is mine
        assert mine.day == "2026-11-22"


# The clock


async def test_a_clock_set_back_a_little_changes_nothing(night: Make) -> None:
    async with night(SUNSET + timedelta(minutes=3)) as n:
        series = n.session
        await n.at(n.periods()[0].starts_at - timedelta(minutes=5))
        assert n.session is series
        await n.at(SUNRISE + timedelta(minutes=3))
        await n.finished()
        await n.at(n.periods()[0].ends_at - timedelta(minutes=5))
        assert (n.session, len(n.periods()), n.periods()[0].state) == (None, 1, "finished")
        await n.at(n.periods()[0].ends_at - timedelta(hours=2))  # no longer a little: the night is not over
        assert (n.state, len(n.periods())) == ("capturing", 1)


async def test_a_clock_set_back_to_before_the_window_pauses_it_until_it_opens_again(night: Make) -> None:
    async with night(SUNSET + timedelta(hours=1)) as n:
        (period,) = n.periods()
        await n.at(SUNSET - timedelta(hours=1))
        assert (n.session, n.state, n.periods()[0].state) == (None, "waiting", "capturing")
        await n.at(SUNSET + timedelta(hours=2))
        assert n.session.period == period.id
        assert len(n.periods()) == 1


async def test_a_clock_that_ran_ahead_for_a_while_does_not_end_the_night_for_good(night: Make) -> None:
    async with night(SUNSET + timedelta(hours=1)) as n:
        n.image(n.now)
        await n.at(SUNRISE + timedelta(hours=3))
        await n.finished()
        await n.at(SUNSET + timedelta(hours=2))
        assert n.session.period == n.periods()[0].id
        assert [row.state for row in n.periods()] == ["capturing"]
        n.image(n.now)
        await n.at(SUNRISE + timedelta(minutes=5))
        (period,) = await n.finished()
        assert period.summary["photos"] == 2


async def test_a_clock_set_back_by_days_does_not_add_to_a_night_that_is_over_and_says_why(night: Make) -> None:
    async with night(SUNSET + timedelta(hours=1)) as n:
        await n.at(SUNRISE + timedelta(minutes=5))
        await n.finished()
        await n.at(SUNSET + timedelta(days=1, hours=1))
        await n.at(SUNSET + timedelta(hours=2))
        assert n.session is None
        assert [row.state for row in n.periods()] == ["finished", "capturing"]
        assert any(line.startswith("ERROR") and "Set this machine's clock" in line for line in n.log)
        await n.at(SUNSET + timedelta(days=1, hours=2))
        assert n.sessions.of("sky").day == "2026-11-22"
        assert len(n.periods()) == 2


async def test_a_clock_that_was_years_behind_ends_that_night_and_begins_the_right_one(night: Make) -> None:
    async with night(SUNSET.replace(year=2016) + timedelta(hours=1)) as n:
        await n.at(SUNSET + timedelta(hours=1))
        assert n.session.day == "2026-11-21"
        assert [row.day for row in await n.finished()] == ["2016-11-21"]


@pytest.mark.parametrize(("day", "hours"), [("2026-10-24", 9), ("2027-03-27", 7)])
async def test_a_night_with_a_change_of_the_clock_is_one_period(night: Make, day: str, hours: int) -> None:
    noon = datetime.fromisoformat(f"{day}T12:00:00+00:00")
    async with night(noon, night="window: 22:00..06:00, interval_s: 60") as n:
        await n.go(noon + timedelta(hours=20))
        (period,) = await n.finished()
        assert (period.day, period.expected) == (day, hours * 60)
        assert period.ends_at - period.starts_at == timedelta(hours=hours)


# The moon, and the sun that does not rise


async def test_while_the_moon_is_up_the_night_pauses(night: Make) -> None:
    rule = "window: sunset..sunrise, moon_max_percent: 0, interval_s: 60"
    async with night(datetime(2026, 11, 17, 14, 0, tzinfo=UTC), night=rule) as n:
        seen: list[str] = []
        while n.now < datetime(2026, 11, 27, 14, 0, tzinfo=UTC):
            await n.at(n.now + timedelta(minutes=15))
            if seen[-1:] != [n.state]:
                seen.append(n.state)
            if n.session is not None:
                assert n.scheduler.keepers["sky"].timetable.almanac.moon_deg(n.now) < 0
            await asyncio.sleep(0)
        done = await n.finished(6)
        assert "2026-11-24" not in [row.day for row in done]  # full moon: there is no window
        assert len({row.day for row in done}) == len(done)


async def test_a_moon_that_sets_and_rises_again_within_a_night_makes_two_parts_of_one_period(night: Make) -> None:
    table = timetable(TROMSO, night="window: sunset..sunrise, moon_max_percent: 0")
    begin = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
    window = next(window for window in table.windows(begin, begin + timedelta(days=30)) if len(window.parts) == 2)
    (_, sets), (rises, _) = window.parts
    async with night(window.starts_at, TROMSO, night="window: sunset..sunrise, moon_max_percent: 0, interval_s: 60") as n:
        series = n.session.id
        await n.at(sets + (rises - sets) / 2)
        assert (n.session, n.state, n.scheduler.state) == (None, "paused", "waiting")
        await n.at(rises + timedelta(minutes=1))
        assert n.session.id != series
        assert [row.day for row in n.periods()] == [window.day]


async def test_in_the_polar_night_one_night_follows_the_other_without_a_pause(night: Make) -> None:
    begin = datetime(2026, 12, 15, 14, 0, tzinfo=UTC)
    async with night(begin, TROMSO) as n:
        while n.now < begin + timedelta(days=3):
            await n.at(n.now + timedelta(minutes=30))
            assert n.state == "capturing"
        assert [row.day for row in n.periods()] == ["2026-12-15", "2026-12-16", "2026-12-17", "2026-12-18"]


async def test_in_the_polar_day_a_schedule_of_nights_rests(night: Make) -> None:
    async with night(datetime(2026, 6, 15, 14, 0, tzinfo=UTC), TROMSO) as n:
        await n.go(n.now + timedelta(days=2), timedelta(hours=1))
        assert (n.state, n.session, n.periods(), n.told("schedule_failed")) == ("idle", None, [], [])


async def test_a_night_and_a_day_of_one_camera_take_turns(night: Make) -> None:
    rules = {"night": "window: sunset..sunrise, interval_s: 30", "day": "window: sunrise..sunset, interval_s: 60"}
    async with night(EVENING, **rules) as n:
        for _ in range(24 * 6):
            await n.at(n.now + timedelta(minutes=10))
            assert n.state == "capturing"
        assert [(row.kind, row.day) for row in n.periods()] == [("day", "2026-11-21"), ("night", "2026-11-21"), ("day", "2026-11-22")]


# The end of a night


async def test_a_night_is_finished_only_when_all_its_images_are_developed_and_its_products_done(night: Make) -> None:
    products, asked = asyncio.Event(), asyncio.Event()

    async def grow(period: PeriodRow) -> None:
        asked.set()
        await products.wait()

    async with night(SUNSET + timedelta(hours=1), finish=grow) as n:
        waiting = n.image(n.now, developed=False)
        await n.at(SUNRISE + timedelta(minutes=5))
        await asyncio.sleep(0.1)
        assert (n.scheduler.state, asked.is_set()) == ("creating_video", False)
        n.catalogue.add_file(waiting, FileRow("jpg", "sky/x.jpg", 1, "00"))
        async with asyncio.timeout(10):
            await asked.wait()
        assert [row.state for row in n.periods()] == ["finishing"]
        products.set()
        await n.finished()


async def test_products_that_fail_do_not_keep_a_night_from_its_summary(night: Make) -> None:
    async def breaks(period: PeriodRow) -> None:
        raise RuntimeError("no memory")

    async with night(SUNSET + timedelta(hours=1), finish=breaks) as n:
        n.image(n.now)
        await n.at(SUNRISE + timedelta(minutes=5))
        (period,) = await n.finished()
        assert period.summary["photos"] == 1
        assert "ERROR The products of the night of 2026-11-21 are not complete: no memory" in n.log


async def test_a_mistake_in_one_schedule_is_told_and_leaves_the_rest_alone(night: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    async with night() as n:
        with monkeypatch.context() as patch:
            patch.setattr(n.scheduler.keepers["sky"].timetable, "windows", lambda *_: 1 / 0)
            await n.at(SUNSET + timedelta(days=3))
            (event,) = n.told("schedule_failed")
            assert "ZeroDivisionError" in event.message
        await asyncio.sleep(0.06)
        await n.at(SUNSET + timedelta(days=3, minutes=5))
        assert n.state == "capturing"


async def test_the_summary_tells_what_was_taken_what_is_missing_and_which_image_was_best(night: Make) -> None:
    async with night(SUNSET + timedelta(minutes=30), night="window: 17:00..19:00, interval_s: 60") as n:
        begin = datetime(2026, 11, 21, 16, 0, tzinfo=UTC)
        best = 0
        for minute in range(120):
            if not 40 <= minute < 50:  # ten openings are missing
                number = n.image(begin + timedelta(minutes=minute), exposure_s=30.0)
                best = number if minute == 70 else best
                with n.catalogue.writing() as connection:
                    stars = 900 if minute == 70 else 500
                    connection.execute("INSERT INTO measurement (image, stars, hfr, sky, streaks) VALUES (?, ?, 2.0, 21.0, '[]')", (number, stars))
        with n.catalogue.writing() as connection:
            connection.execute(
                "INSERT INTO product (period, kind, state, path, bytes, sha256, images) VALUES (?, 'keogram', 'finished', 'k.jpg', 9, '00', 110)",
                (n.periods()[0].id,),
            )
        await n.at(begin + timedelta(hours=3))
        (period,) = await n.finished()
        written = json.loads((n.root / "sky/2026/11/21/summary.json").read_text())
        assert written == period.summary
        assert (written["photos"], written["expected"], written["developed"]) == (110, 120, 110)
        assert written["duty_cycle"] == pytest.approx(110 * 30 / 7200, abs=1e-3)
        assert written["gaps"] == [{"from": "2026-11-21T16:40:00.000000Z", "to": "2026-11-21T16:50:00.000000Z", "seconds": 600.0}]
        assert (written["best"]["id"], written["best"]["stars"], written["stars_median"]) == (best, 900, 500)
        assert [product["kind"] for product in written["products"]] == ["keogram"]
        (event,) = n.told("night_finished")
        assert event.summary == written


async def test_a_day_has_a_summary_of_its_own_beside_that_of_the_night(night: Make) -> None:
    async with night(EVENING, day="window: sunrise..sunset, interval_s: 60") as n:
        n.image(n.now)
        await n.at(SUNSET + timedelta(hours=1))
        (period,) = await n.finished()
        assert period.summary["best"] is None
        assert [path.name for path in (n.root / "sky/2026/11/21").iterdir()] == ["day-summary.json"]


async def test_a_catalogue_that_cannot_be_written_is_told_once_and_waited_for(night: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    async with night() as n:
        with monkeypatch.context() as patch:

            def full(*_: object) -> None:
                raise StorageFull("The disk is full.")

            patch.setattr(n.scheduler.periods.__class__, "open", full)
            for _ in range(3):
                await n.at(SUNSET + timedelta(minutes=5))
                await asyncio.sleep(0.06)
            assert len(n.told("schedule_failed")) == 1
        await n.at(SUNSET + timedelta(minutes=6))
        assert n.state == "capturing"


async def test_a_changed_interval_holds_from_the_restart_on_in_the_same_night(night: Make) -> None:
    async with night(SUNSET + timedelta(hours=1)) as n:
        before, series = n.periods()[0], n.session.id
    async with night(SUNSET + timedelta(hours=2), night="window: sunset..sunrise, interval_s: 60") as n:
        assert (n.periods()[0].id, n.periods()[0].interval_s) == (before.id, 60)
        assert n.session.id != series and n.session.request.interval_s == 60


async def test_a_disk_that_is_full_at_the_start_is_waited_for_and_nothing_of_the_night_before_goes_on(
    night: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with night(SUNSET + timedelta(hours=1)) as n:
        before = n.session.id
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise StorageFull("The disk is full.")

        for name in ("open", "end"):
            patch.setattr(Periods, name, full)
        async with night(SUNSET + timedelta(days=1, hours=1)) as n:
            assert (len(n.told("schedule_failed")), n.periods()[0].state) == (1, "capturing")
            patch.undo()
            await asyncio.sleep(0.06)
            await n.at(SUNSET + timedelta(days=1, hours=2))
            assert n.session.id != before and n.session.day == "2026-11-22"
            assert [row.day for row in await n.finished()] == ["2026-11-21"]


async def test_without_a_schedule_nothing_is_done_and_an_open_night_of_before_is_finished(night: Make) -> None:
    async with night(SUNSET + timedelta(hours=1)) as n:
        n.image(n.now)
    async with night(SUNSET + timedelta(hours=2), night="") as n:
        await n.finished()
        assert n.session is None
