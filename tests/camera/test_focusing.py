"""Focusing through a real camera process: what is measured, of which cameras, the best so far, and that it ends with whoever looks."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import simplejpeg

from cupola.camera.focusing import FACTS, LEFT_S, Focusing, Looker
from cupola.camera.messages import Plan
from cupola.core.frame import Controls
from cupola.core.hub import LivePacket

STARS = "tests.support.starfield:Starfield"


def _nothing() -> None:
    """Nobody has to be hung up on."""


async def _measured(looker: Looker, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(20):
        return [await looker.next() for _ in range(count)]


@pytest.mark.parametrize("form", ["raw", "jpeg", "h264"])
async def test_the_stars_of_any_form_of_picture_are_measured(rig: Callable[..., Any], form: str) -> None:
    async with rig(STARS, widths=[3.0], form=form) as r:
        await r.until(lambda: r.camera.state == "running")
        with r.camera.focusing.look(None, None, 400, _nothing) as looker:
            for measured in await _measured(looker, 3):
                assert len(measured["stars"]) == 9
                assert measured["hfr_px"] == pytest.approx(3.53, rel=0.04)
                assert measured["fwhm_px"] == pytest.approx(7.06, rel=0.06)
                assert (measured["x"], measured["y"], measured["width"], measured["height"]) == (120, 120, 400, 400)
                assert simplejpeg.decode_jpeg(base64.b64decode(measured["jpeg"])).shape[:2] == (400, 400)


async def test_the_region_can_be_anywhere(rig: Callable[..., Any]) -> None:
    async with rig(STARS, widths=[2.0]) as r:
        await r.until(lambda: r.camera.state == "running")
        with r.camera.focusing.look(200, 440, 100, _nothing) as looker:
            (measured,) = await _measured(looker, 1)
            (star,) = measured["stars"]
            assert (measured["x"] + star["x"], measured["y"] + star["y"]) == pytest.approx((200, 440), abs=0.2)


async def test_the_sharpest_so_far_is_kept_while_the_focuser_is_turned(rig: Callable[..., Any]) -> None:
    async with rig(STARS, widths=[6.0] * 3 + [4.0] * 3 + [2.0] * 3 + [5.0]) as r:
        await r.until(lambda: r.camera.state == "running")
        with r.camera.focusing.look(None, None, 400, _nothing) as looker:
            seen = await _measured(looker, 14)
            assert min(one["hfr_px"] for one in seen) == pytest.approx(2.36, rel=0.05)
            assert seen[-1]["hfr_px"] == pytest.approx(5.89, rel=0.05)
            assert seen[-1]["best_hfr_px"] == min(one["hfr_px"] for one in seen)
            best = next(one for one in seen if one["hfr_px"] == seen[-1]["best_hfr_px"])
            assert seen[-1]["best_at"] == best["opened_at"]


async def test_a_camera_without_video_takes_test_shots_that_are_not_stored(rig: Callable[..., Any]) -> None:
    async with rig(STARS, widths=[3.0], video=False) as r:
        await r.until(lambda: r.camera.state == "running")
        with r.camera.focusing.look(None, None, 400, _nothing) as looker:
            seqs = [measured["seq"] for measured in await _measured(looker, 3)]
            assert seqs == sorted(set(seqs))
        await r.camera.snap(0.02)  # stills work again, or still
        assert len(r.archive.rows) == 1
        await r.until(lambda: r.camera.beat["phase"] == "idle")
        taken = r.camera.beat["frames"]
        await asyncio.sleep(0.6)  # a beat and more, in which no shot may be taken
        assert r.camera.beat["frames"] == taken


async def test_test_shots_are_made_smaller_for_viewers_and_measured_as_they_are(rig: Callable[..., Any]) -> None:
    """As a DSLR's are, which have tens of megapixels."""
    async with rig(STARS, widths=[3.0], form="jpeg", video=False, width_max=320) as r:
        await r.until(lambda: r.camera.state == "running")
        viewer = r.camera.hub.join("jpeg")
        with r.camera.focusing.look(None, None, 400, _nothing) as looker:
            (measured,) = await _measured(looker, 1)
            assert measured["width"] == 400 and measured["hfr_px"] == pytest.approx(3.53, rel=0.05)
            async with asyncio.timeout(10):
                live = await viewer.next()
            assert isinstance(live, LivePacket)
            assert (live.packet.width, live.packet.height) == (320, 320)
            assert simplejpeg.decode_jpeg(live.packet.data).shape[:2] == (320, 320)
        r.camera.hub.leave(viewer)


async def test_stills_between_test_shots_keep_settings_of_their_own(rig: Callable[..., Any]) -> None:
    """What the still settings leave open is as the camera has it, not as the test shots or a snap had it."""
    async with rig(STARS, widths=[3.0], video=False) as r:
        await r.until(lambda: r.camera.state == "running")
        r.camera.request("live", Controls(exposure_s=0.2))
        with r.camera.focusing.look(None, None, 400, _nothing) as looker:
            assert {measured["exposure_s"] for measured in await _measured(looker, 2)} == {0.2}
            await r.camera.snap(0.1)
            r.archive.running = Plan(session=1, remaining=3, interval_s=0.5)
            r.camera.plan_changed()
            await r.until(lambda: len(r.archive.rows) == 4)
            assert 0.2 in {measured["exposure_s"] for measured in await _measured(looker, 3)}  # stills are looked at too
        assert [row["applied"]["exposure_s"] for row in r.archive.rows] == [0.1, 0.05, 0.05, 0.05]


async def test_viewers_and_the_one_who_focuses_do_not_disturb_each_other(rig: Callable[..., Any]) -> None:
    async with rig(STARS, widths=[3.0], form="h264") as r:
        await r.until(lambda: r.camera.state == "running")
        native, jpeg = r.camera.hub.join("h264"), r.camera.hub.join("jpeg")
        with r.camera.focusing.look(None, None, 400, _nothing) as looker:
            await _measured(looker, 2)
            async with asyncio.timeout(10):
                for viewer in (native, jpeg):
                    live = await viewer.next()
                    assert isinstance(live, LivePacket) and live.packet.codec == viewer.codec
                    assert (live.packet.width, live.packet.height) == (640, 640)
        r.camera.hub.leave(native)
        r.camera.hub.leave(jpeg)


async def test_a_new_process_goes_on_measuring(rig: Callable[..., Any]) -> None:
    async with rig(STARS, widths=[3.0]) as r:
        await r.until(lambda: r.camera.state == "running")
        with r.camera.focusing.look(None, None, 400, _nothing) as looker:
            await _measured(looker, 1)
            os.kill(r.camera._child.pid, signal.SIGKILL)
            await r.until(lambda: r.camera.state == "recovering")
            looker._newest = None
            (measured,) = await _measured(looker, 1)
            assert measured["hfr_px"] == pytest.approx(3.53, rel=0.05)


def _head(hfr_px: float | None, x: int | None = None, size: int = 400) -> dict[str, Any]:
    return {"region": {"x": x, "y": x, "size": size}, **dict.fromkeys(FACTS), "hfr_px": hfr_px, "fwhm_px": None, "stars": [], "saturated": 0}


@pytest.mark.parametrize(
    ("values", "trend"),
    [
        ([5, 4.8, 4.6, 4.4, 4.2, 4, 3.8, 3.6, 3.4, 3.2], "sharper"),
        ([3.0] * 9 + [3.01], "steady"),
        ([3, 3, 3, 3, 3, 4, 4, 4, 4, 4], "softer"),
        ([3] * 9, None),
        ([3, None] * 4, None),
    ],
)
async def test_the_trend_compares_the_last_measurements_with_those_before(values: list[float | None], trend: str | None) -> None:
    focusing = Focusing(lambda _: None)
    with focusing.look(None, None, 400, _nothing) as looker:
        for value in values:
            focusing.heard(_head(value), b"")
        assert (await looker.next())["trend"] == trend


async def test_another_region_begins_anew_and_the_end_is_told() -> None:
    said = list[Any]()
    focusing = Focusing(lambda head: said.append(head["region"]))
    with focusing.look(None, None, 400, _nothing):
        focusing.heard(_head(2.0), b"")
        with focusing.look(100, 100, 200, _nothing) as looker:
            focusing.heard(_head(1.0), b"")  # of the region before
            focusing.heard(_head(3.0, 100, 200), b"")
            assert (await looker.next())["best_hfr_px"] == 3.0
    assert said == [{"x": None, "y": None, "size": 400}, {"x": 100, "y": 100, "size": 200}, None]


async def test_one_who_takes_nothing_for_long_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now, gone = [100.0], list[bool]()
    monkeypatch.setattr("cupola.camera.focusing.time.monotonic", lambda: now[0])
    focusing = Focusing(lambda _: None)
    with focusing.look(None, None, 400, lambda: gone.append(True)):
        focusing.heard(_head(2.0), b"")
        now[0] += LEFT_S - 1
        focusing.heard(_head(2.0), b"")
        assert not gone
        now[0] += 2
        focusing.heard(_head(2.0), b"")
        assert gone
