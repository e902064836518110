"""The driver contract catches drivers that break it: each promise is broken once, on purpose."""

import threading
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cupola.core.frame import Camera, CameraInfo, Capability, Frame, Packet, Station, Stop
from cupola.drivers.replay import Replay
from cupola.testing import DriverContract


class Good(Replay):
    """A replay of one grey image; what the others below spoil."""

    def expose(self, stop: Stop) -> Frame | Packet:
        return self.spoil(super().expose(stop))

    def stream(self, stop: Stop) -> Generator[Frame | Packet, None, None]:
        for picture in super().stream(stop):
            yield self.spoil(picture)

    def spoil(self, picture: Any) -> Any:
        return picture


class WritablePixels(Good):
    def spoil(self, picture: Any) -> Any:
        return replace(picture, data=picture.data.copy())


class LocalTime(Good):
    def spoil(self, picture: Any) -> Any:
        return replace(picture, opened_at=picture.opened_at.replace(tzinfo=None))


class WrongDepth(Good):
    def spoil(self, picture: Any) -> Any:
        return replace(picture, format=replace(picture.format, bits=12))


class OldPictures(Good):
    def spoil(self, picture: Any) -> Any:
        return replace(picture, monotonic_ns=picture.monotonic_ns - 10**9)


class NumbersAgain(Good):
    def spoil(self, picture: Any) -> Any:
        return replace(picture, seq=7)


class CannotDoAnything(Good):
    def open(self) -> CameraInfo:
        return replace(super().open(), capabilities=frozenset[Capability]())


class DeafToStop(Good):
    def expose(self, stop: Stop) -> Frame | Packet:
        time.sleep(2)
        return super().expose(Stop())


class LeavesThreads(Good):
    def open(self) -> CameraInfo:
        threading.Thread(target=threading.Event().wait, args=(10,), daemon=True).start()
        return super().open()


class OpensOnce(Good):
    opened = 0

    def open(self) -> CameraInfo:
        self.opened += 1
        assert self.opened == 1, "the device is in use"
        return super().open()


BROKEN: list[tuple[type[Good], str]] = [
    (WritablePixels, "test_an_exposure_is_a_picture_taken_after_it_was_asked_for"),
    (LocalTime, "test_an_exposure_is_a_picture_taken_after_it_was_asked_for"),
    (WrongDepth, "test_a_stream_delivers_pictures_in_order_from_a_keyframe_on"),
    (OldPictures, "test_an_exposure_is_a_picture_taken_after_it_was_asked_for"),
    (NumbersAgain, "test_exposures_are_numbered_and_timed_in_order"),
    (NumbersAgain, "test_a_stream_delivers_pictures_in_order_from_a_keyframe_on"),
    (CannotDoAnything, "test_open_tells_all_about_the_camera"),
    (DeafToStop, "test_a_stop_ends_an_exposure_in_time"),
    (OpensOnce, "test_opening_twice_is_harmless"),
    (OpensOnce, "test_a_closed_camera_opens_again"),
    (LeavesThreads, "test_opening_and_closing_leaves_nothing_behind"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert cv2.imwrite(str(tmp_path / "a.png"), np.full((24, 32), 90, np.uint8))
    return tmp_path


@pytest.mark.parametrize(("driver", "promise"), BROKEN)
def test_a_broken_promise_fails_the_contract(folder: Path, driver: type[Good], promise: str) -> None:
    assert not _complaint(Good, promise, folder), "even the good driver fails"
    assert _complaint(driver, promise, folder), "the contract did not notice"


def _complaint(driver: type[Good], promise: str, folder: Path) -> str:
    """Run one test of the contract against a driver; what it complains about."""

    class Contract(DriverContract):
        cancel_within_s = 0.5
        open_close_cycles = 3

        def make_camera(self) -> Camera:
            return driver({"path": str(folder), "rate_fps": 50.0, "loop": True}, Station())

    contract = Contract()
    camera = contract.make_camera()
    check = getattr(contract, promise)
    try:
        if "camera" in check.__code__.co_varnames[1:2]:
            camera.open()
            check(camera)
        elif "closed_camera" in check.__code__.co_varnames[1:2]:
            check(camera)
        else:
            check()
    except AssertionError as complaint:
        return str(complaint) or "failed"
    finally:
        camera.close()
    return ""
