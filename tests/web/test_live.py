"""The live view: framing on the WebSocket, words about its state, parts of the multipart stream, places for viewers."""

from __future__ import annotations

import base64
import http.client
import json
import socket
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import aiohttp
import numpy as np
import pytest
import simplejpeg
from tests.support.station import RunningStation, eventually


async def _until(socket: aiohttp.ClientWebSocketResponse, kind: str, **wanted: object) -> dict[str, Any]:
    """The next text message of a kind that has the wanted values."""
    while True:
        message = await socket.receive(timeout=15)
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), f"the socket ended: {message}"
        if message.type is aiohttp.WSMsgType.TEXT:
            data = message.json()
            if data["type"] == kind and all(data[name] == value for name, value in wanted.items()):
                return data


async def _picture(socket: aiohttp.ClientWebSocketResponse) -> tuple[dict[str, Any], bytes]:
    """The next picture: its header and payload."""
    while True:
        message = await socket.receive(timeout=15)
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), f"the socket ended: {message}"
        if message.type is aiohttp.WSMsgType.BINARY:
            length = int.from_bytes(message.data[:2], "big")
            return json.loads(message.data[2 : 2 + length]), message.data[2 + length :]


async def test_hello_comes_first_then_the_state_then_pictures_that_follow_each_other(sockets: aiohttp.ClientSession) -> None:
    async with sockets.ws_connect("/ws/live/sky?accept=h264,jpeg") as socket:
        hello = await socket.receive_json(timeout=15)
        assert (hello["type"], hello["role"], hello["codec"], hello["camera"]) == ("hello", "admin", "jpeg", "sky")
        assert hello["session"]
        assert abs((datetime.fromisoformat(hello["server_time"]) - datetime.now(UTC)).total_seconds()) < 60
        state = await socket.receive_json(timeout=15)
        assert state["type"] == "state" and state["words"]
        pictures = [await _picture(socket) for _ in range(5)]
    sequences = [header["seq"] for header, _ in pictures]
    assert sequences == sorted(set(sequences))
    for header, payload in pictures:
        assert set(header) == {"seq", "opened_at", "age_ms", "width", "height", "codec", "keyframe", "generation", "exposure_s", "gain"}
        assert (header["width"], header["height"], header["codec"], header["keyframe"]) == (320, 240, "jpeg", True)
        assert datetime.fromisoformat(header["opened_at"]).utcoffset() is not None
        assert simplejpeg.decode_jpeg(payload).shape == (240, 320, 3)
    assert not np.array_equal(simplejpeg.decode_jpeg(pictures[0][1]), simplejpeg.decode_jpeg(pictures[-1][1]))


async def test_two_viewers_get_the_same_bytes(sockets: aiohttp.ClientSession) -> None:
    async with sockets.ws_connect("/ws/live/sky") as one, sockets.ws_connect("/ws/live/sky") as other:
        first: dict[int, tuple[dict[str, Any], bytes]] = {}
        second: dict[int, tuple[dict[str, Any], bytes]] = {}
        for _ in range(40):
            for socket, seen in ((one, first), (other, second)):
                header, payload = await _picture(socket)
                seen[header["seq"]] = (header, payload)
            if len(first.keys() & second.keys()) >= 3:
                break
        shared = first.keys() & second.keys()
        assert len(shared) >= 3
        assert all(first[seq] == second[seq] for seq in shared)


async def test_new_settings_show_in_the_header_of_a_picture(station: RunningStation, sockets: aiohttp.ClientSession) -> None:
    async with sockets.ws_connect("/ws/live/sky") as socket:
        accepted = station.http.patch("/api/cameras/sky/settings", json={"mode": "live", "exposure_s": 0.03, "gain": 77}).json()
        for _ in range(200):
            header, _ = await _picture(socket)
            if header["generation"] == accepted["generation"]:
                break
            assert header["generation"] < accepted["generation"]
        assert header["generation"] == accepted["generation"]
        assert (header["exposure_s"], header["gain"]) == (0.03, 77)
        eventually(lambda: station.camera()["settings"]["live"]["visible_generation"] == accepted["generation"])


async def test_viewers_are_told_when_the_picture_stops_and_comes_back(station: RunningStation, sockets: aiohttp.ClientSession) -> None:
    async with sockets.ws_connect("/ws/live/sky") as socket:
        await _picture(socket)
        live = await _until(socket, "state", state="live")
        assert live["age_s"] is None
        station.http.post("/api/cameras/sky/disconnect")
        stopped = await _until(socket, "state", state="stopped")
        assert stopped["words"] == "closed"
        station.http.post("/api/cameras/sky/connect")
        await _until(socket, "state", state="live")
        header, _ = await _picture(socket)
        assert header["codec"] == "jpeg"


async def test_a_still_under_way_is_said_to_the_viewers(station: RunningStation, sockets: aiohttp.ClientSession) -> None:
    async with sockets.ws_connect("/ws/live/sky") as socket:
        await _picture(socket)
        station.http.post("/api/cameras/sky/start", json={"exposure_s": 100, "count": 1})
        while "exposing" not in (state := await _until(socket, "state"))["words"]:
            pass
        assert "100 s" in state["words"]
        station.http.post("/api/cameras/sky/stop")
        await _until(socket, "state", state="live")


async def test_the_viewer_beyond_the_last_place_is_refused_with_the_reason(station: RunningStation, sockets: aiohttp.ClientSession) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(3):
            socket = await stack.enter_async_context(sockets.ws_connect("/ws/live/sky"))
            assert (await socket.receive_json(timeout=15))["type"] == "hello"
        async with sockets.ws_connect("/ws/live/sky") as fourth:
            closed = await fourth.receive(timeout=15)
            assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, 1013)
            assert "3 places" in str(closed.extra) and "web.max_viewers" in str(closed.extra)
        for address in ("live.mjpg", "live.jpg"):
            refused = station.http.get(f"/api/cameras/sky/{address}", timeout=15)
            assert refused.status_code == 503, address
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.headers["retry-after"].isdecimal()
            assert "3 places" in refused.json()["detail"]
        assert station.http.get("/api/health").json()["viewers"] == 3
    eventually(lambda: station.http.get("/api/health").json()["viewers"] == 0)
    assert station.http.get("/api/cameras/sky/live.jpg").status_code == 200


async def test_a_socket_of_no_camera_is_closed_with_the_names_there_are(sockets: aiohttp.ClientSession) -> None:
    async with sockets.ws_connect("/ws/live/nowhere") as socket:
        closed = await socket.receive(timeout=15)
    assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, 4404)
    assert "Configured: sky" in str(closed.extra)


async def test_a_message_larger_than_64_kb_closes_only_its_own_socket(station: RunningStation, sockets: aiohttp.ClientSession) -> None:
    async with sockets.ws_connect("/ws/live/sky") as good, sockets.ws_connect("/ws/live/sky") as bad:
        await _picture(good)
        await bad.send_bytes(bytes(65 * 1024))
        while (message := await bad.receive(timeout=15)).type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            pass
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1009)
        eventually(lambda: station.http.get("/api/health").json()["viewers"] == 1)
        assert (await _picture(good))[1]


@pytest.mark.parametrize("message", ["", "{", '{"type":"start"}', "\0" * 1000])
async def test_what_a_viewer_says_changes_nothing(sockets: aiohttp.ClientSession, message: str) -> None:
    async with sockets.ws_connect("/ws/live/sky") as socket:
        await socket.send_str(message)
        await socket.send_bytes(message.encode())
        assert (await _picture(socket))[0]["codec"] == "jpeg"
        assert (await _picture(socket))[0]["codec"] == "jpeg"


def test_a_single_picture_is_never_older_than_asked_for(station: RunningStation) -> None:
    one = station.http.get("/api/cameras/sky/live.jpg?max_age_s=0")
    two = station.http.get("/api/cameras/sky/live.jpg?max_age_s=0")
    assert one.headers["content-type"] == "image/jpeg" and one.headers["cache-control"] == "no-store"
    assert simplejpeg.decode_jpeg(two.content).shape == (240, 320, 3)
    assert int(two.headers["x-sequence"]) > int(one.headers["x-sequence"])
    assert datetime.fromisoformat(two.headers["x-opened-at"]) > datetime.fromisoformat(one.headers["x-opened-at"])


async def test_the_multipart_stream_has_whole_pictures_and_ends_with_its_viewer(station: RunningStation, sockets: aiohttp.ClientSession) -> None:
    async with sockets.get("/api/cameras/sky/live.mjpg") as answer:
        assert answer.status == 200
        assert answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=frame"
        parts = aiohttp.MultipartReader.from_response(answer)
        sequences = list[int]()
        for _ in range(4):
            part = await parts.next()
            assert isinstance(part, aiohttp.BodyPartReader)
            assert part.headers["Content-Type"] == "image/jpeg"
            data = await part.read()
            assert len(data) == int(part.headers["Content-Length"])
            assert simplejpeg.decode_jpeg(bytes(data)).shape == (240, 320, 3)
            sequences.append(int(part.headers["X-Sequence"]))
        assert sequences == sorted(set(sequences))
        assert station.http.get("/api/health").json()["viewers"] == 1
    eventually(lambda: station.http.get("/api/health").json()["viewers"] == 0)


def test_an_http_1_0_client_gets_the_multipart_stream_without_chunks(station: RunningStation) -> None:
    with socket.create_connection(("127.0.0.1", station.http.base_url.port), timeout=10) as asking, asking.makefile("rb") as answer:
        heads = {"Host": f"127.0.0.1:{station.http.base_url.port}", **station.owner}
        asking.sendall(
            ("GET /api/cameras/sky/live.mjpg HTTP/1.0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in heads.items()) + "\r\n").encode()
        )
        assert b" 200 " in answer.readline()
        head = http.client.parse_headers(answer)
        assert "transfer-encoding" not in head
        for _ in range(3):
            assert answer.readline() == b"--frame\r\n"
            part = http.client.parse_headers(answer)
            assert simplejpeg.decode_jpeg(answer.read(int(part["content-length"]))).shape == (240, 320, 3)
            assert answer.readline() == b"\r\n"


def test_focusing_sends_a_line_a_measurement_while_somebody_listens(station: RunningStation) -> None:
    with station.http.stream("GET", "/api/cameras/sky/focus?size=128&x=10&y=10") as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"
        lines = answer.iter_lines()
        measured = [json.loads(next(lines)) for _ in range(3)]
    assert [one["seq"] for one in measured] == sorted({one["seq"] for one in measured})
    for one in measured:
        assert (one["x"], one["y"], one["width"], one["height"], one["frame_width"]) == (0, 0, 128, 128, 320)
        assert simplejpeg.decode_jpeg(base64.b64decode(one["jpeg"])).shape == (128, 128, 3)


@pytest.mark.parametrize("query", ["size=10", "size=2000", "x=-1", "y=x"])
def test_a_region_to_focus_on_that_cannot_be_is_refused_in_words(station: RunningStation, query: str) -> None:
    answer = station.http.get(f"/api/cameras/sky/focus?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["detail"]
