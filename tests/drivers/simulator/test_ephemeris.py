"""Against the worked examples of Meeus, "Astronomical Algorithms", 2nd edition."""

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from cupola.core import ephemeris
from cupola.drivers.sky.clock import parse_sky_time
from cupola.drivers.sky.stars import load


def seconds(*moment: int) -> float:
    return datetime(*moment, tzinfo=UTC).timestamp()  # type: ignore[arg-type, misc]


def degrees(equatorial: np.ndarray) -> tuple[float, float]:
    return math.degrees(math.atan2(equatorial[1], equatorial[0])) % 360, math.degrees(math.asin(equatorial[2]))


def test_sidereal_time_is_that_of_examples_12_a_and_12_b() -> None:
    assert ephemeris.sidereal_deg(seconds(1987, 4, 10)) == pytest.approx(15 * (13 + 10 / 60 + 46.3668 / 3600), abs=1e-4)
    assert ephemeris.sidereal_deg(seconds(1987, 4, 10, 19, 21)) == pytest.approx(128.7378734, abs=1e-4)


def test_altitude_and_azimuth_of_venus_are_those_of_example_13_b() -> None:
    venus = ephemeris.vector(15 * (23 + 9 / 60 + 16.641 / 3600), -(6 + 43 / 60 + 11.61 / 3600))
    local = ephemeris.horizon(seconds(1987, 4, 10, 19, 21), 38 + 55 / 60 + 17 / 3600, -(77 + 3 / 60 + 56 / 3600)) @ venus
    altitude, azimuth = ephemeris.altaz_deg(local)
    assert altitude == pytest.approx(15.1249, abs=0.01)
    assert azimuth == pytest.approx(68.0337 + 180, abs=0.01)


def test_sun_is_where_example_25_a_puts_it() -> None:
    direction, distance_au = ephemeris.sun_equatorial(seconds(1992, 10, 13))
    right_ascension, declination = degrees(direction)
    assert right_ascension == pytest.approx(198.38083, abs=0.01)
    assert declination == pytest.approx(-7.78507, abs=0.01)
    assert distance_au == pytest.approx(0.99766, abs=1e-4)


def test_moon_is_where_example_47_a_puts_it() -> None:
    direction, parallax = ephemeris.moon_equatorial(seconds(1992, 4, 12))
    right_ascension, declination = degrees(direction)
    assert right_ascension == pytest.approx(134.688470, abs=0.3)
    assert declination == pytest.approx(13.768368, abs=0.3)
    assert parallax == pytest.approx(0.991990, abs=0.005)


def test_moon_is_lit_as_in_example_48_a() -> None:
    assert ephemeris.phase_angle_deg(seconds(1992, 4, 12)) == pytest.approx(69.0756, abs=0.5)


def test_theta_persei_moves_as_in_example_21_b() -> None:
    """Proper motion and precession together, through the catalogue: HIP 12777 on 13 November 2028."""
    stars = load(seconds(2028, 11, 13, 4, 34), faintest=5.0)
    right_ascension, declination = degrees(stars.direction[int(np.flatnonzero(stars.hip == 12777)[0])])
    assert right_ascension == pytest.approx(15 * (2 + 46 / 60 + 11.331 / 3600), abs=0.001)
    assert declination == pytest.approx(49 + 20 / 60 + 54.54 / 3600, abs=0.001)


def test_refraction_lifts_the_horizon_by_half_a_degree_and_leaves_the_zenith() -> None:
    lifted = ephemeris.refract(np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, math.cos(math.radians(10)), math.sin(math.radians(10))]]))
    altitudes = [ephemeris.altaz_deg(direction)[0] for direction in lifted]
    assert altitudes[0] == pytest.approx(0.48, abs=0.08)
    assert altitudes[1] == pytest.approx(90.0, abs=0.01)
    assert altitudes[2] == pytest.approx(10 + 5.3 / 60, abs=0.01)
    assert np.linalg.norm(lifted, axis=1) == pytest.approx(1.0)


@pytest.mark.parametrize("hour", [0, 6, 12, 18])
def test_night_is_dark_whenever_it_is_asked_for(hour: int) -> None:
    now_s = seconds(2026, 3, 20, hour)
    sky_s = parse_sky_time("night", now_s, 47.0, 11.0)
    assert ephemeris.sun(sky_s, 47.0, 11.0).altitude_deg < -18
    assert 0 <= sky_s - now_s < 86400
    assert (sky_s == now_s) == (hour == 0)  # dark already: nothing is shifted


def test_night_where_it_never_gets_dark_is_its_darkest_moment() -> None:
    sky_s = parse_sky_time("night", seconds(2026, 6, 21, 12), 60.0, 25.0)
    altitude = ephemeris.sun(sky_s, 60.0, 25.0).altitude_deg
    assert altitude == pytest.approx(-(90 - 60 - 23.44), abs=0.05)


def test_a_sky_time_without_a_zone_is_utc() -> None:
    assert parse_sky_time("2026-11-21T23:15:00", 0.0, 0, 0) == seconds(2026, 11, 21, 23, 15)
    with pytest.raises(ValueError, match="tomorrow"):
        parse_sky_time("tomorrow", 0.0, 0, 0)
