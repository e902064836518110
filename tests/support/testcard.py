"""A camera that does exactly what it is told, for tests of what is above the drivers. Not a stand-in for a real one."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Generator, Mapping
from typing import Any

import numpy as np

from cupola.core.clock import utc_now
from cupola.core.errors import CameraNotFound, CaptureCancelled
from cupola.core.frame import CameraInfo, Capability, ControlRange, Controls, Frame, Packet, PixelFormat, PixelKind, Station, Stop


class TestCard:
    """Options: width, height, readout_s, crash_on, hang_on, hold_gil_on (frame numbers since open; in the middle of that exposure), absent."""

    __test__ = False

    def __init__(self, options: Mapping[str, Any], station: Station) -> None:
        self._options = options
        self._controls = Controls(exposure_s=0.01, gain=0)
        self._seq = 0

    def open(self) -> CameraInfo:
        if self._options.get("absent"):
            raise CameraNotFound("The test card is not there. Put it there.")
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
        )

    def apply(self, wanted: Controls) -> Controls:
        self._controls = wanted.over(self._controls)
        return self._controls

    def expose(self, stop: Stop) -> Frame:
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
        return Frame(self._seq, opened, ended, begun, data, self._format, self._controls)

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

    def interrupt(self) -> None:
        pass

    def close(self) -> None:
        pass
