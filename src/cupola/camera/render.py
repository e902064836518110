"""A frame as a JPEG for looking at, fast: what the live view shows of a source that does not encode by itself.

The careful rendering of stored images is the darkroom's. Here a dark sky is brightened by a curve that
depends on the picture alone and moves slowly, so that it does not flicker.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg  # pyright: ignore[reportMissingTypeStubs]

from cupola.core.frame import Frame, PixelFormat, PixelKind

BACKGROUND = 0.18  # brightness of the background after stretching
SHADOWS = -2.8  # black point, in deviations below the background
BLACK_MAX = 0.99  # so that a saturated picture is white
MADN = 1.4826  # from the median absolute deviation to a standard deviation
FOLLOW = 0.15  # share of a new frame's statistics in the curve
SPARSE = 8  # every so many pixels of a phase are measured

Plane = npt.NDArray[np.uint8]


def encode_plain(frame: Frame, quality: int) -> bytes:
    """A JPEG of an 8-bit MONO, RGB or YUV frame, nothing changed."""
    data = np.ascontiguousarray(frame.data)
    if frame.chroma is not None:
        u, v = (np.ascontiguousarray(plane) for plane in frame.chroma)
        return simplejpeg.encode_jpeg_yuv_planes(data, u, v, quality=quality, fastdct=True)
    if data.ndim == 2:
        return simplejpeg.encode_jpeg(data[..., np.newaxis], quality=quality, colorspace="GRAY")
    return simplejpeg.encode_jpeg(data, quality=quality, colorspace="RGB", colorsubsampling="420", fastdct=True)


def shrink_jpeg(data: bytes, width_max: int, quality: int) -> tuple[bytes, int, int]:
    """A JPEG no wider than `width_max`, with its width and height. Scaled while it is decoded, which costs least. Raises ValueError."""
    picture = simplejpeg.decode_jpeg(bytes(data), "RGB", fastdct=True, min_width=width_max)
    width = picture.shape[1]
    if width > width_max:
        import cv2

        height = max(1, round(picture.shape[0] * width_max / width))
        picture = cv2.resize(picture, (width_max, height), interpolation=cv2.INTER_AREA)
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality=quality, colorspace="RGB", colorsubsampling="420", fastdct=True)
    return jpeg, int(picture.shape[1]), int(picture.shape[0])


class LiveRenderer:
    """Keeps the stretch of one camera. `jpeg` is called by one thread."""

    def __init__(self, *, quality: int, width_max: int | None) -> None:
        self._quality, self._width_max = quality, width_max
        self._curve: npt.NDArray[np.float64] | None = None  # (phases, 2): black point and median of each Bayer phase
        self._curve_of: object = None

    def jpeg(self, frame: Frame) -> tuple[bytes, int, int]:
        """The JPEG with its width and height."""
        small = self._width_max is None or frame.width <= self._width_max
        if frame.format.kind in (PixelKind.YUV420, PixelKind.YUV422) and small:
            if frame.format.kind is PixelKind.YUV422 and frame.chroma is not None:
                u, v = frame.chroma  # every second line of colour: a quarter less to encode, and nobody sees it
                frame = replace(frame, chroma=(u[::2], v[::2]), format=PixelFormat(PixelKind.YUV420))
            return encode_plain(frame, self._quality), frame.width, frame.height
        picture = self._shrink(self._develop(frame))
        height, width = picture.shape[:2]
        if picture.ndim == 2:
            data = simplejpeg.encode_jpeg(picture[..., np.newaxis], quality=self._quality, colorspace="GRAY")
        else:
            data = simplejpeg.encode_jpeg(picture, quality=self._quality, colorspace="RGB", colorsubsampling="420", fastdct=True)
        return data, width, height

    def _shrink(self, picture: Plane) -> Plane:
        height, width = picture.shape[:2]
        if self._width_max is None or width <= self._width_max:
            return picture
        import cv2

        size = (self._width_max, max(1, round(height * self._width_max / width)))
        return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # pyright: ignore[reportReturnType]

    def _develop(self, frame: Frame) -> Plane:
        """(H, W) or (H, W, 3) uint8."""
        kind, data = frame.format.kind, frame.data
        if kind is PixelKind.RGB or (kind is PixelKind.MONO and data.dtype == np.uint8):
            return data  # type: ignore[return-value]
        import cv2

        cv2.setNumThreads(1)
        if kind in (PixelKind.YUV420, PixelKind.YUV422):
            assert frame.chroma is not None
            chroma = [cv2.resize(plane, (frame.width, frame.height), interpolation=cv2.INTER_LINEAR) for plane in frame.chroma]
            return cv2.cvtColor(cv2.merge([data, chroma[1], chroma[0]]), cv2.COLOR_YCrCb2RGB)  # pyright: ignore[reportReturnType]
        tables = self._tables(frame)
        if kind is PixelKind.MONO:
            return cv2.LUT(data, tables[0])  # pyright: ignore[reportReturnType]
        mosaic = np.empty(data.shape, np.uint8)
        for phase, table in enumerate(tables):
            row, column = divmod(phase, 2)
            mosaic[row::2, column::2] = cv2.LUT(np.ascontiguousarray(data[row::2, column::2]), table)
        # OpenCV names a pattern by its second row, second column
        codes = {"RGGB": cv2.COLOR_BayerBG2RGB, "BGGR": cv2.COLOR_BayerRG2RGB, "GRBG": cv2.COLOR_BayerGB2RGB, "GBRG": cv2.COLOR_BayerGR2RGB}
        return cv2.cvtColor(mosaic, codes[frame.format.bayer or "RGGB"])  # pyright: ignore[reportReturnType]

    def _tables(self, frame: Frame) -> list[Plane]:
        """One lookup table from raw sample to 8 bits for MONO, four for the phases of a Bayer pattern.

        Measured in the middle of the picture: an all-sky lens leaves the rest black.
        """
        bits, padding = frame.format.bits, frame.format.padding_bits
        phases = [(0, 0)] if frame.format.kind is PixelKind.MONO else [(0, 0), (0, 1), (1, 0), (1, 1)]
        half = min(frame.width, frame.height) * 3 // 8 & ~1
        top, left = frame.height // 2 - half & ~1, frame.width // 2 - half & ~1
        middle = frame.data[top : top + 2 * half, left : left + 2 * half]
        measured = np.array([_background(middle[row::SPARSE, column::SPARSE] >> padding, bits) for row, column in phases])
        settings = (frame.generation, frame.applied)
        if self._curve is None or self._curve.shape != measured.shape or settings != self._curve_of:
            self._curve = measured
        self._curve += FOLLOW * (measured - self._curve)
        self._curve_of = settings
        return [_table(black, level, bits, padding) for black, level in self._curve]


def _background(sample: npt.NDArray[np.integer[Any]], bits: int) -> tuple[float, float]:
    """Black point and median of a sample, 0…1."""
    values = sample.astype(np.float32).ravel() / ((1 << bits) - 1)
    median = float(np.median(values))
    deviation = MADN * float(np.median(np.abs(values - median)))
    return min(max(0.0, median + SHADOWS * deviation), BLACK_MAX), median


def _table(black: float, median: float, bits: int, padding: int) -> Plane:
    """PixInsight's screen stretch: black point, then MTF(x, m) = (m-1)x / ((2m-1)x - m) with m such that the median becomes BACKGROUND.

    A bright picture (a median above BACKGROUND) only gets its black point. Source: PixInsight reference, HistogramTransformation.
    """
    levels = np.clip((np.arange(1 << bits) / ((1 << bits) - 1) - black) / (1 - black), 0.0, 1.0)
    middle = max((median - black) / (1 - black), 1e-5)
    if middle < BACKGROUND:
        m = middle * (BACKGROUND - 1) / (2 * BACKGROUND * middle - BACKGROUND - middle)
        levels = (m - 1) * levels / ((2 * m - 1) * levels - m)
    table = np.repeat((levels * 255 + 0.5).astype(np.uint8), 1 << padding)
    if bits + padding <= 8:
        return table
    full = np.full(1 << 16, 255, np.uint8)
    full[: table.size] = table
    return full
