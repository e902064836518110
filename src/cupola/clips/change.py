"""What changed in a picture against the ones before: the arithmetic of motion, on small grey pictures.

A running mean is the background, a running mean deviation the noise, both for each point. A point counts that differs by more than
both its noise and a floor, and that has company. Brightness of the whole picture (a cloud before the moon, automatic exposure) is taken
out first, and what changes nearly everywhere, or at one stroke, is no motion. Decoding is `motion_process`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cupola.camera.metering import Region

Grey = npt.NDArray[np.float32]
Points = npt.NDArray[np.bool_]

WARM_UP = 10  # pictures until the background is known
FAST, SLOW = 0.1, 0.02  # weight of a picture in the background: of a point that stayed, of one that changed
NOISES = 6.0  # mean deviations; 4.8 standard deviations of Gaussian noise
COMPANY = 3  # of the eight neighbours, changed too
EVERYWHERE = 0.7  # a change of so much of the picture is no motion
STROKE = 40.0  # of 255: nor is light that changes by so much


@dataclass(frozen=True, slots=True)
class Change:
    """`share` of the region; `box` around all of it, in fractions of the picture: left, top, right, bottom."""

    share: float
    box: tuple[float, float, float, float]


class Detector:
    """One watched region. Pictures of another size begin anew."""

    def __init__(self, sensitivity: int, region: Mapping[str, Any] | None, mask: Sequence[Mapping[str, Any]]) -> None:
        self.floor = 4.0 + 0.32 * (100 - sensitivity)  # 4 to 36 of 255
        self.least = 10 ** (-1 - 3 * sensitivity / 100)  # 10 % to 0.01 % of the region
        self._region = Region.from_dict(region) if region is not None else Region()
        self._mask = [Region.from_dict(part) for part in mask]
        self._shape: tuple[int, ...] = ()
        self.forget()

    def forget(self) -> None:
        """Learn the background anew: the camera's settings changed."""
        self._seen = 0

    def look(self, grey: npt.NDArray[np.uint8]) -> Change | None:
        """What changed in a picture of (H, W), if it is enough to be motion."""
        if grey.shape != self._shape:
            self._shape, self._points = grey.shape, _points(grey.shape, self._region, self._mask)
            self._count = int(self._points.sum())
            self.forget()
        now = grey.astype(np.float32)
        if not self._seen:
            self._mean, self._noise = now, np.full(now.shape, 2.0, np.float32)
        self._seen += 1
        off = now - self._mean
        light = float(np.median(off[::3, ::3]))
        off -= light
        size = np.abs(off)
        changed = size > np.maximum(self.floor, NOISES * self._noise)
        changed &= _neighbours(changed) >= COMPANY
        if abs(light) > STROKE or np.count_nonzero(changed) > EVERYWHERE * changed.size:
            self.forget()
            return None
        self._learn(now, size, changed)
        changed &= self._points
        count = int(np.count_nonzero(changed))
        if self._seen <= WARM_UP or count <= COMPANY or count < self.least * self._count:
            return None
        return Change(count / self._count, self._box(changed))

    def _learn(self, now: Grey, size: Grey, changed: Points) -> None:
        weight = max(FAST, 1 / self._seen)
        weights = np.where(changed, np.float32(SLOW if self._seen > WARM_UP else weight), np.float32(weight))
        self._mean += weights * (now - self._mean)
        self._noise += np.where(changed, np.float32(0), np.float32(weight)) * (size - self._noise)

    def _box(self, changed: Points) -> tuple[float, float, float, float]:
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        height, width = self._shape
        left, top, right, bottom = columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height
        return round(float(left), 3), round(float(top), 3), round(float(right), 3), round(float(bottom), 3)


def _points(shape: tuple[int, ...], region: Region, mask: Sequence[Region]) -> Points:
    """Those that are looked at."""
    wanted = _inside(shape, region)
    for part in mask:
        wanted &= ~_inside(shape, part)
    return wanted


def _inside(shape: tuple[int, ...], region: Region) -> Points:
    height, width = shape
    rows, columns = region.bounds((height, width))
    inside = np.zeros((height, width), np.bool_)
    if region.shape == "box":
        inside[rows, columns] = True
        return inside
    y = ((np.arange(height) + 0.5) / height - region.y) / region.height * 2 - 1
    x = ((np.arange(width) + 0.5) / width - region.x) / region.width * 2 - 1
    return y[:, None] ** 2 + x[None, :] ** 2 <= 1


def _neighbours(points: Points) -> npt.NDArray[np.uint8]:
    """How many of each point's eight neighbours are set."""
    padded = np.pad(points, 1).view(np.uint8)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] - points.view(np.uint8)
