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

from cupola.drivers import v4l2
from tests.drivers.sources import SUPPORT, VIDEO, jpeg
from tests.support.mjpeg_source import picture

WIDTH, HEIGHT = 320, 240
PROGRAM = """
import json, sys, time
import simplejpeg
from itertools import islice
from cupola.core.errors import CupolaError
from cupola.core.frame import Controls, Frame, Station, Stop
from cupola.drivers.video import Video
from tests.support.mjpeg_source import read_barcode
def number_of(one):
    return read_barcode(one.data if isinstance(one, Frame) else simplejpeg.decode_jpeg(one.data))
camera = Video(json.loads(sys.argv[1]), Station())
said = {}
try:
    info = camera.open()
    said["info"] = [info.width, info.height, info.format.kind, sorted(info.capabilities)]
    pictures = list(islice(camera.stream(Stop()), int(sys.argv[2])))
    said["type"] = type(pictures[0]).__name__
    said["numbers"] = [number_of(one) for one in pictures]
    said["limits"] = {name: [one.minimum, one.maximum] for name, one in info.controls.items()}
    if info.controls:
        said["before"] = pictures[-1].applied.to_dict()
        for name in sys.argv[3:]:
            said["taken"] = camera.apply(Controls(**json.loads(name))).to_dict()
        after = list(islice(camera.stream(Stop()), 5))
        said["after"] = [[number_of(one), one.applied.exposure_s, one.applied.gain] for one in after]
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
    for number in range(1, 131):  # from 101 on with another exposure
        (folder / f"{number:03d}.jpg").write_bytes(jpeg(number))
    for number in range(1, 31):
        packed = av.VideoFrame.from_ndarray(picture(WIDTH, HEIGHT, number), format="rgb24").reformat(format="yuyv422")
        lines = np.frombuffer(memoryview(packed.planes[0]), np.uint8).reshape(HEIGHT, -1)[:, : 2 * WIDTH]
        (folder / f"{number:03d}.yuyv").write_bytes(lines.tobytes())
    return folder


def webcam(
    folder: Path, input_format: str, pictures: int = 10, wanted: tuple[str, ...] = (), asked: dict[str, Any] | None = None, **faults: str
) -> Any:
    fixed = {"source": str(folder / "video0"), "input_format": input_format, "width": WIDTH, "height": HEIGHT, "fps": 30, "timeout_s": 2.0}
    options = {**VIDEO, **fixed, **(asked or {})}
    root = Path(__file__).parents[2]
    environment = {
        **os.environ, **faults, "LD_PRELOAD": str(folder / "fake.so"), "FAKE_PATH": str(folder / "video0"), "FAKE_DIR": str(folder), "FAKE_FPS": "30",
        "FAKE_FMT": {"mjpeg": "MJPEG", "yuyv": "YUYV"}[input_format], "FAKE_W": str(WIDTH), "FAKE_H": str(HEIGHT),
        "PYTHONPATH": f"{root / 'src'}:{root}",
    }  # fmt: skip
    command = [sys.executable, "-c", PROGRAM, json.dumps(options), str(pictures), *wanted]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=40, check=True)
    said = json.loads(done.stdout)
    assert said["close_s"] < 1
    return said


def test_mjpeg_of_a_webcam_is_passed_through(stand_in: Path) -> None:
    said = webcam(stand_in, "mjpeg")
    assert said["info"] == [WIDTH, HEIGHT, "yuv420", ["continuous", "native_jpeg", "video"]]
    assert (said["type"], said["still"]) == ("Packet", "Packet")
    assert None not in said["numbers"]
    assert all((other - one) % 130 in (1, 2, 3) for one, other in zip(said["numbers"], said["numbers"][1:], strict=False))


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


def test_exposure_and_gain_of_a_webcam_can_be_set_and_only_pictures_that_have_them_say_so(stand_in: Path, tmp_path: Path) -> None:
    said = webcam(stand_in, "mjpeg", wanted=('{"exposure_s": 0.02, "gain": 100}',), FAKE_CONTROLS=str(tmp_path / "kept"))
    assert said["limits"] == {"exposure_s": [pytest.approx(0.0003), pytest.approx(0.2047)], "gain": [0, 255]}
    assert said["before"]["exposure_s"] is None, "automatic exposure is not known"
    assert said["taken"]["exposure_s"] == pytest.approx(0.02) and said["taken"]["gain"] == 100
    assert all(number > 100 and exposure_s == pytest.approx(0.02) and gain == 100 for number, exposure_s, gain in said["after"]), said["after"]


def test_the_controls_of_the_configuration_reach_the_webcam(stand_in: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    webcam(stand_in, "mjpeg", asked={"white_balance_k": 3504, "focus": 33, "power_line_hz": 50, "dynamic_frame_rate": False}, FAKE_CONTROLS=str(kept))
    values = {int(line.split()[0]): int(line.split()[1]) for line in kept.read_text().splitlines()}
    assert (values[v4l2.AUTO_WHITE_BALANCE], values[v4l2.WHITE_BALANCE_K]) == (0, 3500)
    assert (values[v4l2.AUTOFOCUS], values[v4l2.FOCUS]) == (0, 35)
    assert values[v4l2.POWER_LINE] == 1
    assert values[v4l2.DYNAMIC_RATE] == 0
    assert values[v4l2.EXPOSURE_AUTO] == 3


def test_a_webcam_without_controls_takes_none(stand_in: Path) -> None:
    assert webcam(stand_in, "mjpeg")["limits"] == {}


def test_mjpeg_is_chosen_where_a_webcam_has_it(stand_in: Path) -> None:
    assert webcam(stand_in, "mjpeg", asked={"input_format": None})["type"] == "Packet"


def test_a_device_has_a_name_by_its_id_else_by_its_port(tmp_path: Path) -> None:
    by_id, by_path = tmp_path / "by-id", tmp_path / "by-path"
    for folder in (by_id, by_path):
        folder.mkdir()
    for number in (0, 2):
        (tmp_path / f"video{number}").touch()
        (by_path / f"pci-usb-0:{number}").symlink_to(tmp_path / f"video{number}")
    (by_id / "usb-Cam_1a2b-index0").symlink_to(tmp_path / "video2")  # of two with one serial, udev links one
    folders = (by_id, by_path)
    assert v4l2.stable_name(str(tmp_path / "video2"), folders) == str(by_id / "usb-Cam_1a2b-index0")
    assert v4l2.stable_name(str(tmp_path / "video0"), folders) == str(by_path / "pci-usb-0:0")
    assert v4l2.stable_name(str(tmp_path / "video9"), folders) is None


def test_discovery_lists_capture_devices_with_the_lines_to_use(stand_in: Path, tmp_path: Path) -> None:
    (tmp_path / "usb-fake-index0").symlink_to(stand_in / "video0")
    program = f"""
import json
from pathlib import Path
from dataclasses import asdict
from cupola.drivers import v4l2
print(json.dumps([asdict(one) for one in v4l2.discover(Path({str(stand_in)!r}), (Path({str(tmp_path)!r}),))]))
"""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "LD_PRELOAD": str(stand_in / "fake.so"), "FAKE_PATH": str(stand_in / "video0"), "FAKE_DIR": str(stand_in)}
    environment |= {"FAKE_W": "320", "FAKE_H": "240", "FAKE_CONTROLS": str(tmp_path / "kept"), "PYTHONPATH": f"{root / 'src'}:{root}"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=20)
    (found,) = json.loads(done.stdout)
    assert found["model"] == "fakev4l2"
    assert found["options"] == {"source": str(tmp_path / "usb-fake-index0"), "input_format": "mjpeg"}
    assert found["capabilities"] == ["MJPG up to 320 x 240", "YUYV up to 320 x 240", "exposure_s", "gain"]
    assert found["note"] == ""


@pytest.mark.tried("video", "V4L2", "stand-in")
def test_a_webcam_with_controls_keeps_the_driver_contract(stand_in: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "LD_PRELOAD": str(stand_in / "fake.so"), "FAKE_PATH": str(stand_in / "video0"), "FAKE_DIR": str(stand_in)}
    environment |= {"FAKE_W": str(WIDTH), "FAKE_H": str(HEIGHT), "FAKE_FPS": "30", "FAKE_CONTROLS": str(tmp_path / "kept"), "FAKE_FMT": "MJPEG"}
    environment |= {"PYTHONPATH": f"{root / 'src'}:{root}"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(root / "tests/drivers/webcam_contract.py")]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "passed" in done.stdout
