"""Raspberry Pi's camera programs: which are installed, what they say of the cameras, how they are called.

`rpicam-vid` and `rpicam-raw` hold one libcamera session open and deliver every exposure with its metadata, so
long exposures follow each other without a gap. `rpicam-still` is not used: between two shots of its `--timelapse`
and `--signal` modes it configures the camera anew or waits for preview pictures, each as long as an exposure.
Running a program and cutting its output into pictures belongs to `picamera_stream`.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cupola.core.errors import CameraNotFound, LibraryMissing
from cupola.core.frame import Controls

DEFECT_CORRECTION = Path("/sys/module/imx477/parameters/dpc_enable")
TUNING_FOLDERS = (Path("/usr/share/libcamera/ipa/rpi/pisp"), Path("/usr/share/libcamera/ipa/rpi/vc4"))
BOARD = Path("/proc/device-tree/compatible")
LONGEST_S = {"ov5647": 3.2, "imx219": 11.76, "imx296": 15.5, "imx708": 112.0, "imx477": 670.0}  # Raspberry Pi's camera documentation
_LONGEST_UNKNOWN_S = 200.0
_LIST_TIMEOUT_S = 20.0
_CAMERA = re.compile(r"^(\d+) : (\S+) \[(\d+)x(\d+)(?: (\d+)-bit)?(?: (\w+))?\] \((.+)\)$")
_FORMAT = re.compile(r"'(S?[RGB]{1,4})(\d+)\w*' :")
_MODE = re.compile(r"(\d+)x(\d+) \[([\d.]+) fps")
_CONTROL = re.compile(r"^\s+(\w+) : \[(-?[\d.]+)\.\.(-?[\d.]+)\]")


@dataclass(frozen=True, slots=True)
class SensorMode:
    width: int
    height: int
    bits: int
    fps: float


@dataclass(slots=True)
class Listed:
    """One camera of `rpicam-hello --list-cameras --verbose`."""

    index: int
    model: str
    width: int
    height: int
    path: str
    modes: list[SensorMode] = field(default_factory=list[SensorMode])
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])  # by libcamera's names

    @property
    def exposure_range_s(self) -> tuple[float, float]:
        """Shortest and longest exposure. Programs of 2022 tell one frame's length as the longest, which no session is bound to."""
        shortest, longest = self.ranges.get("ExposureTime", (0.0, 0.0))
        known = next((limit for model, limit in LONGEST_S.items() if self.model.startswith(model)), _LONGEST_UNKNOWN_S)
        return max(shortest, 30.0) / 1e6, longest / 1e6 if longest > 1e6 else known

    @property
    def gain_range(self) -> tuple[float, float]:
        return self.ranges.get("AnalogueGain", (1.0, 16.0))

    def mode_for(self, width: int | None, height: int | None) -> SensorMode:
        """The sensor mode of that size (null: the largest) with the most bits. Raises CameraNotFound naming those there are."""
        fitting = [mode for mode in self.modes if (width is None or mode.width == width) and (height is None or mode.height == height)]
        if not fitting:
            sizes = ", ".join(sorted({f"{mode.width} x {mode.height}" for mode in self.modes})) or "none"
            raise CameraNotFound(f"The {self.model} has no raw mode of {width} x {height}. It has: {sizes}. Change width and height.")
        return max(fitting, key=lambda mode: (mode.width * mode.height, mode.bits))


def program(name: str) -> str:
    """The path of `rpicam-NAME`, or `libcamera-NAME` as it was called until 2023. Raises LibraryMissing."""
    for prefix in ("rpicam", "libcamera"):
        if found := shutil.which(f"{prefix}-{name}"):
            return found
    raise LibraryMissing(
        f"The program rpicam-{name} is not installed. On a Raspberry Pi: `sudo apt install rpicam-apps-lite` "
        "(Debian 11: libcamera-apps-lite). The camera works with Raspberry Pi OS only."
    )


def listed() -> list[Listed]:
    """The attached cameras. Raises LibraryMissing, CameraNotFound when the program fails."""
    command = [program("hello"), "--list-cameras", "--verbose", "2"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LIST_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise CameraNotFound(f"{command[0]} did not answer within {_LIST_TIMEOUT_S:g} s. Restart the Pi; check the camera's ribbon cable.") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or [f"exit code {done.returncode}"]
        raise CameraNotFound(f"{command[0]} failed: {said[-1]}. Check the camera's ribbon cable.")
    return parse_list(done.stdout)


def parse_list(text: str) -> list[Listed]:
    """What `--list-cameras` printed; lines of other kinds are skipped."""
    cameras: list[Listed] = []
    bits = 0
    for line in text.splitlines():
        if head := _CAMERA.match(line.strip()):
            index, model, width, height, _, _, path = head.groups()
            cameras.append(Listed(int(index), model, int(width), int(height), path))
        elif cameras:
            if kind := _FORMAT.search(line):
                bits = int(kind.group(2))
            if control := _CONTROL.match(line):
                cameras[-1].ranges[control.group(1)] = (float(control.group(2)), float(control.group(3)))
            cameras[-1].modes += [SensorMode(int(w), int(h), bits, float(fps)) for w, h, fps in _MODE.findall(line)]
    return cameras


def chosen(index: int) -> Listed:
    """The camera of that index. Raises CameraNotFound, LibraryMissing."""
    cameras = listed()
    for camera in cameras:
        if camera.index == index:
            return camera
    there = ", ".join(f"{camera.index} ({camera.model})" for camera in cameras) or "none"
    raise CameraNotFound(f"There is no Pi camera {index}. Attached: {there}. Switch the Pi off, then check the ribbon cable at both ends.")


def command_line(options: Mapping[str, Any], camera: Listed, controls: Controls, metadata_fd: int, tuning: Path | None) -> list[str]:
    """The program and its arguments for pictures on stdout and one block of metadata a picture on `metadata_fd`.

    With a fixed exposure longer than a frame at `fps`, `--framerate 0` lets the frame be as long as the exposure.
    """
    raw, fps = options["picture"] == "raw", float(options["fps"])
    common = ["--nopreview", "--timeout", "0", "--camera", str(camera.index), "--flush", "--output", "-"]
    common += ["--metadata", f"/dev/fd/{metadata_fd}", "--metadata-format", "txt", "--denoise", "cdn_off"]
    exposure_s = controls.exposure_s
    common += ["--framerate", "0" if exposure_s is not None and exposure_s * fps > 1 else f"{fps:g}"]
    if exposure_s is not None:
        common += ["--shutter", str(round(exposure_s * 1e6))]
    if controls.gain is not None:
        common += ["--gain", f"{controls.gain:g}"]
    if options.get("white_balance"):
        common += ["--awbgains", ",".join(f"{gain:g}" for gain in options["white_balance"])]
    if options.get("focus_dioptres") is not None:
        common += ["--autofocus-mode", "manual", "--lens-position", f"{options['focus_dioptres']:g}"]
    if tuning is not None:
        common += ["--tuning-file", str(tuning)]
    if raw:
        mode = camera.mode_for(options.get("width"), options.get("height"))
        return [program("raw"), *common, "--mode", f"{mode.width}:{mode.height}:{mode.bits}:U"]
    if options["picture"] == "h264":
        width, height = options.get("width") or 1920, options.get("height") or 1080
        codec = ["--codec", "h264", "--inline", "--intra", str(max(1, round(2 * fps)))]
    else:
        width, height = options.get("width") or camera.width, options.get("height") or camera.height
        codec = ["--codec", "mjpeg", "--quality", str(options["quality"])]
    return [program("vid"), *common, "--width", str(width), "--height", str(height), *codec]


def without_h264(board: Path = BOARD) -> bool:
    """Whether this is a Pi 5 (BCM2712), which has no H.264 encoder."""
    try:
        return b"bcm2712" in board.read_bytes()
    except OSError:
        return False


def star_eater(model: str, switch: Path = DEFECT_CORRECTION) -> str:
    """What to know of the HQ camera's own defect correction, which takes small stars for hot pixels; empty when it is off.

    Only the kernel module switches it (picamera2 issue 827, raspberrypi/linux pull request 4570), and only root the module.
    """
    try:
        on = model.startswith("imx477") and switch.read_text().strip() not in ("0", "N")
    except OSError:
        return ""
    if not on:
        return ""
    return (
        "The sensor's own defect correction is on and removes faint stars. Switch it off for good with "
        "`echo options imx477 dpc_enable=0 | sudo tee /etc/modprobe.d/imx477.conf`, then restart the Pi."
    )


def tuning_without_correction(model: str, target: Path, folders: tuple[Path, ...] = TUNING_FOLDERS) -> Path | None:
    """libcamera's tuning of a sensor with the image processor's defect correction off, written to `target`; None where there is no tuning."""
    for folder in folders:
        try:
            tuning = json.loads((folder / f"{model}.json").read_text())
        except (OSError, ValueError):
            continue
        found = False
        for algorithm in tuning.get("algorithms", []):
            if "rpi.dpc" in algorithm:
                algorithm["rpi.dpc"]["strength"], found = 0, True
        if not found:
            tuning.setdefault("algorithms", []).append({"rpi.dpc": {"strength": 0}})
        target.write_text(json.dumps(tuning))
        return target
    return None
