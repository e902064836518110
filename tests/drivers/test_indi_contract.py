"""The driver contract on INDI's own camera simulator behind the real indiserver."""

from collections.abc import Iterator

import pytest

from cupola.core.frame import Camera, Station
from cupola.drivers.indi import Indi
from cupola.testing import DriverContract
from tests.drivers.indi_sources import indi_server, options
from tests.support.indi_server import IndiServer


@pytest.mark.tried("indi", "", "simulator")
class TestIndi(DriverContract):
    server: IndiServer
    long_exposure_s = 20.0
    open_close_cycles = 5

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def running_server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        with indi_server(tmp_path_factory.mktemp("indi")) as cls.server:
            yield

    def make_camera(self) -> Camera:
        return Indi(options(self.server), Station())
