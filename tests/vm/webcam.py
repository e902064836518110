"""Runs inside the virtual machine, beside a real kernel's /dev/video0 (vivid): the `video` driver, its controls, unplugging. Prints one line of JSON."""

import json
import subprocess
import sys
import time
import traceback
from contextlib import closing
from itertools import islice, pairwise
from typing import Any

from cupola.core.errors import CupolaError
from cupola.core.frame import Controls, Station, Stop
from cupola.drivers.video import Video, discover

OPTIONS: dict[str, Any] = {
    "source": "/dev/video0", "record": None, "input_format": "yuyv", "width": 320, "height": 180, "fps": None, "timeout_s": 60.0, "transport": "tcp",
    "dynamic_frame_rate": False, "white_balance_k": None, "focus": None, "power_line_hz": None,
}  # fmt: skip


def tried() -> dict[str, Any]:
    said: dict[str, Any] = {"found": [[one.model, list(one.capabilities), dict(one.options)] for one in discover()]}
    camera = Video(OPTIONS, Station())
    try:
        info = camera.open()
        said["info"] = [info.model, info.width, info.height, info.format.kind, sorted(info.controls)]
        with closing(camera.stream(Stop())) as stream:
            pictures = list(islice(stream, 5))
        said["in_order"] = all(one.monotonic_ns < other.monotonic_ns for one, other in pairwise(pictures))
        said["taken"] = camera.apply(Controls(gain=77)).gain
        said["next_gain"] = camera.expose(Stop()).applied.gain
        said["device_gain"] = subprocess.run(
            ["v4l2-ctl", "-d", "/dev/video0", "-C", "gain"], capture_output=True, text=True, check=False
        ).stdout.strip()
        busy = Video(OPTIONS, Station())
        try:
            busy.open()
        except CupolaError as problem:
            said["second"] = problem.kind
        finally:
            busy.close()
        subprocess.run(["v4l2-ctl", "-d", "/dev/video0", "--set-ctrl", "disconnect=1"], check=False)
        started = time.monotonic()
        try:
            with closing(camera.stream(Stop())) as stream:
                for _ in stream:
                    pass
        except CupolaError as problem:
            said["pulled_out"] = [problem.kind, str(problem), time.monotonic() - started]
    finally:
        camera.close()
    return said


def check(said: dict[str, Any]) -> None:
    assert len(said["found"]) == 2 and said["found"][0][2]["source"] == "/dev/video0"
    assert said["info"][:4] == ["vivid", 320, 180, "yuv422"] and "gain" in said["info"][4]
    assert said["in_order"]
    assert said["taken"] == said["next_gain"] == 77 and said["device_gain"].endswith("77")
    assert said["second"] == "camera_busy"
    assert said["pulled_out"][0] == "camera_lost" and said["pulled_out"][2] < 30


try:
    outcome = tried()
    print("WEBCAM " + json.dumps(outcome), flush=True)
    check(outcome)
except Exception:
    print("WEBCAM " + json.dumps({"failed": traceback.format_exc()}), flush=True)
    sys.exit(1)
