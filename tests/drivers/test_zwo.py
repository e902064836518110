"""The `zwo` driver on the real `zwoasi` and a stand-in for ZWO's library: identity, settings, faults, and what it says of them."""

from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from cupola.core.errors import CameraBusy, CameraLost, CameraNotFound, CameraUnresponsive, CaptureCancelled, ConfigError
from cupola.core.frame import Capability, Controls, PixelKind, Stop
from cupola.drivers.zwo import discover
from tests.drivers.zwo_library import SERIALS, Bench, compiled, make_bench, marks
from tests.support.station import eventually


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("zwo"))


@pytest.fixture
def bench(tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch):
    made = make_bench(tmp_path, library, monkeypatch)
    yield made
    for camera in made.cameras:
        camera.close()


@contextmanager
def elsewhere(bench: Bench, serial: str) -> Iterator[None]:
    """The camera is open in another process."""
    program = "import json, sys; from cupola.core.frame import Station; from cupola.drivers.zwo import Zwo\n"
    program += "Zwo(json.loads(sys.argv[1]), Station()).open(); print('open', flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", program, json.dumps(bench.options(serial=serial))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"open\n"
        yield
        other.communicate(timeout=10)


# ── which camera ───────────────────────────────────────────────────────────


def test_the_only_camera_needs_no_serial_number_and_tells_what_it_is(bench: Bench) -> None:
    info = bench.camera().open()
    assert (info.model, info.serial, info.width, info.height) == ("ZWO ASI462MC stand-in", SERIALS[0], 1936, 1096)
    assert (info.format.kind, info.format.bayer, info.format.bits, info.format.padding_bits) == (PixelKind.BAYER, "RGGB", 12, 4)
    assert info.capabilities == {Capability.STILLS, Capability.VIDEO, Capability.COOLING}
    assert info.controls["exposure_s"].maximum == 2000
    assert info.controls["gain"].scale == "tenth_db"


def test_several_cameras_without_a_serial_number_are_named(bench: Bench) -> None:
    bench.set(cameras=2, models="01")
    with pytest.raises(ConfigError, match=f"ASI462MC.*serial {SERIALS[0]}.*ASI178MM.*serial {SERIALS[1]}.*zwo: serial:"):
        bench.camera().open()


def test_two_cameras_never_swap_when_the_library_lists_them_in_another_order(bench: Bench) -> None:
    bench.set(cameras=2)
    for order in ("01", "10"):
        bench.set(order=order)
        for slot in (0, 1):
            camera = bench.camera(serial=SERIALS[slot].upper())
            camera.open()
            camera.apply(Controls(exposure_s=0.001))
            assert marks(camera.expose(Stop()))[2] == slot
            camera.close()


def test_a_camera_is_found_beside_one_that_another_process_has(bench: Bench) -> None:
    bench.set(cameras=2)
    with elsewhere(bench, SERIALS[0]):
        camera = bench.camera(serial=SERIALS[1])
        assert camera.open().serial == SERIALS[1]
        assert marks(camera.expose(Stop()))[2] == 1


def test_a_wrong_serial_number_is_told_with_what_is_attached(bench: Bench) -> None:
    bench.set(cameras=3, models="012")
    with pytest.raises(CameraNotFound, match=f"00000000000000ff.*ASI462MC stand-in .serial {SERIALS[0]}.*ASI120MC stand-in .no serial number"):
        bench.camera(serial="00000000000000ff").open()


def test_no_camera_at_all_is_told(bench: Bench) -> None:
    bench.set(cameras=0)
    with pytest.raises(CameraNotFound, match=r"No ZWO camera is attached.*lsusb"):
        bench.camera().open()


@pytest.mark.parametrize("serial", [None, SERIALS[0]])
def test_a_camera_of_another_program_is_busy(bench: Bench, serial: str | None) -> None:
    with elsewhere(bench, SERIALS[0]), pytest.raises(CameraBusy, match=r"Another program holds it.*asi.rules"):
        bench.camera(serial=serial).open()
    assert bench.camera(serial=serial).open().serial == SERIALS[0]


def test_looking_for_cameras_names_them_and_the_options_to_use_them(bench: Bench) -> None:
    bench.set(cameras=3, models="012")
    bench.patch.setenv("ZWO_ASI_LIB", str(bench.library))
    colour, mono, old = discover()
    assert (colour.driver, colour.serial, colour.options, colour.note) == ("zwo", SERIALS[0], {"serial": SERIALS[0]}, "")
    assert {"1936 x 1096", "12 bit colour (RGGB)", "cooler"} <= set(colour.capabilities)
    assert "14 bit mono" in mono.capabilities and "cooler" not in mono.capabilities
    assert (old.serial, old.where, old.options) == (None, "USB 2", {}) and "no serial number" in old.note
    bench.camera(**colour.options).open()


# ── settings ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", ["video", "snapshot", "auto"])
def test_the_first_picture_after_a_change_carries_the_new_settings_in_its_pixels(bench: Bench, mode: str) -> None:
    bench.set(readout_ms=30)
    camera = bench.camera(mode=mode, video_limit_s=0.2)
    camera.open()
    for exposure_s, gain in ((0.1, 10), (0.01, 300), (0.3, 300), (0.01, 0), (0.012345, 7.4), (0.8, 7), (0.05, 510)):
        taken = camera.apply(Controls(exposure_s=exposure_s, gain=gain))
        assert taken == Controls(exposure_s=exposure_s, gain=round(gain))
        for _ in range(2):
            frame = camera.expose(Stop())
            assert marks(frame)[1] == frame.applied == taken
        camera.apply(Controls(gain=(gain + 100) % 500))
        with closing(camera.stream(Stop())) as stream:
            for frame in islice(stream, 2):
                assert marks(frame)[1] == frame.applied == Controls(exposure_s=exposure_s, gain=round((gain + 100) % 500))


def test_video_goes_on_while_short_exposures_change(bench: Bench) -> None:
    camera = bench.camera(mode="video")
    camera.open()
    camera.apply(Controls(exposure_s=0.02))
    camera.expose(Stop())
    begun = camera._video._started_ns
    for exposure_s in (0.03, 0.01, 0.2):
        camera.apply(Controls(exposure_s=exposure_s))
        camera.expose(Stop())
    assert camera._video._started_ns == begun


def test_video_that_nobody_needs_is_ended_and_begun_again_when_somebody_does(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would keep the sensor and the bus busy, and the camera warm."""
    monkeypatch.setattr("cupola.drivers.zwo_rest.REST_AFTER_S", 0.5)
    camera = bench.camera(mode="video")
    camera.open()
    camera.apply(Controls(exposure_s=0.9))
    assert [marks(camera.expose(Stop()))[0] for _ in range(2)] == [1, 2], "an exposure longer than the time of rest is no rest"
    assert camera._video.running
    eventually(lambda: not camera._video.running)
    camera.apply(Controls(exposure_s=0.02))
    asked_ns = time.monotonic_ns()
    frame = camera.expose(Stop())
    assert marks(frame)[1] == frame.applied and frame.monotonic_ns > asked_ns
    eventually(lambda: not camera._video.running)
    with closing(camera.stream(Stop())) as stream:
        assert all(marks(frame)[1] == frame.applied for frame in islice(stream, 3))


def test_a_change_before_the_first_frame_of_video_does_not_spoil_the_times_of_those_behind(bench: Bench) -> None:
    camera = bench.camera(mode="video")
    camera.open()
    camera.apply(Controls(exposure_s=0.6))
    stop = Stop()
    threading.Timer(0.1, stop.set).start()
    with pytest.raises(CaptureCancelled):
        camera.expose(stop)
    camera.apply(Controls(exposure_s=0.02))
    for _ in range(2):
        frame = camera.expose(Stop())
        assert marks(frame)[1] == frame.applied
        assert time.monotonic_ns() - frame.monotonic_ns < 0.02e9 + 0.3e9


def test_a_setting_out_of_range_becomes_the_nearest_the_camera_has(bench: Bench) -> None:
    camera = bench.camera()
    camera.open()
    assert camera.apply(Controls(exposure_s=1e9, gain=1e9, f_number=4)) == Controls(exposure_s=2000, gain=510)


def test_the_cooler_is_set_and_told(bench: Bench) -> None:
    camera = bench.camera(cooler_c=-10)
    camera.open()
    camera.apply(Controls(exposure_s=2.6))
    frame = camera.expose(Stop())
    assert frame.cooler_percent == 60
    assert frame.temperature_c is not None and -10.1 < frame.temperature_c < 0
    assert camera.open().capabilities >= {Capability.COOLING}


@pytest.mark.parametrize(
    ("models", "options", "message"),
    [
        ("1", {"cooler_c": -5}, "has no cooler. Remove cooler_c"),
        ("0", {"binning": 4}, "does not bin 4 x 4. It can do 1, 2"),
        ("0", {"roi": {"x": 1900, "width": 64, "height": 64}}, "64x64 at 1900,0 is not within the 1936x1096"),
        ("0", {"roi": {"width": 8, "height": 8}, "binning": 2}, "too small"),
    ],
)
def test_an_option_the_camera_does_not_have_is_told(bench: Bench, models: str, options: dict[str, object], message: str) -> None:
    bench.set(models=models)
    with pytest.raises(ConfigError, match=message):
        bench.camera(**options).open()
    assert bench.camera().open().width > 0  # it was let go


def test_a_region_keeps_whole_colour_cells_and_says_where_it_lies(bench: Bench) -> None:
    camera = bench.camera(roi={"x": 101, "y": 51, "width": 803, "height": 605})
    info = camera.open()
    assert (info.width, info.height, info.format.roi) == (800, 604, (100, 50, 800, 604))
    assert camera.expose(Stop()).data.shape == (604, 800)


def test_a_binned_picture_promises_no_empty_bits(bench: Bench) -> None:
    info = bench.camera(binning=2).open()
    assert (info.width, info.height, info.format.binning, info.format.bits, info.format.padding_bits) == (968, 548, 2, 16, 0)


# ── time and memory ────────────────────────────────────────────────────────


def test_pictures_of_video_follow_each_other_without_a_gap(bench: Bench) -> None:
    bench.set(readout_ms=80)
    camera = bench.camera(mode="video")
    camera.open()
    camera.apply(Controls(exposure_s=0.2))
    numbers = [marks(camera.expose(Stop()))[0] for _ in range(6)]
    assert [after - before for before, after in pairwise(numbers)] == [1] * 5


def test_a_slow_consumer_of_a_stream_is_told_how_many_frames_it_lost(bench: Bench) -> None:
    camera = bench.camera(mode="video", roi={"width": 64, "height": 64})
    camera.open()
    camera.apply(Controls(exposure_s=0.02))
    lost, numbers = 0, list[int]()
    with closing(camera.stream(Stop())) as stream:
        for frame in islice(stream, 8):
            numbers.append(marks(frame)[0])
            lost += frame.dropped_before
            threading.Event().wait(0.15)
    assert lost == numbers[-1] - numbers[0] - 7 > 20


def test_a_frame_that_is_kept_never_changes_and_its_memory_is_used_again(bench: Bench) -> None:
    camera = bench.camera(mode="video")
    camera.open()
    camera.apply(Controls(exposure_s=0.001))
    kept = [camera.expose(Stop()) for _ in range(10)]
    views, copies = [frame.data[::2, 4:] for frame in kept], [frame.data[::2, 4:].copy() for frame in kept]
    del kept
    for _ in range(20):
        camera.expose(Stop())
    assert all(np.array_equal(view, copy) for view, copy in zip(views, copies, strict=True))
    assert not views[0].flags.writeable
    del views
    places = {camera.expose(Stop()).data.__array_interface__["data"][0] for _ in range(50)}
    assert len(places) <= 5


# ── what goes wrong ────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", ["video", "snapshot"])
def test_an_unplugged_camera_is_lost_and_found_again_100_times_and_leaves_nothing_behind(bench: Bench, mode: str) -> None:
    bench.set(cameras=2)
    camera = bench.camera(mode=mode, serial=SERIALS[0])
    memory = 0

    for round_number in range(100):
        bench.set(order="01" if round_number % 2 else "10")
        assert camera.open().serial == SERIALS[0]
        camera.apply(Controls(exposure_s=0.001))
        assert marks(camera.expose(Stop()))[2] == 0
        bench.unplug()
        with pytest.raises(CameraLost, match=f"{SERIALS[0]}.* was unplugged"):
            camera.expose(Stop())
        camera.close()
        with pytest.raises(CameraNotFound, match=SERIALS[1]):
            camera.open()
        bench.plug()
        if round_number == 20:
            gc.collect()
            memory, descriptors = _resident_kb(), len(os.listdir("/proc/self/fd"))
    gc.collect()
    left, grown = len(os.listdir("/proc/self/fd")), _resident_kb() - memory
    print(f"driver in {mode}: unplugged and plugged 100 times, from the 21st to the last descriptors {descriptors} → {left}, {grown:+d} kB")
    assert left <= descriptors
    assert grown < 12_000  # three pictures


def _resident_kb() -> int:
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))


@pytest.mark.parametrize("mode", ["video", "snapshot"])
def test_a_cable_pulled_during_an_exposure_is_noticed_soon(bench: Bench, mode: str) -> None:
    camera = bench.camera(mode=mode)
    camera.open()
    camera.apply(Controls(exposure_s=30))
    threading.Timer(0.3, bench.unplug).start()
    begun = time.monotonic()
    with pytest.raises(CameraLost, match="unplugged"):
        camera.expose(Stop())
    assert time.monotonic() - begun < 2


def test_a_failed_exposure_is_told_and_the_next_one_works(bench: Bench) -> None:
    bench.set(fail_exp=3)
    camera = bench.camera(mode="snapshot")
    camera.open()
    assert [marks(camera.expose(Stop()))[0] for _ in range(2)] == [1, 2]
    with pytest.raises(CameraUnresponsive, match=r"says that the exposure failed.*check its cable and power"):
        camera.expose(Stop())
    assert marks(camera.expose(Stop()))[0] == 4


def test_a_frame_that_video_loses_is_counted_and_the_next_one_taken(bench: Bench) -> None:
    bench.set(fail_exp=3)
    camera = bench.camera(mode="video")
    camera.open()
    camera.apply(Controls(exposure_s=0.1))
    frames = [camera.expose(Stop()) for _ in range(3)]
    assert [(marks(frame)[0], frame.dropped_before) for frame in frames] == [(1, 0), (2, 0), (4, 1)]


@pytest.mark.parametrize(("silent", "exposure_s", "limit_s"), [("video", 0.05, 1.0), ("snapshot", 0.05, 0.01)])
def test_after_two_timeouts_in_a_row_the_other_way_is_taken_also_by_the_next_process(
    bench: Bench, caplog: pytest.LogCaptureFixture, silent: str, exposure_s: float, limit_s: float
) -> None:
    bench.set(silent=silent)
    for _ in range(2):
        camera = bench.camera(video_limit_s=limit_s)  # as each process makes its own
        camera.open()
        camera.apply(Controls(exposure_s=exposure_s))
        begun = time.monotonic()
        with pytest.raises(CameraUnresponsive, match=f"nothing within 1.7 s.*{silent} mode"):
            camera.expose(Stop())
        assert time.monotonic() - begun < exposure_s + 2
        camera.close()
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "twice in a row" in said and SERIALS[0] in said
    camera = bench.camera(video_limit_s=limit_s)
    camera.open()
    camera.apply(Controls(exposure_s=exposure_s))
    for _ in range(3):
        assert marks(camera.expose(Stop()))[1].exposure_s == exposure_s


def test_a_timeout_now_and_then_changes_nothing(bench: Bench) -> None:
    camera = bench.camera()
    camera.open()
    camera.apply(Controls(exposure_s=0.05))
    for _ in range(3):
        bench.set(silent="video")
        with pytest.raises(CameraUnresponsive):
            camera.expose(Stop())
        bench.set(silent=None)
        camera.expose(Stop())
    assert camera._modes.choose(0.05) == "video"


def test_an_owner_who_wants_video_is_not_overruled(bench: Bench) -> None:
    bench.set(silent="video")
    camera = bench.camera(mode="video")
    camera.open()
    camera.apply(Controls(exposure_s=0.01))
    for _ in range(3):
        with pytest.raises(CameraUnresponsive, match="video mode"):
            camera.expose(Stop())


@pytest.mark.parametrize("mode", ["video", "snapshot"])
def test_an_interrupt_frees_a_call_that_the_library_does_not_return_from(bench: Bench, mode: str) -> None:
    bench.set(stall_exp="1")
    camera = bench.camera(mode=mode)
    camera.open()
    camera.apply(Controls(exposure_s=0.01))
    outcome: list[object] = []
    thread = threading.Thread(target=lambda: outcome.append(_caught(lambda: camera.expose(Stop()))), daemon=True)
    thread.start()
    thread.join(0.5)
    assert thread.is_alive()
    camera.interrupt()
    thread.join(1)
    assert isinstance(outcome[0], CaptureCancelled)
    assert marks(camera.expose(Stop()))[0] >= 2


def _caught(call: Callable[[], object]) -> object:
    try:
        return call()
    except Exception as error:
        return error
