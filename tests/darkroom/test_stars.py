"""Which peaks are taken for stars: in skies with hot pixels, colour, foreground, clouds and a moon."""

from __future__ import annotations

import numpy as np
import pytest
from tests.darkroom.skies import BAYER, MONO, NOISE, SIZE, Sky, near, scattered

from cupola.core.frame import PixelFormat, PixelKind
from cupola.darkroom.field import Field
from cupola.darkroom.stars import Stars, find_stars

FAINT = 8.0 * NOISE * np.sqrt(4 * np.pi) * 0.9  # light of a star of signal to noise 8: sigma of the filter and the star 0.9


def _stars(sky: Sky, layout: PixelFormat = MONO, seed: int = 1) -> Stars:
    return find_stars(Field.of(sky.samples(layout, seed), layout))


@pytest.mark.parametrize("layout", [MONO, BAYER], ids=["mono", "bayer"])
def test_faint_stars_are_found_where_they_are_and_hardly_anything_else(layout: PixelFormat) -> None:
    points = scattered(150, 1.8 * FAINT)
    found = _stars(Sky().points(points), layout)
    assert near(points, found.x, found.y) >= 146
    assert len(found) <= 150 + 8


def test_an_empty_sky_has_no_stars() -> None:
    assert sum(len(_stars(Sky(), seed=seed)) for seed in range(5)) <= 10


def test_hot_pixels_are_no_stars_however_bright() -> None:
    sky = Sky()
    sky.hot = [(round(x), round(y), value) for value in (60.0, 150.0, 800.0, 9000.0) for x, y, _ in scattered(40, 0, seed=int(value))]
    assert len(_stars(sky)) <= 5


def test_lamps_in_front_of_dark_trees_are_no_stars() -> None:
    above = [(x, y, light) for x, y, light in scattered(60, 2 * FAINT) if y < 300]
    lamps = [(x, y, 40 * FAINT) for x, y, _ in scattered(60, 0, seed=3) if y > 380]
    found = _stars(Sky().points(above).foreground(340).points(lamps))
    assert near(above, found.x, found.y) >= len(above) - 2
    assert near(lamps, found.x, found.y) == 0


def test_outside_of_a_lens_circle_is_no_sky() -> None:
    sky = Sky()
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    sky.light[np.hypot(x - SIZE[1] / 2, y - SIZE[0] / 2) > SIZE[0] / 2] = 0
    field = Field.of(sky.samples(), MONO)
    assert field.sky[32, 48]
    assert not field.sky[:, :12].any()
    assert 0.4 < field.sky.mean() < 0.55


def test_a_sky_that_brightens_evenly_is_all_sky() -> None:
    sky = Sky()
    sky.light *= np.linspace(0.3, 2.5, SIZE[1])
    assert Field.of(sky.samples(), MONO).sky.all()


def test_wisps_of_cloud_and_the_moon_are_no_stars() -> None:
    wisps = [(x, y, 3000 * FAINT / 100) for x, y, _ in scattered(25, 0, seed=5, edge=60)]
    found = _stars(Sky().points(wisps, sigma_px=6.0).points([(400.0, 250.0, 3e7)], sigma_px=20.0))
    assert len(found) <= 4


def test_the_half_flux_radius_of_a_gaussian_is_told_within_a_tenth() -> None:
    for sigma in (0.9, 1.3, 1.8):
        found = _stars(Sky().points(scattered(60, 60 * FAINT), sigma_px=sigma))
        assert found.hfr == pytest.approx(1.1774 * sigma, rel=0.1)


def test_a_bright_star_is_one() -> None:
    found = _stars(Sky().points([(300.3, 200.6, 3e6)]).points([(300.3, 200.6, 2e5)], sigma_px=5.0))
    assert near([(300.3, 200.6, 0)], found.x, found.y) == 1
    assert len(found) <= 2


def test_padding_in_the_samples_changes_nothing() -> None:
    points = scattered(80, 3 * FAINT)
    plain = Sky().points(points).samples(PixelFormat(PixelKind.MONO, bits=12, black_level=200))
    stars = find_stars(Field.of(plain, PixelFormat(PixelKind.MONO, bits=12, black_level=200)))
    padded = find_stars(Field.of((plain << 4).astype(np.uint16), PixelFormat(PixelKind.MONO, bits=12, black_level=200, padding_bits=4)))
    assert len(padded) == pytest.approx(len(stars), abs=2)
    assert padded.hfr == pytest.approx(stars.hfr, rel=0.01)


def test_what_is_no_sensors_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="not a sensor's"):
        Field.of(np.zeros((300, 300, 3), np.uint8), PixelFormat(PixelKind.RGB))
    with pytest.raises(ValueError, match="too small"):
        Field.of(np.zeros((100, 300), np.uint16), MONO)
