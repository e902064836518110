"""Streaks: what crosses the sky is found; wires, rows of stars, rims of clouds and noise are not."""

from __future__ import annotations

import math

import pytest
from tests.darkroom.skies import BAYER, MONO, NOISE, SIZE, Line, Sky, scattered

from cupola.core.frame import PixelFormat
from cupola.darkroom.field import Field
from cupola.darkroom.measure import find
from cupola.darkroom.streaks import Previous, Streak

FAINT = 1.6 * NOISE  # light a pixel of length: no pixel has more of it than two thirds of its noise
STARS = scattered(120, 3000.0)


def _seen(sky: Sky, previous: Previous, seed: int = 1, layout: PixelFormat = MONO) -> list[Streak]:
    return find(Field.of(sky.samples(layout, seed), layout), previous)[1]


def _started(layout: PixelFormat = MONO) -> Previous:
    """As after a frame of the same sky with nothing in it."""
    previous = Previous()
    _seen(Sky().points(STARS), previous, seed=99, layout=layout)
    return previous


def _line(angle_deg: float, length: float, light: float, middle: tuple[float, float] = (380.0, 250.0)) -> Line:
    dx, dy = length / 2 * math.cos(math.radians(angle_deg)), length / 2 * math.sin(math.radians(angle_deg))
    return (middle[0] - dx, middle[1] - dy, middle[0] + dx, middle[1] + dy, light)


def _apart(streak: Streak, line: Line) -> float:
    """The greater distance between the ends of a streak and a line, whichever way round."""
    ends, wanted = ((streak.x0, streak.y0), (streak.x1, streak.y1)), ((line[0], line[1]), (line[2], line[3]))
    return min(max(math.dist(a, b) for a, b in zip(order, wanted, strict=True)) for order in (ends, ends[::-1]))


@pytest.mark.parametrize("layout", [MONO, BAYER], ids=["mono", "bayer"])
@pytest.mark.parametrize("angle_deg", [0, 20, 45, 70, 90, 115, 135, 160])
def test_a_faint_streak_is_found_from_end_to_end_in_any_direction(angle_deg: float, layout: PixelFormat) -> None:
    line = _line(angle_deg, 220, 3 * FAINT if layout is MONO else 4.5 * FAINT)
    (streak,) = _seen(Sky().points(STARS).line(line), _started(layout), layout=layout)
    assert _apart(streak, line) < 24
    assert not streak.goes_on


def test_a_short_streak_is_found() -> None:
    line = _line(33, 44, 6 * FAINT)
    (streak,) = _seen(Sky().points(STARS).line(line), _started())
    assert _apart(streak, line) < 12


def test_its_light_is_told_within_a_quarter() -> None:
    (streak,) = _seen(Sky().points(STARS).line(_line(20, 200, 8 * FAINT)), _started())
    assert streak.flux == pytest.approx(200 * 8 * FAINT, rel=0.25)


def test_a_fireball_is_one_streak_also_in_the_first_frame() -> None:
    line = _line(10, 500, 40 * FAINT)
    sky = Sky().points(STARS).line(line)
    for part in range(12):  # brighter and broader towards its end
        at = 0.5 + part / 24
        sky.points([(line[0] + at * (line[2] - line[0]), line[1] + at * (line[3] - line[1]), 800 * FAINT * part)], sigma_px=2 + part / 4)
    (streak,) = _seen(sky, Previous())
    assert _apart(streak, line) < 40


def test_in_a_first_frame_a_faint_one_is_not_believed() -> None:
    assert _seen(Sky().points(STARS).line(_line(20, 60, 4 * FAINT)), Previous()) == []


def test_what_goes_on_where_another_ended_is_told() -> None:
    previous = _started()
    first, second = (100.0, 200.0, 240.0, 230.0, 5 * FAINT), (242.0, 230.4, 382.0, 260.4, 5 * FAINT)
    assert [streak.goes_on for streak in _seen(Sky().points(STARS).line(first), previous, 2)] == [False]
    assert [streak.goes_on for streak in _seen(Sky().points(STARS).line(second), previous, 3)] == [True]
    elsewhere = _line(100, 140, 5 * FAINT, (600.0, 330.0))
    assert [streak.goes_on for streak in _seen(Sky().points(STARS).line(elsewhere), previous, 4)] == [False]


def test_a_wire_in_the_light_of_a_lamp_is_no_streak() -> None:
    wire = Sky().points(STARS).line((0.0, 120.0, 767.0, 160.0, 10 * FAINT))
    previous = Previous()
    _seen(wire, previous)
    for seed in (2, 3, 4):
        assert _seen(wire, previous, seed) == []


def test_stars_in_a_row_are_no_streak() -> None:
    row = [(200.0 + 14 * i, 150.0 + 7 * i, 2500.0) for i in range(9)]
    assert _seen(Sky().points(STARS).points(row), _started()) == []


def test_the_rim_of_a_cloud_is_no_streak() -> None:
    previous = _started()
    for seed, edge in enumerate((180, 192, 204, 216), 2):  # it drifts
        sky = Sky().points(STARS)
        sky.light[:edge] *= 1.6
        assert _seen(sky, previous, seed) == []


@pytest.mark.parametrize("light", [8, 16, 30])
def test_a_wisp_of_cloud_is_no_streak(light: float) -> None:
    """As long and as thin in the frame's small copy as a streak, but ten pixels across."""
    wisp = [(300.0 + 2 * i, 200.0 + i, 2 * light * FAINT) for i in range(45)]
    assert _seen(Sky().points(STARS).points(wisp, sigma_px=4.5), _started()) == []


@pytest.mark.parametrize(("aside", "along", "angle_deg"), [(8, 0, 150), (10, -20, 150), (8, 15, 140)])
def test_a_streak_that_passes_a_bright_star_is_found(aside: float, along: float, angle_deg: float) -> None:
    dx, dy = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    bright = [(380.0 + along * dx - aside * dy, 250.0 + along * dy + aside * dx, 60_000.0)]
    previous = Previous()
    _seen(Sky().points(STARS).points(bright), previous, seed=99)
    line = _line(angle_deg, 60, 5 * FAINT)
    (streak,) = _seen(Sky().points(STARS).points(bright).line(line), previous)
    assert _apart(streak, line) < 16


def test_an_hour_of_noise_and_stars_shows_nothing() -> None:
    previous = _started()
    for seed in range(100, 160):
        shift = (seed - 100) * 0.4
        stars = [(x + shift, y + 0.3 * shift, light) for x, y, light in STARS]
        assert _seen(Sky().points(stars), previous, seed) == []


def test_a_frame_of_another_size_forgets_the_one_before() -> None:
    previous = _started()
    assert _seen(Sky(size=(SIZE[0] // 2, SIZE[1] // 2)).line(_line(20, 60, 3 * FAINT, (200.0, 120.0))), previous) == []
    assert previous.residual is not None
    assert previous.residual.shape == (SIZE[0] // 8, SIZE[1] // 8)
