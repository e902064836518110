"""A frame as detectors want to see it: smoothed like a star, and how bright and how noisy the sky is in every part of it.

Owns the matched filter, the coarse grids of background and noise, and which part of the frame is sky at all. What
stands out is judged by `stars` (points) and `streaks` (lines).

The matched filter is a Gaussian of the width that a sharp lens gives a star, applied in bands of rows that a core's
cache holds: nothing of a frame's size is kept in float.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from cupola.core.frame import PixelFormat, PixelKind

if TYPE_CHECKING:
    from cupola.core.frame import Pixels

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]

CORE_SIGMA_PX = 0.85
KERNEL = 5  # pixels of the filter
HALO = 4  # rows that are looked at above and below a band: what the filter reaches, and a peak's neighbours; even, as a mosaic's rows are
BLOCK = 4  # pixels of a side of the frame's small copy
COARSE = 8  # pixels of a side of a node of the background
SMOOTH = 5  # nodes whose median is the background: stars and streaks are narrower than half of it
CELL = 64  # pixels of a side of a cell of the noise
SURVEYED = 8  # rows of each CELL that the noise is taken from
NEARBY = 0.85  # the noise all around is seldom less than that of the quietest of three cells
PEAK_SNR = 4.0  # of what is looked at
BALANCE_LIMIT = 4.0  # strongest factor between two colours
DARK_RATIO = 4.0  # the open sky is so many times brighter than what stands before it, else nothing stands before it
VALLEY = 0.1  # share of the nodes whose brightness may be near the border between the two
ISLAND = 0.02  # of the frame: a piece of sky that is smaller is a gap between leaves, a lamp, or lettering
_NEVER = np.float32(1e9)


@dataclass(frozen=True, slots=True)
class Peaks:
    """Pixels at which the smoothed frame is brighter than at its 8 neighbours and stands out: `value` above the background, (N,) each."""

    x: Indices
    y: Indices
    value: Floats


@dataclass(frozen=True, slots=True)
class Field:
    """A frame, and what of it is sky. Levels are ADU above black, those of a colour sensor brought to the same in all colours.

    `pixels` (H, W) as in the file, H and W cut to multiples of 8; `gains` and `offsets` (2, 2) turn a sample of each colour
    site into a level. `background` (H / 8, W / 8) without stars, `sky` of the same shape: whether the open sky is seen there.
    `noise`: standard deviation of the smoothed frame, a value a CELL. `blocks` (H / 4, W / 4): means of the smoothed frame.
    `white`: the level of saturation.
    """

    pixels: Pixels
    gains: Floats
    offsets: Floats
    white: float
    background: Floats
    noise: Floats
    sky: npt.NDArray[np.bool_]
    blocks: Floats
    peaks: Peaks

    @classmethod
    def of(cls, pixels: Pixels, layout: PixelFormat) -> Field:
        """`pixels`: (H, W) uint8 or uint16 of MONO or BAYER. Raises ValueError for others, and for what is too small to have a background."""
        if layout.kind not in (PixelKind.MONO, PixelKind.BAYER) or pixels.ndim != 2 or pixels.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"a {layout.kind} picture of shape {pixels.shape} and {pixels.dtype} is not a sensor's")
        if min(pixels.shape) < 2 * CELL:
            raise ValueError(f"a picture of {pixels.shape[1]} x {pixels.shape[0]} pixels is too small to be measured")
        height, width = pixels.shape[0] // COARSE * COARSE, pixels.shape[1] // COARSE * COARSE
        pixels = cast("Pixels", np.ascontiguousarray(pixels[:height, :width]))
        gains, offsets = _levels(pixels, layout)
        coarse = _coarse(pixels, gains, offsets)
        sky = _open_sky(coarse)
        background = opencv().medianBlur(coarse, SMOOTH)
        blocks = np.zeros((height // BLOCK, width // BLOCK), np.float32)
        peaks, noise = _scan(pixels, gains, offsets, background, sky, blocks)
        white = float((1 << layout.bits) - 1 - layout.black_level)
        return cls(pixels, gains, offsets, white, background, noise, sky, blocks, peaks)

    def background_at(self, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> Floats:
        """Level of the sky at pixels (N,)."""
        return _between(self.background, COARSE, x, y)

    def noise_at(self, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> Floats:
        """Standard deviation of the smoothed frame at pixels (N,)."""
        return _between(self.noise, CELL, x, y)

    def levels_at(self, x: Floats, y: Floats) -> Floats:
        """Levels above the sky of the pixels nearest to positions (any shape); beyond the frame's edge, those at the edge."""
        column, row = (
            np.clip(np.rint(x), 0, self.pixels.shape[1] - 1).astype(np.intp),
            np.clip(np.rint(y), 0, self.pixels.shape[0] - 1).astype(np.intp),
        )
        site = row & 1, column & 1
        return self.pixels[row, column] * self.gains[site] - self.offsets[site] - self.background_at(column, row)

    def patches(self, x: Indices, y: Indices, reach: int) -> Floats:
        """Levels around pixels, (N, 2 reach + 1, 2 reach + 1); none may be closer than `reach` to the frame's edge."""
        around = np.arange(-reach, reach + 1)
        levels = self.samples(x, y, reach).astype(np.float32)
        for site, chosen in enumerate(self.sites(x, y)):
            place = np.ix_((around + site // 2) & 1, (around + site % 2) & 1)
            levels[chosen] = levels[chosen] * self.gains[place] - self.offsets[place]
        return levels

    def samples(self, x: Indices, y: Indices, reach: int) -> Pixels:
        """As `patches`, but as they lie in the file."""
        size, width = 2 * reach + 1, self.pixels.shape[1]
        step = self.pixels.itemsize
        rows = np.ndarray(self.pixels.size - size + 1, f"V{size * step}", self.pixels.data, strides=(step,))  # a patch's row is copied in one piece
        first = ((y - reach) * width + x - reach)[:, None]
        return cast("Pixels", rows[first + width * np.arange(size)].view(self.pixels.dtype).reshape(-1, size, size))

    def sites(self, x: Indices, y: Indices) -> list[Indices]:
        """Which of pixels (N,) lie in each of the four sites of the mosaic: by row, then column."""
        which = (y & 1) * 2 + (x & 1)
        return [np.flatnonzero(which == site) for site in range(4)]


def _levels(pixels: Pixels, layout: PixelFormat) -> tuple[Floats, Floats]:
    """(2, 2) gains and offsets that make the sky's upper part the same in all colour sites."""
    scale = 1 << layout.padding_bits
    gains = np.ones((2, 2), np.float32)
    if layout.kind is PixelKind.BAYER:
        step = 2 * max(1, int((pixels.size / 40_000) ** 0.5))
        levels = np.array([[np.quantile(pixels[row::step, column::step], 0.7) for column in (0, 1)] for row in (0, 1)]) - layout.black_level * scale
        if levels.min() > 0 and levels.max() < BALANCE_LIMIT * levels.min():
            gains = (levels.mean() / levels).astype(np.float32)
    gains /= np.float32(scale)
    return gains, (gains * np.float32(layout.black_level * scale)).astype(np.float32)


def _coarse(pixels: Pixels, gains: Floats, offsets: Floats) -> Floats:
    """Mean levels of COARSE x COARSE pixels, from two rows of each four. Two neighbours in a row are two channels to OpenCV, so that each
    colour keeps its own mean."""
    cv2 = opencv()
    height, width = pixels.shape
    size, total = (width // COARSE, height // COARSE), np.zeros((height // COARSE, width // COARSE), np.float32)
    for row in (0, 1):
        means = cv2.resize(pixels[row::4].reshape(height // 4, width // 2, 2), size, interpolation=cv2.INTER_AREA)
        for column in (0, 1):
            total += means[..., column] * gains[row, column] - offsets[row, column]
    return total / np.float32(4)


def _extent(sky: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """First and one past the last column of pixels that sees sky."""
    seen = np.flatnonzero(sky.any(axis=0))
    return (int(seen[0]) * COARSE, (int(seen[-1]) + 1) * COARSE) if len(seen) else (0, COARSE)


def _smoothed(pixels: Pixels, gains: Floats, offsets: Floats, bands: Iterable[tuple[int, int]]) -> Iterator[tuple[int, Floats]]:
    """The matched filter's answer in each of `bands` of rows [from, to), with a row more above and below where there is one.

    Yields the first row of the answer, and the answer, in whose place the next one will be.
    """
    cv2 = opencv()
    height, width = pixels.shape
    plain = bool(np.all(gains == 1))
    scales, shifts = np.tile(gains, (1, width // 2)), np.tile(offsets, (1, width // 2))
    levels, answers = (np.empty((CELL + 2 * HALO, width), np.float32) for _ in range(2))
    for top, end in bands:
        first, last = max(0, top - HALO), min(height, end + HALO)
        part, answer = levels[: last - first], answers[: last - first]
        np.copyto(part, pixels[first:last])
        pairs = part.reshape(-1, 2, width)  # both rows of the mosaic at once: `first` is even
        if not plain:
            pairs *= scales
        pairs -= shifts
        cv2.GaussianBlur(part, (KERNEL, KERNEL), CORE_SIGMA_PX, answer)
        above = max(0, top - 1)
        yield above, answer[above - first : min(height, end + 1) - first]


def _scan(pixels: Pixels, gains: Floats, offsets: Floats, background: Floats, sky: npt.NDArray[np.bool_], blocks: Floats) -> tuple[Peaks, Floats]:
    """All that may be a star, and the noise, a value a CELL; fills `blocks` on the way. One pass: a band is a row of cells.

    While a band is gone through, its noise is known cell by cell only. So a little more is taken than stands out in the end,
    when `stars` asks with the noise of all cells around.
    """
    cv2 = opencv()
    left, right = _extent(sky)
    left, right = left // CELL * CELL, min(-(-right // CELL) * CELL, pixels.shape[1])
    part, around = pixels[:, left:right], np.pad(background[:, left // COARSE : right // COARSE], 1, mode="edge")
    seen = sky[:, left // COARSE : right // COARSE]
    height, width = part.shape
    noise = np.full((-(-height // CELL), -(-pixels.shape[1] // CELL)), np.nan, np.float32)
    bands = [(top, min(top + CELL, height)) for top in range(0, height, CELL)]
    bands = [(top, end) for top, end in bands if seen[top // COARSE : end // COARSE].any()]

    def through(bands: list[tuple[int, int]]) -> list[tuple[Indices, Indices, Floats]]:
        found: list[tuple[Indices, Indices, Floats]] = []
        grounds = np.empty((CELL + 2 * COARSE, width + 2 * COARSE), np.float32)
        for (first, answer), (top, end) in zip(_smoothed(part, gains, offsets, bands), bands, strict=True):
            whole, sees = answer[top - first : end - first], seen[top // COARSE : end // COARSE]
            halves = cv2.resize(whole, (width // 2, (end - top) // 2), interpolation=cv2.INTER_AREA)  # twice by 2 is quicker than by 4
            size = (width // BLOCK, (end - top) // BLOCK)
            blocks[top // BLOCK : end // BLOCK, left // BLOCK : right // BLOCK] = cv2.resize(halves, size, interpolation=cv2.INTER_AREA)
            nodes, ground = around[top // COARSE : end // COARSE + 2], grounds[: end - top + 2 * COARSE]
            cv2.resize(nodes, ground.shape[::-1], ground, interpolation=cv2.INTER_LINEAR)
            cv2.subtract(answer, ground[COARSE - (top - first) :, COARSE:-COARSE][: len(answer)], answer)
            here = _noise(whole, sees)
            noise[top // CELL, left // CELL : left // CELL + len(here)] = here
            least = cv2.erode(np.where(np.isnan(here), _NEVER, here)[None], np.ones((1, 3), np.uint8))[0]
            limit = np.where(sees, np.repeat(PEAK_SNR * NEARBY * least, CELL // COARSE)[: sees.shape[1]], _NEVER)
            out = whole.reshape(-1, COARSE, width) > np.repeat(limit, COARSE, axis=1)[:, None]
            x, y, value = _peaks(answer, out.reshape(end - top, width), top - first, edges=(top == 0, end == height))
            found.append((x + left, y + first, value))
        return found

    half = len(bands) // 2
    lower = _beside().submit(through, bands[half:])  # a picture is developed meanwhile, but in less time than one thread needs to measure it
    found = through(bands[:half]) + lower.result()
    known = np.isfinite(noise)
    noise[~known] = np.median(noise[known]) if known.any() else 1.0
    noise = np.maximum(cv2.medianBlur(noise, 3), np.float32(1e-3))
    found.append((np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0, np.float32)))
    return Peaks(*(np.concatenate(parts) for parts in zip(*found, strict=True))), noise


@cache
def _beside() -> ThreadPoolExecutor:
    """One thread for the process's life: what a new one each time leaves in the heap is never the same, and adds up to 15 MB."""
    return ThreadPoolExecutor(1, "field")


def _noise(excess: Floats, sees: npt.NDArray[np.bool_]) -> Floats:
    """Standard deviation of the smoothed sky in each cell of a band, nan where it is not seen: 1.4826 times the median distance from the background.

    From every other of SURVEYED rows in the middle and every fourth column: neighbours tell the same.
    """
    height, width = excess.shape
    rows = slice(max(0, (height - SURVEYED) // 2), (height + SURVEYED) // 2, 2)
    samples = excess[rows, ::4]
    cells = np.full((len(samples), -(-width // CELL) * CELL // 4), _NEVER, np.float32)
    np.absolute(samples, cells[:, : width // 4])
    cells[:, : width // 4][~np.repeat(sees[np.arange(height)[rows] // COARSE], COARSE // 4, axis=1)] = _NEVER
    sizes = np.sort(cells.reshape(len(samples), -1, CELL // 4).transpose(1, 0, 2).reshape(-1, len(samples) * CELL // 4), axis=1)
    known = (sizes < _NEVER).sum(axis=1)
    middle = np.take_along_axis(sizes, known[:, None] // 2 * (known[:, None] > 0), axis=1)[:, 0]
    return np.where(known > 8, np.float32(1.4826) * middle, np.float32(np.nan))


def _peaks(excess: Floats, out: npt.NDArray[np.bool_], above: int, edges: tuple[bool, bool]) -> tuple[Indices, Indices, Floats]:
    """Columns, rows and values of the greatest of their neighbours, of the places marked in `out`, which begins `above` rows below `excess`.

    `edges`: whether the first and the last row of `out` are the frame's, and so have no neighbours.
    """
    width = excess.shape[1]
    out[0] &= not edges[0]
    out[-1] &= not edges[1]
    out[:, 0] = out[:, -1] = False
    at, flat = np.flatnonzero(out) + above * width, excess.ravel()
    value = flat.take(at)
    for step in (1, width, width + 1, width - 1):  # of two equal neighbours the first is the peak
        keep = np.flatnonzero((value >= flat.take(at + step)) & (value > flat.take(at - step)))
        at, value = at.take(keep), value.take(keep)
    return at % width, at // width, value


def _open_sky(coarse: Floats) -> npt.NDArray[np.bool_]:
    """Like `coarse`: False where trees, hills and houses stand or the lens's circle ends.

    The logarithms of brightness are split in two by Otsu's method (IEEE Trans. SMC 9, 62, 1979); where the two parts are
    not far apart, or much lies between them, all of it is sky.
    """
    cv2 = opencv()
    everywhere = np.ones(coarse.shape, bool)
    coarse = cv2.medianBlur(coarse, 3)
    bright = float(np.quantile(coarse[::3, ::3], 0.8))
    floor = max(0.01 * bright, 3 * float(np.median(np.abs(np.diff(coarse[::3], axis=1)))))
    if bright <= 4 * floor:  # also of a black picture, where both are 0
        return everywhere
    levels = np.log(np.clip(coarse, floor, 4 * bright))
    low, spread = float(levels.min()), float(np.ptp(levels))
    if spread < 0.1:
        return everywhere
    _, split = cv2.threshold(((levels - low) * (255 / spread)).astype(np.uint8), 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    dark = split == 0
    if not dark.any() or dark.all():
        return everywhere
    border, apart = float(levels[~dark].mean() + levels[dark].mean()) / 2, float(levels[~dark].mean() - levels[dark].mean())
    split = (levels > border).astype(np.uint8)
    near = float(np.mean(np.abs(levels - border) < 0.15 * apart))
    if apart < np.log(DARK_RATIO) or near > VALLEY:
        return everywhere
    split = cv2.morphologyEx(split, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, names, facts, _ = cv2.connectedComponentsWithStats(split, connectivity=4)
    large = facts[:, cv2.CC_STAT_AREA] >= ISLAND * split.size
    large[0] = False
    return cv2.erode(large[names].astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1).astype(bool)


def _between(grid: Floats, step: int, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> Floats:
    """Bilinear, of a grid with a value for every step x step pixels, at pixels (broadcast)."""
    u, v = np.clip((x + 0.5) / step - 0.5, 0, grid.shape[1] - 1), np.clip((y + 0.5) / step - 0.5, 0, grid.shape[0] - 1)
    j, i = np.minimum(u.astype(np.intp), grid.shape[1] - 2), np.minimum(v.astype(np.intp), grid.shape[0] - 2)
    fu, fv = (u - j).astype(np.float32), (v - i).astype(np.float32)
    value: Any = (grid[i, j] * (1 - fu) + grid[i, j + 1] * fu) * (1 - fv) + (grid[i + 1, j] * (1 - fu) + grid[i + 1, j + 1] * fu) * fv
    return value


def opencv() -> Any:
    """OpenCV, kept to one thread: the darkroom shares its processor with the cameras."""
    import cv2

    cv2.setNumThreads(1)
    return cv2
