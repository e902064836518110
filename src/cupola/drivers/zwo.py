"""ZWO's ASI cameras, through the owner's libASICamera2.

This module turns one camera into the driver's verbs and says what went wrong. Its neighbours: `zwo_library` finds and calls the
library, `zwo_device` is the opened camera, `zwo_capture` exposes, `zwo_modes` chooses between video and single exposures, `zwo_rest`
ends video that nobody needs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Generator, Mapping
from datetime import timedelta
from typing import Any

from cupola.core.clock import clock_synced, utc_now
from cupola.core.errors import CameraLost, CameraUnresponsive, CaptureCancelled, CupolaError
from cupola.core.frame import CameraInfo, Capability, Controls, Frame, Station, Stop
from cupola.drivers.buffers import Buffers
from cupola.drivers.found import Found
from cupola.drivers.usb import opened_port
from cupola.drivers.zwo_capture import Halt, NoPicture, Shot, Snapshots, Video
from cupola.drivers.zwo_device import BAYER, Device, claim, look_at_all
from cupola.drivers.zwo_library import AsiError, Attached, load
from cupola.drivers.zwo_modes import Mode, Modes, memory_for
from cupola.drivers.zwo_rest import Rest

_log = logging.getLogger(__name__)
_STOP_AFTER_S = 0.1  # an interrupt that the driver's thread has not noticed by then stops the camera from outside


class Zwo:
    """The `zwo` driver. Options: the config block of the same name, with every key present."""

    def __init__(self, options: Mapping[str, Any], station: Station) -> None:
        self._options = options
        self._interrupted = threading.Event()
        self._at_rest = threading.Event()  # no call of expose or stream is under way
        self._at_rest.set()
        self._stopper: threading.Thread | None = None
        self._device: Device | None = None
        self._info: CameraInfo | None = None
        self._count = 0

    def open(self) -> CameraInfo:
        """Find the camera by its serial number and set it up; harmless when it is open.

        Raises LibraryMissing, CameraNotFound and CameraBusy (both with what is attached), ConfigError for an option
        this camera does not have, CameraLost.
        """
        if self._device is not None and self._info is not None:
            return self._info
        library = load(self._options["library"])
        device = claim(library, self._options["serial"], self._options)
        buffers = Buffers(device.bytes)
        try:
            self._video, self._snapshots = Video(device, buffers), Snapshots(device, buffers)
        except AsiError as error:
            device.close()
            raise device.problem(error, "it was set up") from None
        self._buffers, self._device = buffers, device
        self._rest = Rest(self._video.stop)
        self._rest.start()
        memory = memory_for(device.serial or device.camera.model.replace(" ", "-"))
        self._modes = Modes(self._options["mode"], self._options["video_limit_s"], memory)
        capabilities = {Capability.STILLS, Capability.VIDEO} | ({Capability.COOLING} if device.cooled else set[Capability]())
        self._info = CameraInfo(
            driver="zwo",
            model=device.camera.model,
            width=device.width,
            height=device.height,
            format=device.format,
            capabilities=frozenset(capabilities),
            serial=device.serial,
            usb_port=opened_port(),
            controls=device.ranges,
            readout_s=self._snapshots.readout_s,
        )
        return self._info

    def apply(self, wanted: Controls) -> Controls:
        """Set exposure (whole microseconds) and gain, without ending video that can go on; what the camera says it has then."""
        device = self._opened()
        before = device.controls
        with self._rest.turn():
            try:
                changed = device.apply(wanted)
            except AsiError as error:
                raise device.problem(error, "it was set") from None
            if changed:
                self._video.settings_changed(before.exposure_s or 0.0, device.controls.exposure_s or 0.0)
        return device.controls

    def expose(self, stop: Stop) -> Frame:
        """One exposure, begun after this call; in video, the one under way when it directly follows the last picture.

        Raises CaptureCancelled, CameraLost, and CameraUnresponsive when nothing came within the exposure and 1.7 s, or 2.5
        readouts where those are longer.
        """
        exposure_s = self._opened().controls.exposure_s or 0.0
        self._interrupted.clear()
        stop.check()
        return self._picture(Halt(stop, self._interrupted), asked_ns=time.monotonic_ns(), follows=self._video.continues(exposure_s))

    def stream(self, stop: Stop) -> Generator[Frame, None, None]:
        """Frames one after the other: of video without a gap, of long exposures with the readout between them."""
        self._opened()
        self._interrupted.clear()
        halt, follows = Halt(stop, self._interrupted), False
        while not stop.is_set():
            try:
                frame = self._picture(halt, asked_ns=None, follows=follows)
            except CaptureCancelled:
                if stop.is_set():
                    return
                raise
            follows = True
            yield frame

    def interrupt(self) -> None:
        """End the exposure under way with CaptureCancelled. The thread that waits stops the camera; if it does not come to it, this does."""
        self._interrupted.set()
        if not self._at_rest.is_set() and (self._stopper is None or not self._stopper.is_alive()):
            self._stopper = threading.Thread(target=self._stop_from_outside, name="zwo-stop", daemon=True)
            self._stopper.start()

    def close(self) -> None:
        """End video and let the camera go; its cooler is left as it is."""
        device, self._device, self._info = self._device, None, None
        if device is not None:
            self._rest.end()
            self._video.stop()
            device.close()

    def _opened(self) -> Device:
        if self._device is None:
            raise CameraLost("The ZWO camera is not open. Connect it first.")
        return self._device

    def _stop_from_outside(self) -> None:
        device = self._device
        if self._at_rest.wait(_STOP_AFTER_S) or device is None:
            return
        sdk, number = device.library.sdk, device.camera.id
        if self._video.running:
            self._video.running = False
            sdk.ASIStopVideoCapture(number)
        else:
            sdk.ASIStopExposure(number)

    def _picture(self, halt: Halt, *, asked_ns: int | None, follows: bool) -> Frame:
        device = self._opened()
        with self._rest.turn():
            return self._picture_of(device, halt, asked_ns=asked_ns, follows=follows)

    def _picture_of(self, device: Device, halt: Halt, *, asked_ns: int | None, follows: bool) -> Frame:
        exposure_s = device.controls.exposure_s or 0.0
        mode = self._modes.choose(exposure_s)
        self._at_rest.clear()
        try:
            if mode == "video":
                shot = self._video.take(halt, exposure_s, asked_ns=None if follows else asked_ns, follows=follows)
            else:
                self._video.stop()
                shot = self._snapshots.take(halt, exposure_s)
            frame = self._frame(device, shot, exposure_s)
        except AsiError as error:
            raise device.problem(error, f"taking an exposure of {exposure_s:g} s") from None
        except NoPicture as what:
            raise self._missed(device, mode, exposure_s, str(what)) from None
        finally:
            self._at_rest.set()
        self._modes.delivered(mode)
        return frame

    def _missed(self, device: Device, mode: Mode, exposure_s: float, what: str) -> CupolaError:
        self._video.stop()
        if not device.attached:
            return CameraLost(f"{device.name} was unplugged, or fell off the bus, during an exposure of {exposure_s:g} s. Check its cable and power.")
        if (other := self._modes.failed(mode)) is not None:
            ways = {"video": "in video mode", "snapshot": "by single exposures"}
            _log.warning(
                "%s stayed without a picture twice in a row %s; from now on its pictures are taken %s.", device.name, ways[mode], ways[other]
            )
        return CameraUnresponsive(
            f"{device.name} {what} (exposure {exposure_s:g} s, {mode} mode). It is started again. If this repeats, check its cable and power{device.usb_advice}."
        )

    def _frame(self, device: Device, shot: Shot, exposure_s: float) -> Frame:
        temperature_c, cooler_percent = device.temperatures()
        self._count += 1
        opened_at = utc_now() - timedelta(microseconds=(time.monotonic_ns() - shot.opened_ns) / 1000)
        return Frame(
            seq=self._count,
            opened_at=opened_at,
            ended_at=opened_at + timedelta(seconds=exposure_s),
            monotonic_ns=shot.opened_ns,
            data=self._buffers.picture(shot.buffer, device.height, device.width, device.deep),
            format=device.format,
            applied=device.controls,
            clock_synced=clock_synced(),
            temperature_c=temperature_c,
            cooler_percent=cooler_percent,
            dropped_before=shot.dropped,
        )


def discover() -> list[Found]:
    """Every ZWO camera attached. Each is opened for a moment to read its serial number, unless another program has it. Raises LibraryMissing."""
    return [_found(*one) for one in look_at_all(load(None))]


def _found(camera: Attached, serial: str | None, closed: str | None) -> Found:
    facts = camera.facts
    colours = f"colour ({BAYER[facts['BayerPattern']]})" if facts["IsColorCam"] else "mono"
    speed = "USB 3" if facts["IsUSB3Camera"] and facts["IsUSB3Host"] else "USB 2"
    if closed:
        note = f"It cannot be opened ({closed}): another program has it, or this user has no right to it (install asi.rules of ZWO's SDK)."
    elif serial is None:
        note = "It has no serial number: beside another ZWO camera it cannot be told apart."
    else:
        note = "" if speed == "USB 3" or not facts["IsUSB3Camera"] else "A USB 3 camera at a USB 2 port: slow."
    return Found(
        driver="zwo",
        model=camera.model,
        serial=serial,
        where=speed,
        capabilities=(
            f"{facts['MaxWidth']} x {facts['MaxHeight']}",
            f"{facts['BitDepth']} bit {colours}",
            f"binning {', '.join(map(str, facts['SupportedBins']))}",
            *(("cooler",) if facts["IsCoolerCam"] else ()),
        ),
        options={"serial": serial} if serial else {},
        note=note,
    )
