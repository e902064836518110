"""One number for a picture's brightness, and what must not move it."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pytest
import simplejpeg

from cupola.camera.metering import Region, level_of
from cupola.core.frame import Frame, Packet, PixelFormat, PixelKind

AT = datetime(2026, 11, 21, 23, tzinfo=UTC)
BLACK, WHITE = 256, 4095
LAYOUT = PixelFormat(PixelKind.BAYER, 12, "RGGB", 4, BLACK)


def _frame(adu: npt.NDArray[np.floating], layout: PixelFormat = LAYOUT) -> Frame:
    noisy = np.random.default_rng(1).normal(adu, 4)
    white = (1 << layout.bits) - 1
    data = np.clip(np.rint(noisy), 0, white).astype(np.uint16) << np.uint16(layout.padding_bits)
    return Frame(1, AT, AT, 1, data.astype(np.uint8) if layout.bits == 8 else data, layout)


def _sky(level: float = 0.2, height: int = 600, width: int = 800) -> npt.NDArray[np.float64]:
    return np.full((height, width), BLACK + level * (WHITE - BLACK))


def _level(adu: npt.NDArray[np.floating], region: Region | None = None) -> float:
    found = level_of(_frame(adu), region) if region else level_of(_frame(adu))
    assert found is not None
    return found


def test_black_level_and_padding_do_not_count() -> None:
    for level in (0.005, 0.2, 0.7):
        assert _level(_sky(level)) == pytest.approx(level, rel=0.01, abs=2e-4)
        mono = PixelFormat(PixelKind.MONO, 12, black_level=BLACK)
        assert level_of(_frame(_sky(level), mono)) == pytest.approx(level, rel=0.01, abs=2e-4)


@pytest.mark.parametrize("pattern", ["RGGB", "GRBG", "GBRG", "BGGR"])
@pytest.mark.parametrize("shape", [(600, 800), (1201, 1603), (64, 48)])
def test_of_a_mosaic_green_counts(pattern: str, shape: tuple[int, int]) -> None:
    adu = _sky(0.1, *shape)
    for site in range(4):
        if pattern[site] == "G":
            adu[site // 2 :: 2, site % 2 :: 2] = BLACK + 0.3 * (WHITE - BLACK)
    assert level_of(_frame(adu, PixelFormat(PixelKind.BAYER, 12, pattern, 0, BLACK))) == pytest.approx(0.3, rel=0.01)


def _moon(adu: npt.NDArray[np.float64]) -> None:
    rows, columns = np.indices(adu.shape)
    distance = np.hypot(rows - 200, columns - 300)
    adu += 40000 / (20 + distance**1.5)  # its glare
    adu[distance < 25] = WHITE


def _lamps(adu: npt.NDArray[np.float64]) -> None:
    adu[540:600, :] = WHITE  # a street along the lower edge


def _stars(adu: npt.NDArray[np.float64]) -> None:
    rng = np.random.default_rng(3)
    adu[rng.integers(0, 600, 8000), rng.integers(0, 800, 8000)] = WHITE


def _corners(adu: npt.NDArray[np.float64]) -> None:
    rows, columns = np.indices(adu.shape)
    adu[np.hypot(rows - 300, columns - 400) > 240] = BLACK  # a fisheye: less than half of the frame sees anything


def _hills(adu: npt.NDArray[np.float64]) -> None:
    adu[400:, :] = BLACK + 5


@pytest.mark.parametrize("disturb", [_moon, _lamps, _stars, _corners, _hills])
def test_what_is_not_the_sky_does_not_move_it(disturb: object) -> None:
    adu = _sky()
    disturb(adu)  # type: ignore[operator]
    assert abs(math.log2(_level(adu) / 0.2)) < 0.1


def test_a_picture_that_is_clipped_says_so() -> None:
    assert _level(_sky(1.5)) >= 0.98
    half = _sky(0.3)
    half[:, :500] = WHITE * 2
    assert _level(half) >= 0.98


def test_a_dark_picture_is_near_nothing_and_not_below() -> None:
    assert 0 <= _level(_sky(0.0)) < 0.002


def test_only_the_region_counts() -> None:
    adu = _sky(0.6)
    adu[150:450, 200:600] = BLACK + 0.1 * (WHITE - BLACK)
    assert _level(adu, Region("box", 0.25, 0.25, 0.5, 0.5)) == pytest.approx(0.1, rel=0.02)
    assert _level(adu, Region("ellipse", 0.25, 0.25, 0.5, 0.5)) == pytest.approx(0.1, rel=0.02)
    assert _level(adu, Region("box", 0.0, 0.8, 1.0, 0.2)) == pytest.approx(0.6, rel=0.02)
    assert _level(adu, Region("box", 0.99, 0.99, 0.01, 0.01)) == pytest.approx(0.6, rel=0.1)


def test_an_ellipse_leaves_the_corners_of_its_box_out() -> None:
    rows, columns = np.indices((600, 800))
    adu = _sky(0.1)
    adu[((rows - 300) / 300) ** 2 + ((columns - 400) / 400) ** 2 > 1] = BLACK + 0.3 * (WHITE - BLACK)
    assert _level(adu, Region("ellipse")) == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize(("shown", "light"), [(255, 1.0), (188, 0.503), (137, 0.25), (59, 0.0437)])
def test_a_developed_picture_is_metered_with_its_gamma_undone(shown: int, light: float) -> None:
    """IEC 61966-2-1: 188 shows half of the light of white."""
    rgb = np.full((480, 640, 3), shown, np.uint8)
    packet = Packet(1, AT, AT, 1, "jpeg", simplejpeg.encode_jpeg(rgb, 90), 640, 480)
    assert level_of(packet) == pytest.approx(light, rel=0.02)
    assert level_of(Frame(1, AT, AT, 1, rgb, PixelFormat(PixelKind.RGB))) == pytest.approx(light, rel=0.02)
    assert level_of(Frame(1, AT, AT, 1, rgb[:, :, 0], PixelFormat(PixelKind.YUV420))) == pytest.approx(light, rel=0.02)


def test_what_is_no_picture_has_no_level() -> None:
    assert level_of(Packet(1, AT, AT, 1, "jpeg", b"\xff\xd8 broken", 640, 480)) is None
    assert level_of(Packet(1, AT, AT, 1, "h264", b"\0\0\0\1", 640, 480)) is None
