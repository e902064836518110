"""The scene: everything the lens throws onto the sensor during an exposure, in electrons.

Puts together what stands in the sky (`ephemeris`, `stars`, `transients`), its light (`light`, `clouds`), `lens` and
`mosaic`. What the sensor makes of the electrons is the business of `sensor`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cupola.core import ephemeris
from cupola.core.errors import CaptureCancelled
from cupola.core.frame import Station
from cupola.drivers.sky import light
from cupola.drivers.sky.clouds import Clouds
from cupola.drivers.sky.lens import Lens
from cupola.drivers.sky.mosaic import Mosaic
from cupola.drivers.sky.stars import Stars, load
from cupola.drivers.sky.transients import Event, Transients

Array = npt.NDArray[np.float32]

_STEP = 8  # pixels between the nodes at which smooth light is computed
_PHOTONS = 3.0e6  # a second and cm² from a star of magnitude 0, 400 to 700 nm: about 1,000 per Å (Bessell 1979, PASP 91, 589)
_QUANTUM_EFFICIENCY = 0.75  # with the glass
_SKY_TURNS_RAD_S = 7.2921e-5
_GROUND = 0.025  # of the sky's light at the horizon
_DISC_RAD = math.radians(0.265)


@dataclass(frozen=True, slots=True)
class SeenStars:
    """Stars drawn into a picture, at mid exposure: positions in pixels, all electrons they left on the sensor."""

    hip: npt.NDArray[np.int32]
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    flux_e: npt.NDArray[np.float64]
    magnitude: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Streak:
    """The part of a satellite's or meteor's path that an exposure shows, in pixels, and its electrons."""

    kind: str
    x0: float
    y0: float
    x1: float
    y1: float
    flux_e: float
    magnitude: float
    pixels: npt.NDArray[np.int64]  # flat indices, with repetitions
    electrons: Array


@dataclass(frozen=True, slots=True)
class Picture:
    """`electrons` (H, W) of everything but streaks; `background_e` is the sky's, the median of the pixels that see it."""

    electrons: Array
    stars: SeenStars
    background_e: float
    lamps: light.Lamps


class Scene:
    """The sky over a station through one lens. `opens_s` is the sky's clock when the camera opens: stars keep its equinox."""

    def __init__(self, options: Mapping[str, Any], station: Station, opens_s: float) -> None:
        width, height, seed = options["width"], options["height"], options["seed"]
        self._place = (station.latitude, station.longitude)
        self._seed = seed
        self.lens = Lens(
            width,
            height,
            options["field_of_view_deg"],
            options["distortion"],
            options["azimuth_deg"],
            options["altitude_deg"],
            options.get("f_number") or 2.0,
        )
        self.mosaic = Mosaic(width, height, options["bayer"])
        self.stars: Stars = load(opens_s)
        self.electrons_per_flux = _PHOTONS * _QUANTUM_EFFICIENCY * self.lens.aperture_cm2  # a second, magnitude 0, no filter
        gx, gy = np.arange(-(-width // _STEP) + 1) * float(_STEP), np.arange(-(-height // _STEP) + 1) * float(_STEP)
        grid_x, grid_y = np.meshgrid(gx, gy)
        self._directions = self.lens.unproject(grid_x, grid_y).astype(np.float32)
        self._grasp = (self.lens.light_grasp(grid_x, grid_y) * self.electrons_per_flux).astype(np.float32)[..., None]
        self._light = light.SkyLight(self._directions, *self._place, seed)
        self._clouds = Clouds(options["clouds"], seed)
        self._transients = Transients(options["satellites_per_hour"], options["meteors_per_hour"], seed)
        self._shade = self._view()
        self._open_nodes = self._shade[::_STEP, ::_STEP] > 128

    def _view(self) -> npt.NDArray[np.uint8]:
        """(H, W): 255 where a pixel sees sky, little where hills and trees stand, 0 outside the lens's circle."""
        width, height = self.lens.width, self.lens.height
        rng = np.random.default_rng([self._seed, 11])
        azimuth = np.linspace(0, 2 * math.pi, 2049)
        hills = 1.0 + sum(rng.uniform(0, 1.6) / n * (1 + np.sin(n * azimuth + rng.uniform(0, 6.3))) for n in (1, 2, 3, 5, 8))
        trees = np.abs(np.convolve(rng.standard_normal(2049), np.ones(5) / 5, "same")) * np.clip(np.sin(2 * azimuth + rng.uniform(0, 6.3)), 0, 1) * 3
        skyline = np.sin(np.radians(hills + trees))
        skyline[-1] = skyline[0]
        shade = np.empty((height, width), np.uint8)
        columns = np.arange(width, dtype=np.float32) - np.float32(self.lens.centre_x)
        ramp = np.arange(_STEP, dtype=np.float32) / _STEP
        for row in range(height):
            node, share = row // _STEP, np.float32(row % _STEP / _STEP)
            nodes = self._directions[node] * (1 - share) + self._directions[node + 1] * share
            up = (nodes[:-1, 2:] + (nodes[1:, 2:] - nodes[:-1, 2:]) * ramp).reshape(-1)[:width]
            half_chord = math.sqrt(max(self.lens.circle_px**2 - (row - self.lens.centre_y) ** 2, 0.0))
            inside = np.abs(columns) < half_chord
            value = np.where(inside, np.float32(255), np.float32(0))
            low = np.flatnonzero((up < 0.25) & inside)
            along, left = low // _STEP, ramp[low % _STEP][:, None]
            east_north = nodes[along, :2] * (1 - left) + nodes[along + 1, :2] * left
            bearing = np.arctan2(east_north[:, 0], east_north[:, 1]) % (2 * math.pi)
            above = (up[low] - np.interp(bearing, azimuth, skyline)) * self.lens.focal_px + 0.5  # pixels, for a soft edge
            value[low] *= _GROUND + (1 - _GROUND) * np.clip(above, 0, 1)
            shade[row] = value
        return shade

    def lamps(self, sky_s: float) -> light.Lamps:
        return light.lamps(sky_s, *self._place)

    def render(self, sky_s: float, exposure_s: float, read_noise_e: float, cancelled: Callable[[], bool] = lambda: False) -> Picture:
        """The electrons of an exposure that opens at `sky_s`; stars too faint to tell from the noise are left out.

        Sky and lamps are those of mid exposure, stars and clouds move. Raises CaptureCancelled as soon as `cancelled` says so.
        """
        middle = sky_s + exposure_s / 2
        lamps = self.lamps(middle)
        depth = self._clouds.mean_depth(self._directions, sky_s, exposure_s)
        coarse = self._light.radiance(middle, lamps, depth)
        clear_to = [float(np.exp(-self._depth_at(depth, body.direction))) for body in (lamps.sun, lamps.moon)]
        for body, flux, through in ((lamps.sun, lamps.sun_flux, clear_to[0]), (lamps.moon, lamps.moon_flux, clear_to[1])):
            if flux.any():
                coarse = coarse + light.glare(self._directions, body, flux * through)
        coarse = (coarse * (self._grasp * np.float32(exposure_s))).astype(np.float32, copy=False)
        seen = coarse[: self._open_nodes.shape[0], : self._open_nodes.shape[1]][self._open_nodes].mean(axis=1) * self.mosaic.share
        background = float(np.median(seen)) if len(seen) else 0.0
        noise = math.sqrt((float(np.percentile(seen, 10)) if len(seen) else 0.0) + read_noise_e**2)
        _stop_if(cancelled)
        electrons = np.empty((self.mosaic.height, self.mosaic.width), np.float32)
        self.mosaic.enlarge(coarse, _STEP, self._shade, electrons)
        _stop_if(cancelled)
        self._disc(electrons, lamps.sun, lamps.sun_flux * clear_to[0] * exposure_s, None, 0.0)
        self._disc(electrons, lamps.moon, lamps.moon_flux * clear_to[1] * exposure_s, lamps.sun.direction, lamps.phase_angle_deg)
        stars = self._draw_stars(electrons, sky_s, exposure_s, depth, noise, cancelled)
        return Picture(electrons, stars, background, lamps)

    def _depth_at(self, depth: Array, direction: npt.NDArray[np.float64]) -> float:
        x, y, visible = self.lens.project(direction[None])
        return float(depth[round(float(y[0]) / _STEP), round(float(x[0]) / _STEP)]) if visible[0] else 0.0

    def _draw_stars(
        self, electrons: Array, sky_s: float, exposure_s: float, depth: Array, noise_e: float, cancelled: Callable[[], bool]
    ) -> SeenStars:
        per_flux = self.electrons_per_flux * self.mosaic.share * exposure_s
        count = self.stars.brighter(2.5 * math.log10(max(per_flux / (2 * noise_e), 1e-9)))
        directions, magnitude, colour = self.stars.direction[:count], self.stars.magnitude[:count], self.stars.colour[:count]
        motion_px = exposure_s * _SKY_TURNS_RAD_S * self.lens.focal_px
        parts = min(max(math.ceil(motion_px / 0.7), 1), 400)
        if parts % 2 == 0:
            parts += 1  # so that one of them is mid exposure
        total = np.zeros(count)
        seen = SeenStars(self.stars.hip[:0], np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0))
        for part in range(parts):
            _stop_if(cancelled)
            local = directions @ ephemeris.horizon(sky_s + exposure_s * (part + 0.5) / parts, *self._place).T
            up = np.flatnonzero(local[:, 2] > -0.01)
            local = ephemeris.refract(local[up])
            x, y, visible = self.lens.project(local)
            up, local, x, y = up[visible], local[visible], x[visible], y[visible]
            before = depth[np.rint(y / _STEP).astype(np.int64), np.rint(x / _STEP).astype(np.int64)]
            electrons_each = 10 ** (-0.4 * magnitude[up]) * self.electrons_per_flux * exposure_s / parts
            dimmed = self._dimmed(x, y, local, before) * electrons_each[:, None]
            flux = (dimmed * colour[up]).astype(np.float32)
            total[up] += flux.mean(axis=1) * self.mosaic.share
            self.mosaic.points(electrons, x, y, flux, halo_above=600 * noise_e / parts)
            if part == parts // 2:
                seen = SeenStars(self.stars.hip[up], x, y, up.astype(np.float64), magnitude[up])
        return SeenStars(seen.hip, seen.x, seen.y, total[seen.flux_e.astype(np.int64)], seen.magnitude)

    def _dimmed(
        self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], local: npt.NDArray[np.float64], depth: Array
    ) -> npt.NDArray[np.float64]:
        """(N, 3) of the light that air, clouds (`depth` (N,) before each), lens, hills and trees leave of points."""
        row, column = np.rint(y).astype(np.int64), np.rint(x).astype(np.int64)
        shade = np.where(self._shade[row, column] > 128, self._shade[row, column] / 255.0, 0.0)
        return light.transmission(local[:, 2]) * (np.exp(-depth) * shade * self.lens.vignetting(x, y))[:, None]

    def _disc(
        self, electrons: Array, body: ephemeris.Body, flux: npt.NDArray[np.float64], lit_from: npt.NDArray[np.float64] | None, phase_deg: float
    ) -> None:
        """Sun or moon as a disc of points; the moon's side away from `lit_from` is dark by its phase."""
        if not flux.any():
            return
        across = max(6, min(math.ceil(2 * _DISC_RAD * self.lens.focal_px / 0.7), 800))
        u, v = np.meshgrid(*(2 * [(np.arange(across) + 0.5) / across * 2 - 1]))
        inside = np.hypot(u, v) <= 1
        if lit_from is not None:
            inside &= u > -math.cos(math.radians(phase_deg)) * np.sqrt(np.maximum(1 - v**2, 0))
        u, v = u[inside], v[inside]
        towards = lit_from if lit_from is not None else np.array([0.0, 0.0, 1.0])
        first = np.cross(np.cross(body.direction, towards), body.direction)
        first /= max(float(np.linalg.norm(first)), 1e-9)
        points = body.direction + _DISC_RAD * (u[:, None] * first + v[:, None] * np.cross(body.direction, first))
        x, y, visible = self.lens.project(points / np.linalg.norm(points, axis=1, keepdims=True))
        x, y = x[visible], y[visible]
        shade = np.where(self._shade[np.rint(y).astype(np.int64), np.rint(x).astype(np.int64)] > 128, 1.0, 0.0)
        each = flux * self.electrons_per_flux / max(len(u), 1)
        self.mosaic.points(electrons, x, y, (shade[:, None] * each).astype(np.float32))

    def streaks(self, sky_s: float, exposure_s: float) -> list[Streak]:
        """What satellites and meteors leave in an exposure that opens at `sky_s`, apart from the picture, to be added to it."""
        drawn = (self._streak(event, sky_s, exposure_s) for event in self._transients.between(sky_s, sky_s + exposure_s))
        return [streak for streak in drawn if streak is not None]

    def _streak(self, event: Event, sky_s: float, exposure_s: float) -> Streak | None:
        begin, end = max(sky_s, event.begins_s), min(sky_s + exposure_s, event.begins_s + event.lasts_s)
        count = max(2, math.ceil((end - begin) * event.speed_rad_s * self.lens.focal_px * 2.2))
        moments = begin + (np.arange(count) + 0.5) / count * (end - begin)
        local = event.at(moments)
        x, y, visible = self.lens.project(local)
        visible &= local[:, 2] > 0.0
        if not visible.any():
            return None
        x, y, moments, local = x[visible], y[visible], moments[visible], local[visible]
        depth = self._clouds.depth(local, sky_s + exposure_s / 2)
        each = event.flux(moments) * self.electrons_per_flux * (end - begin) / count
        flux = (self._dimmed(x, y, local, depth) * each[:, None] * np.asarray(event.colour)).astype(np.float32)
        pixels, electrons = self.mosaic.spread(x, y, flux)
        total = float(flux.mean(axis=1).sum()) * self.mosaic.share
        if total <= 0:
            return None
        return Streak(event.kind, float(x[0]), float(y[0]), float(x[-1]), float(y[-1]), total, event.magnitude, pixels, electrons)


def _stop_if(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise CaptureCancelled("the exposure was cancelled")
