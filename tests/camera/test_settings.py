"""Which settings are requested, which are automatic, and what a camera process is started with."""

from __future__ import annotations

import pytest

from cupola.camera.messages import info_from, info_head
from cupola.camera.settings import CameraSettings, out_of_reach
from cupola.camera.spec import AutoSpec
from cupola.core.frame import CameraInfo, Capability, ControlRange, Controls, Generation, PixelFormat, PixelKind

BOTH = frozenset({"exposure_s", "gain"})


def _settings(*, automatic: bool = True) -> CameraSettings:
    settings = CameraSettings(7, BOTH)
    settings.begin(Controls(0.1), Controls(2.0, 50), automatic=automatic)
    return settings


def test_automatic_settings_begin_with_the_configured_ones_and_request_nothing() -> None:
    still = _settings().still
    assert (still.automatic, still.requested, still.begin_with) == (BOTH, Controls(), Controls(2.0, 50))
    assert _settings().live.automatic == frozenset()


def test_what_is_given_is_automatic_no_more_and_the_rest_stays_so() -> None:
    settings = _settings()
    settings.still.took(Controls(3.0, 120), Generation(7, 0))
    still = settings.request("still", Controls(gain=80))
    assert (still.automatic, still.requested) == ({"exposure_s"}, Controls(gain=80))
    assert still.begin_with == Controls(3.0, 80), "a new process goes on where the exposure was"


def test_ending_it_keeps_what_was_chosen_last_and_taking_it_up_gives_all_back() -> None:
    settings = _settings()
    settings.still.took(Controls(3.0, 120), Generation(7, 0))
    still = settings.request("still", Controls(), automatic=False)
    assert (still.automatic, still.requested) == (frozenset(), Controls(3.0, 120))
    still = settings.request("still", Controls(gain=10), automatic=True)
    assert (still.automatic, still.requested) == ({"exposure_s"}, Controls(gain=10))


def test_the_live_view_is_never_automatic() -> None:
    live = _settings().request("live", Controls(exposure_s=0.2), automatic=True)
    assert (live.automatic, live.requested) == (frozenset(), Controls(0.2))


def test_only_the_first_answer_to_a_request_is_one() -> None:
    still = _settings().still
    assert still.took(Controls(1.0), Generation(7, 0))
    assert not still.took(Controls(1.1), Generation(7, 0))
    assert still.applied == Controls(1.1)
    assert still.took(Controls(1.1), Generation(7, 1))


def test_what_the_configuration_wants_beyond_the_camera_is_told() -> None:
    ranges = {"exposure_s": ControlRange(0.001, 5, 1)}
    settings = CameraSettings(7)
    settings.begin(Controls(exposure_s=5), Controls(exposure_s=20, f_number=4))
    settings.still.took(Controls(exposure_s=5), Generation(7, 0))
    assert out_of_reach(settings, ranges, "sky") == [
        'Stills: exposure_s 20 s is outside of what camera "sky" can do: 0.001 to 5 s. It takes 5 s instead.',
        'Stills: Camera "sky" has no setting f_number. It has: exposure_s.',
    ]
    settings.request("still", Controls(exposure_s=0.001))
    assert len(out_of_reach(settings, ranges, "sky")) == 1


@pytest.mark.parametrize(
    ("scale", "capability", "expected"), [("linear", "stills", BOTH), (None, "stills", {"exposure_s"}), ("linear", "continuous", set())]
)
def test_a_camera_says_what_can_be_automatic_by_its_controls(scale: str | None, capability: str, expected: set[str]) -> None:
    ranges = {"exposure_s": ControlRange(0.001, 10, 1), "gain": ControlRange(100, 6400, 100, (100, 6400), scale)}  # type: ignore[arg-type]
    info = CameraInfo("x", "X", 64, 48, PixelFormat(PixelKind.MONO), frozenset({Capability(capability)}), controls=ranges)
    told = info_from(info_head(info))
    assert told == info
    assert AutoSpec(True, {"target": 0.25}).of(told) == expected
