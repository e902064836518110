"""What a webcam on Linux says of itself and lets itself be told, beside its stream: formats, controls, names that stay.

Numbers and layouts are those of linux/videodev2.h. The stream itself is read by `av_source`; when which control is set
is decided by `video`.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cupola.core.frame import ControlRange, Controls
from cupola.drivers.found import Found

_QUERYCAP, _ENUM_FMT, _G_CTRL, _S_CTRL, _QUERYCTRL, _ENUM_FRAMESIZES = 0x80685600, 0xC0405602, 0xC008561B, 0xC008561C, 0xC0445624, 0xC02C564A
_CAPTURE, _STREAMING, _DEVICE_CAPS = 0x1, 0x0400_0000, 0x8000_0000
_DISABLED = 0x1
_USER, _CAMERA = 0x0098_0900, 0x009A_0900
AUTO_WHITE_BALANCE, AUTOGAIN, GAIN, POWER_LINE, WHITE_BALANCE_K = _USER + 12, _USER + 18, _USER + 19, _USER + 24, _USER + 26
EXPOSURE_AUTO, EXPOSURE_100US, DYNAMIC_RATE, FOCUS, AUTOFOCUS = _CAMERA + 1, _CAMERA + 2, _CAMERA + 3, _CAMERA + 10, _CAMERA + 12
_MANUAL = 1  # V4L2_EXPOSURE_MANUAL
_POWER_LINE_HZ = {0: 0, 50: 1, 60: 2}
_EXPOSURE_UNIT_S = 1e-4
_TOLD = ("MJPG", "H264", "HEVC", "YUYV", "UYVY", "NV12", "YU12", "GREY")  # what webcams deliver; others are left out of lists
_PARTS_OF_A_PIPELINE = ("bcm2835", "unicam", "rp1-cfe", "pispbe", "rpi-hevc")  # nodes of a Pi's camera: that one has a driver of its own
STABLE_NAMES = (Path("/dev/v4l/by-id"), Path("/dev/v4l/by-path"))


@dataclass(frozen=True, slots=True)
class Limits:
    minimum: int
    maximum: int
    step: int
    default: int

    def nearest(self, value: float) -> int:
        step = max(1, self.step)
        return min(max(self.minimum + round((value - self.minimum) / step) * step, self.minimum), self.maximum)


class Device:
    """An open device node; anything may stream from it meanwhile. All methods raise OSError when it is gone."""

    def __init__(self, path: str) -> None:
        """Raises OSError: no such device, no permission, or no V4L2 device at all (ENOTTY)."""
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            driver, card, bus, _, all_of_it, own = struct.unpack("16s32s32sIII12x", self._ioctl(_QUERYCAP, bytes(104)))
            self.driver, self.card, self.bus = (text.split(b"\0")[0].decode(errors="replace") for text in (driver, card, bus))
            capabilities = own if all_of_it & _DEVICE_CAPS else all_of_it
            self.captures = bool(capabilities & _CAPTURE and capabilities & _STREAMING)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def limits(self, control: int) -> Limits | None:
        """None when the device has no such control."""
        try:
            answer = self._ioctl(_QUERYCTRL, struct.pack("I64x", control))
        except OSError as problem:
            if problem.errno in (errno.EINVAL, errno.ENOTTY):
                return None
            raise
        low, high, step, default, flags = struct.unpack("40xiiiiI8x", answer)
        return None if flags & _DISABLED else Limits(low, high, step, default)

    def get(self, control: int) -> int:
        return int(struct.unpack("4xi", self._ioctl(_G_CTRL, struct.pack("Ii", control, 0)))[0])

    def set(self, control: int, value: float) -> bool:
        """Set to the nearest value there is; False when the device has no such control or does not take it now."""
        if (limits := self.limits(control)) is None:
            return False
        try:
            self._ioctl(_S_CTRL, struct.pack("Ii", control, limits.nearest(value)))
        except OSError as problem:
            if problem.errno == errno.ENODEV:
                raise
            return False
        return True

    def formats(self) -> dict[str, list[tuple[int, int]]]:
        """The pixel formats by their four letters, with the sizes of each (none where sizes are a range)."""
        found: dict[str, list[tuple[int, int]]] = {}
        for code in self._listed(_ENUM_FMT, struct.pack("II56x", 0, _CAPTURE), "44xI16x"):
            sizes = self._listed(_ENUM_FRAMESIZES, struct.pack("II36x", 0, code[0]), "8xIII24x")
            found[struct.pack("I", code[0]).decode(errors="replace")] = [(width, height) for kind, width, height in sizes if kind == 1]
        return found

    def _listed(self, request: int, first: bytes, layout: str) -> list[tuple[int, ...]]:
        rows: list[tuple[int, ...]] = []
        while True:
            try:
                answer = self._ioctl(request, struct.pack("I", len(rows)) + first[4:])
            except OSError as problem:
                if problem.errno in (errno.EINVAL, errno.ENOTTY):
                    return rows
                raise
            rows.append(struct.unpack(layout, answer))

    def _ioctl(self, request: int, argument: bytes) -> bytes:
        return fcntl.ioctl(self._fd, request, argument)


def prepare(device: Device, options: Mapping[str, Any]) -> None:
    """Set what the options fix and everything else to the device's own automatic; what it lacks is passed over."""
    automatic = device.limits(EXPOSURE_AUTO)
    if automatic is not None:
        device.set(EXPOSURE_AUTO, automatic.default)
    device.set(AUTOGAIN, 1)
    device.set(DYNAMIC_RATE, int(bool(options.get("dynamic_frame_rate"))))
    device.set(AUTO_WHITE_BALANCE, int(options.get("white_balance_k") is None))
    if options.get("white_balance_k") is not None:
        device.set(WHITE_BALANCE_K, options["white_balance_k"])
    device.set(AUTOFOCUS, int(options.get("focus") is None))
    if options.get("focus") is not None:
        device.set(FOCUS, options["focus"])
    if options.get("power_line_hz") is not None:
        device.set(POWER_LINE, _POWER_LINE_HZ[options["power_line_hz"]])


def ranges(device: Device) -> dict[str, ControlRange]:
    """What of `Controls` this device has."""
    found: dict[str, ControlRange] = {}
    if (limits := device.limits(EXPOSURE_100US)) is not None:
        low, high, default = (value * _EXPOSURE_UNIT_S for value in (limits.minimum, limits.maximum, limits.default))
        found["exposure_s"] = ControlRange(low, high, default)
    if (limits := device.limits(GAIN)) is not None:
        found["gain"] = ControlRange(limits.minimum, limits.maximum, limits.default)
    return found


def apply(device: Device, wanted: Controls) -> Controls:
    """Set exposure and gain where given, both by hand from then on; what the device has now (automatic: unknown)."""
    if wanted.exposure_s is not None:
        device.set(EXPOSURE_AUTO, _MANUAL)
        device.set(EXPOSURE_100US, wanted.exposure_s / _EXPOSURE_UNIT_S)
    if wanted.gain is not None:
        device.set(AUTOGAIN, 0)
        device.set(GAIN, wanted.gain)
    exposure = gain = None
    if device.limits(EXPOSURE_100US) is not None and (device.limits(EXPOSURE_AUTO) is None or device.get(EXPOSURE_AUTO) == _MANUAL):
        exposure = device.get(EXPOSURE_100US) * _EXPOSURE_UNIT_S
    if device.limits(GAIN) is not None and (device.limits(AUTOGAIN) is None or not device.get(AUTOGAIN)):
        gain = float(device.get(GAIN))
    return Controls(exposure_s=exposure, gain=gain)


def prefers_mjpeg(device: Device, width: int | None, height: int | None) -> bool:
    """Whether the camera's own JPEGs can be had at that size: ten times less on the USB than raw pictures."""
    sizes = device.formats().get("MJPG")
    return sizes is not None and (not sizes or width is None or height is None or (width, height) in sizes)


def stable_name(path: str, folders: tuple[Path, ...] = STABLE_NAMES) -> str | None:
    """A name of this node that survives replugging and restarts: by its id, or by its port where an id is not its own."""
    wanted = os.path.realpath(path)
    for folder in folders:
        names = sorted(folder.iterdir()) if folder.is_dir() else []
        mine = [name for name in names if os.path.realpath(name) == wanted]
        if mine:
            return str(mine[0])
    return None


def discover(nodes: Path = Path("/dev"), folders: tuple[Path, ...] = STABLE_NAMES) -> list[Found]:
    """The webcams that are attached, by nodes that can capture."""
    found: list[Found] = []
    for node in sorted(nodes.glob("video*"), key=lambda path: (len(path.name), path.name)):
        try:
            device = Device(str(node))
        except PermissionError:
            found.append(Found("video", "unknown", where=str(node), note="It may not be read: `sudo usermod -aG video USER`, then log in again."))
            continue
        except OSError:
            continue
        try:
            if not device.captures or device.driver.startswith(_PARTS_OF_A_PIPELINE):
                continue
            name = stable_name(str(node), folders)
            formats = {code: sizes for code, sizes in device.formats().items() if code in _TOLD}
            words = [f"{code.strip()} up to {w} x {h}" for code, sizes in formats.items() for w, h in [max(sizes, default=(0, 0))] if w]
            words += [code.strip() for code, sizes in formats.items() if not sizes]
            options = {"source": name or str(node), **({"input_format": "mjpeg"} if "MJPG" in formats else {})}
            note = "" if name else "It has no lasting name; its number may be another one after a restart."
            found.append(Found("video", device.card, None, str(node), (*words, *ranges(device)), options, note))
        except OSError:
            continue
        finally:
            device.close()
    return found
