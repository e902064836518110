"""What crosses the sky while the shutter is open: meteors, satellites, aeroplanes, as thin lines that were not there a frame ago.

Lines are found by `lines` in the frame's small copy, of which stars and all that was bright in the frame before are left out. Here they
are put together, followed along their curve, and judged: a streak is thin, lit along its length (a few stars in a row are not), dark
on both sides (a cloud's rim is not), and new (a wire, a roof, lettering are not). One that goes on where one of the frame before ended
is a satellite or an aeroplane; of one that does not, a single frame cannot tell whether it was a meteor.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cupola.darkroom.field import BLOCK, COARSE, Field, Floats, opencv
from cupola.darkroom.lines import Segment, find_lines
from cupola.darkroom.paths import Path, across_px, look, path_of
from cupola.darkroom.stars import Stars

LINE_SNR = 5.2  # of one piece of a line
STREAK_SNR, ALONE_SNR = 8.0, 15.0  # of a whole one; without a frame before, which a wire would have been in
SHORTEST, ALONE_SHORTEST = 6.0, 60.0  # blocks; without a frame before the light around the moon has short lines too
WIDEST, THIN = 9.0, 3.0  # blocks at half height; its length is at least so many times that
MOST_PARTS = 3  # of a chain that is no streak as a whole, each looked at by itself
MOST = 30  # lines a frame that are looked at, the clearest first
TEXTURE, FEW = 90, 20  # of a sky with so many pieces of lines, mostly rims of clouds, only the clearest
FAINT, BRIGHT = -3.0, 4.0  # a block counts no less and no more in a sum
WAS_THERE, BRIGHTER = 3.0, 2.0  # blocks that were so bright a frame ago are left out, unless they are so many times brighter now
SHARP_PX, CONTRAST = 4.0, 4.0  # wider than a star by no more than that; above what is beside it, in deviations of that
GLARING = 15.0  # times the noise: what is so bright may be wide
SIDES = 0.4  # of a streak's height that the sky beside it may have
EVEN = 0.35  # of the mean height that is left without the brightest fifth
DARK = 0.85  # the greatest of three blocks of noise, on average
GAP = 5  # blocks
APART = 24  # blocks between two pieces of a line
_NOISE_CELL = 16
_REACH = 12  # blocks beside a line that are looked at


@dataclass(frozen=True, slots=True)
class Streak:
    """From (x0, y0) to (x1, y1) and `width` at half height, in pixels of the original; `flux` in ADU above the sky; `snr` of the whole.

    `goes_on`: it continues one of the frame before.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    width: float
    flux: float
    snr: float
    goes_on: bool = False

    @property
    def length(self) -> float:
        return float(np.hypot(self.x1 - self.x0, self.y1 - self.y0))

    def as_dict(self) -> dict[str, Any]:
        """For the wire and the catalogue, rounded to what is known."""
        digits = {"flux": 0, "snr": 1, "width": 1}
        values = {key: value if isinstance(value, bool) else round(value, digits.get(key, 1)) for key, value in asdict(self).items()}
        return {**values, "length": round(self.length, 1)}


@dataclass(slots=True)
class Previous:
    """What is kept of a camera's frame until the next: its small copy as signal to noise in steps of 1/16, and its streaks."""

    residual: npt.NDArray[np.int16] | None = None
    streaks: tuple[Streak, ...] = ()

    def seen(self, shape: tuple[int, int]) -> Floats | None:
        """The small copy, if the frame before was of the same size."""
        if self.residual is None or self.residual.shape != shape:
            return None
        return self.residual.astype(np.float32) / np.float32(_STEP)

    def keep(self, residual: Floats, streaks: list[Streak]) -> None:
        self.residual = (np.clip(residual, FAINT, 2000) * np.float32(_STEP)).astype(np.int16)
        self.streaks = tuple(streaks)


_STEP = 16


def find_streaks(field: Field, stars: Stars, previous: Previous) -> list[Streak]:
    """The frame's streaks, the clearest first; `previous` is brought up to date."""
    residual, noise = _residual(field)
    before = previous.seen(residual.shape)
    known = np.clip(residual, FAINT, BRIGHT)
    known[_static(residual, before, previous.streaks, stars)] = 0
    top, bottom, left, right = _extent(residual != 0)
    pieces = [_moved(piece, left, top) for piece in find_lines(known[top:bottom, left:right], LINE_SNR)] if bottom > top else []
    found: list[Streak] = []
    least = STREAK_SNR if before is not None else ALONE_SNR * (1 if len(pieces) < TEXTURE else 1.6)
    for chain in _chains(pieces)[: MOST if len(pieces) < TEXTURE else FEW]:
        for part in [chain] + ([[piece] for piece in chain[:MOST_PARTS]] if len(chain) > 1 else []):
            streak = _judged(field, stars.hfr, part, known, residual, noise, before, least)
            if streak is not None and not any(_same(streak, other) for other in found):
                found.append(streak)
                break
    found = _merged(found)
    found.sort(key=lambda streak: -streak.snr)
    found = [_continued(streak, previous.streaks) for streak in found]
    previous.keep(residual, found)
    return found


def _residual(field: Field) -> tuple[Floats, Floats]:
    """The small copy above the sky's background over its noise (0 where there is no sky), and that noise in ADU, a value a block."""
    cv2 = opencv()
    height, width = field.blocks.shape
    excess = field.blocks - cv2.resize(field.background, (width, height), interpolation=cv2.INTER_LINEAR)
    sky = cv2.erode(field.sky.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1)
    sky = cv2.resize(sky, (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)
    rows, columns = -(-height // _NOISE_CELL), -(-width // _NOISE_CELL)
    sizes = np.abs(excess)
    sizes[~sky] = np.inf
    padded = cv2.copyMakeBorder(sizes, 0, rows * _NOISE_CELL - height, 0, columns * _NOISE_CELL - width, cv2.BORDER_CONSTANT, value=np.inf)
    cells = padded.reshape(rows, _NOISE_CELL, columns, _NOISE_CELL)[:, ::2, :, ::2].transpose(0, 2, 1, 3).reshape(rows, columns, -1)
    cells = np.sort(cells, axis=-1)
    seen = np.isfinite(cells).sum(axis=-1)
    usual = 1.4826 * np.take_along_axis(cells, seen[..., None] // 2 * (seen[..., None] > 0), axis=-1)[..., 0]
    enough = seen > 12
    typical = float(np.median(usual[enough])) if enough.any() else 1.0
    usual = np.maximum(np.where(enough, usual, typical), 0.5 * typical).astype(np.float32)
    noise = cv2.resize(usual, (columns * _NOISE_CELL, rows * _NOISE_CELL), interpolation=cv2.INTER_LINEAR)[:height, :width]
    noise = np.maximum(noise, np.float32(1e-3))
    residual = excess / noise
    residual[~sky] = 0
    return residual, noise


def _static(residual: Floats, before: Floats | None, moving: tuple[Streak, ...], stars: Stars) -> npt.NDArray[np.bool_]:
    """Blocks that are left out: stars that stand alone, and, with a rim of a block, what was bright already a frame ago (but for what moved)."""
    cv2 = opencv()
    height, width = residual.shape
    mask = np.zeros((height, width), np.uint8)
    for size, least in ((3, 8.0), (5, 60.0)):
        alone = stars.alone & (stars.snr > least)
        x, y = np.rint(stars.x[alone] / BLOCK - 0.4).astype(np.intp), np.rint(stars.y[alone] / BLOCK - 0.4).astype(np.intp)
        part = np.zeros((height, width), np.uint8)
        part[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)] = 1
        mask |= cv2.dilate(part, np.ones((size, size), np.uint8))
    if before is None:
        return mask.astype(bool)
    then = before.copy()
    for streak in moving:
        ends = [(round((x + 0.5) / BLOCK - 0.5), round((y + 0.5) / BLOCK - 0.5)) for x, y in ((streak.x0, streak.y0), (streak.x1, streak.y1))]
        cv2.line(then, *ends, color=0, thickness=3 + 2 * round(streak.width / BLOCK / 2))
    then = cv2.dilate(then, np.ones((3, 3), np.uint8))
    return mask.astype(bool) | ((then > WAS_THERE) & (residual < BRIGHTER * then))


def _extent(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """First row and one past the last, first column and one past the last, of what is True; all 0 for nothing."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1) if len(rows) else (0, 0, 0, 0)


def _moved(piece: Segment, x: float, y: float) -> Segment:
    return Segment(piece.x0 + x, piece.y0 + y, piece.x1 + x, piece.y1 + y, piece.snr)


def _chains(pieces: list[Segment]) -> list[list[Segment]]:
    """Pieces that continue each other, the clearest chain first."""
    if not pieces:
        return []
    joined = _joined(np.array([[[piece.x0, piece.y0], [piece.x1, piece.y1]] for piece in pieces], np.float32))
    left = set(range(len(pieces)))
    chains: list[list[Segment]] = []
    while left:
        chain, edge = set[int](), {min(left)}
        while edge:
            chain |= edge
            edge = {int(i) for i in np.flatnonzero(joined[sorted(edge)].any(axis=0))} - chain
        left -= chain
        chains.append([pieces[i] for i in sorted(chain)])
    return sorted(chains, key=lambda chain: -sum(piece.snr**2 for piece in chain))


def _joined(ends: Floats) -> npt.NDArray[np.bool_]:
    """(N, N): which of pieces (N, end, x and y) lie in one line within 20 degrees, with no more than APART blocks between their nearest ends."""
    along = ends[:, 1] - ends[:, 0]
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    steps = ends[None, :, None, :] - ends[:, None, :, None]  # piece, other, end of the piece, end of the other, x and y
    gaps = np.linalg.norm(steps, axis=-1).reshape(len(ends), len(ends), 4)
    nearest = gaps.argmin(axis=2)
    gap = np.take_along_axis(gaps, nearest[..., None], axis=2)[..., 0]
    step = np.take_along_axis(steps.reshape(len(ends), len(ends), 4, 2), nearest[..., None, None], axis=2)[:, :, 0]
    aside = np.abs(step[..., 0] * along[:, None, 1] - step[..., 1] * along[:, None, 0])
    aside = np.maximum(aside, aside.T)
    return (np.abs(along @ along.T) > 0.94) & (gap < APART) & (aside < 2.5 + 0.15 * gap)


def _judged(
    field: Field, hfr: float | None, chain: list[Segment], known: Floats, residual: Floats, noise: Floats, before: Floats | None, least_snr: float
) -> Streak | None:
    """The streak that a chain of pieces is, or None."""
    path = path_of(chain, known)
    asides = np.arange(-_REACH, _REACH + 1, dtype=np.float32)
    at = np.arange(path.first - 40, path.last + 40.5, dtype=np.float32)
    seen = look(residual, path, at, asides)
    height = np.clip(seen[_REACH - 1 : _REACH + 2].max(axis=0), FAINT, BRIGHT)
    first, last = _lit(height, at, path)
    if last - first < 3:
        return None
    on = (at >= first) & (at <= last)
    line = np.clip(seen[_REACH, on], FAINT, BRIGHT)
    snr = float(line.sum() / len(line) ** 0.5)
    shortest = SHORTEST if before is not None else ALONE_SHORTEST
    if snr < least_snr or last - first < shortest:
        return None
    if float(np.sort(line)[: max(1, len(line) * 4 // 5)].mean()) < EVEN * float(line.mean()):
        return None
    cross = np.median(seen[:, on], axis=1) if len(line) > 12 else seen[:, on].mean(axis=1)
    width = _width(cross)
    if width is None or last - first < THIN * width:
        return None
    if float(cross[_REACH - 2 : _REACH + 3].max()) < GLARING:
        fine, contrast = across_px(field, path, first, last)
        if fine > SHARP_PX + 2 * (hfr or 1.0) or contrast < CONTRAST:
            return None  # a wisp of cloud
    if before is not None:
        then = np.clip(look(before, path, at[on], np.array([-1, 0, 1], np.float32)), FAINT, BRIGHT)
        if np.median(then, axis=1).max() > 0.5 * float(np.median(line)):
            return None
    (x0, x1), (y0, y1) = (where.tolist() for where in path.point(np.array([first, last], np.float32)))
    column, row = int(np.clip((x0 + x1) / 2, 0, noise.shape[1] - 1)), int(np.clip((y0 + y1) / 2, 0, noise.shape[0] - 1))
    reach = max(1, round(width))
    flux = float(seen[max(0, _REACH - reach) : _REACH + reach + 1, on].sum()) * float(noise[row, column]) * BLOCK**2
    x0, y0, x1, y1 = (BLOCK * (value + 0.5) - 0.5 for value in (x0, y0, x1, y1))
    return Streak(x0, y0, x1, y1, BLOCK * width, max(flux, 0.0), snr)


def _lit(height: Floats, at: Floats, path: Path) -> tuple[float, float]:
    """From where to where the light along a path goes on: the brightest stretch that is interrupted by no more than GAP."""
    smooth = np.convolve(height, np.ones(5) / 5, "same")
    inside = (at >= path.first) & (at <= path.last)
    limit = DARK + max(0.7, 0.4 * (float(np.quantile(smooth[inside], 0.75)) - DARK))
    lit = np.flatnonzero(smooth > limit)
    if not len(lit):
        return 0.0, 0.0
    stretches = np.split(lit, np.flatnonzero(np.diff(lit) > GAP) + 1)
    best = max(stretches, key=lambda stretch: float((smooth[stretch] - DARK).sum()))
    return float(at[best[0]]), float(at[best[-1]])


def _width(cross: Floats) -> float | None:
    """Blocks at half height of the profile across; None when it is no thin line: too wide, or not dark on both sides."""
    centre = len(cross) // 2
    peak = centre - 2 + int(cross[centre - 2 : centre + 3].argmax())
    height = float(cross[peak])
    if height <= 0:
        return None
    below = cross < height / 2
    left = next((i for i in range(peak, -1, -1) if below[i]), None)
    right = next((i for i in range(peak, len(cross)) if below[i]), None)
    if left is None or right is None or right - left - 1 > WIDEST:
        return None
    beside = cross[max(0, left - 3) : left + 1], cross[right : right + 4]
    if max(float(side.mean()) for side in (beside[0][:-1], beside[1][1:]) if len(side)) > SIDES * height:
        return None
    if min(float(side.min()) for side in beside) < -SIDES * height:  # the dark side of an edge
        return None
    return float(right - left - 1)


def _same(one: Streak, other: Streak) -> bool:
    """Whether one lies along another that was taken already."""
    x, y = (one.x0 + one.x1) / 2, (one.y0 + one.y1) / 2
    dx, dy, length = other.x1 - other.x0, other.y1 - other.y0, max(other.length, 1e-6)
    along = ((x - other.x0) * dx + (y - other.y0) * dy) / length
    aside = abs((x - other.x0) * dy - (y - other.y0) * dx) / length
    return -COARSE < along < length + COARSE and aside < max(4 * COARSE, other.width)


def _merged(streaks: list[Streak]) -> list[Streak]:
    """With those put together that overlap in one line: a long bright one is found in parts that differ in width."""
    kept: list[Streak] = []
    for one in sorted(streaks, key=lambda streak: -streak.length):
        for i, other in enumerate(kept):
            along = np.array([other.x1 - other.x0, other.y1 - other.y0]) / max(other.length, 1e-6)
            ends = np.array([[one.x0, one.y0], [one.x1, one.y1], [other.x0, other.y0], [other.x1, other.y1]])
            at, aside = (ends - ends[2]) @ along, np.abs((ends - ends[2]) @ np.array([-along[1], along[0]]))
            straight = abs(float(at[1] - at[0])) > 0.97 * one.length
            if straight and aside[:2].mean() < max(16.0, other.width) and at[:2].min() < other.length + 4 * COARSE and at[:2].max() > -4 * COARSE:
                first, last = ends[int(at.argmin())], ends[int(at.argmax())]
                share = float(at.max() - at.min()) / (one.length + other.length)  # what overlaps was counted twice
                snr, width = max(one.snr, other.snr), max(one.width, other.width)
                ends_at = float(first[0]), float(first[1]), float(last[0]), float(last[1])
                kept[i] = Streak(*ends_at, width, (one.flux + other.flux) * share, snr)
                break
        else:
            kept.append(one)
    return kept


def _continued(streak: Streak, before: tuple[Streak, ...]) -> Streak:
    """With `goes_on` set when a streak of the frame before ends where this one begins, in its direction."""
    for other in before:
        turned = (streak.x1 - streak.x0) * (other.x1 - other.x0) + (streak.y1 - streak.y0) * (other.y1 - other.y0)
        if abs(turned) < 0.94 * streak.length * other.length:
            continue
        gap = min(
            np.hypot(a - c, b - d)
            for a, b in ((streak.x0, streak.y0), (streak.x1, streak.y1))
            for c, d in ((other.x0, other.y0), (other.x1, other.y1))
        )
        if gap < 0.5 * min(streak.length, other.length) + 4 * COARSE:
            return Streak(streak.x0, streak.y0, streak.x1, streak.y1, streak.width, streak.flux, streak.snr, goes_on=True)
    return streak
