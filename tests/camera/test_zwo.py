"""ZWO's faults through a whole camera process and its supervisor: hangs, crashes, pulled cables. The library is a stand-in.

ZWO_REPLUGS sets how often the cable is pulled; a restart takes about two seconds, so it is few times unless asked.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from pathlib import Path
from typing import Any

import pytest
from tests.drivers.zwo_library import SERIALS, Bench, compiled, make_bench, marks

from cupola.camera.messages import Plan
from cupola.core.frame import Controls, Frame
from cupola.core.hub import LivePacket, Viewer
from cupola.storage.originals import read_original

DRIVER = "cupola.drivers.zwo:Zwo"
REPLUGS = int(os.environ.get("ZWO_REPLUGS", "3"))
READOUT_S = 0.1
SEEN_S = max(2.0, 3 * READOUT_S)  # after the end of an exposure
BUSY_S = 1.0  # what a busy machine adds to that; the rungs after a missed deadline take longer
AGAIN_S = 10.0
INTERRUPT, REOPENED, RESTART = ("interrupt", 1, None), ("reopen", 1, True), ("restart", 1, None)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("zwo"))


@pytest.fixture
def bench(tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = make_bench(tmp_path, library, monkeypatch)
    made.set(readout_ms=round(1000 * READOUT_S))
    return made


def original(row: dict[str, object]) -> tuple[int, Controls, int]:
    """What the pixels of a stored image say of its exposure."""
    file = row["file"]
    assert isinstance(file, dict)
    kept = read_original(Path(file["path"]))
    data: Any = kept.data << 4 if kept.data.dtype.itemsize == 2 else kept.data
    assert kept.facts.applied.to_dict() == row["applied"]
    return marks(Frame(1, kept.facts.opened_at, kept.facts.ended_at, 1, data, kept.facts.format))


@pytest.mark.torture
@pytest.mark.parametrize(
    ("fault", "mode", "rungs"),
    [
        ("hang_exp", "video", [INTERRUPT, RESTART]),
        ("hang_exp", "snapshot", [INTERRUPT, RESTART]),
        ("crash_exp", "video", [RESTART]),
        ("crash_exp", "snapshot", [RESTART]),
        ("fail_exp", "snapshot", [REOPENED]),
    ],
)
async def test_a_fault_of_the_third_exposure_costs_that_exposure_and_seconds(
    rig, bench: Bench, fault: str, mode: str, rungs: list[tuple[str, int, bool | None]]
) -> None:
    exposure_s = 0.8
    bench.set(**{fault: 3})
    async with rig(DRIVER, **bench.options(mode=mode, roi={"width": 640, "height": 480})) as r:
        await r.until(lambda: r.camera.info)
        r.camera.request("still", Controls(exposure_s=exposure_s))
        r.archive.running = Plan(session=1, remaining=4)
        r.camera.plan_changed()
        await r.until(lambda: bench.exposures == 3)
        begun = time.monotonic()
        await r.until(lambda: r.told("camera_lost", "camera_recovery"), 20)  # a hang is told of before the camera is given up
        seen = time.monotonic()
        await r.until(lambda: bench.exposures > 3, 20)
        again = time.monotonic()
        await r.until(lambda: len(r.archive.rows) == 4, 30)
        assert r.rungs == rungs
        assert r.camera.restarts == rungs.count(RESTART)
        assert [row["sequence"] for row in r.archive.rows] == [1, 2, 3, 4]
        assert 3 not in [original(row)[0] for row in r.archive.rows]
        assert seen - begun < exposure_s + SEEN_S + BUSY_S
        assert again - seen < AGAIN_S
        print(
            f"{fault} in {mode}: seen {seen - begun - exposure_s:+.2f} s after the exposure's end, exposing again {again - seen:.2f} s later, {rungs}"
        )


@pytest.mark.torture
@pytest.mark.parametrize("mode", ["video", "snapshot"])
async def test_a_pulled_cable_is_seen_at_once_and_the_series_goes_on_when_it_is_back(rig, bench: Bench, mode: str) -> None:
    async with rig(DRIVER, **bench.options(mode=mode, serial=SERIALS[0], roi={"width": 640, "height": 480})) as r:
        await r.until(lambda: r.camera.info)
        r.camera.request("still", Controls(exposure_s=0.5))
        r.archive.running = Plan(session=1, remaining=5)
        r.camera.plan_changed()
        await r.until(lambda: len(r.archive.rows) == 2)
        bench.unplug()
        pulled = time.monotonic()
        await r.until(lambda: r.camera.state == "recovering")
        assert time.monotonic() - pulled < 0.5 + SEEN_S + BUSY_S
        assert r.camera.problem.kind == "lost" and SERIALS[0] in r.camera.problem.message
        await r.until(lambda: r.camera.problem.kind == "unreachable")
        assert (
            f"There is no ZWO camera with the serial number {SERIALS[0]}" in r.camera.problem.message or "No ZWO camera" in r.camera.problem.message
        )
        before = bench.exposures
        bench.plug()
        plugged = time.monotonic()
        await r.until(lambda: bench.exposures > before)
        assert time.monotonic() - plugged < AGAIN_S
        await r.until(lambda: len(r.archive.rows) == 5, 30)


@pytest.mark.torture
@pytest.mark.timeout(60 + 10 * REPLUGS)
async def test_a_cable_that_comes_off_again_and_again_leaves_the_server_as_it_was(rig, bench: Bench) -> None:
    async with rig(DRIVER, **bench.options(serial=SERIALS[0], roi={"width": 640, "height": 480})) as r:
        await r.until(lambda: r.camera.info)
        viewer = r.camera.hub.join("jpeg")
        memory, descriptors, longest = 0, 0, 0.0
        for replug in range(REPLUGS):
            await _live_packet(viewer)
            bench.unplug()
            await r.until(lambda: r.camera.state == "recovering")
            bench.plug()
            plugged = time.monotonic()
            await r.until(lambda: r.camera.state == "running", AGAIN_S)
            await _live_packet(viewer)
            longest = max(longest, time.monotonic() - plugged)
            assert longest < AGAIN_S
            if replug == 0:
                gc.collect()
                memory, descriptors = _resident_kb(), len(os.listdir("/proc/self/fd"))
        gc.collect()
        assert 0 < r.camera.restarts <= REPLUGS  # a cable that is back before the camera is opened again costs no restart
        left, grown = len(os.listdir("/proc/self/fd")), _resident_kb() - memory
        print(
            f"unplugged and plugged {REPLUGS} times: a live picture within {longest:.2f} s of each, server's descriptors {descriptors} → {left}, {grown:+d} kB, {r.camera.restarts} restarts"
        )
        assert left <= descriptors
        assert grown < 10_000 + 20 * REPLUGS
        r.camera.hub.leave(viewer)


async def _live_packet(viewer: Viewer) -> None:
    while not isinstance(await asyncio.wait_for(viewer.next(), AGAIN_S + 2), LivePacket):
        pass


def _resident_kb() -> int:
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))


@pytest.mark.parametrize("mode", ["video", "snapshot"])
async def test_a_change_during_a_long_exposure_is_taken_within_a_second_and_is_in_the_pixels(rig, bench: Bench, mode: str) -> None:
    async with rig(DRIVER, **bench.options(mode=mode, roi={"width": 640, "height": 480})) as r:
        await r.until(lambda: r.camera.info)
        r.camera.request("still", Controls(exposure_s=60, gain=1))
        r.archive.running = Plan(session=1, remaining=1)
        r.camera.plan_changed()
        await r.until(lambda: bench.exposures == 1)
        r.camera.request("still", Controls(exposure_s=0.2, gain=77))
        changed = time.monotonic()
        await r.until(lambda: bench.exposures > 1)
        assert time.monotonic() - changed < 1
        await r.until(lambda: r.archive.rows, 10)
        row = r.archive.rows[0]
        assert row["generation"] == list(r.camera.settings.still.generation)
        assert original(row)[1] == Controls(exposure_s=0.2, gain=77) == Controls.from_dict(row["applied"])


@pytest.mark.torture
async def test_a_camera_that_gives_nothing_in_video_is_used_by_single_exposures_and_the_log_says_so(rig, bench: Bench) -> None:
    bench.set(silent="video")
    async with rig(DRIVER, **bench.options(roi={"width": 640, "height": 480})) as r:
        await r.until(lambda: r.camera.info)
        r.camera.request("still", Controls(exposure_s=0.1))
        r.archive.running = Plan(session=1, remaining=2)
        r.camera.plan_changed()
        await r.until(lambda: len(r.archive.rows) == 2, 30)
        assert len(r.told("camera_lost")) == 2
        assert r.rungs == [REOPENED, RESTART]
        assert sum("from now on its pictures are taken by single exposures" in line for line in r.log) == 1
