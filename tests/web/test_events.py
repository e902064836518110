"""Events as they happen: the stream of all, and the one of captures in the older shape."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import aiohttp
from tests.support.station import RunningStation, eventually

from cupola.core.events import EVENTS, CameraChanged, ImageCaptured, ImageDeveloped, SessionEvent, SettingsApplied


async def _of_kind(socket: aiohttp.ClientWebSocketResponse, *kinds: type) -> list[Any]:
    """Events until one of each kind was there, all of them checked against the types."""
    found: dict[type, Any] = {}
    while len(found) < len(kinds):
        event = EVENTS.validate_json(await socket.receive_str(timeout=15))
        if isinstance(event, kinds) and type(event) not in found:
            found[type(event)] = event
    return [found[kind] for kind in kinds]


async def test_a_snap_is_announced_when_captured_and_when_developed(station: RunningStation, sockets: aiohttp.ClientSession) -> None:
    async with sockets.ws_connect("/ws/events") as socket:
        image = station.http.post("/api/cameras/sky/snap", json={"exposure_s": 0.05}).json()
        captured, developed = await _of_kind(socket, ImageCaptured, ImageDeveloped)
    assert (captured.id, captured.sequence, captured.camera) == (image["id"], image["sequence"], "sky")
    assert (station.images / captured.path).is_file()
    assert developed.id == image["id"]
    assert (station.images / developed.path).is_file()


async def test_a_change_of_the_camera_is_told_as_its_address_tells_it(station: RunningStation, sockets: aiohttp.ClientSession) -> None:
    async with sockets.ws_connect("/ws/events") as socket:
        station.http.post("/api/cameras/sky/disconnect")
        while True:
            (changed,) = await _of_kind(socket, CameraChanged)
            if changed.data["state"] == "stopped":
                break
    assert changed.camera == "sky"
    told, asked = changed.data, station.camera()
    assert set(told) == set(asked)
    assert {name: told[name] for name in ("state", "session", "settings", "last_image")} == {
        name: asked[name] for name in ("state", "session", "settings", "last_image")
    }


async def test_a_catalogue_that_cannot_be_read_for_a_while_ends_nothing(station: RunningStation, sockets: aiohttp.ClientSession) -> None:
    output = station.folder / "output"
    async with sockets.ws_connect("/ws/events") as socket:
        with closing(sqlite3.connect(station.images / ".cupola" / "catalogue.sqlite", timeout=20, isolation_level=None)) as catalogue:
            catalogue.execute("ALTER TABLE image RENAME TO gone")
            try:
                eventually(lambda: "no such table: image" in output.read_text() or station.process.poll() is not None)
            finally:
                catalogue.execute("ALTER TABLE gone RENAME TO image")
        assert station.process.poll() is None, output.read_text()[-2000:]
        station.http.post("/api/cameras/sky/disconnect")
        while (await _of_kind(socket, CameraChanged))[0].data["state"] != "stopped":
            pass


async def test_settings_and_viewers_are_announced(station: RunningStation, sockets: aiohttp.ClientSession) -> None:
    async with sockets.ws_connect("/ws/events") as socket:
        accepted = station.http.patch("/api/cameras/sky/settings", json={"mode": "live", "gain": 55}).json()
        async with sockets.ws_connect("/ws/live/sky") as live:
            session = (await live.receive_json(timeout=15))["session"]
        applied, joined = await _of_kind(socket, SettingsApplied, SessionEvent)
    assert (applied.mode, list(applied.generation), applied.applied["gain"]) == ("live", accepted["generation"], 55)
    assert (joined.action, joined.session_id) == ("joined", session)


async def test_the_older_stream_has_capture_updates_only(station: RunningStation, sockets: aiohttp.ClientSession) -> None:
    async with sockets.ws_connect("/ws/captures/") as socket:
        station.http.patch("/api/cameras/sky/settings", json={"mode": "live", "gain": 56})
        image = station.http.post("/api/cameras/sky/snap", json={"exposure_s": 0.05}).json()
        captured, developed = await socket.receive_json(timeout=15), await socket.receive_json(timeout=15)
    for update in (captured, developed):
        assert update["type"] == "capture_update"
        assert update["data"]["camera"] == "sky"
        assert update["data"]["status"] == "running"
        assert update["data"]["temperature"] is not None
        assert update["data"]["latest_image"]["id"] == image["id"]
    assert [update["data"]["latest_image"]["developed"] for update in (captured, developed)] == [False, True]


async def test_an_oversized_message_ends_the_listener_and_nothing_else(station: RunningStation, sockets: aiohttp.ClientSession) -> None:
    async with sockets.ws_connect("/ws/events") as good, sockets.ws_connect("/ws/events") as bad:
        await bad.send_str("x" * 65 * 1024)
        while (message := await bad.receive(timeout=15)).type is aiohttp.WSMsgType.TEXT:
            pass
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1009)
        await good.send_str("still here")
        while (answer := await good.receive_json(timeout=15)).get("type") != "problem":
            pass
        assert answer["status"] == 400 and "JSON" in answer["detail"]
        image = station.http.post("/api/cameras/sky/snap").json()
        (captured,) = await _of_kind(good, ImageCaptured)
        assert captured.id == image["id"]
