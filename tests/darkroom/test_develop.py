"""Developing: the colours are right, and no frame, dark or bright, becomes garbage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
import simplejpeg

from cupola.core.frame import PixelFormat, PixelKind
from cupola.darkroom.develop import develop, encode_jpeg, thumbnail

if TYPE_CHECKING:
    from cupola.core.frame import Pixels

BITS, BLACK = 12, 64
WHITE = (1 << BITS) - 1
MONO = PixelFormat(PixelKind.MONO, bits=BITS, black_level=BLACK)
PATTERNS = ("RGGB", "BGGR", "GRBG", "GBRG")


def _bayer(pattern: str, bits: int = BITS, black: int = BLACK) -> PixelFormat:
    return PixelFormat(PixelKind.BAYER, bits=bits, bayer=pattern, black_level=black)


def _noise(level: float, sigma: float, shape: tuple[int, int] = (240, 320), seed: int = 1) -> npt.NDArray[np.uint16]:
    values = np.random.default_rng(seed).normal(level, sigma, shape)
    return np.clip(np.rint(values), 0, WHITE).astype(np.uint16)


def _mosaic(colour: npt.NDArray[np.uint16], pattern: str) -> npt.NDArray[np.uint16]:
    """What a sensor behind the pattern's filters sees of an (H, W, 3) picture."""
    seen = np.empty(colour.shape[:2], np.uint16)
    for site, letter in enumerate(pattern):
        seen[site // 2 :: 2, site % 2 :: 2] = colour[site // 2 :: 2, site % 2 :: 2, "RGB".index(letter)]
    return seen


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("channel", range(3), ids=["red", "green", "blue"])
def test_a_coloured_lamp_keeps_its_colour_behind_every_pattern(pattern: str, channel: int) -> None:
    scene = np.dstack([_noise(300, 8, seed=n) for n in range(3)])
    scene[100:140, 150:190, channel] = 3000
    picture = develop(_mosaic(scene, pattern), _bayer(pattern)).astype(int)
    lamp, sky = picture[110:130, 160:180].mean((0, 1)), picture[10:60, 10:60].mean((0, 1))
    others = [n for n in range(3) if n != channel]
    assert lamp[channel] > 200
    assert all(lamp[n] < 100 for n in others)
    assert np.ptp(sky) < 6, "the sky is neutral"


@pytest.mark.parametrize("pattern", PATTERNS)
def test_shapes_stay_where_they_are(pattern: str) -> None:
    scene = np.dstack([_noise(300, 8, seed=n) for n in range(3)])
    scene[101:141, 150:190] = 3000
    picture = develop(_mosaic(scene, pattern), _bayer(pattern))
    rows, columns = np.nonzero(picture.min(axis=2) > 200)
    assert abs(rows.mean() - 120.5) < 1
    assert abs(columns.mean() - 169.5) < 1


def test_the_background_of_a_coloured_sky_is_balanced_within_limits() -> None:
    def sky(red: float, green: float, blue: float) -> npt.NDArray[np.float64]:
        scene = np.dstack([_noise(BLACK + level, 8, seed=n) for n, level in enumerate((red, green, blue))])
        return develop(_mosaic(scene, "RGGB"), _bayer("RGGB")).mean((0, 1))

    assert np.ptp(sky(200, 350, 260)) < 8
    red_only = sky(800, 100, 100)  # sodium light: not turned into grey with amplified noise
    assert red_only[0] > red_only[1] + 40


def test_what_is_saturated_stays_white_whatever_the_balance() -> None:
    scene = np.dstack([_noise(BLACK + level, 8, seed=n) for n, level in enumerate((150, 350, 260))])
    scene[100:140, 150:190] = WHITE
    assert (develop(_mosaic(scene, "GRBG"), _bayer("GRBG"))[105:135, 155:185] == 255).all()


def test_a_night_sky_is_shown_dark_grey_with_its_stars() -> None:
    sky = _noise(BLACK + 40, 6)
    sky[50, 60] = BLACK + 400
    picture = develop(sky, MONO)
    assert 50 < np.median(picture) < 80
    assert picture[50, 60] > 170
    assert picture.min() < 20


@pytest.mark.parametrize("colour", [False, True], ids=["mono", "bayer"])
@pytest.mark.parametrize(("level", "low", "high"), [(0, 0, 0), (BLACK, 0, 0), (BLACK + 1, 0, 30), (2000, 120, 200), (WHITE, 255, 255)])
def test_a_constant_frame_is_one_even_grey(level: int, low: int, high: int, colour: bool) -> None:
    picture = develop(np.full((64, 64), level, np.uint16), _bayer("RGGB") if colour else MONO)
    assert np.ptp(picture) == 0
    assert low <= picture.min() <= high


@pytest.mark.parametrize("colour", [False, True], ids=["mono", "bayer"])
def test_a_capped_camera_gives_a_dark_picture_not_amplified_noise(colour: bool) -> None:
    picture = develop(_noise(BLACK, 2), _bayer("RGGB") if colour else MONO)
    assert np.median(picture) < 20
    assert picture.std() < 16


def _day() -> npt.NDArray[np.uint16]:
    """Bright sky above, dark ground below, a sun."""
    scene = np.vstack([_noise(2400, 60, (150, 320)), _noise(700, 60, (90, 320))])
    scene[20:40, 200:220] = WHITE
    return scene


def test_a_day_scene_keeps_a_natural_rendering() -> None:
    picture = develop(_day(), MONO).astype(int)
    ground, sky, sun = np.median(picture[170:]), np.median(picture[60:140]), picture[30, 210]
    assert 80 < ground < 140, "sRGB of 16 % is 112"
    assert 180 < sky < 220, "sRGB of 58 % is 200"
    assert sun == 255


def test_a_nearly_saturated_frame_is_nearly_white() -> None:
    picture = develop(_noise(4050, 30), MONO)
    assert np.median(picture) > 245
    assert picture.min() > 220


def test_a_sky_in_a_mostly_black_frame_is_not_burnt_out() -> None:
    frame = _noise(BLACK, 2, (400, 400))
    rows, columns = np.ogrid[:400, :400]
    circle = (rows - 200) ** 2 + (columns - 200) ** 2 < 120**2
    frame[circle] = _noise(BLACK + 200, 8, (400, 400))[circle]
    picture = develop(frame, MONO)
    assert np.median(picture[circle]) < 220
    assert (picture[circle] == 255).mean() < 0.01
    assert picture[~circle].mean() < 30


def test_brightness_rises_without_a_jump_from_night_to_day() -> None:
    levels = np.geomspace(30, 3900, 60)
    medians = [float(np.median(develop(_noise(BLACK + level, 1 + level**0.5 / 2, (80, 80)), MONO))) for level in levels]
    assert np.diff(medians).min() > -3
    assert np.diff(medians).max() < 20
    assert medians[-1] > 240


@pytest.mark.parametrize("level", [70, 300, 1500, 3900])
def test_a_brighter_sample_is_never_shown_darker(level: int) -> None:
    frame = _noise(level, 10, (128, 128))
    frame[:32] = np.arange(4096).reshape(32, 128)
    picture = develop(frame, MONO)[:32].ravel().astype(int)
    assert np.diff(picture).min() >= 0
    assert (picture[0], picture[-1]) == (0, 255)


def test_padding_bits_and_8_bit_samples_mean_the_same_picture() -> None:
    sky = _noise(300, 8)
    shifted = develop((sky << 4).astype(np.uint16), PixelFormat(PixelKind.MONO, bits=BITS, padding_bits=4, black_level=BLACK))
    assert np.array_equal(shifted, develop(sky, MONO))
    small = (sky >> 1).astype(np.uint8)
    assert small.max() < 255
    assert np.array_equal(develop(small, PixelFormat(PixelKind.MONO, bits=8)), develop(small.astype(np.uint16), PixelFormat(PixelKind.MONO, bits=8)))


def test_samples_above_the_declared_bits_are_white() -> None:
    frame = _noise(300, 8)
    frame[10:20, 10:20] = 60_000
    assert (develop(frame, MONO)[10:20, 10:20] == 255).all()


def test_a_mosaic_of_odd_size_loses_its_last_row_and_column() -> None:
    assert develop(_noise(300, 8, (61, 83)), _bayer("BGGR")).shape == (60, 82, 3)


def test_an_rgb_picture_passes_unchanged() -> None:
    picture = np.random.default_rng(2).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    assert np.array_equal(develop(picture, PixelFormat(PixelKind.RGB)), picture)


@pytest.mark.parametrize(
    ("pixels", "layout"),
    [
        (np.zeros((4, 4, 3), np.uint8), MONO),
        (np.zeros((4, 4), np.uint8), PixelFormat(PixelKind.RGB)),
        (np.zeros((4, 4, 3), np.uint16), PixelFormat(PixelKind.RGB)),
        (np.zeros((1, 4), np.uint16), MONO),
        (np.zeros((4, 4), np.uint16), _bayer("RGBG")),
        (np.zeros((4, 4), np.uint16), PixelFormat(PixelKind.BAYER, bits=12)),
        (np.zeros((4, 4), np.uint16), _bayer("RGGB", black=4095)),
        (np.zeros((4, 4), np.uint8), PixelFormat(PixelKind.YUV420)),
    ],
)
def test_what_cannot_be_developed_is_refused_with_a_reason(pixels: Pixels, layout: PixelFormat) -> None:
    with pytest.raises(ValueError, match=r"[a-z]{4}"):
        develop(pixels, layout)


def test_a_read_only_frame_is_left_as_it_is() -> None:
    frame = _noise(300, 8)
    frame.flags.writeable = False
    before = frame.copy()
    develop(frame, _bayer("RGGB"))
    develop(frame, MONO)
    assert np.array_equal(frame, before)


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 3)], ids=["mono", "colour"])
def test_a_jpeg_shows_the_picture_it_was_made_of(shape: tuple[int, ...]) -> None:
    picture = np.zeros(shape, np.uint8)
    picture[:, :32] = 200
    jpeg = encode_jpeg(picture, 90)
    height, width, colours, subsampling = simplejpeg.decode_jpeg_header(jpeg)
    assert (height, width) == shape[:2]
    assert (colours, subsampling) == (("Gray", "Gray") if len(shape) == 2 else ("YCbCr", "420"))
    back = simplejpeg.decode_jpeg(jpeg, "GRAY")[:, :, 0].astype(int)
    assert abs(back[:, :30].mean() - 200) < 3
    assert back[:, 34:].mean() < 3


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((2080, 3096), (215, 320)),
        ((960, 1280), (240, 320)),
        ((100, 321), (100, 320)),
        ((60, 80), (60, 80)),
        ((3000, 20), (3000, 20)),
        ((2, 5000), (1, 320)),
    ],
)
def test_a_thumbnail_is_the_picture_at_most_320_pixels_wide(size: tuple[int, int], expected: tuple[int, int]) -> None:
    height, width = size
    picture = np.zeros((height, width, 3), np.uint8)
    picture[height // 2 :, :, 0] = 220
    picture[:, width // 2 :, 2] = 220
    small = simplejpeg.decode_jpeg(thumbnail(encode_jpeg(picture, 90)), "RGB").astype(int)
    assert abs(small.shape[0] - expected[0]) <= 1
    assert small.shape[1] == expected[1]
    if min(expected) > 8:
        corners = small[2, 2], small[2, -3], small[-3, 2], small[-3, -3]
        for seen, wanted in zip(corners, ((0, 0, 0), (0, 0, 220), (220, 0, 0), (220, 0, 220)), strict=True):
            assert np.abs(seen - wanted).max() < 40


def test_a_thumbnail_of_rubbish_is_refused() -> None:
    whole = encode_jpeg(np.random.default_rng(3).integers(0, 256, (400, 600, 3)).astype(np.uint8), 90)
    for broken in (b"", b"rubbish", whole[:200], whole[: len(whole) // 2]):
        with pytest.raises(ValueError, match=r".+"):
            thumbnail(broken)
