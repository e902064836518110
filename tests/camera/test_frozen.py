"""Frozen pictures: recognised in themselves, then in a whole camera process with the simulator."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import simplejpeg

from cupola.camera.frozen import FrozenWatch, clipped
from cupola.camera.messages import Mode, Plan
from cupola.camera.recovery import Policy
from cupola.config.drivers import SimulatorOptions
from cupola.core.errors import CameraFrozen
from cupola.core.frame import CameraInfo, Controls, Frame, Packet, PixelFormat, PixelKind

NOW = datetime(2026, 11, 21, tzinfo=UTC)
MONO = PixelFormat(PixelKind.MONO, 12)
INFO = CameraInfo("test", "test", 64, 48, MONO, frozenset())
RNG = np.random.default_rng(5)


def noise(mean: float = 300, form: PixelFormat = MONO) -> np.ndarray:
    dtype = np.uint16 if form.bits + form.padding_bits > 8 else np.uint8
    return np.clip(RNG.normal(mean, 5, (480, 640)), 0, (1 << form.bits) - 1).astype(dtype) << form.padding_bits


def frames(pictures: list[np.ndarray], form: PixelFormat = MONO) -> list[Frame]:
    return [Frame(n, NOW, NOW, 1000 + n, data, form) for n, data in enumerate(pictures)]


def jpegs(pictures: list[np.ndarray]) -> list[Packet]:
    encoded = [simplejpeg.encode_jpeg(np.ascontiguousarray(data[:, :, None]), colorspace="GRAY") for data in pictures]
    return [Packet(n, NOW, NOW, 1000 + n, "jpeg", data, 640, 480) for n, data in enumerate(encoded)]


def freezes(pictures: list[Any], *, mode: Mode = "live", every_s: float = 1.0, info: CameraInfo = INFO, after_s: float | None = 5.0) -> int | None:
    """The number of the picture that was one too many."""
    watch = FrozenWatch(after_s)
    watch.opened(info)
    for n, picture in enumerate(pictures):
        try:
            watch.look(picture, mode, n * every_s)
        except CameraFrozen:
            return n
    return None


def test_the_same_pixels_ten_times_and_for_five_seconds_are_frozen():
    still = noise()
    assert freezes(frames([noise(), noise(), *[still] * 30])) == 2 + 9, "ten of them"
    assert freezes(frames([still] * 300), every_s=0.03) == pytest.approx(5 / 0.03, abs=1), "five seconds of them"


def test_three_stills_in_a_row_are_enough():
    assert freezes(frames([noise()] * 5), mode="still", every_s=30) == 2


def test_one_living_picture_in_between_begins_the_count_anew():
    still = noise()
    assert freezes(frames(([still] * 9 + [noise()]) * 5)) is None


def test_a_dark_picture_with_the_noise_of_a_night_is_frozen_when_it_stays():
    form = replace(MONO, black_level=64)
    assert freezes(frames([noise(66, form)] * 20, form)) == 9
    assert freezes(frames([noise(66, form) for _ in range(20)], form)) is None


def test_noise_in_a_few_pixels_is_life():
    dark = [np.zeros((480, 640), np.uint16) for _ in range(30)]
    for picture in dark:
        picture[::8, ::7] = RNG.integers(0, 900, picture[::8, ::7].shape)  # beside the pixels that are looked at first
    assert freezes(frames(dark)) is None


@pytest.mark.parametrize(
    ("form", "value"),
    [
        pytest.param(MONO, 4095, id="white"),
        pytest.param(MONO, 3900, id="white of a sensor that saturates before its converter does"),
        pytest.param(MONO, 0, id="black"),
        pytest.param(replace(MONO, black_level=64), 64, id="black level"),
        pytest.param(PixelFormat(PixelKind.BAYER, 12, "RGGB", padding_bits=4), 4095 << 4, id="white, shifted up"),
        pytest.param(PixelFormat(PixelKind.YUV420), 16, id="video black"),
        pytest.param(PixelFormat(PixelKind.YUV420), 235, id="video white"),
    ],
)
def test_a_white_or_black_picture_is_not_frozen_however_long(form: PixelFormat, value: int):
    picture = np.full((480, 640), value, np.uint16 if form.bits > 8 else np.uint8)
    assert freezes(frames([picture] * 100, form)) is None


def test_a_white_sky_in_the_circle_of_a_fisheye_is_not_frozen():
    y, x = np.mgrid[:480, :640]
    disc = np.where((x - 320) ** 2 + (y - 240) ** 2 < 230**2, 4095, 0).astype(np.uint16)
    assert freezes(frames([disc] * 100)) is None
    assert clipped(jpegs([(disc >> 4).astype(np.uint8)])[0])


@pytest.mark.parametrize("value", [40, 128, 200])
def test_a_grey_picture_that_stays_is_frozen(value: int):
    assert freezes(frames([np.full((480, 640), value, np.uint8)] * 20, PixelFormat(PixelKind.YUV420))) == 9
    assert freezes(jpegs([np.full((480, 640), value, np.uint8)] * 20)) == 9


def test_jpeg_is_compared_by_its_bytes():
    form = PixelFormat(PixelKind.MONO, 8)
    assert freezes(jpegs([noise(100, form) for _ in range(20)])) is None
    assert freezes(jpegs([noise(100, form)] * 20)) == 9
    for value in (0, 255):
        assert freezes(jpegs([np.full((480, 640), value, np.uint8)] * 30)) is None


def test_a_recording_may_repeat_a_picture():
    assert freezes(frames([noise()] * 30), info=replace(INFO, noisy=False)) is None


def test_it_can_be_turned_off():
    assert freezes(frames([noise()] * 30), after_s=None) is None


def video(n: int, **facts: Any) -> Packet:
    return Packet(n, NOW, NOW, 1000 + n, "h264", b"\0\0\0\1the same", 640, 480, **facts)


def test_video_is_judged_by_its_clock_alone():
    assert freezes([video(n, pts_s=n / 25) for n in range(30)]) is None
    assert freezes([video(n, pts_s=2.0 if n > 5 else n / 25) for n in range(30)]) == 6 + 9
    reordered = [0, 3, 1, 2, 6, 4, 5, 9, 7, 8] * 3  # B-frames, and a clock that begins anew
    assert freezes([video(n, pts_s=pts / 25) for n, pts in enumerate(reordered)]) is None


@pytest.mark.parametrize("fact", ["seq", "monotonic_ns"])
def test_a_number_or_a_moment_that_stands_still_is_frozen(fact: str):
    assert freezes([replace(picture, **{fact: 77}) for picture in frames([noise() for _ in range(20)])]) == 9


def test_after_a_reopening_only_pictures_that_differ_ten_times_prove_life():
    watch, still = FrozenWatch(5.0), noise()
    watch.opened(INFO)
    for n, picture in enumerate(frames([still] * 9)):
        watch.look(picture, "live", float(n))
    watch.opened(INFO)
    assert not watch.moving
    for n, picture in enumerate(frames([still] * 9)):
        watch.look(picture, "live", 100.0 + n)
        assert not watch.moving
    for n, picture in enumerate(frames([noise() for _ in range(10)])):
        assert not watch.moving
        watch.look(replace(picture, seq=50 + n, monotonic_ns=n), "live", 200.0 + n)
    assert watch.moving


SMALL = {"sky_time": "2026-12-21T00:00:00Z", "width": 320, "height": 240, "readout_s": 0.01, "meteors_per_hour": 0, "satellites_per_hour": 0}
NOON = {"sky_time": "2026-06-21T12:00:00Z", "field_of_view_deg": 20, "hot_pixels": 0}
CAP = {"field_of_view_deg": 20, "hot_pixels": 0, "read_noise_e": 0, "dark_current_e_s": 0, "clouds": 0}


def simulator(**options: Any) -> dict[str, Any]:
    return {"driver": "cupola.drivers.simulator:Simulator", **SimulatorOptions(**{**SMALL, **options}).model_dump(mode="json")}


def events(r: Any, kind: str) -> list[Any]:
    return [event for event in r.events._waiting if event.kind == kind]


async def watched(r: Any, exposure_s: float, gain: float) -> Any:
    await r.until(lambda: r.camera.info)
    r.camera.request("live", Controls(exposure_s=exposure_s, gain=gain))
    return r.camera.hub.join("jpeg")


async def test_a_frozen_live_view_is_lost_and_helped_rung_by_rung(rig):
    policy = Policy(frozen_after_s=1.0, restart=1)
    async with rig(**simulator(faults={"freeze_after_frames": 15}), policy=policy) as r:
        viewer = await watched(r, 0.02, 100)
        await r.until(lambda: [event.rung for event in events(r, "camera_recovery")][:1] == ["reopen"])
        lost = events(r, "camera_lost")[0]
        assert lost.cause == "frozen"
        assert "are the same to the last bit" in lost.message
        # fifteen good frames after each opening are life enough: it is reopened, not restarted, the next time too
        await r.until(lambda: len(events(r, "camera_recovery")) >= 2)
        assert [(event.rung, event.attempt, event.ok) for event in events(r, "camera_recovery")][:2] == [("reopen", 1, True)] * 2
        r.camera.hub.leave(viewer)


async def test_a_camera_that_stays_frozen_climbs_to_the_last_rung(rig):
    policy = Policy(frozen_after_s=1.0, restart=1)
    async with rig(**simulator(faults={"freeze_after_frames": 0}), policy=policy) as r:
        viewer = await watched(r, 0.02, 100)
        await r.until(lambda: any(event.rung == "back_off" for event in events(r, "camera_recovery")), 40)
        rungs = [event.rung for event in events(r, "camera_recovery")]
        assert rungs == ["reopen", "restart", "reopen", "back_off"]
        assert r.camera.problem.kind == "frozen"
        assert set(r.camera.tally.restarts) == {"frozen"}
        r.camera.hub.leave(viewer)


async def test_frozen_stills_are_noticed_at_the_third(rig):
    async with rig(**simulator(faults={"freeze_after_frames": 2}), policy=Policy(frozen_after_s=1.0)) as r:
        await r.until(lambda: r.camera.info)
        r.camera.request("still", Controls(exposure_s=0.6, gain=100))
        r.archive.running = Plan(session=1)
        r.camera.plan_changed()
        await r.until(lambda: events(r, "camera_lost"))
        assert events(r, "camera_lost")[0].cause == "frozen"
        assert len(r.archive.rows) <= 3, "the first, the second, and the second again; the one after is not stored"


@pytest.mark.parametrize(("sky", "exposure_s", "gain"), [pytest.param(NOON, 1.0, 400, id="white noon"), pytest.param(CAP, 0.0001, 0, id="lens cap")])
async def test_a_camera_that_sees_only_white_or_black_is_not_lost(rig, sky: dict[str, Any], exposure_s: float, gain: float):
    async with rig(**simulator(**sky), policy=Policy(frozen_after_s=1.0)) as r:
        viewer = await watched(r, exposure_s, gain)
        r.camera.request("still", Controls(exposure_s=exposure_s, gain=gain))
        r.archive.running = Plan(session=1, remaining=5, interval_s=0.5)
        r.camera.plan_changed()
        await r.until(lambda: len(r.archive.rows) == 5 and r.camera.beat["encoded"] >= 12, 40)
        assert not events(r, "camera_lost")
        sha = {row["file"]["sha256"] for row in r.archive.rows}
        assert sha
        r.camera.hub.leave(viewer)


async def test_a_stream_that_stops_is_interrupted_and_reopened(rig):
    async with rig(**simulator(faults={"stall_after_frames": 5})) as r:
        viewer = await watched(r, 0.02, 100)
        pid = r.camera._child.pid
        await r.until(lambda: events(r, "camera_recovered") and "reopen" in (event.rung for event in events(r, "camera_recovery")))
        rungs = [event.rung for event in events(r, "camera_recovery")]
        assert set(rungs[: rungs.index("reopen")]) == {"interrupt"}  # more than one where the machine is slow
        assert events(r, "camera_lost")[0].cause == "hang"
        assert r.camera._child.pid == pid
        r.camera.hub.leave(viewer)
