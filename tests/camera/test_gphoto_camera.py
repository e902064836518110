"""The gphoto driver in a real camera process: what its pictures carry, and when they leave the card."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.camera.conftest import Make
from tests.drivers.gphoto_sources import OPTIONS, virtual_nikon

from cupola.core.events import SettingsApplied
from cupola.core.frame import Controls
from cupola.core.hub import LivePacket


async def test_the_first_picture_of_new_settings_carries_what_the_camera_has_of_them(
    rig: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    virtual_nikon(monkeypatch, tmp_path)
    async with rig("cupola.drivers.gphoto:Gphoto", **OPTIONS) as it:
        await it.until(lambda: it.camera.info is not None)
        viewer = it.camera.hub.join("jpeg")
        for wanted, has in ((Controls(exposure_s=0.07, f_number=8.0), (0.05, 8.0)), (Controls(exposure_s=0.0001, f_number=4.3), (0.0001, 4.5))):
            it.camera.request("still", wanted)
            generation = it.camera.settings.of("still").generation
            await it.camera.snap(None)
            row = it.archive.rows[-1]
            assert tuple(row["generation"]) == tuple(generation)
            assert (row["applied"]["exposure_s"], row["applied"]["f_number"]) == has
            live = await viewer.next()
            assert isinstance(live, LivePacket)
            assert live.packet.generation == generation and live.packet.applied.exposure_s == has[0]
            async with asyncio.timeout(5):
                while not (isinstance(event := await it.events.get(), SettingsApplied) and event.generation == tuple(generation)):
                    pass
            assert event.applied["exposure_s"] == has[0]
        it.camera.hub.leave(viewer)


async def test_a_driver_hears_that_a_still_is_stored_when_it_is_on_disk_and_before_it_is_closed(rig: Make, tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    async with rig("tests.support.testcard:KeepingCard", heard=str(heard), root=str(tmp_path / "root")) as it:
        await it.until(lambda: it.camera.info is not None)
        await it.camera.snap(0.01)
        await it.camera.snap(0.01)
        await it.until(lambda: heard.read_text().count("\n") == 2)
    assert heard.read_text().splitlines() == ["1 of 1 on disk", "2 of 2 on disk", "closed"]


async def test_a_driver_does_not_hear_of_a_still_that_could_not_be_stored(rig: Make, tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    async with rig("tests.support.testcard:KeepingCard", heard=str(heard), root=str(tmp_path / "root")) as it:
        await it.until(lambda: it.camera.info is not None)
        (tmp_path / "root" / "card").write_text("in the way of the camera's folder")
        with pytest.raises(Exception, match="card"):
            await it.camera.snap(0.01)
    assert heard.read_text().splitlines() == ["closed"]
