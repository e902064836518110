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
    with running_station(tmp_path_factory.mktemp("station"), after=after) as station:
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


def test_a_receiver_stores_what_the_station_has_and_a_program_sees_it_live(station: RunningStation, server: RedisServer, tmp_path: Path) -> None:
    image = station.snap()
    stored = Stored(tmp_path / "teststation")
    with receiving(server.url, tmp_path) as work:
        eventually(lambda: any(json.loads(event).get("id") == image["id"] and '"image_developed"' in event for event in stored.events), SOON_S)
        has = {path.relative_to(station.images).as_posix() for path in station.images.glob("sky/*/*/*/jpg/*.jpg")}
        eventually(lambda: stored.listed.keys() == has, SOON_S)
        frame = next(frames(server.url, station="teststation", camera="sky"))
        assert frame.array.shape == (240, 320, 3)
    assert all((station.images / name).read_bytes() == (stored.root / name).read_bytes() for name in has)
    assert [message for level, message, _ in work.told if level != "info"] == []
    told = [json.loads(event) for event in stored.events]
    captured = [event["sequence"] for event in told if event["kind"] == "image_captured"]
    assert captured == sorted(captured) and len(captured) == len(has)
    # what a receiver has, the station lets go of
    eventually(lambda: station.http.get("/api/status").json()["redis"]["streams"]["images"]["spool_records"] == 0, SOON_S)
