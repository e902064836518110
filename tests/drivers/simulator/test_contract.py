"""The simulator keeps the contract that every driver keeps."""

import pytest
from tests.drivers.simulator.conftest import BASE, NO_FAULTS

from cupola.core.frame import Camera, Station
from cupola.drivers.simulator import Simulator
from cupola.testing import DriverContract


@pytest.mark.contract
@pytest.mark.tried("simulator", "", "simulator")
class TestSimulator(DriverContract):
    long_exposure_s = 30.0
    open_close_cycles = 5

    def make_camera(self) -> Camera:
        return Simulator({**BASE, "faults": NO_FAULTS}, Station("test", 47.0, 8.0, 400.0, "UTC"))
