"""The camera's behaviour: timing, cancelling, streaming, controls, truth, and every fault it can have on purpose."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cupola.core.errors import CameraLost, CameraNotFound, CaptureCancelled
from cupola.core.frame import Capability, Controls, Frame, PixelKind, Stop
from cupola.drivers.simulator import Simulator

MakeCamera = Callable[..., Simulator]
Options = Callable[..., dict[str, Any]]


def take(camera: Simulator, count: int) -> list[Frame]:
    """The first frames of a stream."""
    stop, frames = Stop(), []
    for frame in camera.stream(stop):
        frames.append(frame)
        if len(frames) == count:
            stop.set()
    return frames


def in_background(camera: Simulator, stop: Stop) -> tuple[threading.Thread, list[BaseException]]:
    errors: list[BaseException] = []

    def expose() -> None:
        try:
            camera.expose(stop)
        except CaptureCancelled as error:
            errors.append(error)

    thread = threading.Thread(target=expose, daemon=True)
    thread.start()
    return thread, errors


def test_opened_it_says_what_it_is_and_can_do(make_camera: MakeCamera) -> None:
    info = make_camera(bits=14, seed=0xBEEF, gain_max=450.0).open()
    assert (info.driver, info.serial, info.width, info.height) == ("simulator", "SIM-0000BEEF", 320, 240)
    assert info.capabilities == {Capability.STILLS, Capability.VIDEO}
    assert (info.controls["exposure_s"].minimum, info.controls["exposure_s"].maximum) == (32e-6, 2000.0)
    assert (info.controls["gain"].minimum, info.controls["gain"].maximum) == (0.0, 450.0)
    assert (info.format.kind, info.format.bayer, info.format.bits, info.format.padding_bits) == (PixelKind.BAYER, "RGGB", 14, 2)


def test_apply_takes_the_nearest_possible_and_keeps_the_rest(make_camera: MakeCamera) -> None:
    camera = make_camera()
    camera.open()
    assert camera.apply(Controls(exposure_s=0.1234567891, gain=120.4)) == Controls(exposure_s=0.123457, gain=120.0)
    assert camera.apply(Controls(gain=9999.0)) == Controls(exposure_s=0.123457, gain=500.0)
    assert camera.apply(Controls(exposure_s=0.0, f_number=4.0)) == Controls(exposure_s=32e-6, gain=500.0)


def test_a_still_is_stamped_with_the_true_opening_and_lasts_exposure_and_readout(make_camera: MakeCamera) -> None:
    camera = make_camera(readout_s=0.05, temperature_c=-5.0)
    camera.open()
    camera.apply(Controls(exposure_s=0.3, gain=100.0))
    before, before_ns = datetime.now(UTC), time.monotonic_ns()
    frame = camera.expose(Stop())
    took_s = (time.monotonic_ns() - before_ns) / 1e9
    assert timedelta(0) <= frame.opened_at - before < timedelta(seconds=0.1)
    assert 0 <= frame.monotonic_ns - before_ns < 1e8
    assert (frame.ended_at - frame.opened_at).total_seconds() == pytest.approx(0.3, abs=1e-6)
    assert took_s >= 0.35
    assert (frame.seq, frame.applied, frame.temperature_c) == (1, Controls(exposure_s=0.3, gain=100.0), -5.0)
    assert frame.data.shape == (240, 320)
    assert frame.data.dtype == np.uint16
    assert not frame.data.flags.writeable
    assert not (frame.data & 15).any()
    assert camera.expose(Stop()).seq == 2


@pytest.mark.parametrize("how", ["stop", "interrupt"])
def test_cancel_ends_a_long_exposure_at_once_and_the_next_one_works(make_camera: MakeCamera, how: str) -> None:
    camera, stop = make_camera(), Stop()
    camera.open()
    camera.apply(Controls(exposure_s=60.0))
    thread, errors = in_background(camera, stop)
    time.sleep(0.2)  # into the exposure
    stop.set() if how == "stop" else camera.interrupt()
    thread.join(1.0)
    assert not thread.is_alive()
    assert [type(e) for e in errors] == [CaptureCancelled]
    camera.apply(Controls(exposure_s=0.05))
    assert camera.expose(Stop()).seq == 1  # what was cancelled is no frame


def test_cancelling_takes_less_than_twenty_milliseconds_in_the_middle_of_rendering(make_camera: MakeCamera) -> None:
    """The promise of the first rung; the median of some, for a busy machine may deschedule one."""
    camera = make_camera(width=1280, height=960)
    camera.open()
    camera.apply(Controls(exposure_s=30.0))
    latencies = []
    for attempt in range(7):
        stop = Stop()
        thread, _ = in_background(camera, stop)
        time.sleep(0.02 + 0.03 * attempt)
        asked = time.monotonic()
        stop.set()
        thread.join(5.0)
        latencies.append(time.monotonic() - asked)
    assert sorted(latencies)[3] < 0.02


def test_a_stream_keeps_the_pace_of_the_longer_of_exposure_and_readout(make_camera: MakeCamera) -> None:
    camera = make_camera(readout_s=0.05)
    camera.open()
    camera.apply(Controls(exposure_s=0.01))
    frames = take(camera, 8)
    assert [f.seq for f in frames] == list(range(1, 9))
    for earlier, later in pairwise(frames):
        gap_s = (later.monotonic_ns - earlier.monotonic_ns) / 1e9
        assert gap_s == pytest.approx(0.05 * (1 + later.dropped_before), abs=1e-6)
        assert (later.opened_at - earlier.opened_at).total_seconds() == pytest.approx(gap_s, abs=0.01)
    assert not any(np.array_equal(a.data, b.data) for a, b in pairwise(frames))


def test_a_stream_of_long_exposures_reads_out_while_it_exposes(make_camera: MakeCamera) -> None:
    camera = make_camera(readout_s=0.3)
    camera.open()
    camera.apply(Controls(exposure_s=0.6))
    first, second = take(camera, 2)
    assert (second.monotonic_ns - first.monotonic_ns) / 1e9 == pytest.approx(0.6 * (1 + second.dropped_before), abs=1e-6)


def test_stream_and_still_agree_about_the_light(make_camera: MakeCamera) -> None:
    camera = make_camera(sky_time="2026-11-21T16:15:00Z", bits=16)
    camera.open()
    camera.apply(Controls(exposure_s=0.2, gain=100.0))
    still, live = camera.expose(Stop()).data.astype(float), take(camera, 2)[1].data.astype(float)
    middle = (slice(80, 160), slice(120, 200))
    assert np.median(live[middle]) == pytest.approx(np.median(still[middle]), rel=0.01)
    assert np.std(live[middle]) == pytest.approx(np.std(still[middle]), rel=0.05)


def test_settings_applied_between_frames_of_a_stream_show_in_the_next(make_camera: MakeCamera) -> None:
    camera, stop = make_camera(sky_time="2026-11-21T16:15:00Z"), Stop()
    camera.open()
    camera.apply(Controls(exposure_s=0.02, gain=0.0))
    stream = camera.stream(stop)
    first = next(stream)
    camera.apply(Controls(exposure_s=0.08, gain=100.0))
    second = next(stream)
    stop.set()
    assert list(stream) == []
    assert second.applied == Controls(exposure_s=0.08, gain=100.0)
    above = [float(np.median(f.data[80:160, 120:200] >> 4)) - 256 for f in (first, second)]
    assert above[1] == pytest.approx(above[0] * 4 * 10**0.5, rel=0.1)


def test_a_slow_consumer_is_told_what_it_lost(make_camera: MakeCamera) -> None:
    camera, stop = make_camera(readout_s=0.02), Stop()
    camera.open()
    camera.apply(Controls(exposure_s=0.01))
    stream = camera.stream(stop)
    first = next(stream)
    time.sleep(0.5)
    later = [next(stream) for _ in range(4)]
    stop.set()
    lost = sum(f.dropped_before for f in later)
    assert lost >= 15
    assert (later[-1].monotonic_ns - first.monotonic_ns) / 1e9 == pytest.approx(0.02 * (lost + 4), abs=1e-6)


def test_interrupt_ends_a_stream_with_an_error_and_stop_without(make_camera: MakeCamera) -> None:
    camera = make_camera()
    camera.open()
    camera.apply(Controls(exposure_s=30.0))
    for end, expected in ((camera.interrupt, True), (None, False)):
        stop = Stop()
        timer = threading.Timer(0.2, end or stop.set)
        timer.start()
        if expected:
            with pytest.raises(CaptureCancelled):
                next(camera.stream(stop))
        else:
            assert list(camera.stream(stop)) == []
        timer.join()


def test_the_skys_clock_is_shifted_and_the_frames_clock_is_not(make_camera: MakeCamera, tmp_path: Path) -> None:
    camera = make_camera(sky_time="2020-01-01T00:00:00Z", truth=str(tmp_path))
    camera.open()
    camera.apply(Controls(exposure_s=0.05))
    frame = camera.expose(Stop())
    camera.close()
    truth = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert abs((datetime.now(UTC) - frame.opened_at).total_seconds()) < 60
    assert truth["sky_time_s"] == pytest.approx(datetime(2020, 1, 1, tzinfo=UTC).timestamp(), abs=30)


def test_truth_lies_beside_each_frame_and_names_what_is_in_it(make_camera: MakeCamera, tmp_path: Path) -> None:
    camera = make_camera(truth=str(tmp_path / "truth"), meteors_per_hour=20000.0, width=640, height=480, f_number=0.8, bayer=None)
    camera.open()
    camera.apply(Controls(exposure_s=1.0, gain=200.0))
    frame = camera.expose(Stop())
    live = take(camera, 1)[0]
    camera.close()
    names = sorted(p.name for p in (tmp_path / "truth").iterdir())
    assert names == sorted(f"{f.opened_at:%Y%m%dT%H%M%SZ}_{f.seq:06d}.json" for f in (frame, live))
    truth = json.loads((tmp_path / "truth" / f"{frame.opened_at:%Y%m%dT%H%M%SZ}_000001.json").read_text())
    assert truth["sun_altitude_deg"] < -18
    assert truth["sky_background_e"] > 0
    assert {"kind", "x0", "y0", "x1", "y1", "flux_e"} <= truth["streaks"][0].keys()
    adu = (frame.data >> 4).astype(float)
    bright = [s for s in truth["stars"] if s["snr"] > 12]
    assert len(bright) > 20
    found = 0
    for star in bright:
        x, y = round(star["x"]), round(star["y"])
        if 8 < x < 632 and 8 < y < 472:
            patch = adu[y - 8 : y + 9, x - 8 : x + 9]
            found += adu[y - 1 : y + 2, x - 1 : x + 2].max() > np.median(patch) + 4 * 1.48 * np.median(abs(patch - np.median(patch)))
    assert found > 0.9 * len(bright)


def test_a_closed_camera_says_so_and_close_can_be_repeated(make_camera: MakeCamera) -> None:
    camera = make_camera()
    camera.close()
    camera.open()
    camera.close()
    camera.close()
    with pytest.raises(CameraLost, match="not open"):
        camera.expose(Stop())


def test_frozen_pixels_stay_while_time_goes_on(make_camera: MakeCamera) -> None:
    camera = make_camera(faults={"freeze_after_frames": 2})
    camera.open()
    camera.apply(Controls(exposure_s=0.02))
    frames = take(camera, 4)
    assert not np.array_equal(frames[0].data, frames[1].data)
    assert np.array_equal(frames[1].data, frames[2].data)
    assert np.array_equal(frames[1].data, frames[3].data)
    assert frames[3].opened_at > frames[2].opened_at
    assert np.array_equal(camera.expose(Stop()).data, frames[1].data)


def test_a_slow_readout_makes_its_frame_late_and_no_other(make_camera: MakeCamera) -> None:
    camera = make_camera(faults={"slow_readout_s": 0.5, "slow_readout_on": [2]})
    camera.open()
    camera.apply(Controls(exposure_s=0.02))
    took = []
    for _ in range(3):
        began = time.monotonic()
        frame = camera.expose(Stop())
        took.append(time.monotonic() - began)
        assert (frame.ended_at - frame.opened_at).total_seconds() == pytest.approx(0.02)
    assert took[1] >= 0.52
    assert max(took[0], took[2]) < took[1]


def test_unplugged_it_is_lost_then_not_found_then_back_and_counts_anew(make_camera: MakeCamera) -> None:
    camera = make_camera(seed=os.getpid(), faults={"unplug_after_frames": 2, "replug_after_s": 1.0})
    camera.open()
    camera.apply(Controls(exposure_s=0.02))
    for _ in range(2):
        camera.expose(Stop())
    unplugged = time.monotonic()
    for call in (lambda: camera.expose(Stop()), lambda: next(camera.stream(Stop())), lambda: camera.apply(Controls(gain=1.0))):
        with pytest.raises(CameraLost, match="unplugged"):
            call()
    with pytest.raises(CameraNotFound, match="unplugged"):
        camera.open()
    while time.monotonic() < unplugged + 1.0:
        time.sleep(0.02)
    camera.open()
    camera.apply(Controls(exposure_s=0.02))
    assert [camera.expose(Stop()).seq for _ in range(2)] == [1, 2]
    with pytest.raises(CameraLost):
        camera.expose(Stop())


CHILD = """
import json, sys
from cupola.core.errors import CupolaError
from cupola.core.frame import Controls, Station, Stop
from cupola.drivers.simulator import Simulator

camera = Simulator(json.loads(sys.argv[1]), Station("test", 47.0, 11.0))
try:
    camera.open()
    camera.apply(Controls(exposure_s=0.05))
    for _ in range(3):
        print(camera.expose(Stop()).seq, flush=True)
except CupolaError as error:
    print(error.kind, flush=True)
"""
HANGING = """
import threading, time
stop = Stop()
def cancel():
    time.sleep(0.5); stop.set(); camera.interrupt(); print("asked", flush=True)
    while True:
        time.sleep(0.05); print("alive", flush=True)
threading.Thread(target=cancel, daemon=True).start()
camera.expose(stop)
print("came back", flush=True)
"""


def child(program: str, options: dict[str, Any]) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.Popen([sys.executable, "-c", program, json.dumps(options)], stdout=subprocess.PIPE, text=True, env=environment)


def test_a_crash_ends_the_process_by_a_segmentation_fault(options: Options) -> None:
    process = child(CHILD, options(faults={"crash_on": [2]}))
    output, _ = process.communicate(timeout=30)
    assert output.split() == ["1"]
    assert process.returncode == -signal.SIGSEGV


@pytest.mark.parametrize("holds_gil", [False, True])
def test_a_hang_ignores_stop_and_interrupt_and_may_take_the_interpreter_along(options: Options, holds_gil: bool) -> None:
    program = CHILD.split("    for _")[0] + "except CupolaError:\n    raise\n" + HANGING
    process = child(program, options(faults={"hang_on": [1], "hang_holds_gil": holds_gil}))
    assert process.stdout is not None
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")), daemon=True)  # type: ignore[union-attr]
    reader.start()
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=4)
        if holds_gil:
            assert lines == []  # no other thread got a turn, not even to ask
        else:
            assert lines[0] == "asked\n"
            assert set(lines[1:]) == {"alive\n"}
    finally:
        process.kill()
        process.wait(timeout=10)
        reader.join(5)
        process.stdout.close()


def test_unplugged_outlives_the_process_until_it_is_plugged_in(options: Options, make_camera: MakeCamera) -> None:
    faults = {"unplug_after_frames": 1, "replug_after_s": None}
    block = options(seed=os.getpid() + 1, faults=faults)
    assert child(CHILD, block).communicate(timeout=30)[0].split() == ["1", "camera_lost"]
    assert child(CHILD, block).communicate(timeout=30)[0].split() == ["camera_not_found"]
    camera = make_camera(seed=os.getpid() + 1, faults=faults | {"replug_after_s": 0.0})
    camera.open()
    assert not camera.faults.state_file.exists()


def test_the_driver_loads_nothing_but_numpy_and_the_standard_library(options: Options) -> None:
    program = CHILD + "\nprint(sorted({'pydantic', 'cv2', 'astropy', 'loguru', 'fastapi', 'scipy'} & set(sys.modules)))"
    assert child(program, options()).communicate(timeout=30)[0].split("\n")[3] == "[]"


def test_the_skys_clock_can_run_faster_than_the_cameras(make_camera: MakeCamera, tmp_path: Path) -> None:
    camera = make_camera(sky_time="2020-01-01T00:00:00Z", sky_speed=600.0, truth=str(tmp_path))
    camera.open()
    camera.apply(Controls(exposure_s=0.2))
    frames = [camera.expose(Stop()) for _ in range(2)]
    camera.close()
    first, second = (json.loads(path.read_text())["sky_time_s"] for path in sorted(tmp_path.glob("*.json")))
    passed_s = (frames[1].opened_at - frames[0].opened_at).total_seconds()
    assert second - first == pytest.approx(600 * passed_s, rel=0.01)
    assert frames[0].applied.exposure_s == 0.2
