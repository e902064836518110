"""The supervisor with a real camera process and a test card in it."""

import asyncio
import os
import signal

import pytest

from cupola.camera.messages import Plan
from cupola.camera.snaps import WAITING_MAX
from cupola.core.errors import CameraBusy, CameraLost, CupolaError, InvalidSetting, NotAllowed, StorageFull
from cupola.core.frame import Controls
from cupola.core.hub import LivePacket


async def test_a_snap_is_durable_and_numbered(rig):
    async with rig() as r:
        await r.until(lambda: r.camera.state == "running")
        assert await r.camera.snap(0.05) == 1
        row = r.archive.rows[0]
        assert row["sequence"] == 1
        assert row["applied"]["exposure_s"] == 0.05
        assert os.path.getsize(row["file"]["path"]) == row["file"]["bytes"]


async def test_a_series_ends_after_its_count_without_a_gap_in_the_numbers(rig):
    async with rig() as r:
        await r.until(lambda: r.camera.info)
        r.archive.running = Plan(session=5, remaining=7)
        r.camera.plan_changed()
        await r.until(lambda: len(r.archive.rows) == 7)
        await asyncio.sleep(0.3)
        assert [row["sequence"] for row in r.archive.rows] == [1, 2, 3, 4, 5, 6, 7]


async def test_a_viewer_gets_frames_and_without_viewers_nothing_is_encoded(rig):
    async with rig() as r:
        await r.until(lambda: r.camera.beat.get("phase") == "idle")
        assert r.camera.beat["encoded"] == 0
        viewer = r.camera.hub.join("jpeg")
        for _ in range(5):
            item = await asyncio.wait_for(viewer.next(), 5)
            assert isinstance(item, LivePacket)
            assert bytes(item.packet.data[:2]) == b"\xff\xd8"
        r.camera.hub.leave(viewer)
        await r.until(lambda: r.camera.beat["phase"] == "idle" and r.camera.beat["encoded"] >= 5)
        encoded = r.camera.beat["encoded"]
        await asyncio.sleep(0.6)
        assert r.camera.beat["encoded"] == encoded


async def test_settings_are_requested_then_applied_then_visible(rig):
    async with rig() as r:
        await r.until(lambda: r.camera.info)
        viewer = r.camera.hub.join("jpeg")
        r.camera.request("live", Controls(exposure_s=0.02, gain=9))
        settings = r.camera.settings.live
        assert settings.requested.gain == 9
        await r.until(lambda: settings.visible_generation == settings.generation)
        assert settings.applied == settings.visible == Controls(exposure_s=0.02, gain=9)
        r.camera.hub.leave(viewer)
        for way, kind in (("To", "settings"), ("From", "applied")):
            assert any(line.startswith(f'DEBUG {way} the process of camera "card": ') and f"'type': '{kind}'" in line for line in r.log)


async def test_a_setting_outside_of_the_limits_is_refused_by_name(rig):
    async with rig() as r:
        await r.until(lambda: r.camera.info)
        with pytest.raises(InvalidSetting, match=r"exposure_s 1000 s is outside.*0.001 to 100 s"):
            r.camera.request("live", Controls(exposure_s=1000))
        with pytest.raises(InvalidSetting, match="has no setting f_number"):
            r.camera.request("live", Controls(f_number=4))


async def test_a_change_during_a_long_still_takes_it_again_with_the_new_settings(rig):
    async with rig() as r:
        await r.until(lambda: r.camera.info)
        r.camera.request("still", Controls(exposure_s=60))
        r.archive.running = Plan(session=1, remaining=1)
        r.camera.plan_changed()
        await r.until(lambda: r.camera.beat.get("phase") == "exposing")
        r.camera.request("still", Controls(exposure_s=0.1))
        await r.until(lambda: len(r.archive.rows) == 1, 3)
        assert r.archive.rows[0]["applied"]["exposure_s"] == 0.1


@pytest.mark.torture
@pytest.mark.parametrize("fault", ["crash_on", "hang_on", "hold_gil_on"])
async def test_a_misbehaving_driver_is_replaced_and_the_series_goes_on(rig, fault):
    async with rig(**{fault: [3]}) as r:
        await r.until(lambda: r.camera.info)
        r.camera.request("still", Controls(exposure_s=1.5))  # time to store each before the fault
        r.archive.running = Plan(session=1, remaining=4)
        r.camera.plan_changed()
        await r.until(lambda: len(r.archive.rows) == 4, 30)
        assert [row["sequence"] for row in r.archive.rows] == [1, 2, 3, 4]
        assert r.camera.restarts == 1
        kinds = [r.events._waiting[i].kind for i in range(len(r.events._waiting))]
        assert "camera_lost" in kinds
        assert "camera_recovered" in kinds


@pytest.mark.torture
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_killed_or_stopped_process_is_replaced(rig, number):
    async with rig() as r:
        await r.until(lambda: r.camera.info)
        viewer = r.camera.hub.join("jpeg")
        await asyncio.wait_for(viewer.next(), 5)
        pid = r.camera._child.pid
        os.kill(pid, number)
        await r.until(lambda: r.camera.state == "recovering", 12)
        await r.until(lambda: r.camera.state == "running", 12)
        assert r.camera._child.pid != pid
        while not isinstance(item := await asyncio.wait_for(viewer.next(), 5), LivePacket):
            pass
        assert item.packet.codec == "jpeg"
        r.camera.hub.leave(viewer)


async def test_a_camera_that_is_not_there_is_tried_again_and_said(rig):
    async with rig(absent=True) as r:
        await r.until(lambda: r.camera.problem)
        assert r.camera.problem.kind == "unreachable"
        assert "not there" in r.camera.problem.message
        with pytest.raises(NotAllowed, match="being restarted"):
            await r.camera.snap(None)


async def test_a_snap_of_a_camera_that_dies_is_told_so(rig):
    async with rig(crash_on=[1]) as r:
        await r.until(lambda: r.camera.info)
        with pytest.raises(CameraLost, match="SIGSEGV"):
            await r.camera.snap(0.01)


async def test_a_snap_on_a_full_disk_is_told_so(rig):
    async with rig(connect=False) as r:
        r.camera.spec.storage["min_free_percent"] = 100
        r.camera.connect()
        await r.until(lambda: r.camera.info)
        with pytest.raises(StorageFull, match=r"storage\.min_free_percent"):
            await r.camera.snap(0.01)


async def test_stills_are_asked_for_in_vain_while_many_wait(rig):
    async with rig() as r:
        await r.until(lambda: r.camera.info)
        waiting = [asyncio.create_task(r.camera.snap(50.0)) for _ in range(WAITING_MAX)]
        await r.until(lambda: r.camera.beat.get("phase") == "exposing")
        with pytest.raises(CameraBusy, match="waiting for their turn"):
            await r.camera.snap(50.0)
        r.camera.disconnect()
        assert {type(end) for end in await asyncio.gather(*waiting, return_exceptions=True)} == {CameraLost}


async def test_a_camera_whose_thermometer_has_no_reading_takes_images(rig):
    async with rig(temperature_c="nan") as r:
        await r.until(lambda: r.camera.info)
        for number in (1, 2):
            assert await asyncio.wait_for(r.camera.snap(0.05), 10) == number
        assert [row["temperature_c"] for row in r.archive.rows] == [None, None]


async def test_a_mistake_before_the_start_is_told_and_tried_again(rig, monkeypatch):
    async def mistaken(camera):
        raise UnicodeError("a mistake")

    async with rig(connect=False) as r:
        with monkeypatch.context() as patched:
            patched.setattr(r.archive, "prepare", mistaken)
            r.camera.connect()
            await r.until(lambda: r.camera.problem)
            assert "cannot be started: a mistake" in r.camera.problem.message
        await r.until(lambda: r.camera.state == "running")


async def test_a_mistake_about_one_image_keeps_no_later_one_from_its_row(rig, monkeypatch):
    async def mistaken(camera, head):
        raise KeyError("a mistake")

    async with rig() as r:
        await r.until(lambda: r.camera.info)
        with monkeypatch.context() as patched:
            patched.setattr(r.archive, "captured", mistaken)
            with pytest.raises(CupolaError, match="on disk, but has no row"):
                await asyncio.wait_for(r.camera.snap(0.05), 10)
        assert await asyncio.wait_for(r.camera.snap(0.05), 10) == 1
        assert any("has no row: KeyError('a mistake')" in line for line in r.log)


async def test_closing_during_a_long_exposure_is_quick(rig):
    async with rig() as r:
        await r.until(lambda: r.camera.info)
        r.camera.request("still", Controls(exposure_s=60))
        r.archive.running = Plan(session=1)
        r.camera.plan_changed()
        await r.until(lambda: r.camera.beat.get("phase") == "exposing")
        r.camera.disconnect()
        await r.until(lambda: r.camera.state == "stopped", 3)
