"""An INDI camera in a whole camera process under the supervisor: the real indiserver, killed and changed in mid-exposure."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.drivers.indi_sources import indi_server, options, without
from tests.support.indi_server import CAMERA, IndiServer

from cupola.camera.messages import Plan
from cupola.core.frame import Controls
from cupola.storage.originals import read_original

DRIVER = "cupola.drivers.indi:Indi"
BACK_WITHIN_S = 10.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[IndiServer]:
    (home := tmp_path / "indi").mkdir()
    with indi_server(home) as running:
        yield running


@pytest.mark.torture
@pytest.mark.timeout(240)
async def test_a_series_survives_ten_deaths_of_the_indiserver_in_mid_exposure(rig, server: IndiServer) -> None:
    async with rig(DRIVER, **options(server)) as r:
        await r.until(lambda: r.camera.info)
        r.camera.request("still", Controls(exposure_s=1.0))
        r.archive.running = Plan(session=1)
        r.camera.plan_changed()
        seen, again = list[float](), list[float]()
        for number in range(10):
            taken = len(r.archive.rows)
            await r.until(lambda taken=taken: len(r.archive.rows) > taken and r.exposing_since, 20)
            lost, back = len(r.told("camera_lost")), len(r.told("camera_recovered"))
            await asyncio.sleep(0.3)  # into the exposure
            killed = time.monotonic()
            await asyncio.to_thread(server.kill)
            await r.until(lambda lost=lost: len(r.told("camera_lost")) > lost, 5)
            seen.append(time.monotonic() - killed)
            if number == 5:  # away until it could not be opened again in the same process, and a new one was started
                await r.until(lambda lost=lost: len(r.told("camera_lost")) > lost + 1, 30)
            await asyncio.to_thread(server.start)
            possible = time.monotonic()
            await r.until(lambda back=back, killed=killed: len(r.told("camera_recovered")) > back and r.exposing_since > killed, BACK_WITHIN_S)
            again.append(time.monotonic() - possible)
            assert again[-1] < BACK_WITHIN_S
        taken = len(r.archive.rows)
        await r.until(lambda: len(r.archive.rows) > taken, 20)
        assert len(r.told("camera_recovered")) >= 10
        assert r.camera.restarts >= 1
        assert [row["sequence"] for row in r.archive.rows] == list(range(1, len(r.archive.rows) + 1))
        assert all(os.path.getsize(row["file"]["path"]) == row["file"]["bytes"] for row in r.archive.rows)
        await r.until(lambda: r.camera.problem is None, 5)
        assert not any("Traceback" in line for line in r.log), r.log
        print(f"indiserver killed {len(seen)} times: seen within {max(seen):.2f} s, exposing again within {max(again):.2f} s of its start, ")
        print(f"{len(r.archive.rows)} images without a gap in their numbers, camera process restarted {r.camera.restarts} times")


async def test_a_change_during_a_long_still_is_obeyed_within_a_second_and_the_still_says_what_the_camera_reports(rig, server: IndiServer) -> None:
    async with rig(DRIVER, **options(server)) as r:
        await r.until(lambda: r.camera.info)
        r.camera.request("still", Controls(exposure_s=60, gain=20))
        r.archive.running = Plan(session=1, remaining=1)
        r.camera.plan_changed()
        await r.until(lambda: r.camera.beat.get("phase") == "exposing")
        await asyncio.sleep(1)
        r.camera.request("still", Controls(exposure_s=0.5, gain=70))
        settings, asked = r.camera.settings.still, time.monotonic()
        await r.until(lambda: settings.applied_generation == settings.generation, 5)
        assert time.monotonic() - asked < 1.0 + 0.5, "the exposure under way was not interrupted"
        assert settings.applied == Controls(exposure_s=0.5, gain=70)
        await r.until(lambda: r.archive.rows, 10)
        (row,) = r.archive.rows
        assert tuple(row["generation"]) == tuple(settings.generation)
        original = read_original(Path(row["file"]["path"]))
        assert original.facts.applied == Controls(exposure_s=0.5, gain=70)
        assert original.facts.model == CAMERA


async def test_a_live_exposure_that_the_driver_cannot_end_is_waited_for_and_no_hang(rig, server: IndiServer) -> None:
    """Longer than applying settings may take: the gain is set when the exposure is over."""
    with without(server, b"CCD_ABORT_EXPOSURE") as port:
        async with rig(DRIVER, **options(server, port=port)) as r:
            await r.until(lambda: r.camera.info)
            r.camera.request("live", Controls(exposure_s=13, gain=20))
            viewer = r.camera.hub.join("jpeg")
            await r.until(lambda: r.camera.beat.get("phase") == "live" and r.camera.beat["exposure_s"] == 13)
            r.camera.request("live", Controls(exposure_s=0.2, gain=50))
            settings = r.camera.settings.live
            await r.until(lambda: settings.visible_generation == settings.generation, 40)
            assert settings.visible == Controls(exposure_s=0.2, gain=50)
            assert r.rungs == [] and not r.told("camera_lost")
            r.camera.hub.leave(viewer)


async def test_a_camera_without_its_server_says_what_to_start(rig, server: IndiServer) -> None:
    server.stop()
    async with rig(DRIVER, **options(server, timeout_s=2.0)) as r:
        await r.until(lambda: r.camera.problem)
        assert r.camera.problem.kind == "unreachable"
        assert "Start indiserver" in r.camera.problem.message
        await asyncio.to_thread(server.start)
        await r.until(lambda: r.camera.state == "running", 15)
