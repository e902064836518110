"""A correction in stops, applied to levels of light."""

from __future__ import annotations

import numpy as np
import pytest

from cupola.darkroom.evening import KNEE, evened, gain

LEVELS = np.linspace(-0.05, 1.2, 2001)


@pytest.mark.parametrize("stops", [-1.0, -0.4, 0.25, 1.0])
def test_below_the_knee_it_is_exactly_that_many_stops(stops: float) -> None:
    out = evened(LEVELS, stops)
    low = (LEVELS <= KNEE) & (LEVELS * 2**stops <= KNEE)
    assert np.allclose(out[low], LEVELS[low] * 2**stops)


@pytest.mark.parametrize("stops", [-1.0, -0.4, 0.25, 1.0])
def test_white_stays_white_and_nothing_changes_places(stops: float) -> None:
    out = evened(LEVELS, stops)
    assert np.all(np.diff(out) > 0)
    assert np.allclose(out[LEVELS >= 1], LEVELS[LEVELS >= 1])
    assert np.max(np.diff(out)) < 0.003, "there is a step in it"


def test_without_a_correction_nothing_is_touched() -> None:
    for none in (None, 0.0):
        assert np.array_equal(evened(LEVELS, none), LEVELS)


def test_a_correction_is_a_factor_of_two_a_stop() -> None:
    assert [gain(stops) for stops in (None, 0.0, 0.5, -1.0, 2.0)] == [1.0, 1.0, 2**0.5, 0.5, 2.0]


def test_more_than_a_stop_is_not_evened_out() -> None:
    assert np.array_equal(evened(LEVELS, 3.0), evened(LEVELS, 1.0))
    assert np.array_equal(evened(LEVELS, -3.0), evened(LEVELS, -1.0))
