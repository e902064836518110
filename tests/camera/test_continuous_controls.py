"""A continuous source with controls (a webcam) has one set of settings: live's, and still's where live has none."""

import asyncio

from tests.camera.conftest import Make

from cupola.core.frame import Controls


async def test_a_still_carries_the_settings_the_stream_really_has(rig: Make) -> None:
    async with rig("tests.support.webcard:WebCard") as it:
        await it.until(lambda: it.camera.info is not None)
        it.camera.request("still", Controls(exposure_s=0.02))
        await asyncio.wait_for(it.camera.snap(None), 10)
        it.camera.request("live", Controls(exposure_s=0.03))
        await asyncio.wait_for(it.camera.snap(None), 10)
        it.camera.request("still", Controls(exposure_s=0.05))
        await asyncio.wait_for(it.camera.snap(None), 10)
        assert [row["applied"]["exposure_s"] for row in it.archive.rows] == [0.02, 0.03, 0.03]
