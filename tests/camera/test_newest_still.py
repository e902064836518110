"""The live view of a camera that has none: its newest still, with its true age."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.drivers.gphoto_sources import OPTIONS, virtual_nikon

from cupola.core.clock import iso_utc
from cupola.core.hub import LivePacket


async def test_a_viewer_who_comes_later_sees_the_newest_still_and_how_old_it_is(
    rig: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    virtual_nikon(monkeypatch, tmp_path)
    async with rig("cupola.drivers.gphoto:Gphoto", **OPTIONS) as r:
        await r.until(lambda: r.camera.state == "running")
        await r.camera.snap(0.01)
        await asyncio.sleep(0.5)  # the age that has to show
        viewer = r.camera.hub.join("jpeg")
        async with asyncio.timeout(10):
            live = await viewer.next()
        assert isinstance(live, LivePacket)
        assert iso_utc(live.packet.opened_at) == r.archive.rows[0]["opened_at"]
        assert live.age_ms >= 500
        assert (live.packet.width, live.packet.height) == (640, 480)
        assert r.archive.rows[0]["file"]["kind"] == "jpg"
        r.camera.hub.leave(viewer)
