"""The ladder by itself, then climbed by a supervisor with a real camera process."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest
from tests.drivers.sources import jpeg

from cupola.camera import recovery, usb
from cupola.camera.claims import Claims
from cupola.camera.messages import Plan
from cupola.camera.recovery import Ladder, Policy, Step, cause_of, nothing_helped, why
from cupola.core.frame import Controls
from cupola.core.hub import LivePacket


def test_a_process_is_restarted_with_growing_pauses_and_then_backed_off_from():
    ladder = Ladder(Policy(restart=3))
    steps = [ladder.failed("hang", None) for _ in range(7)]
    assert [step.rung for step in steps] == ["restart"] * 3 + ["back_off"] * 4
    assert [step.delay_s for step in steps] == [1, 2, 4, 8, 16, 20, 20]
    assert [step.attempt for step in steps] == [1, 2, 3, 1, 2, 3, 4]


def test_a_usb_reset_follows_the_restarts_and_comes_again_after_as_many():
    ladder = Ladder(Policy(restart=2, usb_reset="auto"))
    rungs = [ladder.failed("hang", "1-1.4").rung for _ in range(9)]
    assert rungs == ["restart", "restart", "usb_reset", "back_off", "back_off", "usb_reset", "back_off", "back_off", "usb_reset"]


@pytest.mark.parametrize(
    ("policy", "cause", "port"),
    [
        pytest.param(Policy(restart=1, usb_reset="off"), "hang", "1-1.4", id="not wanted"),
        pytest.param(Policy(restart=1, usb_reset="auto"), "hang", None, id="port unknown"),
        pytest.param(Policy(restart=1, usb_reset="auto"), "busy", "1-1.4", id="another program has it"),
        pytest.param(Policy(restart=1, usb_reset="auto"), "failed", "1-1.4", id="its library is missing"),
    ],
)
def test_no_port_is_reset_where_that_is_not_wanted_or_cannot_help(policy: Policy, cause: str, port: str | None):
    ladder = Ladder(policy)
    assert "usb_reset" not in [ladder.failed(cause, port).rung for _ in range(8)]


def test_a_good_picture_sends_the_next_failure_back_to_the_lowest_rung():
    ladder = Ladder(Policy(restart=1))
    assert [ladder.failed("crash", None).rung for _ in range(2)] == ["restart", "back_off"]
    ladder.begin_anew()
    assert ladder.failed("crash", None) == Step("restart", 1, 1.0)


def test_a_camera_that_is_away_is_looked_for_every_six_seconds_at_least():
    ladder = Ladder(Policy())
    assert max(ladder.failed("unreachable", None).delay_s for _ in range(20)) == 6


def test_a_reset_that_was_wanted_but_had_no_port_is_told():
    for policy, port, told in ((Policy(usb_reset="auto"), None, True), (Policy(usb_reset="auto"), "1-1", False), (Policy(), None, False)):
        assert ("recovery.usb_port" in nothing_helped(policy, port)) is told


def test_a_death_is_told_by_its_cause_and_in_words():
    assert cause_of("hang", None) == "hang"
    assert cause_of("ended", None) == "crash"
    assert cause_of("ended", {"kind": "camera_not_found"}) == "unreachable"
    assert cause_of("ended", {"kind": "library_missing"}) == "failed"
    assert "did not answer within its deadline (exposing of a 30 s exposure)" in why(
        "north", "hang", None, {"hangs_in": "exposing", "exposure_s": 30}, None
    )
    for code, name in ((-11, "SIGSEGV"), (-40, "signal 40")):  # of real-time signals Python knows no names
        assert why("north", "ended", None, {}, code) == f'The process of camera "north" was ended by {name}. It is started again.'


def kinds(r) -> list[str]:
    return [event.kind for event in r.events._waiting]


def rungs(r) -> list[tuple[str, int, bool | None]]:
    return [(event.rung, event.attempt, event.ok) for event in r.events._waiting if event.kind == "camera_recovery"]


async def series(r, count: int, exposure_s: float = 0.2) -> None:
    await r.until(lambda: r.camera.info)
    r.camera.request("still", Controls(exposure_s=exposure_s))
    r.archive.running = Plan(session=1, remaining=count)
    r.camera.plan_changed()


async def test_a_failed_exposure_is_taken_again_after_reopening_in_the_same_process(rig):
    async with rig(fail_on=[3]) as r:
        await series(r, 5)
        pid = r.camera._child.pid
        await r.until(lambda: len(r.archive.rows) == 5)
        assert [row["sequence"] for row in r.archive.rows] == [1, 2, 3, 4, 5]
        assert not r.archive.failures
        assert r.camera._child.pid == pid and r.camera.restarts == 0
        assert rungs(r) == [("reopen", 1, True)]
        lost = next(event for event in r.events._waiting if event.kind == "camera_lost")
        assert (lost.cause, lost.message) == ("lost", "The test card fell down.")
        assert kinds(r).index("camera_lost") < kinds(r).index("camera_recovered")
        assert {row["applied"]["exposure_s"] for row in r.archive.rows} == {0.2}, "a reopened camera gets its settings again"
        await r.until(lambda: r.camera.problem is None)
        assert any("reopen, attempt 1: done" in line for line in r.log)


async def test_a_snap_survives_the_reopening_of_its_camera(rig):
    async with rig(fail_on=[1]) as r:
        await r.until(lambda: r.camera.info)
        assert await r.camera.snap(0.05) == 1
        assert rungs(r) == [("reopen", 1, True)]


async def test_a_live_view_goes_on_after_a_reopening_on_the_same_socket(rig):
    async with rig(fail_on=[5]) as r:
        await r.until(lambda: r.camera.info)
        viewer = r.camera.hub.join("jpeg")
        await r.until(lambda: "camera_recovered" in kinds(r))
        seen = r.camera.beat["encoded"]
        await r.until(lambda: r.camera.beat["encoded"] > seen and r.camera.problem is None)
        assert isinstance(await viewer.next(), LivePacket)
        r.camera.hub.leave(viewer)


async def test_a_camera_that_does_not_open_again_is_restarted(rig):
    async with rig(fail_on=[2], opens=1) as r:
        await series(r, 3)
        await r.until(lambda: len(r.archive.rows) == 3, 20)
        assert rungs(r)[:2] == [("reopen", 1, False), ("restart", 1, None)]
        assert r.camera.tally.restarts["lost"] == r.camera.restarts >= 1


async def test_reopening_can_be_turned_off(rig):
    async with rig(fail_on=[2], policy=Policy(reopen=0)) as r:
        await series(r, 2)
        await r.until(lambda: len(r.archive.rows) == 2, 20)
        assert {rung for rung, _, _ in rungs(r)} == {"restart"}


async def test_a_stuck_driver_that_heeds_an_interrupt_is_reopened_and_not_restarted(rig):
    async with rig(stick_on=[2]) as r:
        await series(r, 3)
        pid = r.camera._child.pid
        await r.until(lambda: len(r.archive.rows) == 3, 20)
        assert r.camera._child.pid == pid
        assert rungs(r) == [("interrupt", 1, None), ("reopen", 1, True)]
        lost = next(event for event in r.events._waiting if event.kind == "camera_lost")
        assert lost.cause == "hang"
        assert "did not answer within 2 s (exposing of a 0.2 s exposure)" in lost.message


def helper(tmp_path: Path, done: Path) -> tuple[str, ...]:
    """The real helper on a made-up sysfs; what it does to the port plugs the test card in."""
    code = (
        "import sys, pathlib; from cupola.usb_reset import main; "
        f"code = main(sys.argv[1:], pathlib.Path({str(tmp_path)!r}), 0.05); code or pathlib.Path({str(done)!r}).touch(); sys.exit(code)"
    )
    return (sys.executable, "-c", code)


async def test_a_camera_that_no_restart_brings_back_is_brought_back_by_a_usb_reset(rig, tmp_path):
    device, done = tmp_path / "usb" / "devices" / "1-1.4", tmp_path / "reset"
    device.mkdir(parents=True)
    (device / "authorized").write_text("1\n")
    policy = Policy(restart=1, usb_reset="auto", usb_port="1-1.4", usb_helper=helper(tmp_path / "usb", done))
    async with rig(absent_until=str(done), policy=policy) as r:
        await r.until(lambda: r.camera.info, 20)
        assert rungs(r) == [("restart", 1, None), ("usb_reset", 1, True)]
        reset = next(event for event in r.events._waiting if event.kind == "camera_recovery" and event.rung == "usb_reset")
        assert "1-1.4 was switched off and on" in reset.message
        assert (device / "authorized").read_text() == "1"
        assert r.camera.tally.rungs == {"restart": 1, "usb_reset": 1}


async def test_a_reset_that_fails_says_why_and_the_camera_is_tried_on(rig, tmp_path):
    (tmp_path / "usb" / "devices").mkdir(parents=True)
    policy = Policy(restart=1, usb_reset="auto", usb_port="1-1.4", usb_helper=helper(tmp_path / "usb", tmp_path / "reset"))
    async with rig(absent=True, policy=policy) as r:
        await r.until(lambda: ("usb_reset", 1, False) in rungs(r))
        assert any("Nothing is plugged in at USB port 1-1.4" in line and "docs/usb-reset.md" in line for line in r.log)
        await r.until(lambda: ("back_off", 1, None) in rungs(r))


async def test_a_helper_that_is_not_installed_is_named(rig, tmp_path):
    policy = Policy(restart=1, usb_reset="auto", usb_port="1-1.4", usb_helper=(str(tmp_path / "nowhere"),))
    async with rig(absent=True, policy=policy) as r:
        await r.until(lambda: ("usb_reset", 1, False) in rungs(r))
        assert any("nowhere cannot be started: No such file or directory" in line for line in r.log)


async def test_the_port_a_driver_tells_is_known_after_the_camera_is_gone(rig):
    async with rig(usb_port="3-2", crash_on=[1]) as r:
        await r.until(lambda: r.camera.info)
        viewer = r.camera.hub.join("jpeg")
        await r.until(lambda: r.camera.state == "recovering" and r.camera.info is None)  # it is told before its process has ended
        assert r.camera.usb_port == "3-2"
        r.camera.hub.leave(viewer)


@pytest.mark.timeout(300)
async def test_a_camera_that_is_plugged_in_is_tried_at_once_and_from_the_lowest_rung(rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    devices, there = tmp_path / "devices", tmp_path / "there"
    (devices / "usb1").mkdir(parents=True)
    monkeypatch.setattr(usb, "DEVICES", devices)
    monkeypatch.setattr(recovery, "ABSENT_MOST_S", 60.0)
    monkeypatch.setattr(recovery, "BACKOFF_S", (0.5, 60.0))
    async with rig(absent_until=str(there), usb_port="1-1.4", policy=Policy(restart=1, usb_port="1-1.4")) as r:
        await r.until(lambda: ("back_off", 1, None) in rungs(r) and (r.camera.retry_at or 0.0) > time.monotonic() + 30, 60)
        (devices / "1-1.4").mkdir()
        await r.until(lambda: any("was plugged in" in line for line in r.log), 60)
        await r.until(lambda: rungs(r)[-1] == ("restart", 1, None) and rungs(r).count(("restart", 1, None)) == 2, 60)  # it did not answer yet
        there.touch()
        await r.until(lambda: r.camera.info is not None, 60)


async def test_a_device_that_comes_and_goes_by_itself_is_no_hot_plug_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(usb, "DEVICES", tmp_path)
    monkeypatch.setattr(usb, "LOOK_S", 0.01)
    plugs, noticed = usb.HotPlug(), list[bool]()
    for number in range(4):
        come = asyncio.get_running_loop().call_later(0.1, (tmp_path / f"1-{number}").mkdir)
        noticed.append(await plugs.within(asyncio.sleep(0.4), True))
        come.cancel()
    assert noticed == [True, False, False, False]


async def test_what_a_reset_brings_back_is_no_hot_plug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(usb, "DEVICES", tmp_path)
    monkeypatch.setattr(usb, "LOOK_S", 0.01)
    plugs = usb.HotPlug()
    assert not await plugs.within(asyncio.sleep(0.05), True)
    asyncio.get_running_loop().call_later(0.05, (tmp_path / "1-1.4").mkdir)
    assert not await plugs.within(asyncio.sleep(0.2), False)
    assert not await plugs.within(asyncio.sleep(0.05), True)


async def test_a_recording_that_is_over_closes_its_camera_until_it_is_connected_again(rig, tmp_path: Path):
    (tmp_path / "night").mkdir()
    for number in range(3):
        (tmp_path / "night" / f"{number}.jpg").write_bytes(jpeg(number))
    async with rig("cupola.drivers.replay:Replay", path=str(tmp_path / "night"), rate_fps=3.0, loop=False) as r:
        for times in (1, 2):
            await r.until(lambda: r.camera.state == "stopped" and r.camera.problem)
            problem = r.camera.problem
            assert problem is not None and problem.kind == "recording_ended" and "loop: true" in problem.message
            assert len(r.told("camera_connected")) == times
            r.camera.connect()
            await r.until(lambda: r.camera.info)
            assert r.camera.problem is None
        assert not r.told("camera_lost", "camera_recovery"), "nothing has failed"


async def test_two_cameras_on_one_device_are_both_named_until_it_is_free(rig):
    claims = Claims()
    assert claims.claim("north", "testcard", "1a2b") is None
    async with rig(serial="1a2b", claims=claims) as r:
        await r.until(lambda: r.camera.problem)
        assert r.camera.problem.kind == "busy"
        assert 'Cameras "north" and "card" are the same device (testcard, serial 1a2b)' in r.camera.problem.message
        assert r.camera.info is None
        claims.release("north")
        r.camera.connect()
        await r.until(lambda: r.camera.state == "running")
        assert '"card" and "north"' in (claims.claim("north", "testcard", "1a2b") or "")
    assert claims.claim("north", "testcard", "1a2b") is None
