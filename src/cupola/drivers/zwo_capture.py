"""The two ways a ZWO camera takes pictures: single exposures, and video that is kept open.

Both wait by polling, so that a stop is noticed within 20 ms, and know when the shutter opened, which the library
does not tell. Which way is taken is the business of `zwo_modes`, what becomes of a failure that of `zwo`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass

from cupola.core.errors import CaptureCancelled
from cupola.core.frame import Stop
from cupola.drivers.buffers import Buffers
from cupola.drivers.zwo_device import Device
from cupola.drivers.zwo_library import TIMEOUT, AsiError

POLL_S = 0.01
SPARE_S = 1.7  # beyond the exposure, before a picture is missed; more for cameras with a slow readout
_WORKING, _SUCCESS = 1, 2  # ASI_EXPOSURE_STATUS
_WATCH_S = 0.25  # between looks at a long exposure under way
_MARGIN_S = 0.2  # by which a picture that is waited for must come before it is missed


class NoPicture(Exception):
    """Nothing came in time, or the camera says that an exposure failed."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture in a buffer, when its shutter opened by the monotonic clock, and how many were lost before it."""

    buffer: bytearray
    opened_ns: int
    dropped: int = 0


class Halt:
    """Whatever ends an exposure early: the caller's stop, or an interrupt."""

    def __init__(self, stop: Stop, interrupted: threading.Event) -> None:
        self._stop, self._interrupted = stop, interrupted

    def check(self) -> None:
        """Raise CaptureCancelled."""
        self._stop.check()
        if self._interrupted.is_set():
            raise CaptureCancelled("the exposure was interrupted")

    def wait(self, seconds: float) -> None:
        """Sleep, a poll's time at most. Raises CaptureCancelled."""
        self._stop.wait(min(seconds, POLL_S))
        self.check()


class Snapshots:
    """Single exposures: ASIStartExposure, ASIGetExpStatus, ASIGetDataAfterExp."""

    def __init__(self, device: Device, buffers: Buffers) -> None:
        self._device, self._buffers = device, buffers
        self.readout_s = device.readout_guess_s

    def take(self, halt: Halt, exposure_s: float) -> Shot:
        """Raises CaptureCancelled (the exposure is stopped), NoPicture, AsiError."""
        call, handle = self._device.library.call, self._device.handle
        halt.check()
        call(handle.start_exposure)
        opened_ns = time.monotonic_ns()
        try:
            self._wait(halt, opened_ns, exposure_s)
        except (CaptureCancelled, NoPicture):
            with contextlib.suppress(AsiError):
                call(handle.stop_exposure)
            raise
        buffer = self._buffers.take()
        try:
            call(handle.get_data_after_exposure, buffer)
        except BaseException:
            self._buffers.give_back(buffer)
            raise
        seconds = (time.monotonic_ns() - opened_ns) / 1e9 - exposure_s
        self.readout_s = max(seconds, 0.9 * self.readout_s + 0.1 * seconds, 0.0)
        return Shot(buffer, opened_ns)

    def _wait(self, halt: Halt, opened_ns: int, exposure_s: float) -> None:
        spare_s = max(SPARE_S, 2.5 * self.readout_s)
        while True:
            status = self._device.library.call(self._device.handle.get_exposure_status)
            halt.check()  # a stopped exposure may look like one that succeeded
            if status == _SUCCESS:
                return
            if status != _WORKING:
                raise NoPicture("says that the exposure failed")
            left_s = exposure_s - (time.monotonic_ns() - opened_ns) / 1e9
            if left_s < -spare_s:
                raise NoPicture(f"delivered nothing within {spare_s:.1f} s after the exposure")
            self._sleep(halt, min(left_s, _WATCH_S) if left_s > 0 else 0.002)

    def _sleep(self, halt: Halt, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left_s := until - time.monotonic()) > 0:
            halt.wait(left_s)


class Video:
    """Video kept open: each exposure follows the one before, and settings change while it runs.

    The library tells nothing about when a frame was exposed. Its arrival is known to a poll, and what passes between
    the end of an exposure and the arrival is measured at the first frame after a start, whose beginning is known.
    """

    def __init__(self, device: Device, buffers: Buffers) -> None:
        self._device, self._buffers = device, buffers
        self.running = False
        self.readout_s = device.readout_guess_s
        self._started_ns = self._delivered_ns = self._opened_ns = 0
        self._first = False
        self._not_before_ns = 0  # of settings that changed meanwhile
        self._old_exposure_s = 0.0
        self._skip = 0
        self._dropped = 0

    def continues(self, exposure_s: float) -> bool:
        """Whether who asks now asks soon enough behind the last picture to be given the exposure that is under way.

        A busy machine asks a little late: within 50 ms, or a quarter of a longer exposure, half a second at most.
        """
        return self.running and time.monotonic_ns() - self._delivered_ns < max(0.05, min(0.25 * exposure_s, 0.5)) * 1e9

    def stop(self) -> None:
        """End it, also when the camera no longer answers."""
        if self.running:
            self.running = False
            with contextlib.suppress(AsiError):
                self._device.library.call(self._device.handle.stop_video_capture)

    def settings_changed(self, old_exposure_s: float, new_exposure_s: float) -> None:
        """Frames begun before now no longer count: short ones are let pass, a long one is broken off by a new start.

        Sensors take a shutter time a frame ahead, so the first frame begun after the change may still have the old one.
        """
        if not self.running:
            return
        self._old_exposure_s = max(old_exposure_s, self._old_exposure_s)
        known = not self._first  # without a frame of this start, the times of those behind are not known
        if known and self._can_wait(self._old_exposure_s, max(self._old_exposure_s, new_exposure_s, self.readout_s)):
            self._not_before_ns, self._skip = time.monotonic_ns(), 1
        else:
            self.stop()

    def take(self, halt: Halt, exposure_s: float, *, asked_ns: int | None = None, follows: bool = False) -> Shot:
        """The next picture: with `asked_ns` one whose shutter opened after that, with `follows` the one behind the last.

        Raises CaptureCancelled (video goes on), NoPicture, AsiError.
        """
        halt.check()
        call, handle = self._device.library.call, self._device.handle
        if asked_ns is not None and not self._can_wait(exposure_s):
            self.stop()
        if not self.running:
            self._start()
        elif not follows or self._not_before_ns:
            self._drain()
        if not follows:
            self._dropped = call(handle.get_dropped_frames)
        spare_s = self._spare_s
        deadline_ns = time.monotonic_ns() + round((exposure_s + spare_s) * 1e9)
        waited, buffer = False, self._buffers.take()
        try:
            while True:
                arrived = self._fetch(buffer, halt)
                now_ns = time.monotonic_ns()
                if arrived:
                    opened_ns = self._opened(now_ns, exposure_s, waited)
                    if self._counts(now_ns) and opened_ns >= (asked_ns or 0):
                        break
                if now_ns > deadline_ns:
                    raise NoPicture(f"delivered nothing within {spare_s:.1f} s after the exposure")
                waited = True
        except BaseException:
            self._buffers.give_back(buffer)
            raise
        dropped = call(handle.get_dropped_frames)
        lost, self._dropped = max(0, dropped - self._dropped), dropped
        self._opened_ns, self._delivered_ns = opened_ns, now_ns
        return Shot(buffer, opened_ns, lost)

    @property
    def _spare_s(self) -> float:
        return max(SPARE_S, 2.5 * self.readout_s)

    def _can_wait(self, under_way_s: float, then_s: float = 0.0) -> bool:
        """Whether a picture still comes in time when the frame under way, and another one, are let pass; else a new start is due."""
        return max(under_way_s, self.readout_s) + then_s + self.readout_s <= self._spare_s - _MARGIN_S

    def _start(self) -> None:
        self._device.library.call(self._device.handle.start_video_capture)
        self._started_ns = time.monotonic_ns()
        self.running = self._first = True
        self._not_before_ns, self._skip, self._old_exposure_s = 0, 0, 0.0

    def _drain(self) -> None:
        """Take away what waits in the library: it is older than it looks."""
        buffer = self._buffers.take()
        for _ in range(8):
            if not self._poll(buffer, 0):
                break
            self._first = False
        self._buffers.give_back(buffer)

    def _fetch(self, buffer: bytearray, halt: Halt) -> bool:
        try:
            return self._poll(buffer, round(POLL_S * 1000))
        except AsiError:
            halt.check()  # an interrupt has stopped the video
            raise
        finally:
            halt.check()

    def _poll(self, buffer: bytearray, wait_ms: int) -> bool:
        try:
            self._device.library.call(self._device.handle.get_video_data, wait_ms, buffer)
        except AsiError as error:
            if error.code == TIMEOUT:
                return False
            raise
        return True

    def _opened(self, arrived_ns: int, exposure_s: float, waited: bool) -> int:
        """When the shutter of a frame opened that arrived now, or, if nobody waited for it, some time ago."""
        if self._first:
            self._first = False
            self.readout_s = max(0.0, (arrived_ns - self._started_ns) / 1e9 - exposure_s)
            return self._started_ns
        opened_ns = arrived_ns - round((exposure_s + self.readout_s) * 1e9)
        if not waited:
            opened_ns = min(opened_ns, self._opened_ns + round(max(exposure_s, self.readout_s) * 1e9))
        return max(opened_ns, self._opened_ns + 1)

    def _counts(self, arrived_ns: int) -> bool:
        """Whether a frame has the settings of now."""
        if self._not_before_ns:
            if arrived_ns - round((self._old_exposure_s + self.readout_s) * 1e9) < self._not_before_ns:
                return False
            self._not_before_ns, self._old_exposure_s = 0, 0.0
        if self._skip:
            self._skip -= 1
            return False
        return True
