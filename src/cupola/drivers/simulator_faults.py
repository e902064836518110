"""Faults on purpose: hangs, crashes, an unplugged cable, slow readouts, a frozen picture, silence.

Frames count from 1 since the camera was opened. Normal operation is the business of `simulator`.
"""

import ctypes
import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cupola.core.errors import CameraLost, CameraNotFound


class Faults:
    """The `faults` block of one simulated camera. Being unplugged outlives the process, in a small file named after user and serial."""

    def __init__(self, options: Mapping[str, Any], serial: str) -> None:
        self._hang_on = frozenset(options.get("hang_on") or ())
        self._hang_holds_gil = bool(options.get("hang_holds_gil"))
        self._crash_on = frozenset(options.get("crash_on") or ())
        self._unplug_after: int | None = options.get("unplug_after_frames")
        self._replug_after_s: float | None = options.get("replug_after_s")
        self._slow_readout_s: float | None = options.get("slow_readout_s")
        self._slow_on = frozenset(options.get("slow_readout_on") or ())
        self._freeze_after: int | None = options.get("freeze_after_frames")
        self._stall_after: int | None = options.get("stall_after_frames")
        self._serial = serial
        user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
        name = "".join(c if c.isalnum() or c in "-_" else "_" for c in serial)
        self.state_file = Path(tempfile.gettempdir()) / f"cupola-simulator-{user}-{name}.json"
        self._unplugged = False

    def plug_in(self) -> None:
        """At opening: raise CameraNotFound while unplugged; else frames count anew."""
        self._unplugged = False
        if self._unplug_after is None:
            return
        since_s = self._unplugged_since_s()
        if since_s is not None and (self._replug_after_s is None or since_s < self._replug_after_s):
            back = f"in {self._replug_after_s - since_s:.0f} s" if self._replug_after_s is not None else f"when {self.state_file} is removed"
            raise CameraNotFound(f"Simulated camera {self._serial} is unplugged, as faults.unplug_after_frames asks for; it comes back {back}.")
        self.state_file.unlink(missing_ok=True)
        if self._unplug_after == 0:
            self._unplug()
            raise CameraNotFound(f"Simulated camera {self._serial} is unplugged: faults.unplug_after_frames is 0.")

    def check_plugged(self) -> None:
        """Raise CameraLost once unplugged, until the camera is opened again."""
        if self._unplugged:
            raise CameraLost(f"Simulated camera {self._serial} was unplugged after {self._unplug_after} frames, as its faults ask for.")

    def delivered(self, frame: int) -> None:
        """Note that a frame is about to be handed over; the cable may come off behind it."""
        if self._unplug_after is not None and frame >= self._unplug_after:
            self._unplug()

    def strike(self, frame: int) -> None:
        """In the middle of an exposure: never come back, or end the process by a segmentation fault, when it is this frame's turn."""
        if frame in self._crash_on:
            ctypes.string_at(0)
        while frame in self._hang_on:
            if self._hang_holds_gil and os.name == "posix":
                ctypes.PyDLL(None).sleep(3600)
            else:
                time.sleep(3600)

    def strikes(self, frame: int) -> bool:
        return frame in self._crash_on or frame in self._hang_on

    def stalls(self, frame: int) -> bool:
        """Whether this frame never comes; waiting for it can be interrupted."""
        return self._stall_after is not None and frame > self._stall_after

    def readout_s(self, frame: int, usual_s: float) -> float:
        """The readout time of a frame; with a slow one and no list of frames, all are slow."""
        if self._slow_readout_s is not None and (not self._slow_on or frame in self._slow_on):
            return self._slow_readout_s
        return usual_s

    @property
    def freezes(self) -> bool:
        return self._freeze_after is not None

    def frozen(self, frame: int) -> bool:
        """Whether this frame shows the pixels of the one before."""
        return self._freeze_after is not None and frame > max(self._freeze_after, 1)

    def _unplug(self) -> None:
        self._unplugged = True
        temporary = self.state_file.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps({"unplugged_monotonic_s": time.monotonic()}))
        temporary.replace(self.state_file)

    def _unplugged_since_s(self) -> float | None:
        """Seconds since the cable came off; None when it did not, or the machine was started anew since."""
        try:
            since_s = time.monotonic() - float(json.loads(self.state_file.read_text())["unplugged_monotonic_s"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return since_s if since_s >= 0 else None
