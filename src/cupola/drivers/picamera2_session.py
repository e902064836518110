"""A Pi camera through picamera2: one libcamera session for all settings, raw or processed frames.

picamera2 lives in the system's Python only, so the camera process that loads this runs under that one.
A change of settings stops the stream and starts it again with them, without configuring anew: an exposure under way
ends at once, and the first frame has the new settings. When it runs is `picamera`'s business.
"""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from pathlib import Path
from typing import Any

from cupola.core.clock import clock_synced
from cupola.core.errors import CameraBusy, CameraLost, CameraNotFound, CaptureCancelled, LibraryMissing
from cupola.core.frame import Controls, Frame, PixelFormat, PixelKind
from cupola.drivers.abort import Abort
from cupola.drivers.feed import Picture
from cupola.drivers.picamera_facts import facts_of, number, raw_format

_POLL_S = 0.05
_BUFFERS = 3
_LONGEST_FRAME_US = 1_000_000_000


class Picamera2Session:
    """An opened and configured camera. `stream` makes a source of it as often as settings change."""

    def __init__(self, index: int, options: dict[str, Any], tuning: Path | None) -> None:
        """Raises LibraryMissing, CameraNotFound, CameraBusy."""
        library = _library()
        there = library.Picamera2.global_camera_info()
        if index >= len(there):
            names = ", ".join(f"{n} ({camera.get('Model')})" for n, camera in enumerate(there)) or "none"
            raise CameraNotFound(f"There is no Pi camera {index}. Attached: {names}. Switch the Pi off, then check the ribbon cable at both ends.")
        self.model, self.path = str(there[index].get("Model")), str(there[index].get("Id"))
        try:
            self._camera: Any = library.Picamera2(index, tuning=str(tuning) if tuning else None)
        except (RuntimeError, OSError) as problem:
            why = f"{problem.__cause__ or problem}"
            raise CameraBusy(
                f"Pi camera {index} ({self.model}) cannot be opened: {why}. End the program that uses it: `ps aux | grep -E 'rpicam|picamera2'` names it."
            ) from problem
        try:
            self._configure(options)
        except BaseException:
            self.close()
            raise

    def _configure(self, options: dict[str, Any]) -> None:
        camera = self._camera
        self._fps = float(options["fps"])
        self._raw = options["picture"] == "raw"
        modes = [mode for mode in camera.sensor_modes if "size" in mode]
        wanted = (options.get("width"), options.get("height"))
        fixed: dict[str, Any] = {"NoiseReductionMode": 0}  # off
        if options.get("white_balance"):
            fixed["ColourGains"] = tuple(options["white_balance"])
        if options.get("focus_dioptres") is not None:
            fixed.update(AfMode=0, LensPosition=float(options["focus_dioptres"]))
        if self._raw:
            fitting = [m for m in modes if all(want is None or want == has for want, has in zip(wanted, m["size"], strict=True))]
            if not fitting:
                sizes = ", ".join(sorted({f"{m['size'][0]} x {m['size'][1]}" for m in modes}))
                raise CameraNotFound(f"The {self.model} has no raw mode of {wanted[0]} x {wanted[1]}. It has: {sizes}. Change width and height.")
            mode = max(fitting, key=lambda m: (m["size"][0] * m["size"][1], m["bit_depth"]))
            config = camera.create_video_configuration(
                main={"size": (640, 480)},
                raw={"format": str(mode["unpacked"]), "size": mode["size"]},
                buffer_count=_BUFFERS,
                controls=fixed,
            )
            self._sensor_bits = int(mode["bit_depth"])
        else:
            width, height = camera.camera_properties["PixelArraySize"]
            size = (wanted[0] or width, wanted[1] or height)
            config = camera.create_video_configuration(main={"size": size, "format": "YUV420"}, buffer_count=_BUFFERS, controls=fixed)
        camera.configure(config)
        self._config: dict[str, Any] = camera.camera_configuration()["raw" if self._raw else "main"]
        self.format = raw_format(str(self._config["format"]), self._sensor_bits) if self._raw else PixelFormat(PixelKind.YUV420)

    @property
    def size(self) -> tuple[int, int]:
        width, height = self._config["size"]
        return int(width), int(height)

    @property
    def exposure_range_s(self) -> tuple[float, float]:
        shortest, longest, _ = self._camera.camera_controls["ExposureTime"]
        return max(30.0, float(shortest)) / 1e6, float(longest) / 1e6

    @property
    def gain_range(self) -> tuple[float, float]:
        lowest, highest, _ = self._camera.camera_controls["AnalogueGain"]
        return float(lowest), float(highest)

    def stream(self, controls: Controls, abort: Abort) -> "Picamera2Stream":
        """Start with these controls; None is the camera's own choice."""
        if abort.is_set():
            raise CaptureCancelled("the camera was closed")
        shortest_us = round(1e6 / self._fps)
        exposure_us = round(controls.exposure_s * 1e6) if controls.exposure_s is not None else 0
        wanted: dict[str, Any] = {"FrameDurationLimits": (shortest_us, _LONGEST_FRAME_US if exposure_us > shortest_us else shortest_us)}
        if controls.exposure_s is not None:
            wanted["ExposureTime"] = exposure_us
        if controls.gain is not None:
            wanted["AnalogueGain"] = controls.gain
        self._camera.set_controls(wanted)
        try:
            self._camera.start(show_preview=False)
        except (RuntimeError, OSError) as problem:
            raise CameraBusy(f"The Pi camera {self.model} does not start: {problem}. End any other program that uses it.") from problem
        return Picamera2Stream(self, abort)

    def request(self) -> Any:
        """A job that ends with the next completed request."""
        return self._camera.capture_request(wait=False)

    def frame(self, request: Any) -> Frame:
        """The frame of a completed request, its pixels copied out of the camera's memory."""
        import numpy as np

        told: dict[str, Any] = request.get_metadata()
        facts: dict[str, Any] = {"seq": 0, "clock_synced": clock_synced(), "temperature_c": number(told.get("SensorTemperature")), **facts_of(told)}
        width, height = self.size
        stride = int(self._config["stride"])
        data = np.frombuffer(request.make_buffer("raw" if self._raw else "main"), np.uint8)
        if self._raw:
            samples = data[: stride * height].reshape(height, stride)
            deep = self.format.bits + self.format.padding_bits > 8
            pixels = np.ascontiguousarray((samples.view("<u2") if deep else samples)[:, :width])
            pixels.flags.writeable = False
            black = round(number(told.get("SensorBlackLevels")) or 0) >> (16 - self.format.bits)
            kind = self.format
            return Frame(data=pixels, format=PixelFormat(kind.kind, kind.bits, kind.bayer, kind.padding_bits, black), **facts)
        planes: list[Any] = []
        at = 0
        for across, down, line in ((width, height, stride), *[((width + 1) // 2, (height + 1) // 2, stride // 2)] * 2):
            plane = np.ascontiguousarray(data[at : at + line * down].reshape(down, line)[:, :across])
            plane.flags.writeable = False
            planes.append(plane)
            at += line * down
        return Frame(data=planes[0], chroma=(planes[1], planes[2]), format=self.format, **facts)

    def stop(self) -> None:
        self._camera.stop()

    def close(self) -> None:
        self._camera.close()


class Picamera2Stream:
    """A `feed.Source`: the frames of a started session until it is closed."""

    fps: float | None = None
    recorded = False

    def __init__(self, session: Picamera2Session, abort: Abort) -> None:
        self.model, self._session, self._abort = session.model, session, abort

    def pictures(self) -> Iterator[Picture]:
        job = self._session.request()
        while not self._abort.is_set():
            try:
                request = job.get_result(timeout=_POLL_S)
            except (TimeoutError, FutureTimeout):
                continue
            except (CancelledError, RuntimeError) as problem:
                raise CameraLost(f"The Pi camera {self.model} stopped: {problem}. It is started again.") from problem
            try:
                frame = self._session.frame(request)
            finally:
                request.release()
            job = self._session.request()
            yield frame

    def close(self) -> None:
        with suppress(RuntimeError, OSError):
            self._session.stop()


def models() -> list[str]:
    """The names of the attached sensors, by index. Raises LibraryMissing."""
    return [str(camera.get("Model")) for camera in _library().Picamera2.global_camera_info()]


def _library() -> Any:
    os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "ERROR")
    try:
        import picamera2  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]
    except ImportError as problem:
        raise LibraryMissing(
            f"{sys.executable} cannot load picamera2 ({problem}). On a Raspberry Pi: `sudo apt install python3-picamera2 --no-install-recommends`; "
            "or set backend: programs."
        ) from problem
    return picamera2
