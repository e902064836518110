"""Windows by the sun, the moon and the clock, against what almanacs print and what no almanac has: polar days and nights."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cupola.capture.schedule import Timetable, Window
from cupola.config.load import from_text
from cupola.core.clock import observing_day
from cupola.core.frame import Station

ZURICH = (47.37, 8.54, "Europe/Zurich")
TROMSO = (69.65, 18.96, "Europe/Oslo")
MINUTES = timedelta(minutes=3)  # within which almanacs and heights of a place agree


def timetable(place: tuple[float, float, str] = ZURICH, capture: str = "", **rules: str) -> Timetable:
    latitude, longitude, zone = place
    blocks = "".join(f"\n    {name}: {{{keys}}}" for name, keys in rules.items())
    text = f"station: {{latitude: {latitude}, longitude: {longitude}, timezone: {zone}}}\ncameras:\n  - name: sky\n    driver: simulator"
    made = from_text(f"{text}\n    capture: {{{capture}}}{blocks}\n", "test", Path())
    return Timetable(made.cameras[0], Station("test", latitude, longitude, 400.0, zone))


def windows(table: Timetable, first: str, days: int) -> list[Window]:
    """Those that open within days of a date, from noon UTC on."""
    begin = datetime.fromisoformat(f"{first}T12:00:00+00:00")
    return [window for window in table.windows(begin, begin + timedelta(days=days)) if window.starts_at >= begin]


def night_of(table: Timetable, day: str) -> Window:
    noon = datetime.fromisoformat(f"{day}T12:00:00+00:00")
    (found,) = [window for window in table.windows(noon - timedelta(days=1), noon + timedelta(days=2)) if window.day == day]
    return found


@pytest.mark.parametrize(
    ("place", "day", "text", "starts", "ends"),
    [
        (ZURICH, "2026-06-21", "sunset..sunrise", "2026-06-21T21:25+02:00", "2026-06-22T05:29+02:00"),
        (ZURICH, "2026-12-21", "sunset..sunrise", "2026-12-21T16:38+01:00", "2026-12-22T08:10+01:00"),
        (ZURICH, "2026-12-21", "sunset-30m..sunrise+1h15m", "2026-12-21T16:08+01:00", "2026-12-22T09:25+01:00"),
        (ZURICH, "2026-12-21", "civil_dusk..dawn", "2026-12-21T17:12+01:00", "2026-12-22T07:36+01:00"),
        ((-33.87, 151.21, "Australia/Sydney"), "2026-12-21", "sunset..sunrise", "2026-12-21T20:05+11:00", "2026-12-22T05:41+11:00"),
        ((21.31, -157.86, "Pacific/Honolulu"), "2026-03-20", "sunset..sunrise", "2026-03-20T18:43-10:00", "2026-03-21T06:34-10:00"),
        ((64.15, -21.94, "Atlantic/Reykjavik"), "2026-06-21", "sunset..sunrise", "2026-06-22T00:03+00:00", "2026-06-22T02:55+00:00"),
    ],
)
def test_windows_by_the_sun_are_those_of_an_almanac(place: tuple[float, float, str], day: str, text: str, starts: str, ends: str) -> None:
    window = night_of(timetable(place, night=f"window: {text}"), day)
    assert abs(window.starts_at - datetime.fromisoformat(starts)) <= MINUTES, window
    assert abs(window.ends_at - datetime.fromisoformat(ends)) <= MINUTES, window
    assert window.starts_at.tzinfo is UTC


def test_a_window_of_the_day_with_buffers_is_that_of_a_timelapse_station() -> None:
    (window,) = windows(timetable(day="window: sunrise-30m..sunset+30m, interval_s: 45"), "2026-02-08", 1)
    (sun,) = windows(timetable(day="window: sunrise..sunset"), "2026-02-08", 1)
    assert (sun.starts_at - window.starts_at, window.ends_at - sun.ends_at) == (timedelta(minutes=30), timedelta(minutes=30))
    assert (window.kind, window.day) == ("day", "2026-02-09")
    assert window.expected == -(-window.seconds // 45)


def test_the_example_of_the_guide_means_what_it_says() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "night.md").read_text("utf-8")
    made = from_text(guide.split("```yaml\n")[1].split("```")[0], "night.md", Path())
    place = made.station
    table = Timetable(made.cameras[0], Station(place.name, place.latitude, place.longitude, place.elevation_m, place.timezone))
    found = {(window.kind, window.day): window for window in windows(table, "2026-12-05", 10)}
    night, day = found["night", "2026-12-09"], found["day", "2026-12-10"]  # new moon
    assert (night.expected, round(night.interval_s or 0)) == (750, 56)
    assert (day.interval_s, day.expected) == (60, -(-day.seconds // 60))


def test_the_interval_follows_from_the_length_of_the_video() -> None:
    (window,) = windows(timetable(night="window: 21:00..05:00, video_length_s: 30, video_fps: 25"), "2026-11-21", 1)
    assert (window.expected, window.interval_s) == (750, pytest.approx(8 * 3600 / 750))


def test_without_an_interval_of_its_own_a_window_has_that_of_the_series() -> None:
    (window,) = windows(timetable(night="window: 21:00..05:00", capture="interval_s: 60"), "2026-11-21", 1)
    assert (window.interval_s, window.expected) == (60, 480)
    (window,) = windows(timetable(night="window: 21:00..05:00", capture="delay_s: 2"), "2026-11-21", 1)
    assert (window.interval_s, window.delay_s, window.expected) == (None, 2, None)


def test_nothing_is_scheduled_unless_it_is_asked_for() -> None:
    table = timetable()
    assert not table
    assert windows(table, "2026-11-21", 30) == []


# Polar day and night


def test_in_the_polar_night_a_night_reaches_from_noon_to_noon() -> None:
    table = timetable(TROMSO, night="window: sunset..sunrise", day="window: sunrise..sunset")
    found = windows(table, "2026-12-15", 5)
    assert {window.kind for window in found} == {"night"}
    assert [window.day for window in found] == [f"2026-12-{day}" for day in range(16, 21)]
    assert all(after.starts_at == before.ends_at for before, after in pairwise(found))
    assert all(abs(window.seconds - 86400) < 60 for window in found)


def test_in_the_polar_day_there_is_no_night_and_a_day_reaches_from_midnight_to_midnight() -> None:
    table = timetable(TROMSO, night="window: sunset..sunrise", day="window: sunrise..sunset")
    found = windows(table, "2026-06-15", 5)
    assert {window.kind for window in found} == {"day"}
    assert len(found) == 5
    assert all(after.starts_at == before.ends_at for before, after in pairwise(found))


def test_into_and_out_of_the_polar_night_windows_of_night_and_day_fill_the_time_without_a_hole() -> None:
    for first in ("2026-11-20", "2027-01-10", "2026-05-10", "2026-07-20"):
        found = windows(timetable(TROMSO, night="window: sunset..sunrise", day="window: sunrise..sunset"), first, 20)
        assert all(after.starts_at == before.ends_at for before, after in pairwise(found)), first
        assert len({(window.kind, window.day) for window in found}) == len(found)


def test_where_it_does_not_grow_dark_there_is_no_astronomical_night() -> None:
    table = timetable((55.7, 12.6, "Europe/Copenhagen"), night="window: astronomical_dusk..dawn")
    assert windows(table, "2026-06-10", 20) == []
    assert len(windows(table, "2026-11-10", 20)) == 20


def test_at_the_poles_nothing_is_wrong() -> None:
    table = timetable((90.0, 0.0, "UTC"), night="window: sunset..sunrise", day="window: sunrise..sunset")
    assert {window.kind for window in windows(table, "2026-06-15", 3)} == {"day"}
    assert {window.kind for window in windows(table, "2026-12-15", 3)} == {"night"}


# The clock


def test_a_night_with_the_change_to_winter_time_is_an_hour_longer_and_to_summer_time_an_hour_shorter() -> None:
    table = timetable(night="window: 22:00..06:00, interval_s: 60")
    hours = {window.day: (window.seconds / 3600, window.expected) for window in windows(table, "2026-10-23", 3) + windows(table, "2027-03-26", 3)}
    assert hours == {
        "2026-10-23": (8, 480),
        "2026-10-24": (9, 540),
        "2026-10-25": (8, 480),
        "2027-03-26": (8, 480),
        "2027-03-27": (7, 420),
        "2027-03-28": (8, 480),
    }


def test_the_change_of_the_clock_does_not_move_the_sun() -> None:
    found = windows(timetable(night="window: sunset..sunrise"), "2026-10-22", 6)
    steps = [(after.starts_at - before.starts_at).total_seconds() for before, after in pairwise(found)]
    assert all(86400 - 180 < step < 86400 for step in steps), steps


def test_a_time_that_summer_time_leaves_out_comes_an_hour_later_and_one_that_comes_twice_the_first_time() -> None:
    table = timetable(night="window: 02:30..05:00")
    opens = {window.day: window.starts_at for window in windows(table, "2026-10-23", 3) + windows(table, "2027-03-26", 3)}
    assert opens["2026-10-25"] == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # 02:30 of summer time; it comes again at 01:30 UTC
    assert opens["2027-03-28"] == datetime(2027, 3, 28, 1, 30, tzinfo=UTC)  # shown as 03:30


def test_a_window_after_midnight_by_the_clock_bears_the_date_of_that_time() -> None:
    (window,) = windows(timetable(night="window: 01:00..04:00"), "2026-11-21", 1)
    assert (window.day, window.starts_at) == ("2026-11-22", datetime(2026, 11, 22, 0, 0, tzinfo=UTC))


def test_a_time_of_the_clock_may_have_seconds() -> None:
    (window,) = windows(timetable(night="window: 21:59:58..22:00:05"), "2026-11-21", 1)
    assert (window.starts_at.second, (window.ends_at - window.starts_at).total_seconds()) == (58, 7)


def test_always_is_one_period_a_night_without_a_hole() -> None:
    found = windows(timetable(night="window: always"), "2026-11-21", 10)
    assert all(after.starts_at == before.ends_at for before, after in pairwise(found))
    assert [window.day for window in found] == [f"2026-11-{day}" for day in range(22, 31)] + ["2026-12-01"]


def test_of_two_windows_that_overlap_the_later_one_begins_when_the_earlier_one_ends() -> None:
    table = timetable(night="window: sunset-1h..sunrise+1h", day="window: sunrise-1h..sunset+1h")
    found = windows(table, "2026-11-21", 4)
    assert [window.kind for window in found[:4]] == ["night", "day", "night", "day"]
    assert all(after.starts_at >= before.ends_at for before, after in pairwise(found))


# The moon


def test_with_a_rule_for_the_moon_stills_are_taken_only_while_it_is_down_or_thin() -> None:
    begin, days = "2026-11-13", 29  # a month: no moon, first quarter, full, last quarter
    free = {window.day: window for window in windows(timetable(night="window: astronomical_dusk..dawn"), begin, days)}
    dark = timetable(night="window: astronomical_dusk..dawn, moon_max_percent: 0, interval_s: 30")
    thin = timetable(night="window: astronomical_dusk..dawn, moon_max_percent: 20")
    moonless = {window.day: window for window in windows(dark, begin, days)}
    assert moonless.keys() == free.keys()
    assert moonless["2026-11-24"].parts == () and moonless["2026-11-24"].expected == 0  # full moon
    for window in moonless.values():
        assert window.seconds <= free[window.day].seconds
        for starts_at, ends_at in window.parts:
            assert free[window.day].starts_at <= starts_at < ends_at <= free[window.day].ends_at
            middle = starts_at + (ends_at - starts_at) / 2
            assert dark.almanac.moon_deg(middle) < 0
            for edge, side in ((starts_at, -1), (ends_at, 1)):
                if edge not in (free[window.day].starts_at, free[window.day].ends_at):
                    assert dark.almanac.moon_deg(edge + side * timedelta(seconds=5)) > -0.05
    more = {window.day: window.seconds for window in windows(thin, begin, days)}
    assert any(more[day] > window.seconds for day, window in moonless.items())
    assert all(more[day] >= window.seconds for day, window in moonless.items())


# Against another library's ephemeris


def altitude_deg(body: str, at: datetime, place: tuple[float, float, str]) -> float:
    """By astropy, from its own tables, without refraction."""
    from astropy import units
    from astropy.coordinates import AltAz, EarthLocation, get_body
    from astropy.time import Time
    from astropy.utils import iers

    with (
        iers.conf.set_temp("auto_download", False),
        iers.conf.set_temp("auto_max_age", None),  # a table older than a month does well, and nothing is to fail by its date
        iers.conf.set_temp("iers_degraded_accuracy", "ignore"),
    ):
        u: Any = units
        here = EarthLocation(lat=place[0] * u.deg, lon=place[1] * u.deg, height=400 * u.m)
        moment = Time(at.replace(tzinfo=None))
        seen: Any = get_body(body, moment, here).transform_to(AltAz(obstime=moment, location=here))
        return float(seen.alt.deg)


@pytest.mark.parametrize("place", [ZURICH, TROMSO, (-54.8, -68.3, "America/Argentina/Ushuaia"), (0.0, 179.9, "UTC")])
@pytest.mark.parametrize(("dusk", "height_deg"), [("sunset", -0.8333), ("civil_dusk", -6), ("nautical_dusk", -12), ("astronomical_dusk", -18)])
def test_at_the_edges_of_a_window_the_sun_stands_where_it_should(place: tuple[float, float, str], dusk: str, height_deg: float) -> None:
    dawn = "sunrise" if dusk == "sunset" else "dawn"
    for day in ("2026-03-10", "2026-10-10"):
        for window in windows(timetable(place, night=f"window: {dusk}..{dawn}"), day, 2):
            assert altitude_deg("sun", window.starts_at, place) == pytest.approx(height_deg, abs=0.02)
            assert altitude_deg("sun", window.ends_at, place) == pytest.approx(height_deg, abs=0.02)


def test_when_the_moon_comes_up_or_goes_down_it_stands_at_the_horizon() -> None:
    """Within 0.5°, two to five minutes: refraction lifts it by 0.57° at the horizon."""
    table = timetable(night="window: sunset..sunrise, moon_max_percent: 0")
    whole = {window.day: window for window in windows(timetable(night="window: sunset..sunrise"), "2026-11-13", 14)}
    looked_at = 0
    for window in windows(table, "2026-11-13", 14):
        for edge in (at for part in window.parts for at in part):
            if edge not in (whole[window.day].starts_at, whole[window.day].ends_at):
                assert altitude_deg("moon", edge, ZURICH) == pytest.approx(-0.57, abs=0.5), edge
                looked_at += 1
    assert looked_at >= 10


# What holds anywhere, at any time


@settings(max_examples=25, deadline=None)
@example(5.0, -155.0, "Europe/Berlin", date(2024, 10, 16), "sunset..sunrise", "sunrise..sunset")  # its noon is about the clock's midnight
@given(
    latitude=st.floats(-90, 90),
    longitude=st.floats(-180, 180),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Auckland", "Pacific/Kiritimati", "America/Anchorage", "Asia/Kathmandu"]),
    first=st.dates(date(2024, 1, 1), date(2035, 1, 1)),
    night=st.sampled_from(
        ["sunset..sunrise", "astronomical_dusk..dawn", "sunset-2h..23:30", "always", "02:00..sunrise", "civil_dusk+1h..sunrise-1h"]
    ),
    day=st.sampled_from(["sunrise..sunset", "sunrise-30m..sunset+30m", "09:00..15:00", "civil_dawn..sunset"]),
)
def test_windows_follow_each_other_and_none_has_the_name_of_another(
    latitude: float, longitude: float, zone: str, first: date, night: str, day: str
) -> None:
    table = timetable((latitude, longitude, zone), night=f"window: {night}", day=f"window: {day}")
    begin = datetime(first.year, first.month, first.day, tzinfo=UTC)
    found = table.windows(begin, begin + timedelta(days=12))
    for window in found:
        assert window.starts_at < window.ends_at <= window.starts_at + timedelta(hours=26)
        assert table.opens_on(window) <= window.starts_at
    assert all(after.starts_at >= before.ends_at for before, after in pairwise(found))
    assert len({(window.kind, window.day) for window in found}) == len(found), (latitude, longitude, zone, first, night, day)
    some: Any = table.windows(begin + timedelta(days=3), begin + timedelta(days=4))
    assert some == [window for window in found if window.ends_at > begin + timedelta(days=3) and window.starts_at < begin + timedelta(days=4)]


def test_the_date_of_a_night_is_the_observing_day_of_its_images() -> None:
    for window in windows(timetable(night="window: astronomical_dusk..dawn"), "2026-06-01", 60):
        assert observing_day(window.starts_at, ZURICH[1], ZoneInfo(ZURICH[2])).isoformat() == window.day
