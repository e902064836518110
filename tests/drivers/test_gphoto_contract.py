"""The driver contract, against libgphoto2's own PTP code with its virtual Nikon D750."""

from pathlib import Path

import pytest

from cupola.core.frame import Camera, Station
from cupola.drivers.gphoto import Gphoto
from cupola.testing import DriverContract
from tests.drivers.gphoto_sources import OPTIONS, virtual_nikon


@pytest.mark.tried("gphoto", "", "simulator")
class TestVirtualNikon(DriverContract):
    long_exposure_s = None  # its longest is 1 s, and cannot be broken off
    open_close_cycles = 5

    @pytest.fixture(autouse=True)
    def nikon(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        virtual_nikon(monkeypatch, tmp_path)

    def make_camera(self) -> Camera:
        return Gphoto(OPTIONS, Station())
