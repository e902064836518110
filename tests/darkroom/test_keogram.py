"""The keogram by itself: where an image's line lands, what is hatched, what the marks say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from cupola.darkroom.growth import LeftOut, Shot, Window
from cupola.darkroom.keogram import BAND, Keogram, Settings, line_through, marks

START = datetime(2026, 3, 14, 18, 0, tzinfo=UTC)
HOURS = Window(START, START + timedelta(hours=8), 60.0, "UTC")
WIDTH = 480  # a column a minute


def _shot(minute: float, exposure_s: float = 30.0) -> Shot:
    return Shot(int(minute * 10) + 1, Path("x.jpg"), START + timedelta(minutes=minute), exposure_s)


def _plain(value: int, shape: tuple[int, int] = (40, 60)) -> np.ndarray:
    return np.full((*shape, 3), value, np.uint8)


def _keogram(angle_deg: float = 0.0, window: Window = HOURS) -> Keogram:
    return Keogram(Settings(True, angle_deg, WIDTH), window)


def test_a_column_is_where_its_time_is() -> None:
    keogram = _keogram()
    for minute in range(480):
        keogram.add(_plain(minute % 200), _shot(minute))
    columns = keogram.picture()[:-BAND]
    assert columns.shape == (40, WIDTH, 3)
    for minute in (0, 1, 137, 300, 478):
        assert (columns[:, minute] == minute % 200).all()


def test_hours_without_images_stay_empty_and_are_hatched() -> None:
    keogram = _keogram()
    for minute in [*range(100), *range(250, 480)]:
        keogram.add(_plain(200), _shot(minute))
    columns = keogram.picture()[:-BAND]
    assert (columns[:, :100] == 200).all() and (columns[:, 250:] == 200).all()
    gap = columns[:, 102:250]
    assert set(np.unique(gap)) == {24, 44}
    assert all(len(np.unique(gap[:, column])) == 2 for column in range(gap.shape[1])), "a column without a stripe looks like an image"


def test_without_an_interval_the_pace_of_the_images_tells_a_gap() -> None:
    """Pauses of three minutes, then five, then an hour: the last alone is a gap, also for a keogram that goes on from its state."""
    keogram = _keogram(window=Window(START, START + timedelta(hours=8), None, "UTC"))
    minutes = [*range(0, 100, 3), *range(104, 200, 5), *range(259, 400, 5)]
    for minute in minutes:
        keogram.add(_plain(minute % 200), _shot(minute, exposure_s=1.0))
        facts, pixels = keogram.state()
        keogram = _keogram(window=Window(START, START + timedelta(hours=8), None, "UTC"))
        keogram.restore(facts, pixels)
    columns = keogram.picture()[:-BAND]
    assert (columns[:, 50] == 48).all() and (columns[:, 108] == 104).all() and (columns[:, 300] == 299 % 200).all()
    assert set(np.unique(columns[:, 201:259])) == {24, 44}


def test_a_long_exposure_fills_the_time_it_took() -> None:
    keogram = _keogram(window=Window(START, START + timedelta(hours=8), None, "UTC"))
    keogram.add(_plain(200), _shot(10, exposure_s=600.0))
    filled = np.flatnonzero((keogram.picture()[:-BAND] == 200).all(axis=(0, 2)))
    assert filled[0] == 10 and 20 <= filled[-1] <= 23


@pytest.mark.parametrize(
    ("angle_deg", "first", "last", "length"),
    [
        (0, (0, 30), (40, 30), 41),
        (180, (0, 30), (40, 30), 41),
        (90, (20, 60), (20, 0), 61),
        (-90, (20, 0), (20, 60), 61),
        (45, (0, 50), (40, 10), 57),
    ],
)
def test_the_line_turns_clockwise_about_the_middle(angle_deg: float, first: tuple[int, int], last: tuple[int, int], length: int) -> None:
    rows, columns = line_through((41, 61), angle_deg)
    assert (rows[0], columns[0]) == first
    assert (rows[-1], columns[-1]) == last
    assert len(rows) == length
    assert (rows[length // 2], columns[length // 2]) == (20, 30)


@pytest.mark.parametrize("angle_deg", [*range(-180, 181, 7), 0.3, 89.9])
def test_a_line_at_any_angle_stays_in_the_picture_and_reaches_its_edge(angle_deg: float) -> None:
    rows, columns = line_through((41, 61), angle_deg)
    assert rows.min() >= 0 and rows.max() <= 40 and columns.min() >= 0 and columns.max() <= 60
    assert rows.min() <= 1 or columns.min() <= 1
    assert np.hypot(np.diff(rows), np.diff(columns)).max() <= 2


def test_colours_come_from_the_pixels_of_the_line() -> None:
    keogram = _keogram(90.0)
    picture = np.random.default_rng(1).integers(0, 255, (41, 61, 3), np.uint8)
    keogram.add(picture, _shot(5))
    assert (keogram.picture()[:-BAND, 5] == picture[20, ::-1]).all()


def test_an_image_that_opens_a_moment_after_the_end_is_in_the_last_column() -> None:
    keogram = _keogram()
    keogram.add(_plain(77), _shot(480.02))
    assert (keogram.picture()[:-BAND, -1] == 77).all()


def test_an_image_from_outside_of_the_hours_or_of_another_size_is_left_out() -> None:
    keogram = _keogram()
    with pytest.raises(LeftOut, match="outside of the hours"):
        keogram.add(_plain(1, (10, 10)), _shot(-60))
    keogram.add(_plain(1), _shot(1))
    with pytest.raises(LeftOut, match="outside of the hours"):
        keogram.add(_plain(1), _shot(481))
    with pytest.raises(LeftOut, match="10 x 20 pixels, not 60 x 40"):
        keogram.add(_plain(1, (20, 10)), _shot(2))


def test_marks_are_full_hours_of_local_time_at_their_columns() -> None:
    found = marks(Window(START + timedelta(minutes=20), START + timedelta(hours=8), None, "Asia/Kolkata"), 1440)
    assert [text for _, text in found[:3]] == ["00:00", "00:30", "01:00"]
    assert found[0][0] == round(10 / 460 * 1440)


@pytest.mark.parametrize(
    ("day", "hours"),
    [((2026, 3, 28), ["00:00", "01:00", "03:00", "04:00"]), ((2026, 10, 24), ["00:00", "01:00", "02:00", "02:00", "03:00", "04:00"])],
)
def test_where_the_clocks_change_an_hour_is_missing_or_twice_and_the_columns_go_on_evenly(day: tuple[int, int, int], hours: list[str]) -> None:
    start = datetime(*day, 20, 30, tzinfo=UTC)
    found = marks(Window(start, start + timedelta(hours=9), None, "Europe/Zurich"), 900)
    texts = [text for _, text in found]
    begin = texts.index("00:00")
    assert texts[begin : begin + len(hours)] == hours
    assert set(np.diff([column for column, _ in found])) == {100}


def test_a_keogram_goes_on_from_its_state() -> None:
    one, other = _keogram(30.0), _keogram(30.0)
    rng = np.random.default_rng(3)
    pictures = [rng.integers(0, 255, (40, 60, 3), np.uint8) for _ in range(20)]
    for minute in range(10):
        one.add(pictures[minute], _shot(minute))
    facts, pixels = one.state()
    other.restore(facts, None if pixels is None else pixels.copy())
    for minute in range(10, 20):
        one.add(pictures[minute], _shot(minute))
        other.add(pictures[minute], _shot(minute))
    assert (one.picture() == other.picture()).all()
