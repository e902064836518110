"""How sharp the stars in a region are: half-flux radius and width of each, and of all together.

For the camera process. When and for whom is decided by `focusing` on the server's side, which also keeps the best so far and
the trend, as these outlive a restart of the camera process.

Definitions. HFR: radius of the circle around a star's centroid that holds half of its light. FWHM: diameter
at which its mean brightness around the centroid has fallen to half of the highest. For a Gaussian star of standard
deviation s, HFR = sqrt(2 ln 2) s = 1.1774 s and FWHM = 2 sqrt(2 ln 2) s = 2.3548 s.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cupola.core.frame import Frame, PixelKind

if TYPE_CHECKING:
    from cupola.camera.render import LiveRenderer

Luma = npt.NDArray[np.float32]

FPS_MAX = 10.0
QUALITY = 90
APERTURE_PX = 24  # light farther from the centroid is not a star's: a ring of a telescope far out of focus fits inside
RING_PX = 4  # width of the ring around the aperture that tells the background
SMOOTH_PX = 5  # side of the box a star is searched with, so that a faint ring is found as well as a point
ABOVE_NOISE = 6.0  # deviations of the searched picture a star has to rise above
STARS_MAX = 12  # the brightest ones
SATURATED = 0.98  # of the largest possible sample: such a star has no peak to measure
SIGNAL_TO_NOISE = 12.0  # of a star's light, at the best
LEAST_PIXELS, REACH = 5, 2.2
CENTRING_STEPS = 6
MADN = 1.4826  # from the median absolute deviation to a standard deviation


@dataclass(frozen=True, slots=True)
class Star:
    """A star of a region; pixels of the region, from its top left corner."""

    x: float
    y: float
    hfr_px: float
    fwhm_px: float


@dataclass(frozen=True, slots=True)
class Sharpness:
    """Medians over the stars; None when no star could be measured. `saturated` stars were left out."""

    hfr_px: float | None
    fwhm_px: float | None
    stars: tuple[Star, ...]
    saturated: int


def region_of(width: int, height: int, size: int, x: int | None, y: int | None) -> tuple[int, int, int, int]:
    """(left, top, width, height) of the square around (x, y), by default the middle, moved so that it lies inside; even, for Bayer."""
    across, down = min(size, width) & ~1, min(size, height) & ~1
    left = (width // 2 if x is None else x) - across // 2
    top = (height // 2 if y is None else y) - down // 2
    return max(0, min(left, width - across)) & ~1, max(0, min(top, height - down)) & ~1, across, down


class FocusView:
    """One region of a camera's pictures, looked at again and again by the live worker. `x` and `y` are its middle; None: the picture's."""

    def __init__(self, x: int | None, y: int | None, size: int) -> None:
        self._x, self._y, self._size = x, y, size
        self._next_due = 0.0
        self._renderer: LiveRenderer | None = None

    def due(self, now: float) -> bool:
        """Whether the next picture is to be looked at: not more than FPS_MAX a second are."""
        if now < self._next_due:
            return False
        self._next_due = now + 1 / FPS_MAX
        return True

    def look(self, frame: Frame) -> tuple[dict[str, Any], bytes]:
        """What was measured, with the region's place in the frame, and the region as a JPEG of its own pixels."""
        if self._renderer is None:
            from cupola.camera.render import LiveRenderer

            self._renderer = LiveRenderer(quality=QUALITY, width_max=None)
        left, top, width, height = region_of(frame.width, frame.height, self._size, self._x, self._y)
        region = crop(frame, left, top, width, height)
        found = measure(*luma_of(region))
        jpeg, _, _ = self._renderer.jpeg(region)
        place = {"x": left, "y": top, "width": width, "height": height, "frame_width": frame.width, "frame_height": frame.height}
        region_asked = {"x": self._x, "y": self._y, "size": self._size}
        return {**asdict(found), **place, "region": region_asked, "exposure_s": frame.applied.exposure_s, "gain": frame.applied.gain}, jpeg


def crop(frame: Frame, left: int, top: int, width: int, height: int) -> Frame:
    """A part of a frame; even places and sizes, so that Bayer patterns and planes of colour stay right. No pixel is copied."""
    chroma = frame.chroma
    if chroma is not None:
        down = 2 if frame.format.kind is PixelKind.YUV420 else 1
        rows, columns = slice(top // down, (top + height) // down), slice(left // 2, (left + width) // 2)
        chroma = (chroma[0][rows, columns], chroma[1][rows, columns])
    return replace(frame, data=frame.data[top : top + height, left : left + width], chroma=chroma)


def luma_of(frame: Frame) -> tuple[Luma, float]:
    """Brightness (H, W) of a frame, and its largest possible value.

    Behind a colour filter each pixel becomes the mean of the four from it on, so that every colour counts at each place; a star
    becomes a little wider by that, the same in and out of focus.
    """
    top = float((1 << (frame.format.bits + frame.format.padding_bits)) - 1)
    data: Luma = frame.data.astype(np.float32)
    if frame.format.kind is PixelKind.RGB:
        grey: Luma = data.mean(axis=2, dtype=np.float32)
        return grey, top
    if frame.format.kind is PixelKind.BAYER:
        mean: Luma = (data[:-1, :-1] + data[:-1, 1:] + data[1:, :-1] + data[1:, 1:]) / np.float32(4)
        return mean, top
    return data, top


def measure(luma: Luma, white: float) -> Sharpness:
    """Sharpness of the stars in a picture (H, W); `white` is the largest possible sample."""
    height, width = luma.shape
    edge = APERTURE_PX + RING_PX
    if min(height, width) <= 2 * edge:
        raise ValueError(f"a region of {width} x {height} pixels is too small to measure stars in: it takes more than {2 * edge} each way")
    stars, saturated = list[Star](), 0
    for x, y in _candidates(luma, edge):
        window, x, y = _centred(luma, edge, x, y)
        if window.max() >= SATURATED * white:
            saturated += 1
        elif (star := _star(window, x, y)) is not None and all(math.hypot(star.x - a.x, star.y - a.y) > APERTURE_PX for a in stars):
            stars.append(star)
        if len(stars) >= STARS_MAX:
            break
    if not stars:
        return Sharpness(None, None, (), saturated)
    return Sharpness(float(np.median([star.hfr_px for star in stars])), float(np.median([star.fwhm_px for star in stars])), tuple(stars), saturated)


def _candidates(luma: Luma, edge: int) -> list[tuple[int, int]]:
    """Places whose light rises above the noise, brightest first, none within an aperture of another."""
    smooth = _box_mean(luma, SMOOTH_PX)
    level = float(np.median(smooth))
    noise = MADN * float(np.median(np.abs(smooth - level)))
    inner = smooth[edge:-edge, edge:-edge].copy()
    threshold = level + max(ABOVE_NOISE * noise, 1e-6)
    found: list[tuple[int, int]] = []
    while len(found) < 2 * STARS_MAX:
        row, column = divmod(int(np.argmax(inner)), inner.shape[1])
        if inner[row, column] <= threshold:
            break
        found.append((column + edge, row + edge))
        inner[max(0, row - APERTURE_PX) : row + APERTURE_PX + 1, max(0, column - APERTURE_PX) : column + APERTURE_PX + 1] = level
    return found


def _box_mean(luma: Luma, side: int) -> Luma:
    """Mean over a box around each pixel; the picture's border is repeated."""
    half = side // 2
    sums = np.pad(np.pad(luma, half, mode="edge").astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    total = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return (total / side**2).astype(np.float32)


def _centred(luma: Luma, edge: int, x: int, y: int) -> tuple[Luma, int, int]:
    """The window around the light that was found at (x, y), moved step by step onto its middle: a ring is found at its rim."""
    height, width = luma.shape
    for _ in range(CENTRING_STEPS):
        window = luma[y - edge : y + edge + 1, x - edge : x + edge + 1]
        dx, dy = _centroid(window, APERTURE_PX)
        to_x = min(max(round(x + dx), edge), width - edge - 1)
        to_y = min(max(round(y + dy), edge), height - edge - 1)
        if (to_x, to_y) == (x, y):
            break
        x, y = to_x, to_y
    return luma[y - edge : y + edge + 1, x - edge : x + edge + 1], x, y


def _light(window: Luma) -> tuple[Luma, float]:
    """A window without its background, which the ring around the aperture tells, and the noise of that."""
    ring = window[_grid(window.shape[0] // 2)[2] > APERTURE_PX]
    background = float(np.median(ring))
    return window - np.float32(background), MADN * float(np.median(np.abs(ring - background)))


@lru_cache(maxsize=2)
def _grid(edge: int) -> tuple[Luma, Luma, Luma]:
    """Rows, columns and distances counted from a window's middle."""
    rows, columns = np.mgrid[-edge : edge + 1, -edge : edge + 1].astype(np.float32)
    return rows, columns, np.hypot(rows, columns)


def _centroid(window: Luma, radius: float, about: tuple[float, float] = (0.0, 0.0)) -> tuple[float, float]:
    """Where the middle of the light within `radius` of `about` lies, counted from the window's middle."""
    light, noise = _light(window)
    rows, columns, _ = _grid(window.shape[0] // 2)
    near = (np.hypot(rows - about[1], columns - about[0]) <= radius) & (light > 2 * noise)
    flux = float(light[near].sum())
    return (float((light * columns)[near].sum()) / flux, float((light * rows)[near].sum()) / flux) if flux > 0 else about


def _star(window: Luma, x: int, y: int) -> Star | None:
    """One star in the middle of a window, or None when it is no star but a hot pixel, or too faint to measure."""
    light, noise = _light(window)
    rows, columns, _ = _grid(window.shape[0] // 2)
    dx, dy = _centroid(window, APERTURE_PX, _centroid(window, APERTURE_PX / 2))
    distance = np.hypot(rows - dy, columns - dx)
    reach = _reach(light, distance, noise)
    if reach is None:
        return None
    inside = distance <= reach
    if np.count_nonzero(light[inside] > light[inside].max() / 2) <= 2:
        return None
    return Star(x + dx, y + dy, _half_flux_radius(light[inside], distance[inside]), _width(light[inside], distance[inside]))


def _reach(light: Luma, distance: Luma, noise: float) -> float | None:
    """How far a star's light reaches above the noise; None when its light is not clear of that.

    Signal over noise grows with the circle until it holds about 70 % of a Gaussian star's light; with a bit more than twice that
    radius, 99.8 %. A wider circle would only add noise, which drowns a faint star.
    """
    order = np.argsort(distance, axis=None)
    order = order[: np.count_nonzero(distance <= APERTURE_PX)]
    grown = np.cumsum(light.ravel()[order], dtype=np.float64)
    ratio = grown / (max(noise, 1e-9) * np.sqrt(np.arange(1, len(grown) + 1)))
    best = int(np.argmax(ratio[LEAST_PIXELS:])) + LEAST_PIXELS
    if ratio[best] < SIGNAL_TO_NOISE:
        return None
    return min(float(APERTURE_PX), REACH * float(distance.ravel()[order[best]]))


def _width(light: npt.NDArray[np.float32], distance: npt.NDArray[np.float32]) -> float:
    """Twice the distance at which the mean brightness around the centroid falls below half of its highest for the last time."""
    ring = np.rint(distance).astype(np.intp)
    counts = np.bincount(ring)
    there = counts > 0  # between four pixels there is none at distance 0
    profile, radius = (np.bincount(ring, values)[there] / counts[there] for values in (light, distance))
    half = float(profile.max()) / 2
    last = int(np.nonzero(profile >= half)[0][-1])
    if last + 1 >= len(profile):
        return 2 * float(radius[last])
    part = (profile[last] - half) / (profile[last] - profile[last + 1])
    return 2 * float(radius[last] + part * (radius[last + 1] - radius[last]))


def _half_flux_radius(light: npt.NDArray[np.float32], distance: npt.NDArray[np.float32]) -> float:
    order = np.argsort(distance)
    grown: npt.NDArray[np.float64] = np.cumsum(light[order], dtype=np.float64)
    reached = int(np.count_nonzero(np.maximum.accumulate(grown) < grown[-1] / 2))
    # as many pixels as lie within the radius have its circle's area: exact also for stars of a pixel or two
    before = float(grown[reached - 1]) if reached else 0.0
    part = (grown[-1] / 2 - before) / max(float(grown[reached]) - before, 1e-9)
    return math.sqrt((reached + min(max(part, 0.0), 1.0)) / math.pi)
