"""The numbers of an image, and that failing to get them keeps no image from being developed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest
import simplejpeg
from tests.darkroom.skies import BAYER, MONO, Sky, scattered

from cupola.core.frame import PixelFormat, PixelKind, Pixels
from cupola.darkroom.measure import LINEAR, Measured, Measurer, linear_luma, measure
from cupola.darkroom.streaks import Previous

STARS = scattered(80, 4000.0)


def _measured(sky: Sky, exposure_s: float | None = 10.0, layout: PixelFormat = MONO, **gain: float | str) -> Measured:
    return measure(sky.samples(layout), layout, exposure_s, Previous(), **gain)  # pyright: ignore[reportArgumentType]


def test_the_numbers_of_a_clear_sky() -> None:
    numbers = _measured(Sky().points(STARS))
    assert set(numbers) == {"stars", "hfr", "sky", "sharpness", "streaks"}
    assert numbers["stars"] == pytest.approx(80, abs=3)
    assert numbers["hfr"] == pytest.approx(1.06, rel=0.1)
    assert numbers["sky"] == pytest.approx(-2.5 * math.log10(400 / (16383 - 200) / 10), abs=0.02)
    assert numbers["sharpness"] > 0.05
    assert numbers["streaks"] == []


def test_a_sky_twice_as_bright_has_three_quarters_of_a_magnitude_less_and_the_exposure_is_counted_out() -> None:
    dark, bright = _measured(Sky(level=400))["sky"], _measured(Sky(level=800))["sky"]
    assert dark - bright == pytest.approx(0.7526, abs=0.02)
    assert _measured(Sky(level=800), exposure_s=20.0)["sky"] == pytest.approx(dark, abs=0.02)


@pytest.mark.parametrize(("gains", "scale"), [((100.0, 160.2), "tenth_db"), ((400.0, 800.0), "linear")])
def test_gain_is_counted_out_where_its_meaning_is_known(gains: tuple[float, float], scale: str) -> None:
    low, high = _measured(Sky(level=400), gain=gains[0], scale=scale)["sky"], _measured(Sky(level=800), gain=gains[1], scale=scale)["sky"]
    assert low == pytest.approx(high, abs=0.02)


def test_without_an_exposure_or_with_a_saturated_sky_there_is_no_brightness() -> None:
    assert _measured(Sky(), exposure_s=None)["sky"] is None
    assert _measured(Sky(level=20_000))["sky"] is None


def test_by_day_no_stars_are_counted() -> None:
    numbers = _measured(Sky(level=6000).points(STARS), exposure_s=0.001)
    assert (numbers["stars"], numbers["hfr"], numbers["streaks"]) == (None, None, [])
    assert numbers["sky"] is not None


def test_a_blurred_scene_is_less_sharp_and_noise_alone_has_no_sharpness() -> None:
    scene = np.kron(np.random.default_rng(4).uniform(2000, 6000, (52, 77)), np.ones((10, 10)))[:512, :768]
    sharp, blurred = Sky(), Sky()
    sharp.light, blurred.light = scene, cv2.GaussianBlur(scene, (0, 0), 4)
    assert _measured(sharp, 0.001)["sharpness"] > 3 * _measured(blurred, 0.001)["sharpness"]
    assert _measured(Sky())["sharpness"] < 0.01


def test_an_rgb_picture_and_a_cameras_jpeg_are_measured_on_their_luma() -> None:
    samples = Sky(level=3000).points([(x, y, 12 * light) for x, y, light in STARS]).samples(BAYER).astype(np.float64)
    grey = np.clip(255 * ((samples - 200) / 16183) ** (1 / 2.2), 0, 255).astype(np.uint8)
    grey = cv2.blur(grey, (2, 2))
    rgb = cast("Pixels", np.dstack([grey] * 3))
    numbers = measure(rgb, PixelFormat(PixelKind.RGB), 10.0, Previous())
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), 92, "RGB", "420")
    of_jpeg = measure(linear_luma(simplejpeg.decode_jpeg(jpeg, "GRAY")[:, :, 0]), LINEAR, 10.0, Previous())
    assert numbers["stars"] == pytest.approx(80, abs=12)  # eight bits are coarse
    assert of_jpeg["stars"] == pytest.approx(numbers["stars"], abs=12)
    assert of_jpeg["sky"] == pytest.approx(numbers["sky"], abs=0.1)


def test_a_picture_too_small_to_have_a_background_has_no_numbers() -> None:
    numbers = measure(np.zeros((96, 640), np.uint16), MONO, 1.0, Previous())
    assert {numbers[name] for name in ("stars", "hfr", "sky", "sharpness")} == {None}


@pytest.mark.parametrize("value", [0, 200, 300])  # 200: the black level
def test_a_picture_without_any_light_or_contrast_is_measured_without_a_warning(value: int) -> None:
    """What numpy warns of is an error in the station's log."""
    with np.errstate(all="raise"):
        numbers = measure(np.full((480, 640), value, np.uint16), MONO, 1.0, Previous())
    assert not numbers["stars"] and not numbers["streaks"]


def test_every_streak_gets_a_crop_beside_the_image(tmp_path: Path) -> None:
    measurer = Measurer()
    measurer.measure(Sky().points(STARS).samples(BAYER), BAYER, camera="north", exposure_s=10.0)
    sky = Sky().points(STARS).line((150.0, 120.0, 400.0, 200.0, 200.0)).line((500.0, 400.0, 640.0, 330.0, 200.0))
    numbers = measurer.measure(sky.samples(BAYER, 2), BAYER, camera="north", exposure_s=10.0)
    assert len(numbers["streaks"]) == 2
    measurer.save(numbers, tmp_path / "jpg" / "20261121T230001Z_000001.jpg")
    for number, streak in enumerate(numbers["streaks"], 1):
        path = tmp_path / "streaks" / f"20261121T230001Z_000001_{number}.jpg"
        assert streak["crop"] == str(path)
        height, width = simplejpeg.decode_jpeg(path.read_bytes()).shape[:2]
        assert width == pytest.approx(abs(streak["x1"] - streak["x0"]) + 96, abs=4)
        assert height == pytest.approx(abs(streak["y1"] - streak["y0"]) + 96, abs=4)
    assert measurer.taken() == []


def test_cameras_have_each_their_own_frame_before(tmp_path: Path) -> None:
    measurer = Measurer()
    moving = Sky().points(STARS).line((300.0, 220.0, 342.0, 232.0, 120.0))
    measurer.measure(Sky().points(STARS).samples(), MONO, camera="north", exposure_s=10.0)
    assert measurer.measure(moving.samples(seed=2), MONO, camera="south", exposure_s=10.0)["streaks"] == []
    assert len(measurer.measure(moving.samples(seed=3), MONO, camera="north", exposure_s=10.0)["streaks"]) == 1


def test_a_measurement_that_fails_is_told_once_and_leaves_nothing(tmp_path: Path) -> None:
    measurer = Measurer()
    yuv = PixelFormat(PixelKind.YUV420)
    for _ in range(3):
        assert measurer.measure(Sky().samples(), yuv, camera="north", exposure_s=1.0) == {}
    (problem,) = measurer.taken()
    assert "developed all the same" in problem
    assert "north" in problem
    assert measurer.measure(Sky().points(STARS).samples(), MONO, camera="north", exposure_s=1.0)["stars"] > 70


def test_a_crop_that_cannot_be_written_leaves_the_numbers(tmp_path: Path) -> None:
    measurer = Measurer()
    (tmp_path / "streaks").write_text("a file where the folder should be")
    measurer.measure(Sky().points(STARS).samples(), MONO, camera="north", exposure_s=10.0)
    numbers = measurer.measure(Sky().points(STARS).line((150.0, 120.0, 400.0, 200.0, 200.0)).samples(seed=2), MONO, camera="north", exposure_s=10.0)
    measurer.save(numbers, tmp_path / "jpg" / "a.jpg")
    assert numbers["streaks"][0]["crop"] is None
    assert len(measurer.taken()) == 1
