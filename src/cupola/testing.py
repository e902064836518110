"""What every driver has to do, as tests: the contract of `core.frame.Camera` for authors of drivers.

Subclass `DriverContract` in a test module, say how to make a camera, and pytest runs the rest:

    class TestMyDriver(DriverContract):
        def make_camera(self) -> Camera:
            return MyDriver({"serial": "1a2b", ...}, Station())

Imported by tests only; needs pytest.
"""

import gc
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from datetime import UTC, timedelta
from itertools import islice, pairwise

import numpy as np
import pytest

from cupola.core.errors import CaptureCancelled, CupolaError
from cupola.core.frame import Camera, CameraInfo, Capability, Controls, Frame, Packet, PixelKind, Stop
from cupola.drivers.jpeg import inspect

_NATIVE = {"jpeg": Capability.NATIVE_JPEG, "h264": Capability.NATIVE_H264, "h265": Capability.NATIVE_H265}
_BAYER = {"RGGB", "BGGR", "GRBG", "GBRG"}


def check_picture(picture: Frame | Packet) -> None:
    """Fail unless a picture's facts and data agree with each other."""
    assert picture.opened_at.tzinfo is not None and picture.opened_at.utcoffset() == timedelta(0), "opened_at is not in UTC"
    assert picture.ended_at.astimezone(UTC) >= picture.opened_at, "the shutter closed before it opened"
    assert picture.dropped_before >= 0
    assert 0 < picture.monotonic_ns <= time.monotonic_ns(), "monotonic_ns is not of this machine's clock, or in the future"
    if isinstance(picture, Frame):
        _check_frame(picture)
    elif picture.codec == "jpeg":
        assert picture.keyframe
        assert inspect(picture.data) == (picture.width, picture.height)
    else:
        assert picture.data.startswith((b"\0\0\1", b"\0\0\0\1")), f"{picture.codec} is not in Annex B"


def _check_frame(frame: Frame) -> None:
    kind, deep = frame.format.kind, frame.format.bits + frame.format.padding_bits > 8
    assert not frame.data.flags.writeable, "pixels are writable"
    assert frame.data.dtype == (np.uint16 if deep else np.uint8)
    assert frame.format.bits >= 1 and frame.format.bits + frame.format.padding_bits <= 16
    assert frame.data.ndim == (3 if kind is PixelKind.RGB else 2)
    if kind is PixelKind.RGB:
        assert frame.data.shape[2] == 3 and frame.data.dtype == np.uint8
    assert (frame.format.bayer in _BAYER) if kind is PixelKind.BAYER else frame.format.bayer is None
    if frame.format.padding_bits:
        assert not np.any(frame.data & ((1 << frame.format.padding_bits) - 1)), "the padding bits are not zero"
    if kind in (PixelKind.YUV420, PixelKind.YUV422):
        assert frame.chroma is not None, "YUV without its chroma planes"
        down = (frame.height + 1) // 2 if kind is PixelKind.YUV420 else frame.height
        assert [plane.shape for plane in frame.chroma] == [(down, (frame.width + 1) // 2)] * 2
        assert all(plane.dtype == np.uint8 and not plane.flags.writeable for plane in frame.chroma)


class DriverContract(ABC):
    """The suite. Override `make_camera`, and the attributes where the defaults do not fit the device."""

    long_exposure_s: float | None = None
    """An exposure of several seconds, for cameras whose exposure can be set: cancelling is tried during it."""
    short_exposure_s: float = 0.01
    """An exposure that keeps the suite quick, for the same cameras."""
    cancel_within_s: float = 1.0
    """How soon a call must be back after `stop` or `interrupt`."""
    open_close_cycles: int = 20
    opens_early_s: float = 0.0
    """How long before it was asked for a picture may have been begun, for a camera that exposes without a gap: asked for the next one
    directly behind the last, it hands out the one under way."""

    @abstractmethod
    def make_camera(self) -> Camera:
        """A new, unopened driver for a device that works."""

    @pytest.fixture
    def closed_camera(self) -> Iterator[Camera]:
        camera = self.make_camera()
        yield camera
        camera.close()

    @pytest.fixture
    def camera(self, closed_camera: Camera) -> Camera:
        self._open(closed_camera)
        return closed_camera

    def _open(self, camera: Camera) -> CameraInfo:
        info = camera.open()
        if "exposure_s" in info.controls:
            camera.apply(Controls(exposure_s=info.controls["exposure_s"].nearest(self.short_exposure_s)))
        return info

    def test_open_tells_all_about_the_camera(self, closed_camera: Camera) -> None:
        info = closed_camera.open()
        assert info.driver and info.model
        assert info.width > 0 and info.height > 0
        assert info.capabilities & {Capability.STILLS, Capability.VIDEO, Capability.CONTINUOUS}, "it can neither take stills nor stream"
        assert info.readout_s >= 0 and info.frame_timeout_s > 0
        for name, limits in info.controls.items():
            assert name in Controls().to_dict(), f"there is no control {name!r}"
            assert limits.minimum <= limits.default <= limits.maximum
            assert all(limits.minimum <= choice <= limits.maximum for choice in limits.choices or ())
        assert Capability.STILLS not in info.capabilities or "exposure_s" in info.controls

    def test_opening_twice_is_harmless(self, camera: Camera) -> None:
        again = camera.open()
        assert again.width > 0
        check_picture(camera.expose(Stop()))

    def test_closing_is_harmless_at_any_time(self, closed_camera: Camera) -> None:
        closed_camera.close()
        self._open(closed_camera)
        closed_camera.close()
        closed_camera.close()

    def test_exposing_a_closed_camera_says_so(self, closed_camera: Camera) -> None:
        with pytest.raises(CupolaError):
            closed_camera.expose(Stop())
        self._open(closed_camera)
        closed_camera.close()
        with pytest.raises(CupolaError):
            closed_camera.expose(Stop())

    def test_a_closed_camera_opens_again(self, camera: Camera) -> None:
        camera.close()
        self._open(camera)
        check_picture(camera.expose(Stop()))

    def test_an_exposure_is_a_picture_taken_after_it_was_asked_for(self, camera: Camera) -> None:
        info = camera.open()
        for _ in range(2):
            asked_ns = time.monotonic_ns()
            picture = camera.expose(Stop())
            check_picture(picture)
            assert picture.monotonic_ns >= asked_ns - round(self.opens_early_s * 1e9), "an old picture was handed out"
            assert isinstance(picture, Frame) or picture.codec == "jpeg", "a still has to be a picture of its own"
            if isinstance(picture, Packet):
                assert _NATIVE[picture.codec] in info.capabilities

    def test_exposures_are_numbered_and_timed_in_order(self, camera: Camera) -> None:
        pictures = [camera.expose(Stop()) for _ in range(3)]
        _check_order(pictures)

    def test_a_stream_delivers_pictures_in_order_from_a_keyframe_on(self, camera: Camera) -> None:
        info = camera.open()
        with closing(_generator(camera, Stop())) as stream:
            pictures = list(islice(stream, 5))
        assert len(pictures) == 5, "the stream ended by itself"
        for picture in pictures:
            check_picture(picture)
            if isinstance(picture, Packet):
                assert _NATIVE[picture.codec] in info.capabilities
        assert isinstance(pictures[0], Frame) or pictures[0].keyframe, "no decoder can start here"
        _check_order(pictures)

    def test_streams_and_exposures_can_follow_each_other(self, camera: Camera) -> None:
        pictures: list[Frame | Packet] = []
        for _ in range(2):
            with closing(_generator(camera, Stop())) as stream:
                pictures += islice(stream, 2)
            pictures.append(camera.expose(Stop()))
        assert len(pictures) == 6
        assert all(one.seq < other.seq for one, other in pairwise(pictures))

    def test_a_stop_set_before_ends_everything_at_once(self, camera: Camera) -> None:
        stop = Stop()
        stop.set()
        assert not list(islice(camera.stream(stop), 1))
        with pytest.raises(CaptureCancelled):
            camera.expose(stop)

    def test_a_stop_ends_a_stream_in_time(self, camera: Camera) -> None:
        stop = Stop()
        self._slow_down(camera)

        def watch() -> None:
            for _ in camera.stream(stop):
                pass

        assert self._seconds_to_return(watch, stop.set) < self.cancel_within_s
        assert camera.open().width > 0

    def test_a_stop_ends_an_exposure_in_time(self, camera: Camera) -> None:
        stop = Stop()
        must_be_cancelled = self._slow_down(camera)
        outcome: list[object] = []

        def take() -> None:
            try:
                outcome.append(camera.expose(stop))
            except CaptureCancelled as cancelled:
                outcome.append(cancelled)

        assert self._seconds_to_return(take, stop.set) < self.cancel_within_s
        assert len(outcome) == 1, "the exposure failed with another error"
        assert not must_be_cancelled or isinstance(outcome[0], CaptureCancelled), "a long exposure was not cancelled"

    def test_the_camera_works_on_after_a_cancelled_exposure(self, camera: Camera) -> None:
        self.test_a_stop_ends_an_exposure_in_time(camera)
        info = camera.open()
        if "exposure_s" in info.controls:
            camera.apply(Controls(exposure_s=info.controls["exposure_s"].nearest(self.short_exposure_s)))
        check_picture(camera.expose(Stop()))

    def test_interrupting_is_harmless_at_any_time(self, closed_camera: Camera) -> None:
        closed_camera.interrupt()
        self._open(closed_camera)
        closed_camera.interrupt()
        closed_camera.interrupt()
        closed_camera.close()
        closed_camera.interrupt()

    def test_an_interrupted_exposure_returns_in_time_and_the_camera_closes(self, camera: Camera) -> None:
        self._slow_down(camera)

        def take() -> None:
            try:
                camera.expose(Stop())
            except CupolaError:
                return

        assert self._seconds_to_return(take, camera.interrupt) < self.cancel_within_s
        camera.close()
        self._open(camera)
        check_picture(camera.expose(Stop()))

    def test_apply_says_what_the_hardware_took_and_the_next_picture_carries_it(self, camera: Camera) -> None:
        limits = camera.open().controls
        for name, limit in limits.items():
            wanted = limit.nearest(self.short_exposure_s if name == "exposure_s" else (limit.minimum + limit.maximum) / 2)
            taken = camera.apply(Controls.from_dict({name: wanted})).to_dict()
            assert all(value is None or limits[key].minimum <= value <= limits[key].maximum for key, value in taken.items() if key in limits)
            assert taken[name] is not None
            assert camera.expose(Stop()).applied.to_dict()[name] == taken[name]
        if not limits:
            assert camera.apply(Controls(exposure_s=1.0)) == Controls(), "a camera without controls took one"

    def test_opening_and_closing_leaves_nothing_behind(self) -> None:
        self._open_and_close()
        threads, descriptors = _threads(), _descriptors()
        for _ in range(self.open_close_cycles):
            self._open_and_close()
        deadline = time.monotonic() + 5
        while (_threads() > threads or _descriptors() > descriptors) and time.monotonic() < deadline:
            threading.Event().wait(0.05)  # a device or its library may let go a moment later
        assert _threads() <= threads, f"threads left: {[thread.name for thread in threading.enumerate()]}"
        assert _descriptors() <= descriptors, "open files left"

    def _open_and_close(self) -> None:
        camera = self.make_camera()
        try:
            self._open(camera)
            camera.expose(Stop())
        finally:
            camera.close()

    def _slow_down(self, camera: Camera) -> bool:
        """Make exposures long where that can be done; whether it could."""
        if self.long_exposure_s is None:
            return False
        taken = camera.apply(Controls(exposure_s=self.long_exposure_s))
        return taken.exposure_s is not None and taken.exposure_s > 2 * self.cancel_within_s

    def _seconds_to_return(self, call: Callable[[], None], cancel: Callable[[], None]) -> float:
        """How long `call`, running in a thread of its own, takes to return after `cancel`."""
        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        thread.join(0.2)
        cancelled_at = time.monotonic()
        cancel()
        thread.join(10 * self.cancel_within_s)
        assert not thread.is_alive(), "the call did not return at all"
        return time.monotonic() - cancelled_at


def _generator(camera: Camera, stop: Stop) -> Generator[Frame | Packet, None, None]:
    yield from camera.stream(stop)


def _check_order(pictures: list[Frame | Packet]) -> None:
    for one, other in pairwise(pictures):
        assert one.seq < other.seq
        assert one.monotonic_ns <= other.monotonic_ns
        if one.clock_synced and other.clock_synced:
            assert one.opened_at <= other.opened_at


def _threads() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else threading.active_count()


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
