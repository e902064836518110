"""A stand-in for the picamera2 library: the calls Cupola makes of it, with a sensor that runs in real time. Needs numpy only.

Modelled on picamera2 0.3.31: jobs, requests that have to be released, controls set before `start` valid from the first frame.
Of the frames after a start the first has other settings, as a sensor's pipeline may; a Pi 5 delivers 16 bits (PICAMERA2_PLATFORM=pisp).
PICAMERA2_LOCK names a file that stands for the camera.
"""

import fcntl
import os
import threading
import time
from concurrent.futures import Future
from typing import Any

import numpy as np

WIDTH, HEIGHT, LINE_S, BUFFERS_MOST = 640, 480, 18.9e-6, 6


class _Request:
    def __init__(self, camera: "Picamera2", metadata: dict[str, Any], number: int) -> None:
        self._camera, self._metadata, self._number, self._released = camera, metadata, number, False
        camera.held += 1
        assert camera.held <= BUFFERS_MOST, "requests were not released"

    def get_metadata(self) -> dict[str, Any]:
        return self._metadata

    def make_buffer(self, name: str) -> Any:
        assert not self._released
        config = self._camera.camera_configuration()[name]
        (width, height), stride = config["size"], config["stride"]
        if name == "raw":
            shift = 4 if config["format"].endswith("16") else 0
            lines = np.zeros((height, stride // 2), "<u2")
            lines[:, :width] = (np.arange(width, dtype="<u2") % 4096) << shift
            lines[0, 0] = (self._number % 4096) << shift
            return lines.view(np.uint8).reshape(-1)
        planes = [np.full((height, stride), self._number % 200, np.uint8), np.full((height // 2, stride // 2), 100, np.uint8)]
        return np.concatenate([planes[0].reshape(-1), planes[1].reshape(-1), planes[1].reshape(-1) + 50])

    def release(self) -> None:
        assert not self._released
        self._released = True
        self._camera.held -= 1


class _Job:
    def __init__(self) -> None:
        self.future: Future[_Request] = Future()

    def get_result(self, timeout: float | None = None) -> _Request:
        return self.future.result(timeout)


class Picamera2:
    def __init__(self, camera_num: int = 0, tuning: str | None = None) -> None:
        self._lock_file = os.open(os.environ["PICAMERA2_LOCK"], os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock_file)
            raise RuntimeError("Camera __init__ sequence did not complete.") from RuntimeError("Failed to acquire camera: Device or resource busy")
        self.held = 0
        self._wanted: dict[str, Any] = {}
        self._jobs: list[_Job] = []
        self._changed = threading.Condition()
        self._running = False
        self._thread: threading.Thread | None = None
        self._config: dict[str, Any] = {}
        self.camera_properties = {"PixelArraySize": (WIDTH, HEIGHT), "Model": "imx477"}
        self.camera_controls = {"ExposureTime": (114, 674191602, 20000), "AnalogueGain": (1.0, 22.26, 1.0)}

    @staticmethod
    def global_camera_info() -> list[dict[str, Any]]:
        return [{"Model": "imx477", "Location": 2, "Rotation": 180, "Id": "/base/soc/i2c0mux/i2c@1/imx477@1a", "Num": 0}]

    @property
    def sensor_modes(self) -> list[dict[str, Any]]:
        pisp = os.environ.get("PICAMERA2_PLATFORM") == "pisp"
        return [
            {"format": "SRGGB10_CSI2P", "unpacked": "SRGGB10", "bit_depth": 10, "size": (320, 240), "fps": 120.05},
            {"format": "SRGGB12_CSI2P", "unpacked": "SRGGB16" if pisp else "SRGGB12", "bit_depth": 12, "size": (WIDTH, HEIGHT), "fps": 25.0},
        ]

    def create_video_configuration(self, main: dict[str, Any], raw: dict[str, Any] | None = None, **rest: Any) -> dict[str, Any]:
        return {"main": {"format": "XBGR8888", **main}, "raw": raw, **rest}

    def configure(self, config: dict[str, Any]) -> None:
        assert not self._running
        self._config = {name: dict(stream) for name, stream in config.items() if name in ("main", "raw") and stream}
        for name, stream in self._config.items():
            stream["stride"] = stream["size"][0] * (2 if name == "raw" else 1) + 64
        self._wanted.update(config["controls"])

    def camera_configuration(self) -> dict[str, Any]:
        return self._config

    def set_controls(self, controls: dict[str, Any]) -> None:
        self._wanted.update(controls)

    def start(self, config: Any = None, show_preview: bool | None = False) -> None:
        assert not self._running
        self._running = True
        self._thread = threading.Thread(target=self._expose, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._running = False
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def close(self) -> None:
        self.stop()
        if self._lock_file >= 0:
            os.close(self._lock_file)
            self._lock_file = -1

    def capture_request(self, wait: bool | None = None) -> _Job:
        job = _Job()
        with self._changed:
            self._jobs.append(job)
        return job

    def _expose(self) -> None:
        exposure_s = max(1, int(self._wanted.get("ExposureTime", 8000) / 1e6 / LINE_S)) * LINE_S
        code = min(978, round(1024 - 1024 / float(self._wanted.get("AnalogueGain", 2.0))))
        shortest_us, longest_us = self._wanted["FrameDurationLimits"]
        assert exposure_s * 1e6 <= longest_us, "the frame's length would cut the exposure"
        frame_s, opened, number = max(shortest_us / 1e6, exposure_s), time.monotonic(), 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._running, max(0.0, opened + frame_s - time.monotonic()))
                if not self._running:
                    return
                metadata = {
                    "SensorTimestamp": round((opened + exposure_s) * 1e9),
                    "ExposureTime": round(exposure_s * 1e6) if number else 20000 if exposure_s != 0.02 else 100,
                    "AnalogueGain": 1024 / (1024 - code),
                    "SensorTemperature": 30.0,
                    "SensorBlackLevels": (4096, 4096, 4096, 4096),
                }
                if self._jobs:
                    self._jobs.pop(0).future.set_result(_Request(self, metadata, number))
            number += 1
            opened += frame_s
