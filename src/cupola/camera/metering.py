"""How bright the sky is in one picture: a number that moon, lamps, stars and a fisheye's dark corners do not move.

A sparse sample of the raw frame is looked at, in the driver thread, before the next exposure: 0.2 ms. What follows from
the number is `auto_exposure`'s. Needs numpy; the JPEG of a camera that makes its own needs simplejpeg, and a little longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, cast

import numpy as np
import numpy.typing as npt

from cupola.core.frame import Frame, Packet, PixelFormat, PixelKind

SAMPLES = 20_000  # at most, and no more than every 64th pixel
SPARSE = 8  # pixels between two samples, at least
SKY_QUANTILE = 0.9  # this bright is the sky at its brightest, lamps and the moon apart
NOT_SKY = 1 / 16  # of that: darker parts are no sky, but hills and the corners outside of a fisheye's circle


@dataclass(frozen=True, slots=True)
class Region:
    """The part of the picture that counts, in fractions of its width and height from the top left; an ellipse fills the box."""

    shape: Literal["box", "ellipse"] = "box"
    x: float = 0.0
    y: float = 0.0
    width: float = 1.0
    height: float = 1.0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        return cls(**values)

    def bounds(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of a picture of (H, W), two of each at least."""
        rows, columns = _span(self.y, self.height, shape[0]), _span(self.x, self.width, shape[1])
        return rows, columns


def _span(start: float, length: float, size: int) -> slice:
    first = min(round(start * size), max(size - 2, 0)) & ~1  # even: a mosaic stays the same
    return slice(first, min(size, max(first + 2, round((start + length) * size))))


WHOLE = Region()


def level_of(picture: Frame | Packet, region: Region = WHOLE) -> float | None:
    """The sky's brightness as a fraction of what the sensor holds, black removed and linear; None when the picture cannot be looked at.

    The mean of the middle half of the sky's samples: of the green ones of a mosaic, of all of a monochrome sensor; of a developed
    picture (RGB, YUV, JPEG) its brightness with sRGB's curve undone, which is near to linear as far as the camera keeps to it.
    """
    if isinstance(picture, Packet):
        luma = _luma_of_jpeg(picture) if picture.codec == "jpeg" else None
        return None if luma is None else _linear(middle_of(_sparse(luma, region, None), 255.0) / 255.0)
    if picture.format.kind in (PixelKind.MONO, PixelKind.BAYER):
        return _level_of_sensor(picture, region)
    luma = picture.data if picture.data.ndim == 2 else picture.data[:, :, 1]  # green is most of the brightness
    return _linear(middle_of(_sparse(luma, region, None), 255.0) / 255.0)


def _level_of_sensor(frame: Frame, region: Region) -> float:
    layout = frame.format
    samples = _sparse(frame.data, region, layout)
    white = float((1 << layout.bits) - 1)
    values = (samples >> layout.padding_bits).astype(np.float32) - layout.black_level
    return max(0.0, middle_of(values, white - layout.black_level)) / (white - layout.black_level)


def middle_of(values: npt.NDArray[Any], white: float) -> float:
    """The mean of the middle half of those samples (1-D) that can be sky; `white` where half of the sky is clipped."""
    ordered = np.sort(values, axis=None)
    bright = float(ordered[int(SKY_QUANTILE * (len(ordered) - 1))])
    if bright > 0:
        ordered = ordered[int(np.searchsorted(ordered, bright * NOT_SKY)) :]
    count = len(ordered)
    if ordered[count // 2] >= white - 0.5:
        return white
    return float(ordered[count // 4 : max(count - count // 4, count // 4 + 1)].mean(dtype=np.float64))


def _sparse(plane: npt.NDArray[Any], region: Region, layout: PixelFormat | None) -> npt.NDArray[Any]:
    """Samples of the region, 1-D; of a mosaic the green ones of the first row of each 2x2."""
    rows, columns = region.bounds((plane.shape[0], plane.shape[1]))
    part = plane[rows, columns]
    step = max(SPARSE, 2 * int((part.size / SAMPLES) ** 0.5 / 2 + 0.999)) if part.size > 64 * SPARSE**2 else 2
    column = 0
    if layout is not None and layout.kind is PixelKind.BAYER:
        column = str(layout.bayer).upper().index("G") % 2
    middle = step // 2 & ~1
    samples = part[middle::step, middle + column :: step]
    if region.shape == "ellipse":
        down, across = np.linspace(-1, 1, samples.shape[0]), np.linspace(-1, 1, samples.shape[1])
        samples = samples[down[:, None] ** 2 + across[None, :] ** 2 <= 1]
    return samples.reshape(-1) if samples.size else part.reshape(-1)


def _linear(shown: float) -> float:
    """IEC 61966-2-1, from the value shown to light."""
    return shown / 12.92 if shown <= 0.04045 else ((shown + 0.055) / 1.055) ** 2.4


def _luma_of_jpeg(packet: Packet) -> npt.NDArray[np.uint8] | None:
    """An eighth of the size: the decoder leaves out the rest. None when it is no picture, which is the storer's to say."""
    import simplejpeg  # pyright: ignore[reportMissingTypeStubs]

    try:
        picture = cast(
            "npt.NDArray[np.uint8]", simplejpeg.decode_jpeg(bytes(packet.data), "GRAY", fastdct=True, min_height=1, min_width=1, min_factor=8)
        )
    except ValueError:
        return None
    return picture[:, :, 0]
