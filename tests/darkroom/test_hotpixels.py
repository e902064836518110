"""Points that glow are told from stars: measured on simulated skies, whose truth is known."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pytest

from cupola.config.drivers import SimulatorOptions
from cupola.core.frame import PixelFormat, PixelKind, Station
from cupola.darkroom import hotpixels
from cupola.drivers.sky.scene import Scene
from cupola.drivers.sky.sensor import Sensor

NIGHT_S = datetime(2026, 10, 10, 19, 30, tzinfo=UTC).timestamp()
EXPOSURE_S, GAIN = 15.0, 150.0
PATTERNS = ("RGGB", None)


def _sky(bayer: str | None) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16], Sensor, Scene]:
    """The same exposure read without its hot pixels, and with them."""
    given = {"width": 1280, "height": 960, "bayer": bayer, "hot_pixels": 0.001, "temperature_c": 22.0, "seed": 4}
    options = {**SimulatorOptions.model_validate({}).model_dump(), **given}
    sensor, scene = Sensor(options), Scene(options, Station("test", 47.0, 11.0), NIGHT_S)
    light = scene.render(NIGHT_S, EXPOSURE_S, sensor.read_noise_e).electrons
    clean, spotted = light + np.float32(sensor.dark_e(EXPOSURE_S)), light.copy()
    sensor.collect(spotted, EXPOSURE_S)
    padding = np.uint16(sensor.format.padding_bits)
    read = [sensor.read(electrons, GAIN, np.random.default_rng(7)) >> padding for electrons in (clean, spotted)]
    return read[0].astype(np.uint16), read[1].astype(np.uint16), sensor, scene


def _layout(sensor: Sensor) -> PixelFormat:
    return PixelFormat(sensor.format.kind, sensor.format.bits, sensor.format.bayer, 0, sensor.format.black_level)


@pytest.mark.parametrize("bayer", PATTERNS)
def test_glowing_points_go_and_the_light_of_stars_stays(bayer: str | None) -> None:
    clean, spotted, sensor, scene = _sky(bayer)
    layout = _layout(sensor)
    found = hotpixels.find(spotted, layout)
    mended = spotted.copy()
    hotpixels.mend(mended, found, 2 if bayer else 1)

    sigma = 1.4826 * float(np.median(np.abs(clean[:, 2:].astype(float) - clean[:, :-2]))) / 2**0.5
    glow = (spotted.astype(float) - clean).ravel()[sensor.hot]
    bright = sensor.hot[glow > 30 * sigma]
    assert len(bright) > 50
    left = (mended.astype(float) - clean).ravel()[bright]
    assert (left < 0.3 * (spotted.astype(float) - clean).ravel()[bright]).mean() > 0.85, "most of what glows is gone"

    hot = np.zeros(clean.shape, bool)
    hot.ravel()[sensor.hot] = True
    stars = scene.render(NIGHT_S, EXPOSURE_S, sensor.read_noise_e).stars
    height, width = clean.shape
    kept = []
    for x, y, flux in zip(stars.x, stars.y, stars.flux_e, strict=True):
        column, row = round(x), round(y)
        if flux < 400 or not (6 <= column < width - 6 and 6 <= row < height - 6):
            continue
        patch = (slice(row - 4, row + 5), slice(column - 4, column + 5))
        if hot[patch].any():
            continue  # a hot pixel in its light
        before = spotted[patch].astype(float) - np.median(spotted[patch])
        after = mended[patch].astype(float) - np.median(spotted[patch])
        if before.sum() > 12 * 9 * sigma:
            kept.append(after.sum() / before.sum())
    ratios = np.array(kept)
    assert len(ratios) > 60
    assert (np.abs(ratios - 1) < 0.01).all(), "every star keeps its light"


@pytest.mark.parametrize("bayer", PATTERNS)
def test_a_sky_without_hot_pixels_is_left_alone(bayer: str | None) -> None:
    clean, _, sensor, _ = _sky(bayer)
    assert hotpixels.find(clean, _layout(sensor)).size <= 10, "but for the tips of trees before the sky"


def test_a_point_is_mended_with_its_neighbours_of_the_same_colour() -> None:
    rng = np.random.default_rng(1)
    mosaic = rng.normal(300, 4, (64, 64)).astype(np.uint16)
    mosaic[1::2, 1::2] += 200  # blue
    mosaic[21, 31] = 3000
    places = hotpixels.find(mosaic, PixelFormat(PixelKind.BAYER, 12, "RGGB", 0, 64))
    assert places.tolist() == [21 * 64 + 31]
    hotpixels.mend(mosaic, places, 2)
    assert 480 < mosaic[21, 31] < 520


def test_points_at_the_border_are_mended_from_inside() -> None:
    frame = np.full((16, 16), 100, np.uint16)
    places = np.array([0, 15, 15 * 16, 15 * 16 + 15])
    frame.ravel()[places] = 4000
    hotpixels.mend(frame, places, 2)
    assert (frame == 100).all()


def test_a_frame_full_of_detail_or_too_small_is_left_alone() -> None:
    layout = PixelFormat(PixelKind.MONO, 12)
    checked = np.zeros((64, 64), np.uint16)
    checked[::4, ::4] = 4000
    assert hotpixels.find(checked, layout).size == 0
    assert hotpixels.find(np.zeros((8, 8), np.uint16), layout).size == 0


def test_8_bit_samples_do_not_overflow() -> None:
    frame = np.full((64, 64), 250, np.uint8)
    assert hotpixels.find(frame, PixelFormat(PixelKind.MONO, 8)).size == 0
