"""A series of stills inside the camera process: where its images go, and how one ends."""

from __future__ import annotations

from pathlib import Path

from cupola.camera.messages import Plan
from cupola.core.frame import Controls


async def test_the_images_of_a_night_lie_in_its_folder_and_carry_its_number(rig):
    async with rig() as r:
        await r.until(lambda: r.camera.info)
        r.archive.running = Plan(session=1, interval_s=0.1, day="2019-03-04", period=7)
        r.camera.plan_changed()
        await r.until(lambda: len(r.archive.rows) >= 3)
        assert all("card/2019/03/04/raw/" in row["file"]["path"] and Path(row["file"]["path"]).is_file() for row in r.archive.rows)
        assert {(row["day"], row["period"]) for row in r.archive.rows} == {("2019-03-04", 7)}


async def test_a_series_goes_over_into_another_night_without_losing_an_exposure(rig):
    async with rig() as r:
        await r.until(lambda: r.camera.info)
        r.camera.request("still", Controls(exposure_s=0.5))
        r.archive.running = Plan(session=1, day="2019-03-04", period=7)
        r.camera.plan_changed()
        await r.until(lambda: r.camera.beat.get("phase") == "exposing" and r.camera.beat["age_s"] > 0.1)
        r.archive.running = Plan(session=1, day=None, period=None)
        r.camera.plan_changed()
        await r.until(lambda: len(r.archive.rows) >= 2)
        assert [row["period"] for row in r.archive.rows[:2]] == [7, None]
        assert r.archive.rows[1]["day"] != "2019-03-04"
        assert [row["sequence"] for row in r.archive.rows[:2]] == [1, 2]


async def test_a_series_that_shall_finish_ends_with_its_exposure_and_another_at_once(rig):
    async with rig() as r:
        await r.until(lambda: r.camera.info)
        r.camera.request("still", Controls(exposure_s=1.0))
        for finish in (True, False):
            taken = len(r.archive.rows)
            r.archive.running = Plan(session=1 + finish)
            r.camera.plan_changed()
            await r.until(lambda: r.camera.beat.get("phase") == "exposing" and r.camera.beat["age_s"] > 0.1)
            r.archive.running = None
            r.camera.plan_changed(finish=finish)
            await r.until(lambda: r.camera.beat.get("phase") == "idle")
            await r.until(lambda taken=taken, finish=finish: len(r.archive.rows) == taken + finish)
