"""The controller, on numbers; and, by the bench's sky and sensor, on whole evenings."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from bench.twilight import twilight

from cupola.camera.auto_exposure import AutoExposure, Dial, Limits, dials_of, light_of, solve, stops_of, value_of
from cupola.core.frame import ControlRange, Controls, GainScale

ZWO = {"exposure_s": ControlRange(32e-6, 15.0, 1.0), "gain": ControlRange(0, 300, 0, scale="tenth_db")}
SHUTTER = tuple(2 ** (third / 3) for third in range(-36, 15))  # 1/4096 to 25 s
ISO = tuple(100 * 2 ** (third / 3) for third in range(19))
DSLR = {
    "exposure_s": ControlRange(SHUTTER[0], SHUTTER[-1], 1.0, SHUTTER),
    "gain": ControlRange(100, ISO[-1], 100, ISO, "linear"),
    "f_number": ControlRange(2.8, 22, 8),
}
TARGET = 0.25


def _controller(ranges: dict[str, ControlRange], **limits: object) -> AutoExposure:
    given = Limits(target=TARGET, **limits)  # type: ignore[arg-type]
    gain = ranges.get("gain")
    return AutoExposure(dials_of(ranges, given), TARGET, None if gain is None else gain.scale or given.gain_scale)


class _Evening:
    """A sky of so many stops, and a sensor that clips; `sky` 0 shows 1.0 in a picture of no stops."""

    def __init__(self, controller: AutoExposure, ranges: dict[str, ControlRange], base: Controls) -> None:
        self._scale: GainScale | None
        self.controller, self.base = controller, base
        self._scale = ranges["gain"].scale if "gain" in ranges else None
        self.controls, self.levels, self.corrections = controller.controls(base), list[float](), list[float]()

    def picture(self, sky: float, **at: float) -> Controls:
        level = min(2 ** (sky + light_of(self.controls, self._scale)), 1.0)
        self.levels.append(level)
        self.corrections.append(self.controller.measured(level, self.controls))
        self.controls = self.controller.controls(self.base, **at)  # type: ignore[arg-type]
        return self.controls

    @property
    def off(self) -> float:
        return abs(math.log2(self.levels[-1] / TARGET))


@pytest.mark.parametrize("rising", [False, True], ids=["sunset", "sunrise"])
@pytest.mark.parametrize("lag", [0, 1])
def test_a_clear_twilight_is_exposed_within_a_tenth_of_a_stop(rising: bool, lag: int) -> None:
    figures = twilight(rising, lag, clouds=False)
    assert (figures.off_half, figures.jumps) == (0, 0)
    assert figures.worst <= 0.1
    assert figures.developed_step <= 0.1


@pytest.mark.parametrize("rising", [False, True], ids=["sunset", "sunrise"])
@pytest.mark.parametrize(("lag", "off_half", "jumps"), [(0, 0.3, 2), (1, 2.0, 25)])
def test_a_cloudy_and_noisy_twilight_neither_strays_nor_flickers(rising: bool, lag: int, off_half: float, jumps: int) -> None:
    figures = twilight(rising, lag, clouds=True)
    assert figures.off_half <= off_half
    assert figures.jumps <= jumps
    assert figures.developed_step <= 0.1


def test_from_far_too_bright_and_far_too_dark_it_is_there_in_a_few_pictures() -> None:
    for sky in (12.0, -6.0):
        evening = _Evening(_controller(ZWO), ZWO, Controls(0.5, 0))
        for _ in range(6):
            evening.picture(sky)
        assert evening.off < 0.1, f"after {[round(level, 4) for level in evening.levels]}"


def test_gain_is_raised_only_when_the_exposure_is_the_longest() -> None:
    evening = _Evening(_controller(ZWO, exposure_max_s=10.0, gain_max=200.0), ZWO, Controls(0.001, 0))
    for step in range(200):
        chosen = evening.picture(8 - step * 0.1)
        assert chosen.exposure_s is not None and chosen.gain is not None
        assert chosen.exposure_s <= 10.0 * (1 + 1e-9) and chosen.gain <= 200 + 1e-9
        assert chosen.gain == 0 or chosen.exposure_s == pytest.approx(10.0)
    assert (chosen.exposure_s, chosen.gain) == pytest.approx((10.0, 200.0))


def test_gain_comes_first_where_that_is_preferred() -> None:
    evening = _Evening(_controller(ZWO, prefer="gain", gain_max=100.0), ZWO, Controls(32e-6, 0))
    for step in range(120):
        chosen = evening.picture(15 - step * 0.1)
        assert chosen.exposure_s is not None and chosen.gain is not None
        assert chosen.gain == pytest.approx(100) or chosen.exposure_s == pytest.approx(32e-6)
    assert chosen.gain == pytest.approx(100) and (chosen.exposure_s or 0) > 0.001


def test_a_series_with_an_interval_bounds_the_exposure_and_gain_takes_over() -> None:
    evening = _Evening(_controller(ZWO), ZWO, Controls(0.1, 0))
    for _ in range(8):
        chosen = evening.picture(-6.0, exposure_max_s=4.0)
    assert chosen.exposure_s == pytest.approx(4.0)
    assert chosen.gain == pytest.approx(value_of(2.0, "tenth_db"), abs=2)
    assert evening.off < 0.1


def test_a_setting_that_stands_fixed_is_reckoned_with_and_not_moved() -> None:
    only_gain = [dial for dial in dials_of(ZWO, Limits()) if dial.name == "gain"]
    evening = _Evening(AutoExposure(only_gain, TARGET, "tenth_db"), ZWO, Controls(2.0, 0))
    for _ in range(8):
        assert evening.picture(-5.0).exposure_s == 2.0
    assert evening.off < 0.1


def test_a_gain_of_unknown_scale_is_left_alone_until_it_is_declared() -> None:
    unknown = {**ZWO, "gain": ControlRange(0, 300, 0)}
    assert [dial.name for dial in dials_of(unknown, Limits())] == ["exposure_s"]
    assert [dial.name for dial in dials_of(unknown, Limits(gain_scale="linear"))] == ["exposure_s", "gain"]
    assert _controller(unknown).controls(Controls(1.0, 120)).gain == 120


def test_with_f_numbers_given_the_aperture_opens_before_the_exposure_grows() -> None:
    assert [dial.name for dial in dials_of(DSLR, Limits())] == ["exposure_s", "gain"]
    evening = _Evening(_controller(DSLR, f_number_min=2.8, f_number_max=11.0), DSLR, Controls(SHUTTER[0], 100, 11.0))
    for step in range(200):
        chosen = evening.picture(11 - step * 0.15)
        assert chosen.exposure_s is not None and chosen.f_number is not None
        assert chosen.f_number == pytest.approx(2.8) or chosen.exposure_s == pytest.approx(SHUTTER[0])
    assert chosen.f_number == pytest.approx(2.8) and chosen.gain == pytest.approx(ISO[-1])


def test_a_dslr_of_third_stops_never_goes_back_on_a_clear_evening() -> None:
    evening = _Evening(_controller(DSLR), DSLR, Controls(SHUTTER[0], 100, 8.0))
    given = [light_of(evening.picture(9 - step * 0.04), "linear") for step in range(400)][8:]
    assert all(after >= before for before, after in pairwise(given))
    assert given[-1] - given[0] > 10


@pytest.mark.parametrize("ranges", [ZWO, DSLR], ids=["zwo", "dslr"])
def test_noise_in_the_measure_does_not_make_the_settings_flap(ranges: dict[str, ControlRange]) -> None:
    """A steady sky, measured to a hundredth of a stop, at any brightness: choices stay, or change and stay."""
    rng = random.Random(1)
    for sky in (3.0, 3.1, 3.17, 3.25):
        evening = _Evening(_controller(ranges), ranges, Controls(0.02, ranges["gain"].minimum, 8.0))
        seen = [evening.picture(sky + 6 + rng.gauss(0, 0.005)) for _ in range(120)][20:]
        light = [light_of(controls, ranges["gain"].scale) for controls in seen]
        assert max(light) - min(light) < 0.35
        if ranges is DSLR:
            assert len(set(seen)) <= 2, f"it flaps between {set(seen)}"
            assert sum(a != b for a, b in pairwise(seen)) <= 1


def test_lightning_is_left_in_the_picture_and_the_next_one_is_not_spoilt() -> None:
    evening = _Evening(_controller(ZWO), ZWO, Controls(0.2, 0))
    for _ in range(30):
        evening.picture(0.3)
    for flash in (1.8, 12.0, -12.0):
        settings = evening.controls
        evening.picture(flash)
        assert abs(math.log2(max(evening.levels[-1], 1e-9) / TARGET)) > 1
        assert abs(evening.corrections[-1]) <= 0.55, "the flash is what there was to see"
        for _ in range(3):
            evening.picture(0.3)
            assert evening.off < 0.1, f"{evening.levels[-3:]} after settings {settings}"


def test_a_sky_that_is_another_one_for_good_is_followed_from_its_second_picture_on() -> None:
    for sky in (3.3, -2.7, 12.5, -20.0):
        evening = _Evening(_controller(ZWO), ZWO, Controls(0.2, 0))
        for _ in range(30):
            evening.picture(0.3)
        for _ in range(8):
            evening.picture(sky)
        if sky == -20.0:
            assert (evening.controls.exposure_s, evening.controls.gain) == pytest.approx((15.0, 300.0))
        else:
            assert evening.off < 0.1, f"{evening.levels[-8:]}"


def test_the_correction_is_what_the_exposure_missed_within_a_stop() -> None:
    for level, stops in ((0.2, math.log2(TARGET / 0.2)), (0.03, 1), (0.99, -1), (0.0, 1)):
        assert _controller(ZWO).measured(level, Controls(1.0, 0)) == pytest.approx(stops)


def test_after_missing_pictures_the_newest_brightness_counts_and_no_trend() -> None:
    evening = _Evening(_controller(ZWO), ZWO, Controls(0.01, 0))
    for step in range(30):
        evening.picture(4 - 0.2 * step)
    sky = 4 - 0.2 * 29
    evening.controller.gap()
    chosen = evening.controller.controls(Controls())
    assert 2 ** (sky + light_of(chosen, "tenth_db")) == pytest.approx(TARGET, rel=0.03)


def test_before_anything_was_seen_it_begins_with_what_is_wanted_within_its_limits() -> None:
    assert _controller(ZWO).controls(Controls()) == Controls()
    begun = _controller(ZWO, exposure_max_s=5.0).controls(Controls(10.0, 50, 4.0))
    assert (begun.exposure_s, begun.gain, begun.f_number) == (pytest.approx(5.0), pytest.approx(50), 4.0)
    assert _controller(ZWO).controls(Controls(10.0), exposure_max_s=2.0).exposure_s == pytest.approx(2.0)


def test_limits_beyond_the_cameras_own_count_as_the_nearest_it_has() -> None:
    (exposure, gain) = dials_of(ZWO, Limits(exposure_min_s=1e-9, exposure_max_s=500.0, gain_min=20.0))
    assert (value_of(exposure.low, "linear"), value_of(exposure.high, "linear")) == pytest.approx((32e-6, 15.0))
    assert value_of(gain.low, "tenth_db") == pytest.approx(20)


def test_a_stop_is_twice_the_light_in_every_scale() -> None:
    assert stops_of(2.0, "linear") - stops_of(1.0, "linear") == 1
    assert stops_of(60.206, "tenth_db") == pytest.approx(1, abs=1e-4)
    assert stops_of(4.0, "f_number") - stops_of(8.0, "f_number") == 2
    for scale in ("linear", "tenth_db", "f_number"):
        assert value_of(stops_of(5.6, scale), scale) == pytest.approx(5.6)  # type: ignore[arg-type]


def test_a_dial_of_choices_gives_the_nearest_one_that_is_allowed() -> None:
    dial = Dial.of("gain", "linear", DSLR["gain"], 200, 1600)
    assert dial.choices is not None and value_of(dial.choices[0], "linear") == pytest.approx(200)
    assert value_of(dial.nearest(stops_of(430, "linear")), "linear") == pytest.approx(400)
    assert value_of(dial.nearest(99), "linear") == pytest.approx(1600)


def test_the_weights_are_those_that_solve_the_normal_equations() -> None:
    assert solve([[4.0, 1.0], [1.0, 3.0]], [1.0, 2.0]) == pytest.approx([1 / 11, 7 / 11])
