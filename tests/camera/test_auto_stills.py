"""Stills under auto exposure: a real camera process with the simulated sky, from settings to the original on disk."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.camera.conftest import Make, Rig

from cupola.camera.auto_exposure import light_of
from cupola.camera.messages import Plan
from cupola.camera.metering import level_of
from cupola.camera.spec import AutoSpec
from cupola.config.drivers import SimulatorOptions
from cupola.core.events import SettingsApplied
from cupola.core.frame import Controls, Frame, Station
from cupola.process.wire import Head
from cupola.storage.originals import read_original

TARGET = 0.25
HERE = Station(latitude=47.0, longitude=8.0)
SIMULATOR = "cupola.drivers.simulator:Simulator"
DAY, DUSK = "2026-03-20T12:00:00Z", "2026-03-20T17:22:00Z"  # the sun sets at 17:36
WAIT_S = 40.0


def _sky(sky_time: str, **options: Any) -> dict[str, Any]:
    few = {"width": 160, "height": 120, "f_number": 0.9, "exposure_min_s": 1e-5, "readout_s": 0.0, "satellites_per_hour": 0}
    return SimulatorOptions.model_validate({**few, "sky_time": sky_time, **options}).model_dump()


def _auto(on: bool = True, **limits: Any) -> AutoSpec:
    return AutoSpec(on, {"target": TARGET, **limits})


def _level(row: Head) -> float:
    """The level of a still, metered again from its original."""
    original = read_original(Path(row["file"]["path"]))
    facts = original.facts
    assert facts.correction == (None if row["correction"] is None else pytest.approx(row["correction"], abs=1e-3)), "EVCORR of the original"
    level = level_of(Frame(1, facts.opened_at, facts.ended_at, 1, original.data, facts.format))
    assert level is not None
    return level


async def _series(rig: Rig, count: int, *, interval_s: float | None = 0.2, seconds: float = WAIT_S) -> list[Head]:
    before = len(rig.archive.rows)
    rig.archive.running = Plan(1, before + count, interval_s)
    rig.camera.plan_changed()
    await rig.until(lambda: len(rig.archive.rows) >= before + count, seconds)
    rig.archive.running = None
    rig.camera.plan_changed()
    return rig.archive.rows[before : before + count]


async def _open(rig: Rig) -> None:
    await rig.until(lambda: rig.camera.state == "running", WAIT_S)


async def test_dusk_is_followed_from_still_to_still_without_a_step_in_what_is_developed(rig: Make) -> None:
    """Half an hour around sunset in 15 s. On a busy machine stills come late, and miss more: then too the correction evens it out."""
    async with rig(SIMULATOR, auto=_auto(exposure_max_s=0.01), station=HERE, **_sky(DUSK, sky_speed=120)) as running:
        await _open(running)
        rows = (await _series(running, 75))[6:]
    taken = [Controls.from_dict(row["applied"]) for row in rows]
    for controls in taken:
        assert controls.exposure_s is not None
        assert controls.gain == 0 or controls.exposure_s == pytest.approx(0.01), "gain was raised before the exposure was the longest"
    light = [light_of(controls, "tenth_db") for controls in taken]
    assert light[-1] - light[0] > 4, "it got darker by less than four stops"
    assert sum(after < before - 0.1 for before, after in pairwise(light)) <= 3, f"the settings flap: {light}"
    shown = [math.log2(_level(row) / TARGET) for row in rows]
    assert sorted(abs(stops) for stops in shown)[len(shown) // 2] < 0.3
    developed = [stops + row["correction"] for stops, row in zip(shown, rows, strict=True) if abs(row["correction"]) < 1]
    assert len(developed) > 0.8 * len(rows)
    assert max(abs(after - before) for before, after in pairwise(developed)) <= 0.1


async def test_the_still_after_a_clipped_one_is_already_darker(rig: Make) -> None:
    async with rig(SIMULATOR, auto=_auto(), station=HERE, **_sky(DAY)) as running:
        await _open(running)
        running.camera.request("still", Controls(exposure_s=0.5))
        (first,) = await _series(running, 1)
        assert first["applied"]["exposure_s"] == 0.5 and first["correction"] == -1, "gain alone cannot darken it"
        running.camera.request("still", Controls(), automatic=True)
        rows = await _series(running, 4)
    before, after = (light_of(Controls.from_dict(row["applied"]), "tenth_db") for row in (first, rows[0]))
    assert after <= before - 3.9, "the very next still knew nothing of the one before"
    assert abs(math.log2(_level(rows[-1]) / TARGET)) < 0.3


async def test_what_auto_exposure_chose_is_told_as_applied_and_not_as_requested(rig: Make) -> None:
    async with rig(SIMULATOR, auto=_auto(), station=HERE, **_sky(DAY)) as running:
        await _open(running)
        still = running.camera.settings.still
        assert still.automatic == {"exposure_s", "gain"} and still.requested == Controls()
        rows = await _series(running, 4)
        newest = Controls.from_dict(rows[-1]["applied"])
        assert still.visible == newest
        await running.until(lambda: still.applied == newest)
        answers = [event for event in running.told("settings_applied") if isinstance(event, SettingsApplied) and event.mode == "still"]
        assert len(answers) == 1, "each still was announced as an answer"
        assert still.requested == Controls()


async def test_a_setting_given_by_hand_is_left_alone_and_the_other_follows(rig: Make) -> None:
    async with rig(SIMULATOR, auto=_auto(), station=HERE, **_sky(DUSK)) as running:
        await _open(running)
        running.camera.request("still", Controls(exposure_s=0.0002))
        assert running.camera.settings.still.automatic == {"gain"}
        rows = (await _series(running, 8))[4:]
        assert {row["applied"]["exposure_s"] for row in rows} == {0.0002}
        assert all(row["applied"]["gain"] > 0 and abs(row["correction"]) < 0.3 for row in rows)
        running.camera.request("still", Controls(), automatic=False)
        gain = running.camera.settings.still.requested.gain
        assert running.camera.settings.still.automatic == frozenset() and gain is not None
        (fixed,) = await _series(running, 1)
        assert (fixed["applied"]["gain"], fixed["correction"]) == (pytest.approx(gain, abs=1), None)


async def test_an_exposure_fits_into_the_interval_of_its_series(rig: Make) -> None:
    async with rig(SIMULATOR, auto=_auto(), station=HERE, **_sky("night", readout_s=0.1)) as running:
        await _open(running)
        rows = await _series(running, 6, interval_s=0.5)
        assert all(row["applied"]["exposure_s"] <= 0.36 for row in rows[2:])
        assert rows[-1]["applied"]["exposure_s"] > 0.05
        assert rows[-1]["applied"]["gain"] > 100, "what the exposure may not give, the gain has to"


async def test_a_snap_with_an_exposure_of_its_own_teaches_nothing(rig: Make) -> None:
    async with rig(SIMULATOR, auto=_auto(), station=HERE, **_sky(DAY)) as running:
        await _open(running)
        await _series(running, 4)
        await running.camera.snap(0.2)
        snap = running.archive.rows[-1]
        assert (snap["applied"]["exposure_s"], snap["correction"]) == (0.2, None)
        (after,) = await _series(running, 1)
        assert abs(after["correction"]) < 0.2


async def test_a_camera_process_that_died_goes_on_with_what_was_chosen_last(rig: Make) -> None:
    async with rig(SIMULATOR, auto=_auto(), station=HERE, **_sky(DAY, faults={"crash_on": [6]})) as running:
        await _open(running)
        rows = await _series(running, 7)
        assert running.camera.restarts >= 1
        (first, *_) = (row for row in rows[1:] if row["seq"] == 1)  # of a new process
        assert abs(first["correction"]) < 0.5, [row["correction"] for row in rows]


async def test_without_auto_exposure_stills_have_no_correction(rig: Make) -> None:
    async with rig(SIMULATOR, auto=_auto(on=False), station=HERE, **_sky(DAY)) as running:
        await _open(running)
        (row,) = await _series(running, 1)
        assert row["correction"] is None
        _level(row)  # nor a card of it
        assert running.camera.settings.still.automatic == frozenset()
