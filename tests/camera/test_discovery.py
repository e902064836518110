"""Looking for cameras, with drivers that find some, crash, hang, print, or lack their library: each in a real process."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml

from cupola.camera.discovery import Configured, claimed_by, discover
from cupola.config.drivers import DRIVERS
from cupola.config.load import from_text
from cupola.config.matrix import MATRIX, NO_HARDWARE, Row, markdown, tried_on
from cupola.drivers.found import Found
from cupola.web.discover import config_lines, look_around

DRIVERS_OF_TESTS = {
    "two": """
from cupola.drivers.found import Found
def discover():
    print("the library says hello")
    return [Found("two", "ASI 294MC", "1a2b", "USB 1-1.4", ("4144 x 2822", "cooler"), {"serial": "1a2b"}), Found("two", "ASI 120MM", note="no serial")]
""",
    "crash": "import ctypes\ndef discover():\n    ctypes.string_at(0)\n",
    "hang": "import ctypes, os\ndef discover():\n    open(os.environ['PID_FILE'], 'w').write(str(os.getpid()))\n    ctypes.PyDLL(None).sleep(1000)\n",
    "missing": "from cupola.core.errors import LibraryMissing\ndef discover():\n    raise LibraryMissing('libfoo is not installed: apt install libfoo')\n",
    "unbuilt": "import no_such_library_at_all\n",
    "broken": "def discover():\n    return 1 / 0\n",
    "blind": "class Camera: ...\n",
}


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, text in DRIVERS_OF_TESTS.items():
        (tmp_path / f"lookfor_{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("PID_FILE", str(tmp_path / "pid"))
    return {name: f"lookfor_{name}" for name in DRIVERS_OF_TESTS}


async def test_each_driver_has_its_line_whatever_the_others_do(modules: dict[str, str], tmp_path: Path) -> None:
    begun = time.monotonic()
    looks = {look.driver: look for look in await discover(modules, limit_s=3.0)}
    assert time.monotonic() - begun < 25
    assert list(looks) == list(modules)
    assert [(found.model, found.serial) for found in looks["two"].found] == [("ASI 294MC", "1a2b"), ("ASI 120MM", None)]
    assert looks["two"].found[0] == Found("two", "ASI 294MC", "1a2b", "USB 1-1.4", ("4144 x 2822", "cooler"), {"serial": "1a2b"})
    assert looks["two"].kind is None
    assert looks["crash"].kind == "crash" and "SIGSEGV" in looks["crash"].message
    assert looks["hang"].kind == "camera_unresponsive" and "within 3 s" in looks["hang"].message
    assert (looks["missing"].kind, looks["missing"].message) == ("library_missing", "libfoo is not installed: apt install libfoo")
    assert looks["unbuilt"].kind == "library_missing" and "no_such_library_at_all is not installed" in looks["unbuilt"].message
    assert looks["broken"].kind == "error" and "ZeroDivisionError" in looks["broken"].message
    assert looks["blind"].kind is None and not looks["blind"].looks
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_found_camera_is_recognised_by_its_serial_number_or_its_options() -> None:
    north = Configured("north", "zwo", {"serial": None, "mode": "auto"}, serial="1a2b")
    south = Configured("south", "zwo", {"serial": "3c4d", "mode": "auto"})
    cameras = [Configured("door", "video", {"serial": "5e6f"}), north, south]
    assert claimed_by(Found("zwo", "ASI", "1a2b"), cameras) == "north"
    assert claimed_by(Found("zwo", "ASI", "3c4d", options={"serial": "3c4d"}), cameras) == "south"
    assert claimed_by(Found("zwo", "ASI", "5e6f", options={"serial": "5e6f"}), cameras) is None
    assert claimed_by(Found("zwo", "ASI"), cameras) is None


async def test_cameras_are_told_with_their_state_and_names_of_their_own(modules: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DRIVERS, "two", (DRIVERS["replay"][0], f"{modules['two']}:Camera"))
    told = await look_around([Configured("asi-120mm", "two", {"serial": "1a2b"})], frozenset({"asi-120mm"}))
    look = next(look for look in told.items if look.driver == "two")
    assert [(camera.camera, camera.in_use) for camera in look.cameras] == [("asi-120mm", True), (None, False)]
    assert yaml.safe_load(look.cameras[1].config) == [{"name": "asi-120mm-2", "driver": "two"}]
    assert look.tried_on == "not yet tried on hardware"


def test_the_lines_to_paste_are_a_configuration(tmp_path: Path) -> None:
    found = Found("video", "HD: Webcam", options={"source": "/dev/v4l/by-id/usb-x", "input_format": "mjpeg"})
    settings = from_text("cameras:\n" + config_lines(found, "webcam"), "cupola.yaml", tmp_path)
    assert settings.cameras[0].name == "webcam"
    assert settings.driver_options(settings.cameras[0])["source"] == "/dev/v4l/by-id/usb-x"


def test_the_matrix_has_every_driver_and_says_what_met_no_hardware() -> None:
    assert {row.driver for row in MATRIX} == set(DRIVERS)
    assert tried_on("video") == tried_on("a driver without a row") == "not yet tried on hardware"
    assert tried_on("replay") == "files"
    assert markdown().count("not yet tried on hardware") == sum(row.driver not in NO_HARDWARE and row.tried != "hardware" for row in MATRIX)
    assert "not yet" not in Row("zwo", "", "", "hardware", "an ASI 120MM").words
