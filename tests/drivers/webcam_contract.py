"""The driver contract for a webcam with controls. Not collected by itself: `test_v4l2` runs it inside the stand-in's LD_PRELOAD."""

import os

from cupola.core.frame import Camera, Station
from cupola.drivers.video import Video
from cupola.testing import DriverContract
from tests.drivers.sources import VIDEO


class TestWebcam(DriverContract):
    open_close_cycles = 3

    def make_camera(self) -> Camera:
        size = {"width": int(os.environ["FAKE_W"]), "height": int(os.environ["FAKE_H"]), "fps": 30}
        return Video({**VIDEO, "source": os.environ["FAKE_PATH"], "input_format": None, **size}, Station())
