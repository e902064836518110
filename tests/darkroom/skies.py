"""Skies with what was put into them known: stars, streaks, hot pixels, clouds, a dark foreground; as a sensor's samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cupola.core.frame import PixelFormat, PixelKind, Pixels

MONO = PixelFormat(PixelKind.MONO, bits=14, black_level=200)
BAYER = PixelFormat(PixelKind.BAYER, bits=14, bayer="RGGB", black_level=200)
SIZE = (512, 768)
NOISE = 10.0
CAST = {"R": 0.8, "G": 1.0, "B": 0.6}  # of a sky behind colour filters

Point = tuple[float, float, float]  # x, y, light
Line = tuple[float, float, float, float, float]  # x0, y0, x1, y1, light a pixel of length


class Sky:
    """Light above black in ADU, before noise."""

    def __init__(self, level: float = 400.0, size: tuple[int, int] = SIZE) -> None:
        self.light = np.full(size, float(level))
        self.hot: list[tuple[int, int, float]] = []

    def points(self, points: Sequence[Point], sigma_px: float = 0.9) -> Sky:
        reach = np.arange(-int(6 * sigma_px) - 2, int(6 * sigma_px) + 3)
        for x, y, light in points:
            rows, columns = round(y) + reach, round(x) + reach
            spot = np.exp(-((rows[:, None] - y) ** 2 + (columns[None, :] - x) ** 2) / (2 * sigma_px**2))
            inside = np.ix_((rows >= 0) & (rows < self.light.shape[0]), (columns >= 0) & (columns < self.light.shape[1]))
            spot *= light / spot.sum()
            self.light[rows[inside[0].ravel()][:, None], columns[inside[1].ravel()]] += spot[inside]
        return self

    def line(self, line: Line) -> Sky:
        x0, y0, x1, y1, light = line
        count = 2 * max(2, int(np.hypot(x1 - x0, y1 - y0)))
        at = (np.arange(count) + 0.5) / count
        return self.points([(x0 + s * (x1 - x0), y0 + s * (y1 - y0), light / 2) for s in at])

    def foreground(self, from_row: int) -> Sky:
        """Nearly black below a row."""
        self.light[from_row:] *= 0.03
        return self

    def samples(self, layout: PixelFormat = MONO, seed: int = 1, noise: float = NOISE) -> Pixels:
        light = self.light.copy()
        if layout.bayer:
            for site, colour in enumerate(layout.bayer):
                light[site // 2 :: 2, site % 2 :: 2] *= CAST[colour]
        light += np.random.default_rng(seed).normal(0, noise, light.shape)
        for x, y, value in self.hot:
            light[y, x] += value
        return np.clip(np.rint(light + layout.black_level), 0, (1 << layout.bits) - 1).astype(np.uint16)


def scattered(count: int, light: float, seed: int = 7, size: tuple[int, int] = SIZE, edge: int = 20) -> list[Point]:
    """Points apart from each other by at least 14 pixels."""
    rng, found = np.random.default_rng(seed), list[Point]()
    while len(found) < count:
        x, y = rng.uniform(edge, size[1] - edge), rng.uniform(edge, size[0] - edge)
        if all(np.hypot(x - a, y - b) > 14 for a, b, _ in found):
            found.append((float(x), float(y), light))
    return found


def near(points: Sequence[Point], x: npt.NDArray[np.float32], y: npt.NDArray[np.float32], within_px: float = 1.0) -> int:
    """How many of `points` have one of x, y beside them."""
    return sum(bool(len(x)) and float(np.hypot(x - a, y - b).min()) < within_px for a, b, _ in points)
