"""What counts as motion, on simulated skies."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from tests.clips.night_sky import sky

from cupola.clips.change import WARM_UP, Change, Detector

BOX = {"shape": "box", "x": 0.0, "y": 0.0, "width": 1.0, "height": 0.6}


def small(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Half the size, as the motion process sees it."""
    return picture.reshape(picture.shape[0] // 2, 2, picture.shape[1] // 2, 2).mean(axis=(1, 3)).astype(np.uint8)


def learned(sensitivity: int = 50, region: dict[str, object] | None = None, mask: tuple[dict[str, object], ...] = ()) -> Detector:
    """A detector that knows the sky, and saw nothing move in it."""
    detector = Detector(sensitivity, region, mask)
    assert [detector.look(small(sky(number))) for number in range(WARM_UP + 5)] == [None] * (WARM_UP + 5)
    return detector


def crossing(detector: Detector, **more: float) -> list[Change | None]:
    return [detector.look(small(sky(100 + number, number / 8, **more))) for number in range(1, 8)]


def test_a_streak_is_motion_and_its_place_is_told() -> None:
    found = crossing(learned())
    assert all(found), "in every picture that it is in"
    first = found[0]
    assert first is not None and first.box[0] < 0.05 and first.box[2] == pytest.approx(0.125, abs=0.03) and 0.1 < first.box[1] < first.box[3] < 0.4


@pytest.mark.parametrize("sensitivity", [1, 50, 100])
def test_noise_and_stars_are_no_motion(sensitivity: int) -> None:
    detector = learned(sensitivity)
    assert not any(detector.look(small(sky(number))) for number in range(20, 60))


def test_noisier_pictures_raise_what_counts_by_themselves() -> None:
    detector = Detector(100, None, ())
    assert not any(detector.look(sky(number, noise=12)) for number in range(40))


def test_light_that_changes_everywhere_is_no_motion_and_is_learned() -> None:
    detector = learned(80)
    assert detector.look(small(sky(20, light=60))) is None, "a cloud gives the moon free"
    assert detector.look(np.full((180, 320), 250, np.uint8)) is None, "lamps are switched on"
    detector = learned()
    detector.forget()
    assert not any(detector.look(small(sky(number, light=120))) for number in range(WARM_UP)) and all(crossing(detector, light=120.0)[2:])


def test_what_moves_outside_of_the_region_or_under_the_mask_does_not_count() -> None:
    assert any(crossing(learned(region=BOX))) and not any(crossing(learned(region=BOX), row=0.85))
    masked = ({"shape": "box", "x": 0.0, "y": 0.15, "width": 1.0, "height": 0.4},)
    assert not any(crossing(learned(mask=masked))) and any(crossing(learned(mask=masked), row=0.85))
    assert not any(crossing(learned(mask=({**BOX, "height": 1.0},)))), "nothing is left to look at"


def test_less_sensitive_needs_more() -> None:
    assert not any(crossing(learned(5))) and all(crossing(learned(100)))


def test_a_trail_as_thin_as_a_real_meteors_counts_for_a_detector_that_is_sensitive_enough() -> None:
    assert not any(crossing(learned(50), thick=1.5)) and all(crossing(learned(75), thick=1.5))


def test_what_stays_becomes_background() -> None:
    detector, there = learned(), small(sky(7, 0.5))
    seen = [detector.look(there) is not None for _ in range(200)]
    assert seen[0] and not seen[-1]


def test_pictures_of_another_size_begin_anew() -> None:
    detector = learned()
    assert not any(detector.look(sky(number)) for number in range(WARM_UP))
