"""A whole station that streams: what its owner's Redis gets of a simulated camera, and what its page, status and metrics say of that."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.receiving import Stored, receiving
from tests.support.redis_server import RedisServer
from tests.support.station import RunningStation, eventually, running_station

from cupola.stream import frames
from cupola.stream.format import frames_key, key, unpack_event, unpack_frame, unpack_part, unpack_status

SOON_S = 120.0
LOG, IMAGES, FRAMES = key("teststation", "log"), key("teststation", "images"), frames_key("teststation", "sky")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def station(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStation]:
    after = f"redis: {{url: '{server.url}', live: [sky]}}"
    more = "preroll: {seconds: 2, before_s: 1, after_s: 1}"
    with running_station(tmp_path_factory.mktemp("station"), more=more, after=after) as station:
        yield station


def events(server: RedisServer) -> list[dict[str, Any]]:
    return [unpack_event(LOG, id_.decode(), raw) for id_, raw in server.client().xrange(LOG)]


def test_a_still_is_announced_and_arrives_with_its_facts(station: RunningStation, server: RedisServer) -> None:
    image = station.snap()
    eventually(lambda: any(event["kind"] == "image_developed" and event["id"] == image["id"] for event in events(server)), SOON_S)
    kinds = [event["kind"] for event in events(server) if event.get("id") == image["id"]]
    assert kinds[:2] == ["image_captured", "image_developed"]

    def arrived() -> Any:
        parts = [unpack_part(IMAGES, id_.decode(), raw) for id_, raw in server.client().xrange(IMAGES)]
        return next((part for part in parts if part.meta is not None and part.meta["id"] == image["id"]), None)

    part = eventually(arrived, SOON_S)
    assert part.meta["sequence"] == image["sequence"]
    assert (station.images / part.name).read_bytes()[-len(part.data) :] == part.data


def test_live_pictures_come_without_a_viewer(station: RunningStation, server: RedisServer) -> None:
    station.open()
    eventually(lambda: server.client().xlen(FRAMES) > 3, SOON_S)
    seen = [unpack_frame(FRAMES, id_.decode(), raw) for id_, raw in server.client().xrange(FRAMES)]
    assert all(frame.data.startswith(b"\xff\xd8") and (frame.width, frame.height) == (320, 240) for frame in seen)
    assert [frame.sequence - frame.dropped for frame in seen] == list(range(1, len(seen) + 1))
    assert next(frames(server.url, station="teststation", camera="sky")).array.shape == (240, 320, 3)


def test_status_metrics_and_hash_say_how_streaming_does(station: RunningStation, server: RedisServer) -> None:
    told = eventually(lambda: (redis := station.http.get("/api/status").json()["redis"])["state"] == "connected" and redis, SOON_S)
    assert (told["station"], told["problem"]) == ("teststation", None)
    assert told["words"].startswith("connected")
    eventually(lambda: 'cupola_redis_connected{device="teststation"} 1' in station.http.get("/metrics").text, SOON_S)
    assert 'cupola_redis_published_total{device="teststation",stream="log"}' in station.http.get("/metrics").text
    client = server.client()
    eventually(lambda: client.hexists(key("teststation", "status"), "document"), SOON_S)
    assert unpack_status("status", client.hgetall(key("teststation", "status"))).document["device_id"] == "teststation"


def test_a_redis_that_is_gone_is_told_and_everything_follows(station: RunningStation, server: RedisServer) -> None:
    server.kill()
    image = station.snap()
    told = eventually(lambda: (redis := station.http.get("/api/status").json()["redis"])["state"] == "unreachable" and redis, SOON_S)
    assert "cannot be reached" in told["words"] and "wait for receivers" in told["words"]
    server.start()
    eventually(lambda: any(event["kind"] == "image_developed" and event["id"] == image["id"] for event in events(server)), SOON_S)
    ids = [event["id"] for event in events(server) if event["kind"] == "image_captured"]
    assert ids == sorted(set(ids))


def test_a_receiver_has_in_the_end_what_the_station_has_and_the_spool_is_empty(station: RunningStation, server: RedisServer, tmp_path: Path) -> None:
    station.open()
    clip = station.http.post("/api/cameras/sky/trigger", json={"label": "door"}).json()
    eventually(lambda: station.http.get(f"/api/clips/{clip['id']}").json()["state"] == "saved", SOON_S)
    with receiving(server.url, tmp_path) as work:

        def empty() -> bool:
            streams = station.http.get("/api/status").json()["redis"]["streams"]
            return streams["images"]["spool_records"] == 0 and streams["images"]["published"] > 0 and work.total["clips"] > 0

        eventually(empty, SOON_S)
    stored, made = Stored(tmp_path / "teststation"), Stored(station.images)
    assert stored.listed == made.listed
    assert stored.files == stored.listed
    assert not list((station.images / ".cupola" / "spool" / "images" / "files").iterdir())
    assert {"image_captured", "clip_saved"} <= {event["kind"] for event in map(json.loads, stored.events)}
