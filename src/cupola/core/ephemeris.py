"""Where the sky stands: sidereal time, precession, sun, moon, and the horizon of a place.

Vectors are unit vectors: equatorial (x to the vernal equinox of date, z to the pole) or local (east, north, up).
Shared by the simulated sky (`drivers.sky`) and the words on a picture (`darkroom.overlay`); the only module of core that loads numpy.
Formulas: Meeus, "Astronomical Algorithms", 2nd ed. (chapter
in each docstring); UT is used for TT, which moves the moon by 0.01° and everything else by less.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_J2000_GALACTIC = np.array(  # equatorial J2000 to galactic: Hipparcos and Tycho Catalogues (1997), vol. 1, eq. 1.5.11
    [
        [-0.0548755604, -0.8734370902, -0.4838350155],
        [+0.4941094279, -0.4448296300, +0.7469822445],
        [-0.8676661490, -0.1980763734, +0.4559837762],
    ]
)


@dataclass(frozen=True, slots=True)
class Body:
    """The sun or the moon as seen from a place: `direction` is (east, north, up) with refraction."""

    direction: Array
    altitude_deg: float


def julian_day(sky_s: float) -> float:
    return 2440587.5 + sky_s / 86400.0


def centuries(sky_s: float) -> float:
    """Julian centuries since J2000."""
    return (julian_day(sky_s) - 2451545.0) / 36525.0


def sidereal_deg(sky_s: float) -> float:
    """Mean sidereal time at Greenwich in degrees, 0 to 360 (Meeus 12.4)."""
    t = centuries(sky_s)
    return (280.46061837 + 360.98564736629 * (julian_day(sky_s) - 2451545.0) + 0.000387933 * t * t - t**3 / 38710000.0) % 360.0


def vector(longitude_deg: float, latitude_deg: float) -> Array:
    """Unit vector of spherical coordinates in degrees."""
    lon, lat = math.radians(longitude_deg), math.radians(latitude_deg)
    return np.array([math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)])


def _rotation_z(angle: float) -> Array:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])


def _rotation_y(angle: float) -> Array:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])


def precession(sky_s: float) -> Array:
    """(3, 3) from J2000 to the mean equator and equinox of date (Meeus 21.3)."""
    t = centuries(sky_s)
    arcsec = math.pi / 648000.0
    zeta = (2306.2181 * t + 0.30188 * t**2 + 0.017998 * t**3) * arcsec
    z = (2306.2181 * t + 1.09468 * t**2 + 0.018203 * t**3) * arcsec
    theta = (2004.3109 * t - 0.42665 * t**2 - 0.041833 * t**3) * arcsec
    return _rotation_z(-z) @ _rotation_y(theta) @ _rotation_z(-zeta)


def galactic(sky_s: float) -> Array:
    """(3, 3) from the equator of date to galactic coordinates."""
    return _J2000_GALACTIC @ precession(sky_s).T


def horizon(sky_s: float, latitude_deg: float, longitude_deg: float) -> Array:
    """(3, 3) from equatorial of date to east, north, up of a place (Meeus 13.5 and 13.6 as a matrix)."""
    theta, phi = math.radians(sidereal_deg(sky_s) + longitude_deg), math.radians(latitude_deg)
    ct, st, cp, sp = math.cos(theta), math.sin(theta), math.cos(phi), math.sin(phi)
    return np.array([[-st, ct, 0.0], [-sp * ct, -sp * st, cp], [cp * ct, cp * st, sp]])


def refract(directions: Array) -> Array:
    """Local unit vectors (N, 3) lifted by refraction (Meeus 16.4, Saemundsson); it fades from -1° to -6°, so that nothing jumps as it sets."""
    altitude = np.degrees(np.arcsin(np.clip(directions[:, 2], -1.0, 1.0)))
    safe = np.maximum(altitude, -1.0)
    lift = np.maximum(1.02 / np.tan(np.radians(safe + 10.3 / (safe + 5.11))) / 60.0, 0.0)
    lifted = np.radians(altitude + lift * np.clip((altitude + 6.0) / 5.0, 0.0, 1.0))
    flat = np.maximum(np.hypot(directions[:, 0], directions[:, 1]), 1e-12)
    scale = np.cos(lifted) / flat
    return np.stack([directions[:, 0] * scale, directions[:, 1] * scale, np.sin(lifted)], axis=1)


def altaz_deg(direction: Array) -> tuple[float, float]:
    """Altitude and azimuth (from north by east) of a local vector, in degrees."""
    altitude = math.degrees(math.asin(max(-1.0, min(1.0, float(direction[2])))))
    return altitude, math.degrees(math.atan2(float(direction[0]), float(direction[1]))) % 360.0


def _obliquity_deg(t: float) -> float:
    return 23.4392911 - 0.0130041667 * t + 0.00256 * math.cos(math.radians(125.04 - 1934.136 * t))


def _ecliptic_to_equator(longitude_deg: float, latitude_deg: float, t: float) -> Array:
    x, y, z = vector(longitude_deg, latitude_deg)
    e = math.radians(_obliquity_deg(t))
    return np.array([x, y * math.cos(e) - z * math.sin(e), y * math.sin(e) + z * math.cos(e)])


def sun_equatorial(sky_s: float) -> tuple[Array, float]:
    """Apparent direction of the sun and its distance in au, to 0.01° (Meeus 25, low accuracy)."""
    t = centuries(sky_s)
    anomaly = math.radians(357.52911 + 35999.05029 * t - 0.0001537 * t * t)
    centre = (
        (1.914602 - 0.004817 * t - 0.000014 * t * t) * math.sin(anomaly)
        + (0.019993 - 0.000101 * t) * math.sin(2 * anomaly)
        + 0.000289 * math.sin(3 * anomaly)
    )
    node = math.radians(125.04 - 1934.136 * t)
    longitude = 280.46646 + 36000.76983 * t + 0.0003032 * t * t + centre - 0.00569 - 0.00478 * math.sin(node)
    e = 0.016708634 - 0.000042037 * t
    distance = 1.000001018 * (1 - e * e) / (1 + e * math.cos(anomaly + math.radians(centre)))
    return _ecliptic_to_equator(longitude, 0.0, t), distance


def moon_equatorial(sky_s: float) -> tuple[Array, float]:
    """Geocentric direction of the moon, to 0.3°, and its horizontal parallax in degrees.

    The Astronomical Almanac's low-precision series (page D22 or D46 by year); a fifth of Meeus 47's terms.
    """
    t = centuries(sky_s)

    def wave(amplitude: float, phase_deg: float, rate_deg: float, function: Callable[[float], float] = math.sin) -> float:
        return amplitude * function(math.radians(phase_deg + rate_deg * t))

    longitude = 218.32 + 481267.881 * t + wave(6.29, 135.0, 477198.87) + wave(-1.27, 259.3, -413335.36) + wave(0.66, 235.7, 890534.22)
    longitude += wave(0.21, 269.9, 954397.74) + wave(-0.19, 357.5, 35999.05) + wave(-0.11, 186.5, 966404.03)
    latitude = wave(5.13, 93.3, 483202.02) + wave(0.28, 228.2, 960400.89) + wave(-0.28, 318.3, 6003.15) + wave(-0.17, 217.6, -407332.21)
    parallax = 0.9508 + wave(0.0518, 135.0, 477198.87, math.cos) + wave(0.0095, 259.3, -413335.36, math.cos)
    parallax += wave(0.0078, 235.7, 890534.22, math.cos) + wave(0.0028, 269.9, 954397.74, math.cos)
    return _ecliptic_to_equator(longitude, latitude, t), parallax


def sun(sky_s: float, latitude_deg: float, longitude_deg: float) -> Body:
    """The sun at a place."""
    equatorial, _ = sun_equatorial(sky_s)
    local = refract((horizon(sky_s, latitude_deg, longitude_deg) @ equatorial)[None])[0]
    return Body(local, altaz_deg(local)[0])


def moon(sky_s: float, latitude_deg: float, longitude_deg: float) -> Body:
    """The moon at a place, with parallax (Meeus 40: the observer stands one earth radius from the centre)."""
    equatorial, parallax = moon_equatorial(sky_s)
    geocentric = horizon(sky_s, latitude_deg, longitude_deg) @ equatorial
    topocentric = geocentric - np.array([0.0, 0.0, math.sin(math.radians(parallax))])
    local = refract((topocentric / np.linalg.norm(topocentric))[None])[0]
    return Body(local, altaz_deg(local)[0])


def phase_angle_deg(sky_s: float) -> float:
    """Angle sun-moon-earth: 0 at full moon, 180 at new moon (Meeus 48.3)."""
    (to_sun, sun_au), (to_moon, parallax) = sun_equatorial(sky_s), moon_equatorial(sky_s)
    elongation = math.acos(max(-1.0, min(1.0, float(to_sun @ to_moon))))
    moon_au = 4.26352e-5 / math.sin(math.radians(parallax))
    return math.degrees(math.atan2(sun_au * math.sin(elongation), moon_au - sun_au * math.cos(elongation)))
