"""What the simulator's tests share: a complete block of options as the configuration would hand it over, small and quick."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cupola.core.frame import Station
from cupola.drivers.simulator import Simulator
from cupola.drivers.sky.scene import Scene

NO_FAULTS: dict[str, Any] = {
    "hang_on": [],
    "hang_holds_gil": False,
    "crash_on": [],
    "unplug_after_frames": None,
    "replug_after_s": None,
    "slow_readout_s": None,
    "slow_readout_on": [],
    "freeze_after_frames": None,
    "stall_after_frames": None,
}
BASE: dict[str, Any] = {
    "width": 320,
    "height": 240,
    "bits": 12,
    "bayer": "RGGB",
    "seed": 7,
    "sky_time": "2026-10-10T19:30:00Z",
    "sky_speed": 1.0,
    "field_of_view_deg": 180.0,
    "distortion": -0.05,
    "azimuth_deg": 0.0,
    "altitude_deg": 90.0,
    "f_number": 2.0,
    "full_well_e": 15000.0,
    "read_noise_e": 2.5,
    "dark_current_e_s": 0.05,
    "temperature_c": 10.0,
    "hot_pixels": 0.0002,
    "exposure_min_s": 32e-6,
    "exposure_max_s": 2000.0,
    "gain_max": 500.0,
    "readout_s": 0.01,
    "clouds": 0.0,
    "meteors_per_hour": 0.0,
    "satellites_per_hour": 0.0,
    "truth": None,
}

Options = Callable[..., dict[str, Any]]


@pytest.fixture
def options() -> Options:
    """`options(key=value, faults={...})`: the defaults of the tests with some keys changed."""

    def make(**changed: Any) -> dict[str, Any]:
        faults = NO_FAULTS | changed.pop("faults", {})
        return BASE | changed | {"faults": faults}

    return make


@pytest.fixture
def station() -> Station:
    return Station("test", 47.0, 11.0, 900.0, "Europe/Vienna")


@pytest.fixture
def make_scene(options: Options, station: Station) -> Callable[..., Scene]:
    """A scene with the clock of the sky at its opening."""

    def make(opens_s: float, **changed: Any) -> Scene:
        return Scene(options(**changed), station, opens_s)

    return make


@pytest.fixture
def make_camera(options: Options, station: Station) -> Iterator[Callable[..., Simulator]]:
    """A simulator, not yet open; closed after the test, and nothing remembered of its cable."""
    made: list[Simulator] = []

    def make(**changed: Any) -> Simulator:
        made.append(Simulator(options(**changed), station))
        return made[-1]

    yield make
    for camera in made:
        camera.close()
        camera.faults.state_file.unlink(missing_ok=True)
