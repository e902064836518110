"""Straight lines in a noisy picture, also those of which no single pixel stands out: sums along lines of all directions.

The fast discrete Radon transform (Götz and Druck, Pattern Recognition 29, 711, 1996; Brady, SIAM J. Comput. 27, 107, 1998), ended
early: sums over strips of 8, 16 and 32 rows (and columns) share their halves, so all directions together cost what a few would.
What the lines are is decided by `streaks`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

LENGTHS = (8, 16, 32)
GHOST = 5  # a line whose middle is closer to a better one is its ghost: it crosses it at a small angle
MOST = 100  # lines; a sky that has more is full of structure
_A_STRIP = 10  # lines of one direction and strip
_UNIT = 32
APART = 6  # of two lines in one strip that are closer, the better one is kept


@dataclass(frozen=True, slots=True)
class Segment:
    """From (x0, y0) to (x1, y1), in pixels of the picture; `snr`: its sum over the noise of a sum of so many pixels."""

    x0: float
    y0: float
    x1: float
    y1: float
    snr: float

    @property
    def length(self) -> float:
        return float(np.hypot(self.x1 - self.x0, self.y1 - self.y0))


def find_lines(picture: Floats, least_snr: float) -> list[Segment]:
    """Lines whose sum stands out of the noise, the best first; one that lies along a better one is left out.

    `picture` (H, W): noise with mean 0 and deviation 1, and whatever else, no more than 30; 0 where nothing is known.
    """
    samples = np.rint(picture * _UNIT).astype(np.int16)  # half the bytes of float to go through
    found: list[Segment] = []
    for turned in (False, True):
        for mirrored in (False, True):
            part = samples.T if turned else samples
            part = np.ascontiguousarray(part[:, ::-1] if mirrored else part)
            for row, column, slope, length, snr in _strips(part, least_snr):
                x0, x1 = float(column), float(column + slope)
                y0, y1 = float(row), float(row + length - 1)
                if mirrored:
                    x0, x1 = part.shape[1] - 1 - x0, part.shape[1] - 1 - x1
                found.append(Segment(y0, x0, y1, x1, snr) if turned else Segment(x0, y0, x1, y1, snr))
    return _best(found)


def _strips(picture: npt.NDArray[np.int16], least_snr: float) -> list[tuple[int, int, int, int, float]]:
    """First row and column, columns to the right at its last row, rows, and snr of lines that lean to the right by 0° to 45°."""
    longest = LENGTHS[-1]
    rows = -(-picture.shape[0] // longest) * longest
    padded = np.zeros((rows, picture.shape[1] + longest), np.int16)
    padded[: picture.shape[0], : picture.shape[1]] = picture
    sums = padded[:, None, :]  # strip, slope, column
    found: list[tuple[int, int, int, int, float]] = []
    length = 1
    while length < longest:
        half = length
        length *= 2
        if length == LENGTHS[0]:  # a short line must not fall between two strips
            found += _peaks(_joined(sums[1:-1:2], sums[2::2]), half, least_snr)
        sums = _joined(sums[0::2], sums[1::2])
        if length in LENGTHS:
            found += _peaks(sums, 0, least_snr)
    return found


def _joined(upper: npt.NDArray[np.int16], lower: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """Strips of twice as many rows, with twice as many slopes, from pairs of strips: (strip, slope, column)."""
    strips, slopes, width = upper.shape
    sums = np.empty((strips, 2 * slopes, width), np.int16)
    for slope in range(2 * slopes):
        half, shift = slope // 2, (slope + 1) // 2
        np.add(upper[:, half, : width - shift], lower[:, half, shift:], out=sums[:, slope, : width - shift])
        sums[:, slope, width - shift :] = upper[:, half, width - shift :]
    return sums


def _peaks(sums: npt.NDArray[np.int16], first: int, least_snr: float) -> list[tuple[int, int, int, int, float]]:
    """As `_strips`, of sums over strips of one length, the first of which begins at row `first`."""
    found: list[tuple[int, int, int, int, float]] = []
    length = sums.shape[1]
    limit = least_snr * length**0.5 * _UNIT
    best = sums.max(axis=1)
    for strip in np.flatnonzero(best.max(axis=1) > limit):
        line = best[strip].copy()
        for _ in range(_A_STRIP):
            if (value := int(line.max())) <= limit:
                break
            column = int(line.argmax())
            slope = int(sums[strip, :, column].argmax())
            found.append((first + int(strip) * length, column, slope, length, value / length**0.5 / _UNIT))
            line[max(0, column - APART) : column + APART + 1] = 0
    return found


def _best(found: list[Segment]) -> list[Segment]:
    """The best MOST of them, without those whose middle lies on a better one."""
    kept: list[Segment] = []
    ends = np.empty((MOST, 4), np.float32)
    for one in sorted(found, key=lambda segment: -segment.snr):
        if len(kept) == MOST:
            break
        x, y = (one.x0 + one.x1) / 2, (one.y0 + one.y1) / 2
        if not (_distances(ends[: len(kept)], x, y) < GHOST).any():
            ends[len(kept)] = one.x0, one.y0, one.x1, one.y1
            kept.append(one)
    return kept


def _distances(ends: Floats, x: float, y: float) -> Floats:
    """Of a point from segments (N, 4)."""
    dx, dy = ends[:, 2] - ends[:, 0], ends[:, 3] - ends[:, 1]
    along = np.clip(((x - ends[:, 0]) * dx + (y - ends[:, 1]) * dy) / np.maximum(dx * dx + dy * dy, 1e-9), 0, 1)
    return np.hypot(x - ends[:, 0] - along * dx, y - ends[:, 1] - along * dy)
