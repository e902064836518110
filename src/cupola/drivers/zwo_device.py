"""One opened ZWO camera: which one it is, its picture's format, its controls and temperatures.

Exposing is the business of `zwo_capture`, finding and calling the library that of `zwo_library`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from cupola.core.errors import CameraBusy, CameraLost, CameraNotFound, ConfigError, CupolaError
from cupola.core.frame import ControlRange, Controls, PixelFormat, PixelKind
from cupola.drivers.zwo_library import CLOSED, REMOVED, VENDOR, AsiError, Attached, Library

BAYER = ("RGGB", "BGGR", "GRBG", "GBRG")  # ASI_BAYER_PATTERN
_TYPES = {"RAW8": 0, "RAW16": 2, "Y8": 3}  # ASI_IMG_TYPE
_GAIN, _EXPOSURE, _BANDWIDTH, _TEMPERATURE, _FLIP, _HIGH_SPEED, _COOLER_POWER, _TARGET, _COOLER_ON, _MONO_BIN = 0, 1, 6, 8, 9, 14, 15, 16, 17, 18
_TEMPERATURE_EVERY_S = 2.0
_BYTES_A_SECOND = {True: 300e6, False: 38e6}  # what USB 3 and USB 2 carry in practice, at 100 % bandwidth
_USBFS = Path("/sys/module/usbcore/parameters/usbfs_memory_mb")
_USBFS_MB = 200


def claim(library: Library, serial: str | None, options: Mapping[str, Any]) -> Device:
    """Open the camera with this serial number, or the only one there is.

    Indices and ids change when a camera is plugged in again, so the serial number is read each time, which takes
    opening the camera: others are let go at once. Raises CameraNotFound, CameraBusy, ConfigError.
    """
    attached = library.attached()
    if not attached:
        raise CameraNotFound(f"No ZWO camera is attached. Check its cable and power; `lsusb` must show a device {VENDOR}:….")
    if serial is None and len(attached) > 1:
        known = ", ".join(_named(camera, number) for camera, number, _ in _looked_at(library, attached))
        raise ConfigError(f"Several ZWO cameras are attached: {known}. Say in the configuration which one is meant (zwo: serial:).")
    seen: list[str] = []
    closed: list[str] = []
    for camera in attached:
        try:
            library.open(camera)
        except AsiError as error:
            closed.append(f"{camera.model} ({error})")
            continue
        number = library.serial(camera)
        if serial is None or number == serial.strip().lower():
            return Device(library, camera, number, options)
        seen.append(_named(camera, number))
        library.close(camera)
    advice = (
        "Another program holds it, or this user has no right to it: close that program, or install ZWO's rules for udev (asi.rules in its SDK) "
        "and plug the camera in again."
    )
    if serial is None:
        raise CameraBusy(f"{closed[0]} is attached, but cannot be opened. {advice}")
    others = f"Attached: {', '.join(seen)}." if seen else "No other one is attached."
    if closed:
        raise CameraBusy(f"No ZWO camera with the serial number {serial} could be opened, but {', '.join(closed)} may be it. {advice} {others}")
    raise CameraNotFound(f"There is no ZWO camera with the serial number {serial}. {others} Check its cable and power, or the number (zwo: serial:).")


def _looked_at(library: Library, attached: list[Attached]) -> list[tuple[Attached, str | None, str | None]]:
    """Each camera with its serial number, and why it could not be opened."""
    found: list[tuple[Attached, str | None, str | None]] = []
    for camera in attached:
        try:
            library.open(camera)
        except AsiError as error:
            found.append((camera, None, str(error)))
            continue
        found.append((camera, library.serial(camera), None))
        library.close(camera)
    return found


def look_at_all(library: Library) -> list[tuple[Attached, str | None, str | None]]:
    """Everything attached: the camera, its serial number, and why it could not be opened, if so."""
    return _looked_at(library, library.attached())


def _named(camera: Attached, serial: str | None) -> str:
    return f"{camera.model} (serial {serial})" if serial else f"{camera.model} (no serial number)"


class Device:
    """An opened camera. `call` is for everything; what fails becomes one of our errors by `problem`."""

    def __init__(self, library: Library, camera: Attached, serial: str | None, options: Mapping[str, Any]) -> None:
        """Takes an opened camera, sets its format and the options; lets it go when that fails. Raises ConfigError, CameraLost."""
        self.library, self.camera, self.serial, self._options = library, camera, serial, options
        self.name = f"{camera.model} (serial {serial})" if serial else camera.model
        self.handle = _handles(library.binding)(camera.id)
        self._warmth: tuple[float | None, float | None] = (None, None)
        self._warmth_at = -1e9
        try:
            library.check(library.sdk.ASIInitCamera(camera.id))
            self._caps = self._read_caps()
            self._set_format()
            self._set_options()
            self.ranges = {
                "exposure_s": _range(self._caps[_EXPOSURE], 1e-6),
                "gain": replace(_range(self._caps[_GAIN], 1.0), scale="tenth_db"),
            }
            self.controls = self._read_controls()
        except AsiError as error:
            problem = self.problem(error, "it was set up")
            self.close()
            raise problem from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        with contextlib.suppress(AsiError):
            self.library.close(self.camera)

    @property
    def cooled(self) -> bool:
        return bool(self.camera.facts["IsCoolerCam"])

    @property
    def deep(self) -> bool:
        return self._options["image_type"] == "RAW16"

    @property
    def attached(self) -> bool:
        """Whether the library still lists it."""
        return any(camera.id == self.camera.id for camera in self.library.attached())

    @property
    def readout_guess_s(self) -> float:
        """The time its picture takes over USB."""
        rate = _BYTES_A_SECOND[bool(self.camera.facts["IsUSB3Host"] and self.camera.facts["IsUSB3Camera"])]
        return self.bytes / rate / max(0.4, self.get(_BANDWIDTH, 100) / 100)

    @property
    def bytes(self) -> int:
        return self.width * self.height * (2 if self.deep else 1)

    def problem(self, error: AsiError, doing: str) -> CupolaError:
        """What to tell people of a failed call."""
        if error.code in (CLOSED, REMOVED) or not self.attached:
            return CameraLost(
                f"{self.name} was unplugged, or fell off the bus, while {doing}. It is opened again when it is back; check its cable and power."
            )
        return CameraLost(
            f"{self.name} failed while {doing}: {error}. It is opened again. If this repeats, check its cable and power{self.usb_advice}."
        )

    @property
    def usb_advice(self) -> str:
        """What else there is to do about a camera that does not deliver."""
        advice = ", and try a smaller bandwidth_percent"
        with contextlib.suppress(OSError, ValueError):
            memory = int(_USBFS.read_text())
            if 0 < memory < _USBFS_MB:
                advice += f"; the kernel's memory for USB is {memory} MB, ZWO asks for {_USBFS_MB} (its asi.rules set {_USBFS})"
        return advice

    def apply(self, wanted: Controls) -> bool:
        """Set what is not None; whether anything changed. What the hardware has then is in `controls`."""
        before = self.controls
        asked = wanted.over(before)
        if asked.exposure_s != before.exposure_s:
            self._set(_EXPOSURE, round(self.ranges["exposure_s"].nearest(asked.exposure_s or 0.0) * 1e6))
        if asked.gain != before.gain:
            self._set(_GAIN, round(self.ranges["gain"].nearest(asked.gain or 0.0)))
        self.controls = self._read_controls()
        return self.controls != before

    def temperatures(self) -> tuple[float | None, float | None]:
        """Of the sensor in °C, and the cooler's power in percent; read every two seconds at most. Raises AsiError."""
        if time.monotonic() - self._warmth_at > _TEMPERATURE_EVERY_S:
            warmth = self.get(_TEMPERATURE, None)
            self._warmth = (None if warmth is None else warmth / 10, self.get(_COOLER_POWER, None) if self.cooled else None)
            self._warmth_at = time.monotonic()
        return self._warmth

    def get(self, control: int, default: Any) -> Any:
        if control not in self._caps:
            return default
        return self.library.call(self.handle.get_control_value, control)[0]

    def _set(self, control: int, value: int, *, automatic: bool = False) -> None:
        self.library.call(self.handle.set_control_value, control, value, automatic)

    def _read_controls(self) -> Controls:
        return Controls(exposure_s=self.get(_EXPOSURE, 0) / 1e6, gain=float(self.get(_GAIN, 0)))

    def _read_caps(self) -> dict[int, dict[str, Any]]:
        caps: dict[str, dict[str, Any]] = self.library.call(self.handle.get_controls)
        return {cap["ControlType"]: cap for cap in caps.values()}

    def _set_options(self) -> None:
        """Raw is never flipped: that would change the order of its colours."""
        options = self._options
        fixed = {_FLIP: 0, _MONO_BIN: 0, _HIGH_SPEED: int(options["high_speed"])}
        for control, value in fixed.items():
            if control in self._caps and self._caps[control]["IsWritable"]:
                self._set(control, value)
        if (limits := self._caps.get(_BANDWIDTH)) is not None:
            percent = options["bandwidth_percent"]
            self._set(_BANDWIDTH, int(_range(limits, 1.0).nearest(percent or limits["DefaultValue"])), automatic=percent is None)
        target_c = options["cooler_c"]
        if target_c is not None and not self.cooled:
            raise ConfigError(f"{self.name} has no cooler. Remove cooler_c from its configuration.")
        if self.cooled:
            if target_c is not None:
                self._set(_TARGET, int(_range(self._caps[_TARGET], 1.0).nearest(round(target_c))))
            self._set(_COOLER_ON, int(target_c is not None))
        for control in (_GAIN, _EXPOSURE):  # as they are, but no longer automatic
            self._set(control, self.get(control, 0))

    def _set_format(self) -> None:
        facts, options, binning = self.camera.facts, self._options, int(self._options["binning"])
        if binning not in facts["SupportedBins"]:
            raise ConfigError(
                f"{self.name} does not bin {binning} x {binning}. It can do {', '.join(map(str, facts['SupportedBins']))} (zwo: binning:)."
            )
        if _TYPES[options["image_type"]] not in facts["SupportedVideoFormat"]:
            known = ", ".join(name for name, number in _TYPES.items() if number in facts["SupportedVideoFormat"])
            raise ConfigError(f"{self.name} does not deliver {options['image_type']}. It can do {known} (zwo: image_type:).")
        x, y, width, height = self._window(binning)
        sdk, number = self.library.sdk, self.camera.id  # the binding would take the camera's id for an index here
        self.library.check(sdk.ASISetROIFormat(number, width, height, binning, _TYPES[options["image_type"]]))
        self.library.check(sdk.ASISetStartPos(number, x, y))
        self.width, self.height, took, _ = self.library.call(self.handle.get_roi_format)
        x, y = self.library.call(self.handle.get_roi_start_position)
        whole = (0, 0, int(facts["MaxWidth"]), int(facts["MaxHeight"]))
        roi = (x * took, y * took, self.width * took, self.height * took)
        depth = int(facts["BitDepth"])
        colour = facts["IsColorCam"] and options["image_type"] != "Y8"
        # samples lie at the top of 16 bits; binned ones are sums or means, which use the bits below too
        shifted = self.deep and took == 1
        self.format = PixelFormat(
            kind=PixelKind.BAYER if colour else PixelKind.MONO,
            bits=depth if shifted else 16 if self.deep else 8,
            bayer=BAYER[facts["BayerPattern"]] if colour else None,
            padding_bits=16 - depth if shifted else 0,
            roi=roi if roi != whole else None,
            binning=took,
        )

    def _window(self, binning: int) -> tuple[int, int, int, int]:
        """The region in binned pixels as the library wants it: widths in eights, heights in twos, and whole Bayer cells."""
        facts, roi = self.camera.facts, self._options["roi"]
        sensor = int(facts["MaxWidth"]), int(facts["MaxHeight"])
        x, y, width, height = (roi["x"], roi["y"], roi["width"], roi["height"]) if roi else (0, 0, *sensor)
        if x + width > sensor[0] or y + height > sensor[1]:
            raise ConfigError(f"The region {width}x{height} at {x},{y} is not within the {sensor[0]}x{sensor[1]} pixels of {self.name} (zwo: roi:).")
        width, height = width // binning // 8 * 8, height // binning // 2 * 2
        while self.camera.model.startswith("ZWO ASI120M") and not facts["IsUSB3Camera"] and width * height % 1024 and height > 2:
            height -= 2
        if width < 8 or height < 2:
            raise ConfigError(f"The region is too small for {self.name}: it takes 8 x 2 pixels at least, after binning (zwo: roi:).")
        return x // binning // 2 * 2, y // binning // 2 * 2, width, height


def _range(caps: Mapping[str, Any], unit: float) -> ControlRange:
    return ControlRange(caps["MinValue"] * unit, caps["MaxValue"] * unit, caps["DefaultValue"] * unit)


@cache
def _handles(binding: Any) -> Any:
    """The binding's camera for an id. Its own constructor opens it, by index, and its destructor closes it, whoever has it by then."""

    class Handle(binding.Camera):
        def __init__(self, number: int) -> None:
            self.id, self.default_timeout, self.closed = number, 0, False

        def __del__(self) -> None:
            pass

    return Handle
