"""How bright the sky is: day, twilight, night, moonlight, Milky Way, the light of a town, clouds.

Brightness is in units of a star of magnitude 0 (panchromatic) a square arcsecond; colours are factors for R, G, B with
mean 1, white being sunlight. Where things stand is `ephemeris`'s, how many electrons that gives `scene`'s.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cupola.core import ephemeris
from cupola.drivers.sky.clouds import fractal, sample

Array = npt.NDArray[np.float32]
Colour = tuple[float, float, float]

_ARCSEC2_PER_SR = (180 * 3600 / math.pi) ** 2
_EXTINCTION = np.array([0.12, 0.17, 0.25])  # mag an airmass in R, G, B at a low site
_NIGHT_ZENITH = 10 ** (-0.4 * 21.6)  # 21.6 mag/arcsec², a rural site
# Zenith brightness, mag/arcsec², by the sun's altitude. From -5° to -14°: Patat, Ugolnikov & Postylyakov (2006), A&A 455, 385, V band:
# 11.84 + 1.518 x - 0.057 x², x = -5° - altitude; lower down on by 1.1 mag a degree (the night is added apart). Above: the luminance of a
# clear sky, 2 cd/m² at -5° to 5,000 at 60°, with 108,000 cd/m² for magnitude 0.
_SUN_ALTITUDE = (-30.0, -14.0, -12.5, -11.0, -9.5, -8.0, -6.5, -5.0, -2.5, 0.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0)
_ZENITH = (38.5, 20.88, 20.02, 18.9, 17.53, 15.88, 13.99, 11.84, 9.1, 6.9, 5.35, 4.75, 4.2, 3.9, 3.55, 3.3, 2.9)

_DAY_BLUE: Colour = (0.52, 0.97, 1.51)
_TWILIGHT_BLUE: Colour = (0.50, 0.92, 1.58)
_HAZE: Colour = (0.97, 1.02, 1.01)
_SUNSET: Colour = (1.62, 0.92, 0.46)
_AIRGLOW: Colour = (1.02, 1.03, 0.95)
_TOWN: Colour = (1.55, 0.95, 0.50)
_MOONLIT: Colour = (0.80, 1.0, 1.20)
_GALAXY: Colour = (1.06, 1.0, 0.94)


@dataclass(frozen=True, slots=True)
class Lamps:
    """Sun and moon at one moment; the fluxes are (3,) R, G, B through the clear atmosphere, a star of magnitude 0 being 1."""

    sun: ephemeris.Body
    moon: ephemeris.Body
    phase_angle_deg: float
    sun_flux: npt.NDArray[np.float64]
    moon_flux: npt.NDArray[np.float64]


def transmission(sine_altitude: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Of the clear atmosphere, (N, 3) for R, G, B; airmass: Kasten & Young (1989), Applied Optics 28, 4735."""
    sine = np.clip(np.asarray(sine_altitude, np.float64), 0.0, 1.0)
    airmass = 1.0 / (sine + 0.50572 * (np.degrees(np.arcsin(sine)) + 6.07995) ** -1.6364)
    return 10 ** (-0.4 * _EXTINCTION * airmass[..., None])


def lamps(sky_s: float, latitude_deg: float, longitude_deg: float) -> Lamps:
    """Sun and moon as lights. The moon's magnitude: Krisciunas & Schaefer (1991), PASP 103, 1033, eq. 9."""
    sun, moon = ephemeris.sun(sky_s, latitude_deg, longitude_deg), ephemeris.moon(sky_s, latitude_deg, longitude_deg)
    phase = ephemeris.phase_angle_deg(sky_s)
    sun_share, moon_share = (min(max((body.altitude_deg + 0.27) / 0.54, 0.0), 1.0) for body in (sun, moon))  # of the disc that has risen
    sun_flux = 10 ** (0.4 * 26.74) * sun_share * transmission(sun.direction[2:3])[0]
    moon_flux = 10 ** (0.4 * (12.73 - 0.026 * phase - 4e-9 * phase**4)) * moon_share * transmission(moon.direction[2:3])[0]
    return Lamps(sun, moon, phase, sun_flux, moon_flux * np.array([1.05, 1.0, 0.95]))


def _tint(brightness: npt.NDArray[np.floating], colour: Colour) -> Array:
    return (brightness[..., None] * np.asarray(colour)).astype(np.float32)


def _blend(first: npt.NDArray[np.floating], second: Colour, share: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    return first * (1 - share[..., None]) + np.asarray(second) * share[..., None]


class SkyLight:
    """The sky's brightness on a fixed grid of directions (..., 3) east, north, up: (..., 3) for R, G, B."""

    def __init__(self, directions: npt.NDArray[np.floating], latitude_deg: float, longitude_deg: float, seed: int) -> None:
        self._directions = directions.astype(np.float32)
        self._place = (latitude_deg, longitude_deg)
        self._sine = np.clip(self._directions[..., 2], 0.0, 1.0)
        self._altitude = np.degrees(np.arcsin(self._sine))
        self._van_rhijn = 1 / np.sqrt(1 - 0.96 * (1 - self._sine**2))  # airmass of Krisciunas & Schaefer, eq. 3
        self._dust = fractal(seed ^ 0xD057, 256, 1.5)
        azimuth = np.random.default_rng([seed, 7]).uniform(0, 2 * math.pi)
        self._town = np.array([math.sin(azimuth), math.cos(azimuth), 0.0])

    def _angle_to(self, direction: npt.NDArray[np.float64]) -> Array:
        return np.arccos(np.clip(self._directions @ direction.astype(np.float32), -1, 1))

    def _azimuth_from(self, direction: npt.NDArray[np.float64]) -> Array:
        """Difference in azimuth, 0 to pi."""
        east, north = self._directions[..., 0], self._directions[..., 1]
        along = east * np.float32(direction[0]) + north * np.float32(direction[1])
        across = east * np.float32(direction[1]) - north * np.float32(direction[0])
        return np.abs(np.arctan2(across, along))

    def _sunlight(self, sun: ephemeris.Body) -> Array:
        """Day and twilight: CIE standard clear sky (ISO 15469:2004, type 12) by day, a glow over the sun's azimuth below the horizon."""
        altitude = sun.altitude_deg
        if altitude < -20:
            return np.zeros_like(self._directions)
        clamped = math.radians(max(altitude, 0.5))
        flat = sun.direction * np.array([1.0, 1.0, 0.0])
        source = flat / max(float(np.linalg.norm(flat)), 1e-9) * math.cos(clamped) + np.array([0.0, 0.0, math.sin(clamped)])
        indicatrix = _indicatrix(self._angle_to(source)) / _indicatrix(np.array(math.pi / 2 - clamped))
        pattern = indicatrix * (1 - np.exp(-0.32 / np.maximum(self._sine, 0.02))) / (1 - math.exp(-0.32))
        depth = min(max(-altitude / 12, 0.0), 1.0)  # of twilight
        facing = np.exp(-((self._azimuth_from(source) / 0.9) ** 2))
        pattern = (1 - depth) * pattern + depth * (1 + np.exp(-self._altitude / 11) * (1 + 22 * facing))
        brightness = 10 ** (-0.4 * float(np.interp(altitude, _SUN_ALTITUDE, _ZENITH))) * pattern
        dusk = min(max(1 - altitude / 12, 0.0), 1.0)
        blue = np.asarray(_DAY_BLUE) * (1 - dusk) + np.asarray(_TWILIGHT_BLUE) * dusk
        colour = _blend(blue, _HAZE, 0.85 * np.exp(-self._altitude / 14))
        colour = _blend(colour, _SUNSET, np.clip(1.1 * dusk * facing * np.exp(-self._altitude / 9), 0, 1))
        return (brightness[..., None] * colour).astype(np.float32)

    def _moonlight(self, light: Lamps) -> Array:
        """Scattered moonlight: Krisciunas & Schaefer (1991), eqs. 15, 20 and 21; their eq. 1 turns nanolamberts into magnitudes."""
        if light.moon.altitude_deg < 0:
            return np.zeros_like(self._directions)
        angle = self._angle_to(light.moon.direction)
        illuminance = 10 ** (-0.4 * (3.84 + 0.026 * light.phase_angle_deg + 4e-9 * light.phase_angle_deg**4))
        scattering = 10**5.36 * (1.06 + np.cos(angle) ** 2) + 10 ** (6.15 - np.maximum(np.degrees(angle), 1.0) / 40)
        airmass = 1 / math.sqrt(1 - 0.96 * (1 - float(light.moon.direction[2]) ** 2))
        nanolamberts = scattering * illuminance * 10 ** (-0.4 * 0.172 * airmass) * (1 - 10 ** (-0.4 * 0.172 * self._van_rhijn))
        return _tint(nanolamberts / 34.08 * math.exp(-20.7233), _MOONLIT)

    def _night(self, sky_s: float) -> Array:
        """Airglow, the Milky Way (a smooth band with dust in it), and one town behind the horizon."""
        dimmed = 10 ** (-0.4 * 0.172 * (self._van_rhijn - 1))
        to_galaxy = (ephemeris.galactic(sky_s) @ ephemeris.horizon(sky_s, *self._place).T).astype(np.float32)
        x, y, z = np.moveaxis(self._directions @ to_galaxy.T, -1, 0)
        latitude, longitude = np.degrees(np.arcsin(np.clip(z, -1, 1))), np.degrees(np.arctan2(y, x))
        bulge = np.exp(-((longitude / 35) ** 2))
        cygnus = np.exp(-(((np.abs(longitude) - 78) / 25) ** 2))
        band = np.exp(-((np.abs(latitude) / (9 + 6 * bulge)) ** 1.3)) * (0.55 + 1.6 * bulge + 0.35 * cygnus)
        texture = sample(self._dust, longitude * (3 * 256 / 360), latitude * (3 * 256 / 360))
        lane = np.exp(-(((latitude - 1.5) / 3.5) ** 2) - (longitude / 75) ** 2) * np.clip(0.75 + 0.35 * texture, 0, 1)
        milky_way = band * np.clip(1 + 0.22 * texture, 0.3, 1.8) * (1 - 0.8 * lane)
        town = 7 * np.exp(-self._altitude / 7 - (self._azimuth_from(self._town) / 0.6) ** 2)
        glow = _tint(self._van_rhijn * dimmed, _AIRGLOW) + _tint(milky_way * dimmed, _GALAXY) + _tint(town, _TOWN)
        return glow * np.float32(_NIGHT_ZENITH)

    def radiance(self, sky_s: float, light: Lamps, cloud_depth: Array) -> Array:
        """(..., 3) of the whole sky but sun, moon and stars themselves, with clouds before it.

        A cloud shows a quarter of a lamp's light spread over the half sphere, the mean of the clear sky, and the town's light.
        """
        clear = self._sunlight(light.sun) + self._moonlight(light) + self._night(sky_s)
        if not cloud_depth.any():
            return clear
        up = self._directions[..., 2] > 0.05
        mean = clear[up].mean(axis=0) if up.any() else clear.reshape(-1, 3).mean(axis=0)
        through = np.exp(-cloud_depth)[..., None]
        cloud = np.broadcast_to(mean * 0.85 + _NIGHT_ZENITH * 0.5 * np.asarray(_TOWN), clear.shape).copy()
        for body, flux in ((light.sun, light.sun_flux), (light.moon, light.moon_flux)):
            if flux.any():
                rim = 1 + 4 * np.exp(-self._angle_to(body.direction) / 0.15)[..., None] * through  # thin cloud scatters forward
                cloud += flux * (max(float(body.direction[2]), 0.0) * 0.25 / math.pi / _ARCSEC2_PER_SR) * rim
        shade = 1 - 0.45 * (1 - np.exp(-cloud_depth / 2.5))[..., None]
        return (clear * through + cloud * (1 - through) * shade).astype(np.float32)


def _indicatrix(angle: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    return 1 + 10 * (np.exp(-3 * angle) - math.exp(-1.5 * math.pi)) + 0.45 * np.cos(angle) ** 2


def glare(directions: npt.NDArray[np.floating], body: ephemeris.Body, flux: npt.NDArray[np.float64]) -> Array:
    """Light of a bright lamp scattered in the lens, (..., 3) a square arcsecond: 2 % of it, falling as 1 / (angle² + 1°²)."""
    angle = np.arccos(np.clip(directions @ body.direction.astype(np.float32), -1, 1))
    share = 0.02 / (28 * (angle**2 + math.radians(1.0) ** 2)) / _ARCSEC2_PER_SR
    return (share[..., None] * flux).astype(np.float32)
