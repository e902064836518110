"""Text and the points of the compass on a picture, legible on any sky: white letters with a dark rim.

Only the small patches under the letters are touched, and each is drawn once. What the words are is the business of `facts`; `encode` keeps
what was beneath them in the JPEG, for those who take the sky of it and not the words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from cupola.darkroom.geometry import Picture
from cupola.darkroom.opencv import opencv
from cupola.darkroom.recipe import Overlay

FONT, WEIGHT = "sans", 500  # comes with OpenCV, has letters of all Europe
SMALLEST_PX = 9
RIM = 0.12  # of the letters' height
RIM_DARKNESS = 0.8
MARK_AT = 0.94  # of the radius
Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Laid:
    """A word or letter, and where its upper left corner lies; parts may be outside of the picture."""

    patch: Mask
    left: int
    top: int

    def area(self, shape: tuple[int, ...], block: int = 1) -> tuple[slice, slice] | None:
        """Rows and columns it covers of a picture, widened to whole blocks; None when it lies beside it."""
        height, width = shape[:2]
        top, left = max(self.top, 0) // block * block, max(self.left, 0) // block * block
        bottom = min(-(-(self.top + self.patch.shape[1]) // block) * block, height)
        right = min(-(-(self.left + self.patch.shape[2]) // block) * block, width)
        return (slice(top, bottom), slice(left, right)) if top < bottom and left < right else None


def lay_out(shape: tuple[int, ...], overlay: Overlay, lines: Sequence[str], circle: tuple[float, float, float] | None) -> list[Laid]:
    """`lines` and marks for a picture of this shape. `circle`: column, row and radius of the lens's circle in it; without it the
    marks stand on the largest circle the picture holds.
    """
    height, width = shape[:2]
    size = max(SMALLEST_PX, round(overlay.size_percent / 100 * height))
    marks = _marks(overlay, circle or ((width - 1) / 2, (height - 1) / 2, min(width, height) / 2), size) if overlay.north_deg is not None else []
    return marks + _lines(shape, overlay.corner, lines, size)


def draw(picture: Picture, laid: Sequence[Laid]) -> Picture:
    """The picture, (H, W) or (H, W, 3), uint8 or uint16, with all of it: the one given where it may be changed, else a copy."""
    if not laid:
        return picture
    picture = picture if picture.flags.writeable else picture.copy()
    for one in laid:
        _blend(picture, one)
    return picture


def beneath(picture: Picture, laid: Sequence[Laid], block: int) -> list[tuple[int, int, Picture]]:
    """Column, row and a copy of what `draw` is going to cover, in whole blocks."""
    areas = [area for one in laid if (area := one.area(picture.shape, block)) is not None]
    return [(columns.start, rows.start, picture[rows, columns].copy()) for rows, columns in areas]


def _lines(shape: tuple[int, ...], corner: str, lines: Sequence[str], size: int) -> list[Laid]:
    height, width = shape[:2]
    margin, pitch = size // 2, round(1.35 * size)
    patches = [_patch(line, size) for line in lines]
    top = margin if corner.startswith("top") else height - margin - pitch * len(lines)
    return [
        Laid(patch, margin if corner.endswith("left") else width - margin - patch.shape[2], top + number * pitch)
        for number, patch in enumerate(patches)
    ]


def _marks(overlay: Overlay, circle: tuple[float, float, float], size: int) -> list[Laid]:
    x, y, radius = circle
    east = -90 if overlay.east == "left" else 90  # clockwise from north
    laid: list[Laid] = []
    for letter, turn in (("N", 0), ("E", east), ("S", 180), ("W", -east)):
        angle = math.radians((overlay.north_deg or 0.0) + turn)
        patch = _mark(letter, round(1.4 * size))
        left = round(x + MARK_AT * radius * math.sin(angle) - patch.shape[2] / 2)
        top = round(y - MARK_AT * radius * math.cos(angle) - patch.shape[1] / 2)
        laid.append(Laid(patch, left, top))
    return laid


@lru_cache(maxsize=8)
def _mark(letter: str, size: int) -> Mask:
    """The same on every picture: drawn once."""
    return _patch(letter, size)


def _patch(text: str, size: int) -> Mask:
    """(2, h, w), of 255: how much of the picture's own light stays, and how much white is added."""
    cv2 = opencv()
    font = cv2.FontFace(FONT)
    rim = max(1, round(RIM * size))
    _, _, wide, high = cv2.getTextSize((0, 0), text, (0, 0), font, size, WEIGHT)
    baseline = rim + size
    letters = np.zeros((baseline + max(high - size, size // 3) + rim, wide + size // 2 + 2 * rim), np.uint8)
    cv2.putText(letters, text, (rim, baseline), (255,), font, size, WEIGHT)
    around = cv2.dilate(letters, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim + 1, 2 * rim + 1)))
    stays = cv2.multiply(255 - cv2.convertScaleAbs(around, alpha=RIM_DARKNESS), 255 - letters, scale=1 / 255)
    used = np.flatnonzero(around.any(axis=0))
    end = int(used[-1]) + 1 if used.size else 1
    return np.stack([stays, letters])[:, :, :end]


def _blend(picture: Picture, one: Laid) -> None:
    """Put a patch on the picture, as far as it lies on it."""
    area = one.area(picture.shape)
    if area is None:
        return
    rows, columns = area
    part = one.patch[:, rows.start - one.top : rows.stop - one.top, columns.start - one.left : columns.stop - one.left]
    cv2, under = opencv(), picture[rows, columns]
    stays, white = (np.ascontiguousarray(mask) if picture.ndim == 2 else cv2.merge([mask] * 3) for mask in part)
    if picture.dtype == np.uint16:
        stays, white = stays.astype(np.uint16) * np.uint16(257), white.astype(np.uint16) * np.uint16(257)
    under[...] = cv2.add(cv2.multiply(np.ascontiguousarray(under), stays, scale=1 / np.iinfo(picture.dtype).max), white)
