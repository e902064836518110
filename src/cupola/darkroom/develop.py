"""From a sensor's samples to a picture people look at: black level, white balance, stretch, debayer, JPEG.

Pure functions. Where originals come from and JPEGs go to is the business of `darkroom.process`.

The whole tone curve is one table a colour, applied to the mosaic before it is debayered: every sample is
touched once at 16 bit, and the debayering, the larger part, works on 8 bit. No full frame in float exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from cupola.core.frame import PixelFormat, PixelKind

if TYPE_CHECKING:
    from cupola.core.frame import Pixels

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

SAMPLES = 10_000  # of each colour site: enough for a median within 1 % of the noise
BALANCE_LIMIT = 2.5  # strongest factor between two colours
SHADOW_SIGMAS = 2.8  # black is so far below the background
TARGET = 0.25  # brightness the background is shown at
BRIGHT, BRIGHT_SHOWN = 0.95, 0.8  # this quantile is shown no brighter than that
GAIN_LIMIT = 100.0  # slope of the curve at black: noise is not a picture
DAY_FROM, DAY_FULL = 0.15, 0.35  # background level at which the night's curve begins to give way, and has


def develop(pixels: Pixels, layout: PixelFormat) -> Bytes:
    """A picture for the screen: (H, W) uint8 of a mono sensor, (H, W, 3) uint8 RGB of a colour one.

    `pixels`: (H, W) uint8 or uint16 for MONO and BAYER, in ADU with the padding bits still in place when
    `layout` says that there are some; (H, W, 3) uint8 for RGB, which the camera has developed already and
    is returned as it came. A mosaic of odd size loses its last row or column. Raises ValueError for
    anything else.
    """
    if layout.kind is PixelKind.RGB:
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise ValueError(f"an RGB picture has the shape (H, W, 3) and 8 bit, not {pixels.shape} and {pixels.dtype}")
        return pixels.astype(np.uint8, copy=False)
    if layout.kind not in (PixelKind.MONO, PixelKind.BAYER):
        raise ValueError(f"there is nothing to develop in a {layout.kind} picture")
    if pixels.ndim != 2 or min(pixels.shape) < 2 or pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"a sensor's picture has the shape (H, W), at least 2 x 2, and 8 or 16 bit, not {pixels.shape} and {pixels.dtype}")
    if layout.kind is PixelKind.MONO:
        table = Tone.of([_sparse(pixels)], layout).tables(pixels.dtype.itemsize * 8, layout)[0]
        return _opencv().LUT(np.ascontiguousarray(pixels), table)
    return _develop_mosaic(pixels, layout)


def _develop_mosaic(pixels: Pixels, layout: PixelFormat) -> Bytes:
    cv2 = _opencv()
    pattern = str(layout.bayer).upper()
    if pattern not in ("RGGB", "BGGR", "GRBG", "GBRG"):
        raise ValueError(f"{layout.bayer!r} is no Bayer pattern; known are RGGB, BGGR, GRBG and GBRG")
    height, width = pixels.shape[0] & ~1, pixels.shape[1] & ~1
    pixels = cast("Pixels", np.ascontiguousarray(pixels[:height, :width]))
    sites = [pixels[site // 2 :: 2, site % 2 :: 2] for site in range(4)]
    colours = [np.concatenate([_sparse(sites[i]) for i in range(4) if pattern[i] == colour]) for colour in "RGB"]
    tables = dict(zip("RGB", Tone.of(colours, layout).tables(pixels.dtype.itemsize * 8, layout), strict=True))
    toned = np.empty((height, width), np.uint8)
    for row in (0, 1):  # two neighbours in a row are two channels to OpenCV: each gets its colour's table, nothing is copied
        pair = np.dstack([tables[pattern[2 * row]], tables[pattern[2 * row + 1]]])
        shape = (height // 2, width // 2, 2)
        cv2.LUT(pixels[row::2].reshape(shape), pair, toned[row::2].reshape(shape))
    # Edge-aware costs 7.5 ms at 6.4 MP and 8 bit against 6.5 for bilinear. These names are those of the pattern's first
    # two rows; OpenCV's older ones, `BayerBG` for RGGB, begin at its second row and column.
    return cv2.cvtColor(toned, getattr(cv2, f"COLOR_Bayer{pattern}2RGB_EA"))


@dataclass(frozen=True, slots=True)
class Tone:
    """How a frame is shown, measured on a sparse part of it. Levels are fractions of the white level, after balancing."""

    gains: tuple[float, ...]  # a colour, the smallest is 1, so that what is saturated stays white
    background: float
    sigma: float
    bright: float

    @classmethod
    def of(cls, colours: list[npt.NDArray[Any]], layout: PixelFormat) -> Tone:
        """`colours`: some samples of each colour of one frame, 1-D, in the file's ADU.

        White balance is grey-world on the background: its median is the same in all colours, as far as
        BALANCE_LIMIT allows, and left alone where the background drowns in noise.
        """
        levels = [_level(samples, layout) for samples in colours]
        medians = np.array([float(np.median(level)) for level in levels])
        noise = max(_sigma(level, median) for level, median in zip(levels, medians, strict=True))
        gains = np.ones(len(levels))
        if medians.min() > noise and medians.min() > 0:
            gains = np.clip(medians.max() / medians, 1.0, BALANCE_LIMIT)
        balanced = np.minimum(np.concatenate([level * gain for level, gain in zip(levels, gains, strict=True)]), 1.0)
        background = float(np.median(balanced))
        return cls(tuple(gains.tolist()), background, _sigma(balanced, background), float(np.quantile(balanced, BRIGHT)))

    def curve(self, level: Floats) -> Floats:
        """Brightness, 0…1, of a level 0…1: a screen transfer function at night, sRGB by day, a mixture at dusk.

        Night: PixInsight's ScreenTransferFunction with its usual constants (black 2.8 sigma below the
        median, the median shown at 0.25), of which Siril's autostretch is the same; sigma = 1.4826 MAD.
        Two limits keep it from amplifying what is no sky: GAIN_LIMIT, and BRIGHT_SHOWN for the quantile BRIGHT
        (a fisheye's dark corners may be most of a frame).
        """
        black = min(max(0.0, self.background - SHADOW_SIGMAS * self.sigma), 0.99)
        above, bright = max(self.background - black, 0.0) / (1 - black), max(self.bright - black, 0.0) / (1 - black)
        balance = min(max(_balance(above, TARGET), min(_balance(bright, BRIGHT_SHOWN), 0.5), 1 / (1 + GAIN_LIMIT)), 0.95)
        night = np.clip((level - black) / (1 - black), 0.0, 1.0)
        night = (balance - 1) * night / ((2 * balance - 1) * night - balance)
        # sRGB: IEC 61966-2-1
        day = np.where(level <= 0.0031308, 12.92 * level, 1.055 * np.maximum(level, 0.0031308) ** (1 / 2.4) - 0.055)
        share = min(max((self.background - DAY_FROM) / (DAY_FULL - DAY_FROM), 0.0), 1.0)
        return (1 - share) * night + share * day

    def tables(self, sample_bits: int, layout: PixelFormat) -> list[Bytes]:
        """A table (1, 2**sample_bits) uint8 for each colour, from a sample as it lies in the file to brightness."""
        used = min(1 << (layout.bits + layout.padding_bits), 1 << sample_bits)
        level = _level(np.arange(used), layout)
        tables: list[Bytes] = []
        for gain in self.gains:
            table = np.full((1, 1 << sample_bits), 255, np.uint8)
            table[0, :used] = np.rint(255 * self.curve(np.clip(level * gain, 0.0, 1.0)))
            tables.append(table)
        return tables


def _balance(level: float, shown: float) -> float:
    """The midtones balance that shows `level` at the brightness `shown`; 0.5 is a straight line.

    PixInsight's MTF(m, x) = (m - 1) x / ((2m - 1) x - m), solved for m: which is MTF(shown, level).
    """
    return (shown - 1) * level / ((2 * shown - 1) * level - shown)


def _level(samples: npt.NDArray[Any], layout: PixelFormat) -> Floats:
    """Fractions of the white level above black; below 0 where noise is."""
    white = (1 << layout.bits) - 1
    if not 0 <= layout.black_level < white:
        raise ValueError(f"a black level of {layout.black_level} leaves nothing of {layout.bits} bit")
    return ((samples >> layout.padding_bits).astype(np.float64) - layout.black_level) / (white - layout.black_level)


def _sigma(level: Floats, median: float) -> float:
    """Standard deviation of a normal distribution with the same median absolute deviation."""
    return 1.4826 * float(np.median(np.abs(level - median)))


def _sparse(plane: Pixels) -> npt.NDArray[Any]:
    """About SAMPLES samples, evenly from everywhere."""
    step = max(1, int((plane.size / SAMPLES) ** 0.5))
    return plane[step // 2 :: step, step // 2 :: step].ravel()


def encode_jpeg(picture: Bytes, quality: int) -> bytes:
    """JPEG of a developed picture: 4:2:0 for colour, one plane for mono."""
    import simplejpeg

    if picture.ndim == 2:
        return simplejpeg.encode_jpeg(picture[:, :, np.newaxis], quality, "GRAY", "Gray")
    return simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality, "RGB", "420")


def thumbnail(jpeg: bytes, *, width: int = 320, quality: int = 80) -> bytes:
    """A small JPEG, at most `width` pixels wide. Raises ValueError when `jpeg` is none.

    The decoder leaves out what is not needed (scales of n/8); the rest of the way is a mean over blocks.
    """
    import simplejpeg

    picture = simplejpeg.decode_jpeg(jpeg, "RGB", min_width=width, fastdct=True)
    height, now = picture.shape[:2]
    if now > width:
        rows = np.linspace(0, height, max(1, round(height * width / now)), endpoint=False).astype(int)
        columns = np.linspace(0, now, width, endpoint=False).astype(int)
        sums = np.add.reduceat(np.add.reduceat(picture, rows, axis=0, dtype=np.uint32), columns, axis=1)
        counts = np.outer(np.diff(rows, append=height), np.diff(columns, append=now))
        picture = (sums // counts[:, :, np.newaxis]).astype(np.uint8)
    return simplejpeg.encode_jpeg(picture, quality, "RGB", "420")


def _opencv() -> Any:
    """OpenCV, kept to one thread: the darkroom shares its processor with the cameras."""
    import cv2

    cv2.setNumThreads(1)
    return cv2
