"""When the stills of a series are due, by a clock of the test's own."""

from __future__ import annotations

import pytest

from cupola.camera.messages import Plan
from cupola.camera.series import FAILED_PAUSE_S, Series

EVERY_10_S = Plan(session=1, interval_s=10.0)


def running(plan: Plan, now: float) -> Series:
    series = Series()
    series.set(plan, now)
    return series


def opens(series: Series, at: float, exposure_s: float = 1.0) -> float:
    """A still is opened at a moment; when the next one is due."""
    series.opened(series.plan, at, exposure_s)
    return at + series.wait_s(at)


def test_openings_lie_on_a_grid_and_small_delays_do_not_add_up() -> None:
    series, at = running(EVERY_10_S, 100.0), 100.0
    for number in range(1, 50):
        at = opens(series, at + 0.3)
        assert at == pytest.approx(100.0 + 10 * number)


def test_an_opening_exactly_on_the_grid_is_not_due_twice() -> None:
    interval_s = 0.1  # whose multiples are no whole numbers of bits
    series = running(Plan(session=1, interval_s=interval_s), 1e5 / 3)
    for _ in range(2000):
        due = series._next_opening  # pyright: ignore[reportPrivateUsage]
        assert opens(series, due) - due == pytest.approx(interval_s, rel=1e-3)


def test_a_missed_opening_is_not_made_up_for() -> None:
    series = running(EVERY_10_S, 100.0)
    assert opens(series, 137.0, 5.0) == 140.0


def test_an_interrupted_still_is_taken_at_once_and_the_grid_stays() -> None:
    series = running(EVERY_10_S, 100.0)
    opens(series, 100.0)
    for interrupted_at in (104.0, 104.9, 113.0):
        series.again(EVERY_10_S, interrupted_at)
        assert series.due(interrupted_at)
        assert opens(series, interrupted_at) % 10 == pytest.approx(0)


def test_after_a_failure_the_next_opening_is_on_the_grid_again() -> None:
    series = running(EVERY_10_S, 100.0)
    opens(series, 100.0)
    series.failed(EVERY_10_S, 108.0)
    assert series.wait_s(108.0) == pytest.approx(12.0), f"110 is within {FAILED_PAUSE_S} s of the failure"
    by_delay = Plan(session=1, delay_s=1.0)
    series = running(by_delay, 100.0)
    opens(series, 100.0)
    series.failed(by_delay, 108.0)
    assert series.wait_s(108.0) == FAILED_PAUSE_S


def test_a_plan_that_goes_on_says_where_its_grid_lies() -> None:
    series = running(Plan(session=1, interval_s=10.0, first_at_s=107.0), 100.0)
    assert series.wait_s(100.0) == 7.0
    assert opens(series, 131.0) == 137.0, "also when the camera took long to open"
