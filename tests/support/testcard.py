"""A camera that does exactly what it is told, for tests of what is above the drivers. Not a stand-in for a real one."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cupola.core.clock import utc_now
from cupola.core.errors import CameraLost, CameraNotFound, CaptureCancelled
from cupola.core.frame import CameraInfo, Capability, ControlRange, Controls, Frame, Packet, PixelFormat, PixelKind, Station, Stop


class TestCard:
    """Options: width, height, readout_s, temperature_c (as text), absent; absent_until (a file that has to exist), opens (how often a process can open it), usb_port, serial.

    crash_on, hang_on, hold_gil_on, stick_on (until interrupted), fail_on: numbers of frames of this process, in the middle of the exposure.
    """

    __test__ = False

    def __init__(self, options: Mapping[str, Any], station: Station) -> None:
        self._options = options
        self._controls = Controls(exposure_s=0.01, gain=0)
        self._seq = self._opened = 0
        self._interrupted = threading.Event()

    def open(self) -> CameraInfo:
        self._opened += 1
        if self._options.get("absent") or not os.path.exists(self._options.get("absent_until", "/")):
            raise CameraNotFound("The test card is not there. Put it there.")
        if self._opened > self._options.get("opens", self._opened):
            raise CameraNotFound("The test card does not open again.")
        self._format = PixelFormat(PixelKind.MONO, 8)
        return CameraInfo(
            driver="testcard",
            model="Test card",
            width=self._options.get("width", 64),
            height=self._options.get("height", 48),
            format=self._format,
            capabilities=frozenset({Capability.STILLS, Capability.VIDEO}),
            controls={"exposure_s": ControlRange(0.001, 100, 0.01), "gain": ControlRange(0, 100, 0)},
            readout_s=self._options.get("readout_s", 0.0),
            serial=self._options.get("serial"),
            usb_port=self._options.get("usb_port"),
        )

    def apply(self, wanted: Controls) -> Controls:
        self._controls = wanted.over(self._controls)
        return self._controls

    def expose(self, stop: Stop) -> Frame | Packet:
        self._seq += 1
        opened, begun, half = utc_now(), time.monotonic_ns(), (self._controls.exposure_s or 0.0) / 2
        if stop.wait(half):
            raise CaptureCancelled("cancelled")
        self._misbehave()
        if stop.wait(half):
            raise CaptureCancelled("cancelled")
        ended = utc_now()
        time.sleep(self._options.get("readout_s", 0.0))
        data = np.full((self._options.get("height", 48), self._options.get("width", 64)), self._seq % 256, np.uint8)
        data.flags.writeable = False
        reading = self._options.get("temperature_c")
        temperature_c = None if reading is None else float(reading)
        return Frame(self._seq, opened, ended, begun, data, self._format, self._controls, temperature_c=temperature_c)

    def stream(self, stop: Stop) -> Generator[Frame | Packet, None, None]:
        while not stop.is_set():
            try:
                yield self.expose(stop)
            except CaptureCancelled:
                return

    def _misbehave(self) -> None:
        if self._seq in self._options.get("crash_on", ()):
            ctypes.string_at(0)
        if self._seq in self._options.get("hang_on", ()):
            while True:
                time.sleep(1)
        if self._seq in self._options.get("hold_gil_on", ()):
            ctypes.PyDLL(None).sleep(1000)
        if self._seq in self._options.get("stick_on", ()):
            self._interrupted.wait()
            self._interrupted.clear()
            raise CaptureCancelled("interrupted")
        if self._seq in self._options.get("fail_on", ()):
            raise CameraLost("The test card fell down.")

    def interrupt(self) -> None:
        self._interrupted.set()

    def close(self) -> None:
        pass


class KeepingCard(TestCard):
    """Writes into the file `heard` when it is told that a still is stored, with the count of files below `root`, and when it is closed."""

    def stored(self, seq: int) -> None:
        on_disk = sum(path.is_file() and path.suffix != ".tmp" for path in Path(self._options["root"]).rglob("*"))
        self._write(f"{seq} of {on_disk} on disk")

    def close(self) -> None:
        self._write("closed")

    def _write(self, line: str) -> None:
        with open(self._options["heard"], "a") as file:
            file.write(line + "\n")
