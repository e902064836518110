"""What the lens throws onto the sensor: the right stars in the right places, in the right colours, moving with the sky."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from cupola.core import ephemeris
from cupola.core.errors import CaptureCancelled
from cupola.drivers.sky.lens import Lens
from cupola.drivers.sky.mosaic import Mosaic
from cupola.drivers.sky.scene import Scene
from cupola.drivers.sky.sensor import Sensor

NIGHT_S = datetime(2026, 10, 10, 19, 30, tzinfo=UTC).timestamp()
DUSK_S = datetime(2026, 11, 21, 16, 15, tzinfo=UTC).timestamp()
DAY_S = datetime(2026, 7, 1, 11, 0, tzinfo=UTC).timestamp()
POLARIS, VEGA, CAPELLA = 11767, 91262, 24608

MakeScene = Callable[..., Scene]


def position(scene: Scene, hip: int, sky_s: float, exposure_s: float = 1.0) -> tuple[float, float]:
    stars = scene.render(sky_s, exposure_s, 2.5).stars
    (index,) = np.flatnonzero(stars.hip == hip)
    return float(stars.x[index]), float(stars.y[index])


def test_polaris_stands_as_high_as_the_latitude_says_and_in_the_north(make_scene: MakeScene) -> None:
    scene = make_scene(NIGHT_S)
    altitude, azimuth = ephemeris.altaz_deg(scene.lens.unproject(*(np.array(v) for v in position(scene, POLARIS, NIGHT_S))))
    assert altitude == pytest.approx(47.0, abs=1.0)
    assert min(azimuth, 360 - azimuth) < 1.5


def test_vega_is_where_the_formulas_of_the_horizon_put_it(make_scene: MakeScene) -> None:
    """From its coordinates of 2026.8 (18h 37m 50s, +38° 48.6') by the textbook's formulas, not by the scene's matrices."""
    hour_angle = math.radians(ephemeris.sidereal_deg(NIGHT_S + 0.5) + 11.0 - 15 * (18 + 37 / 60 + 50 / 3600))
    declination, latitude = math.radians(38 + 48.6 / 60), math.radians(47.0)
    altitude = math.asin(math.sin(latitude) * math.sin(declination) + math.cos(latitude) * math.cos(declination) * math.cos(hour_angle))
    azimuth = math.pi + math.atan2(math.sin(hour_angle), math.cos(hour_angle) * math.sin(latitude) - math.tan(declination) * math.cos(latitude))
    t = (math.pi / 2 - altitude) / (math.pi / 2)
    radius = 120 * (t - 0.05 * t**3) / 0.95  # 240 px high, 180° wide, distortion -0.05
    x, y = 159.5 - radius * math.sin(azimuth), 119.5 - radius * math.cos(azimuth)  # north is up, so east is left
    assert position(make_scene(NIGHT_S), VEGA, NIGHT_S) == pytest.approx((x, y), abs=0.15)


def test_the_drawn_star_lies_where_the_truth_says(make_scene: MakeScene) -> None:
    scene = make_scene(NIGHT_S, bayer=None, width=960, height=720)
    picture = scene.render(NIGHT_S, 2.0, 2.5)
    (index,) = np.flatnonzero(picture.stars.hip == VEGA)
    x, y = picture.stars.x[index], picture.stars.y[index]
    background = np.median(picture.electrons[round(y) - 8 : round(y) + 9, round(x) - 8 : round(x) + 9])
    left, top = round(x) - 3, round(y) - 3
    patch = picture.electrons[top : top + 7, left : left + 7] - float(background)
    rows, columns = np.mgrid[top : top + 7, left : left + 7]
    assert (patch * columns).sum() / patch.sum() == pytest.approx(x, abs=0.1)
    assert (patch * rows).sum() / patch.sum() == pytest.approx(y, abs=0.1)
    assert patch.sum() == pytest.approx(picture.stars.flux_e[index], rel=0.1)


def test_the_sky_turns_around_the_pole_by_fifteen_degrees_an_hour(make_scene: MakeScene) -> None:
    scene = make_scene(NIGHT_S)
    x, y = scene.lens.project(ephemeris.vector(90.0, 47.0)[None])[:2]  # the pole: azimuth 0, altitude 47 (x east, y north)
    pole = np.array([float(x[0]), float(y[0])])
    before, after = (np.array(position(scene, CAPELLA, NIGHT_S + t)) for t in (0.0, 3600.0))
    local = [scene.lens.unproject(*(np.array(v) for v in place)) for place in (before, after)]
    axis = ephemeris.vector(90.0, 47.0)
    flat = [direction - axis * float(direction @ axis) for direction in local]
    turned = math.degrees(math.acos(float(flat[0] @ flat[1]) / float(np.linalg.norm(flat[0]) * np.linalg.norm(flat[1]))))
    assert turned == pytest.approx(15.04, abs=0.25)
    assert np.hypot(*(before - pole)) > 10
    assert float(np.cross(np.append(before - pole, 0), np.append(after - pole, 0))[2]) < 0  # counter-clockwise with y down


def test_stars_leave_trails_in_a_long_exposure(make_scene: MakeScene) -> None:
    scene = make_scene(NIGHT_S, bayer=None, width=640, height=480)
    exposure_s = 600.0
    ends = [np.array(position(scene, VEGA, NIGHT_S + t, 0.1)) for t in (0.0, exposure_s)]
    length = float(np.hypot(*(ends[1] - ends[0])))
    electrons = scene.render(NIGHT_S, exposure_s, 2.5).electrons
    assert length > 4
    for share in (0.1, 0.5, 0.9):
        x, y = ends[0] + (ends[1] - ends[0]) * share
        patch = electrons[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2]
        around = electrons[round(y) - 12 : round(y) + 13, round(x) - 12 : round(x) + 13]
        assert patch.max() > 3 * np.median(around)


@pytest.mark.parametrize("pattern", ["RGGB", "BGGR", "GRBG", "GBRG"])
def test_each_filter_sits_where_the_pattern_says(pattern: str) -> None:
    mosaic = Mosaic(32, 32, pattern)
    picture = np.zeros((32, 32), np.float32)
    coarse = np.broadcast_to(np.array([100.0, 200.0, 300.0], np.float32), (5, 5, 3))
    mosaic.enlarge(np.ascontiguousarray(coarse), 8, np.full((32, 32), 255, np.uint8), picture)
    for place, colour in zip(((0, 0), (0, 1), (1, 0), (1, 1)), pattern, strict=True):
        expected = 0.38 * {"R": 100.0, "G": 200.0, "B": 300.0}[colour]
        assert picture[place[0] :: 2, place[1] :: 2] == pytest.approx(expected, rel=1e-5)
    star = np.zeros((32, 32), np.float32)
    mosaic.points(star, np.array([15.0]), np.array([16.0]), np.array([[0.0, 0.0, 1000.0]], np.float32))
    lit = {("R", "G", "B")["RGB".index(pattern[(y % 2) * 2 + x % 2])] for y, x in zip(*np.nonzero(star), strict=True)}
    assert lit == {"B"}


def test_red_stars_are_red_and_blue_stars_blue(make_scene: MakeScene) -> None:
    stars = make_scene(NIGHT_S).stars
    by_hip = {int(hip): colour for hip, colour in zip(stars.hip[:200], stars.colour[:200], strict=True)}
    assert by_hip[27989][0] > 1.3 * by_hip[27989][2]  # Betelgeuse
    assert by_hip[24436][2] > 1.1 * by_hip[24436][0]  # Rigel


def test_light_between_the_nodes_is_linear_and_complete() -> None:
    picture = np.full((30, 50), np.nan, np.float32)
    ramp = np.add.outer(np.arange(5) * 8.0 * 3, np.arange(8) * 8.0).astype(np.float32)
    Mosaic(50, 30, None).enlarge(np.repeat(ramp[..., None], 3, axis=2), 8, np.full((30, 50), 255, np.uint8), picture)
    assert picture == pytest.approx(np.add.outer(np.arange(30) * 3.0, np.arange(50.0)), abs=1e-3)


@pytest.mark.parametrize("altitude", [90.0, 40.0])
@pytest.mark.parametrize("distortion", [-0.2, 0.0, 0.2])
def test_lens_maps_back_what_it_projected(altitude: float, distortion: float) -> None:
    lens = Lens(640, 480, 120.0, distortion, 200.0, altitude, 2.0)
    x, y = np.meshgrid(np.linspace(130, 510, 20), np.linspace(50, 430, 20))
    inside = np.hypot(x - 319.5, y - 239.5) < 225
    px, py, visible = lens.project(lens.unproject(x[inside], y[inside]))
    assert visible.all()
    assert px == pytest.approx(x[inside], abs=0.01)
    assert py == pytest.approx(y[inside], abs=0.01)


def test_a_lowered_camera_looks_where_it_points_with_the_zenith_up() -> None:
    lens = Lens(640, 480, 60.0, 0.0, 90.0, 30.0, 2.0)
    assert ephemeris.altaz_deg(lens.unproject(np.array(319.5), np.array(239.5))) == pytest.approx((30.0, 90.0))
    above, right = lens.unproject(np.array(319.5), np.array(100.0)), lens.unproject(np.array(500.0), np.array(239.5))
    assert ephemeris.altaz_deg(above)[0] > 40
    assert 100 < ephemeris.altaz_deg(right)[1] < 130  # south of east


def test_days_are_brighter_than_dusk_and_dusk_than_night(make_scene: MakeScene) -> None:
    day, dusk, night = (make_scene(t).render(t, 1.0, 2.5).background_e for t in (DAY_S, DUSK_S, NIGHT_S))
    assert day > 1e3 * dusk > 1e5 * night > 0


def test_the_sun_is_the_brightest_thing_of_the_day_and_where_it_should_be(make_scene: MakeScene) -> None:
    scene = make_scene(DAY_S, bayer=None)
    electrons = scene.render(DAY_S, 1e-4, 2.5).electrons
    y, x = np.unravel_index(int(electrons.argmax()), electrons.shape)
    sun_x, sun_y, visible = scene.lens.project(scene.lamps(DAY_S).sun.direction[None])
    assert visible[0]
    assert (x, y) == pytest.approx((float(sun_x[0]), float(sun_y[0])), abs=1.5)


def test_outside_of_the_circle_no_light_falls(make_scene: MakeScene) -> None:
    electrons = make_scene(DAY_S).render(DAY_S, 1.0, 2.5).electrons
    assert electrons[:, :35].max() == 0
    assert electrons[120, 160] > 0


def test_thirty_seconds_at_gain_100_differ_from_one_at_gain_0_as_a_sensors_would(
    make_scene: MakeScene, options: Callable[..., dict[str, Any]]
) -> None:
    sensor, scene = Sensor(options(bits=16, full_well_e=60000.0)), make_scene(NIGHT_S)
    means, deviations, electrons = [], [], []
    for exposure_s, gain in ((1.0, 0.0), (30.0, 100.0)):
        light = scene.render(NIGHT_S - exposure_s / 2, exposure_s, sensor.read_noise_e).electrons
        sensor.collect(light, exposure_s)
        samples = [sensor.read(light, gain, np.random.default_rng(k)).astype(float)[100:140, 140:180] for k in (1, 2)]
        means.append(float(np.median(samples[0] + samples[1]) / 2) - sensor.black)
        deviations.append(float(np.std(samples[0] - samples[1]) / np.sqrt(2)))
        electrons.append(float(np.mean(light[100:140, 140:180])))
    assert electrons[1] == pytest.approx(30 * electrons[0], rel=0.05)
    assert means[1] == pytest.approx(30 * 10**0.5 * means[0], rel=0.1)
    noise_e = [(e + sensor.read_noise_e**2) ** 0.5 for e in electrons]
    assert deviations[1] / deviations[0] == pytest.approx(noise_e[1] / noise_e[0] * 10**0.5, rel=0.07)


def test_clouds_take_stars_away_and_cover_as_much_as_asked(make_scene: MakeScene) -> None:
    clear, half, closed = (make_scene(NIGHT_S, clouds=cover, width=640, height=480).render(NIGHT_S, 10.0, 2.5).stars for cover in (0.0, 0.5, 1.0))
    assert clear.flux_e.sum() > 1.2 * half.flux_e.sum() > 4 * closed.flux_e.sum()


def test_streaks_add_up_to_their_flux_and_come_again_for_the_same_seed(make_scene: MakeScene) -> None:
    scenes = [make_scene(NIGHT_S, meteors_per_hour=6000.0, satellites_per_hour=600.0, bayer=None) for _ in range(2)]
    first, second = (scene.streaks(NIGHT_S, 20.0) for scene in scenes)
    assert {s.kind for s in first} == {"satellite", "meteor"}
    assert [(s.x0, s.y0, s.flux_e) for s in first] == [(s.x0, s.y0, s.flux_e) for s in second]
    for streak in first:
        assert streak.electrons.sum() == pytest.approx(streak.flux_e, rel=0.05)
    halves = scenes[0].streaks(NIGHT_S, 10.0) + scenes[0].streaks(NIGHT_S + 10, 10.0)
    assert sum(s.flux_e for s in halves) == pytest.approx(sum(s.flux_e for s in first), rel=0.05)


def test_the_same_seed_gives_the_same_picture_and_another_one_does_not(make_scene: MakeScene) -> None:
    pictures = [make_scene(NIGHT_S, clouds=0.5, seed=seed).render(NIGHT_S, 5.0, 2.5).electrons for seed in (1, 1, 2)]
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


def test_rendering_stops_when_told(make_scene: MakeScene) -> None:
    with pytest.raises(CaptureCancelled):
        make_scene(NIGHT_S).render(NIGHT_S, 1.0, 2.5, lambda: True)
