"""The driver contract, run against `zwo` on the real `zwoasi` and a stand-in for ZWO's library, in each way of taking pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cupola.core.frame import Camera
from cupola.testing import DriverContract
from tests.drivers.zwo_library import Bench, compiled, make_bench


@pytest.mark.tried("zwo", "", "stand-in")
class TestSnapshots(DriverContract):
    mode, slot_model, image_type = "snapshot", "0", "RAW16"
    long_exposure_s = 20.0
    bench: Bench
    library: Path

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def compile(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.library = compiled(tmp_path_factory.mktemp("zwo"))

    @pytest.fixture(autouse=True)
    def cables(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bench = make_bench(tmp_path, self.library, monkeypatch)
        self.bench.set(readout_ms=20, models=self.slot_model)

    def make_camera(self) -> Camera:
        return self.bench.camera(mode=self.mode, **self.more)

    @property
    def more(self) -> dict[str, Any]:
        return {"image_type": self.image_type}


class TestVideo(TestSnapshots):
    mode = "video"
    opens_early_s = 0.2  # the readout, and what a busy machine adds


@pytest.mark.variant
class TestAuto(TestVideo):
    mode = "auto"


@pytest.mark.variant
class TestMonochrome(TestVideo):
    """A sensor of 14 bits and 6 megapixels, in its 8 bit format."""

    slot_model, image_type = "1", "RAW8"


@pytest.mark.variant
class TestRegionOfBinnedPixels(TestSnapshots):
    @property
    def more(self) -> dict[str, Any]:
        return {"binning": 2, "roi": {"x": 101, "y": 51, "width": 803, "height": 605}}


@pytest.mark.variant
class TestOldCameraInY8(TestSnapshots):
    """Without a serial number, and with sizes of its own."""

    slot_model, image_type = "2", "Y8"
