"""Where exactly a line runs, curved as a fisheye bends it, and what is seen along and across it.

Pieces of lines come from `lines`; whether a path is a streak is judged by `streaks`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cupola.darkroom.field import BLOCK, Field, Floats, opencv
from cupola.darkroom.lines import Segment

_ACROSS_PX = 20  # on both sides of a path
_DULL = 0.9  # of the samples along a path that are counted: the brightest are stars


@dataclass(frozen=True, slots=True)
class Path:
    """A parabola over a straight axis: where to look for a line, in blocks."""

    origin: Floats
    along: Floats
    bend: Floats  # coefficients of the distance aside, highest power first
    first: float
    last: float

    def point(self, at: Floats, aside: Floats | float = 0.0) -> tuple[Floats, Floats]:
        offset = np.polyval(self.bend, at).astype(np.float32) + aside
        return self.origin[0] + at * self.along[0] - offset * self.along[1], self.origin[1] + at * self.along[1] + offset * self.along[0]


def path_of(chain: list[Segment], known: Floats) -> Path:
    """The parabola through the brightest blocks near the pieces; `known` is 0 where stars would draw it aside."""
    ends = np.array([[x, y] for piece in chain for x, y in ((piece.x0, piece.y0), (piece.x1, piece.y1))], np.float32)
    origin = ends.mean(axis=0)
    along = np.linalg.svd(ends - origin)[2][0].astype(np.float32)
    reach = (ends - origin) @ along
    first, last = float(reach.min()), float(reach.max())
    points: list[Floats] = []
    for piece in chain:
        a, b = np.array([piece.x0, piece.y0], np.float32), np.array([piece.x1, piece.y1], np.float32)
        steps = np.linspace(0, 1, max(3, int(piece.length)), dtype=np.float32)[:, None]
        points.append((a + steps * (b - a)).astype(np.float32))
    where = np.concatenate(points) - origin
    at, aside = where @ along, where @ np.array([-along[1], along[0]], np.float32)
    bend = np.polyfit(at, aside, 2 if last - first > 40 else 1)
    path = Path(origin.astype(np.float32), along, bend, first, last)
    for _ in range(2):  # pull it onto the light
        at = np.arange(first, last + 0.5, dtype=np.float32)
        asides = np.arange(-3, 3.25, 0.5, dtype=np.float32)
        light = np.maximum(look(known, path, at, asides), 0)
        weight = np.minimum(light.max(axis=0), 8)
        centre = (light**2 * asides[:, None]).sum(axis=0) / np.maximum((light**2).sum(axis=0), 1e-6)
        if weight.sum() <= 0 or len(at) < 4:
            break
        bend = np.polyfit(at, np.polyval(path.bend, at) + centre, 2 if last - first > 40 else 1, w=weight + 1e-3)
        path = Path(path.origin, path.along, bend, first, last)
    return path


def look(picture: Floats, path: Path, at: Floats, asides: Floats) -> Floats:
    """(asides, at): the picture along the path and beside it; 0 beyond its edges."""
    cv2 = opencv()
    x, y = path.point(at[None, :], asides[:, None])
    return cv2.remap(picture, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)


def across_px(field: Field, path: Path, first: float, last: float) -> tuple[float, float]:
    """The light across a path between two places of it, in the frame's own pixels, which show what a block cannot: its width at half height,
    and how far it stands out of what is beside it, in standard deviations of that.
    """
    at, aside = np.arange(first, last, 1 / BLOCK, dtype=np.float32), np.arange(-_ACROSS_PX, _ACROSS_PX + 1, dtype=np.float32) / np.float32(BLOCK)
    x, y = path.point(at[None, :], aside[:, None])
    levels = np.sort(field.levels_at(BLOCK * (x + 0.5) - 0.5, BLOCK * (y + 0.5) - 0.5), axis=1)
    cross = levels[:, : max(1, round(_DULL * len(at)))].mean(axis=1)
    cross = np.convolve(cross - np.median(cross[np.r_[:10, -10:0]]), np.full(3, 1 / 3), "same")
    peak = _ACROSS_PX - 6 + int(cross[_ACROSS_PX - 6 : _ACROSS_PX + 7].argmax())
    below = np.flatnonzero(cross <= cross[peak] / 2)
    left, right = below[below < peak], below[below > peak]
    width = (right[0] if len(right) else len(cross)) - (left[-1] if len(left) else -1) - 1
    beside = np.concatenate([cross[1 : max(1, peak - 9)], cross[peak + 10 : -1]])
    return float(width), float(cross[peak] / max(float(beside.std()), 1e-6))
