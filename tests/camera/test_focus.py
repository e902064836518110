"""Half-flux radius and width of stars, against stars whose true ones are known."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pytest

from cupola.camera.focus import Luma, luma_of, measure, region_of
from cupola.core.frame import Frame, PixelFormat, PixelKind

SIZE, WHITE = 384, 65535.0
PLACES = [(column, row) for row in (60, 190, 320) for column in (60, 190, 320)]


def _sky(shape: npt.NDArray[np.float64] | None = None, seed: int = 1) -> Luma:
    """Noise of 30 around 500, with `shape` (an array of light around its middle) added at nine places."""
    sky = np.random.default_rng(seed).normal(500, 30, (SIZE, SIZE))
    if shape is not None:
        half = shape.shape[0] // 2
        for x, y in PLACES:
            sky[y - half : y + half + 1, x - half : x + half + 1] += shape
    return sky.astype(np.float32)


def _distance() -> npt.NDArray[np.float64]:
    rows, columns = np.mgrid[-40:41, -40:41]
    return np.hypot(rows, columns)


def _gauss(deviation: float, peak: float) -> npt.NDArray[np.float64]:
    return peak * np.exp(-(_distance() ** 2) / (2 * deviation**2))


@pytest.mark.parametrize("deviation", [1.5, 2.0, 3.0, 5.0, 7.0])
def test_a_gaussian_star_has_the_width_that_theory_says(deviation: float) -> None:
    found = measure(_sky(_gauss(deviation, 3000)), WHITE)
    assert len(found.stars) == len(PLACES)
    assert found.hfr_px == pytest.approx(math.sqrt(2 * math.log(2)) * deviation, rel=0.03)
    assert found.fwhm_px == pytest.approx(2 * math.sqrt(2 * math.log(2)) * deviation, rel=0.05)


@pytest.mark.parametrize("radius", [8, 14, 20])
def test_the_ring_of_a_star_far_out_of_focus_is_one_star(radius: int) -> None:
    distance = _distance()
    found = measure(_sky(np.where((distance < radius) & (distance > 0.4 * radius), 300.0, 0.0)), WHITE)
    assert len(found.stars) == len(PLACES)
    assert found.hfr_px == pytest.approx(radius * math.sqrt((1 + 0.4**2) / 2), rel=0.05)


def test_turning_the_focus_moves_the_figures_the_same_way() -> None:
    widths = [measure(_sky(_gauss(deviation, 8000 / deviation**2)), WHITE).hfr_px for deviation in (6.0, 4.0, 2.5, 1.5)]
    assert all(one is not None for one in widths)
    assert widths == sorted(widths, key=lambda hfr: -(hfr or 0))


def test_places_of_stars_are_found_to_a_fraction_of_a_pixel() -> None:
    found = measure(_sky(_gauss(2.0, 5000)), WHITE)
    assert all(min(math.hypot(star.x - x, star.y - y) for x, y in PLACES) < 0.2 for star in found.stars)


def test_noise_and_hot_pixels_are_no_stars() -> None:
    assert measure(_sky(), WHITE).hfr_px is None
    hot = np.zeros((81, 81))
    hot[40, 40] = 20000
    found = measure(_sky(hot), WHITE)
    assert found.hfr_px is None and not found.stars


def test_saturated_stars_are_counted_and_left_out() -> None:
    found = measure(np.minimum(_sky(_gauss(3.0, 90000)), WHITE).astype(np.float32), WHITE)
    assert found.saturated == len(PLACES) and found.hfr_px is None


def test_a_region_too_small_for_a_star_is_refused() -> None:
    with pytest.raises(ValueError, match="56"):
        measure(np.zeros((40, 40), np.float32), WHITE)


def test_a_region_lies_inside_the_picture_and_starts_on_the_bayer_pattern() -> None:
    assert region_of(1920, 1080, 256, None, None) == (832, 412, 256, 256)
    assert region_of(1920, 1080, 256, 3, 1079) == (0, 824, 256, 256)
    assert region_of(1921, 201, 512, 5000, 7) == (1408, 0, 512, 200)


def test_brightness_of_a_bayer_frame_takes_every_colour_at_each_place() -> None:
    data = np.tile(np.array([[100, 200], [300, 400]], np.uint16), (8, 8))
    now = datetime.now(UTC)
    frame = Frame(1, now, now, 1, data, PixelFormat(PixelKind.BAYER, 12, "RGGB"))
    luma, white = luma_of(frame)
    assert white == 4095 and luma.shape == (15, 15)
    assert np.all(luma == 250)


@pytest.mark.parametrize("peak", [1000, 500])
def test_faint_stars_are_measured_without_drowning_in_noise(peak: float) -> None:
    found = measure(_sky(_gauss(2.0, peak)), WHITE)
    assert len(found.stars) == len(PLACES)
    assert found.hfr_px == pytest.approx(2.355, rel=0.08)
