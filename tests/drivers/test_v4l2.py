"""Webcams through the `video` driver. A stand-in: `support/fakev4l2.c` plays the kernel's part of V4L2 by LD_PRELOAD.

What it shows is that FFmpeg's V4L2 reader is driven rightly; no real device is involved.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.drivers.sources import SUPPORT, VIDEO, jpeg
from tests.support.mjpeg_source import picture

WIDTH, HEIGHT = 320, 240
PROGRAM = """
import json, sys, time
import simplejpeg
from itertools import islice
from cupola.core.errors import CupolaError
from cupola.core.frame import Frame, Station, Stop
from cupola.drivers.video import Video
from tests.support.mjpeg_source import read_barcode
camera = Video(json.loads(sys.argv[1]), Station())
said = {}
try:
    info = camera.open()
    said["info"] = [info.width, info.height, info.format.kind, sorted(info.capabilities)]
    pictures = list(islice(camera.stream(Stop()), int(sys.argv[2])))
    said["type"] = type(pictures[0]).__name__
    said["numbers"] = [read_barcode(one.data if isinstance(one, Frame) else simplejpeg.decode_jpeg(one.data)) for one in pictures]
    said["still"] = type(camera.expose(Stop())).__name__
except CupolaError as error:
    said["error"] = [error.kind, str(error)]
started = time.monotonic()
camera.close()
said["close_s"] = time.monotonic() - started
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("webcam")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(folder / "fake.so"), str(SUPPORT / "fakev4l2.c"), "-ldl"], check=True)
    (folder / "video0").symlink_to("/dev/null")  # a character device, as a webcam is
    for number in range(1, 31):
        (folder / f"{number:03d}.jpg").write_bytes(jpeg(number))
        packed = av.VideoFrame.from_ndarray(picture(WIDTH, HEIGHT, number), format="rgb24").reformat(format="yuyv422")
        lines = np.frombuffer(memoryview(packed.planes[0]), np.uint8).reshape(HEIGHT, -1)[:, : 2 * WIDTH]
        (folder / f"{number:03d}.yuyv").write_bytes(lines.tobytes())
    return folder


def webcam(folder: Path, input_format: str, pictures: int = 10, **faults: str) -> Any:
    options = {**VIDEO, "source": str(folder / "video0"), "input_format": input_format, "width": WIDTH, "height": HEIGHT, "fps": 30, "timeout_s": 2.0}
    root = Path(__file__).parents[2]
    environment = {
        **os.environ, **faults, "LD_PRELOAD": str(folder / "fake.so"), "FAKE_PATH": str(folder / "video0"), "FAKE_DIR": str(folder), "FAKE_FPS": "30",
        "FAKE_FMT": {"mjpeg": "MJPEG", "yuyv": "YUYV"}[input_format], "FAKE_W": str(WIDTH), "FAKE_H": str(HEIGHT),
        "PYTHONPATH": f"{root / 'src'}:{root}",
    }  # fmt: skip
    command = [sys.executable, "-c", PROGRAM, json.dumps(options), str(pictures)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=40, check=True)
    said = json.loads(done.stdout)
    assert said["close_s"] < 1
    return said


def test_mjpeg_of_a_webcam_is_passed_through(stand_in: Path) -> None:
    said = webcam(stand_in, "mjpeg")
    assert said["info"] == [WIDTH, HEIGHT, "yuv420", ["continuous", "native_jpeg", "video"]]
    assert (said["type"], said["still"]) == ("Packet", "Packet")
    assert None not in said["numbers"]
    assert all((other - one) % 30 in (1, 2, 3) for one, other in zip(said["numbers"], said["numbers"][1:], strict=False))


def test_raw_pictures_of_a_webcam_are_yuv422_frames(stand_in: Path) -> None:
    said = webcam(stand_in, "yuyv")
    assert said["info"] == [WIDTH, HEIGHT, "yuv422", ["continuous", "video"]]
    assert (said["type"], said["still"]) == ("Frame", "Frame")
    assert None not in said["numbers"]


def test_a_webcam_in_use_is_busy(stand_in: Path) -> None:
    kind, message = webcam(stand_in, "mjpeg", FAKE_BUSY="1")["error"]
    assert kind == "camera_busy"
    assert "in use by another program" in message


def test_an_unplugged_webcam_is_lost(stand_in: Path) -> None:
    kind, message = webcam(stand_in, "mjpeg", pictures=1000, FAKE_GONE_AFTER="20")["error"]
    assert kind == "camera_lost"
    assert "is gone" in message


def test_a_webcam_that_falls_silent_is_unresponsive_and_can_be_closed(stand_in: Path) -> None:
    kind, message = webcam(stand_in, "mjpeg", pictures=1000, FAKE_SILENT_AFTER="20")["error"]
    assert kind == "camera_unresponsive"
    assert "no picture for 2 s" in message
