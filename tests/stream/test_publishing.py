"""A publisher and a real Redis: what arrives, and when it is freed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.support.light_station import CAMERA, LightStation
from tests.support.publishing import IMAGES, NOWHERE, all_sent, events, numbers, sent, stills, until
from tests.support.redis_server import RedisServer

from cupola.core.errors import StorageFailed
from cupola.stream.format import key, unpack_part, unpack_status


async def test_events_and_stills_arrive_once_in_order_as_they_were(redis: RedisServer, tmp_path: Path) -> None:
    async with LightStation(tmp_path, redis.url, "roof") as station:
        with station.bus.subscribe() as heard:
            for number in range(1, 6):
                station.event(number)
            names = [await station.still(size) for size in (3000, 2_500_000)]
            await all_sent(station, 7, 4)
            assert [event.kind for event in [await heard.get() for _ in range(7)]] == ["sensor_reading"] * 5 + ["image_captured"] * 2
        assert numbers(redis) == [1, 2, 3, 4, 5]
        assert [id_ for id_, _ in events(redis)] == [f"1-{count}" for count in range(1, 8)]
        assert stills(redis) == names
        last = redis.client().xrevrange(IMAGES, count=1)[0]
        part = unpack_part(IMAGES, last[0].decode(), last[1])
        row = station.catalogue.image_of(CAMERA, 2)
        assert part.meta is not None and row is not None
        assert (part.part, part.parts, part.meta["sequence"], part.meta["id"]) == (2, 3, 2, row.id)


async def test_no_subscriber_has_an_event_that_is_not_on_disk(redis: RedisServer, tmp_path: Path) -> None:
    async with LightStation(tmp_path, redis.url, "roof") as station:
        with station.bus.subscribe() as heard:
            for number in range(300):
                station.event(number)
                await asyncio.sleep(0)
            for number in range(300):
                assert (event := await heard.get()).kind == "sensor_reading" and event.value == number
                assert station.publisher.journal.spool.next > number + 1


async def test_a_station_without_redis_works_and_sends_all_when_it_comes(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")
    async with LightStation(tmp_path / "station", server.url, "roof") as station:
        names = [await station.still() for _ in range(3)]
        for number in range(20):
            station.event(number)
        await until(lambda: station.publisher.state == "unreachable")
        assert "cannot be reached" in str(station.publisher.problem)
        await until(lambda: station.publisher.images.spool.depth == 3)
        report = station.publisher.report()
        assert (report["streams"]["images"]["unsent_records"], report["state"]) == (3, "unreachable")
        for name in names:  # the archive may lose them meanwhile: the spool has links
            (station.root / name).unlink()
        with server:
            await all_sent(station, 23, 3)
            assert (stills(server), numbers(server)) == (names, list(range(20)))


async def test_the_spool_is_freed_and_the_stream_cut_only_when_every_group_has_confirmed(redis: RedisServer, tmp_path: Path) -> None:
    client = redis.client()
    async with LightStation(tmp_path, redis.url, "roof") as station:
        spool, images = station.publisher.journal.spool, station.publisher.images
        client.xgroup_create(IMAGES, "archive", "0", mkstream=True)
        client.xgroup_create(IMAGES, "second", "0")
        await station.still(10)
        names = [await station.still(2_500_000), await station.still(10)]
        await all_sent(station, 3, 5)
        assert station.publisher.images.linked_bytes == 2_500_020

        async def looked_at() -> None:
            """The publisher has looked twice what receivers have."""
            calls = lambda: client.info("commandstats").get("cmdstat_xpending", {"calls": 0})["calls"]  # noqa: E731
            before = calls()
            await until(lambda: calls() >= before + 2)

        def read(group: str, count: int) -> list[bytes]:
            return [id_ for _, entries in client.xreadgroup(group, "one", {IMAGES: ">"}, count=count) for id_, _ in entries]

        first = read("archive", 3)
        client.xack(IMAGES, "archive", *first)
        await until(lambda: station.publisher.senders["images"].behind == "second")
        assert images.spool.freed == 0  # `second` has nothing yet
        client.xack(IMAGES, "second", *read("second", 5))
        await until(lambda: images.spool.freed == 1)  # the clip of three records is not whole at its second
        await until(lambda: client.xrange(IMAGES)[0][0] == b"1-2")
        rest = read("archive", 2)
        client.xack(IMAGES, "archive", rest[1])
        await looked_at()
        assert images.spool.freed == 1  # 1-4 is still pending
        client.xack(IMAGES, "archive", rest[0])
        await until(lambda: images.spool.depth == client.xlen(IMAGES) == 0)
        assert (client.xlen(IMAGES), images.linked_bytes, os.listdir(tmp_path / "state/spool/images/files")) == (0, 0, [])
        assert station.catalogue.read("SELECT count(*) FROM to_stream WHERE what = 'still'")[0][0] == 0
        assert (spool.freed, len(names)) == (0, 2)  # no group reads the log


async def test_a_restart_goes_on_where_it_was_and_makes_up_what_was_not_spooled(redis: RedisServer, tmp_path: Path) -> None:
    async with LightStation(tmp_path, redis.url, "roof") as station:
        station.event(1)
        first = await station.still()
        await all_sent(station, 2, 1)
    # as when the power went after the commit: noted, neither announced nor spooled
    station = LightStation(tmp_path, redis.url, "roof")
    station.loop = asyncio.get_running_loop()
    station.bus.first = lambda event: True
    second = await station.still()
    station.publisher.journal.spool.close()
    station.publisher.images.spool.close()
    station.catalogue.close()
    async with LightStation(tmp_path, redis.url, "roof") as station:
        station.event(2)
        await all_sent(station, 4, 2)
        assert stills(redis) == [first, second]
        kinds = [(event["kind"], event.get("sequence")) for _, event in events(redis)]
        assert kinds == [("sensor_reading", None), ("image_captured", 1), ("image_captured", 2), ("sensor_reading", None)]
    async with LightStation(tmp_path, redis.url, "roof") as station:
        await until(lambda: sent(station))
        assert (len(events(redis)), stills(redis)) == (4, [first, second])


async def test_a_wrong_password_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis", ["requirepass correct"], password="correct") as server:
        async with LightStation(tmp_path / "station", server.url_of(None, "wrong"), "roof") as station:
            station.event(1)
            await until(lambda: station.publisher.problem)
            assert "refuses the user or the password" in str(station.publisher.problem)
            assert "wrong" not in str(station.logged).replace("is wrong", "")
        async with LightStation(tmp_path / "station", server.url, "roof") as station:
            await all_sent(station, 1)
            assert numbers(server) == [1]


async def test_a_spool_belongs_to_one_program(tmp_path: Path) -> None:
    async with LightStation(tmp_path, NOWHERE, "roof"):
        with pytest.raises(StorageFailed, match="Another Cupola"):
            LightStation(tmp_path, NOWHERE, "roof")


async def test_the_status_stands_in_its_hash(redis: RedisServer, tmp_path: Path) -> None:
    async with LightStation(tmp_path, redis.url, "roof") as station:
        station.publisher.document = lambda: {"device_id": "roof", "redis": station.publisher.report()}
        raw = await until(lambda: (found := redis.client().hgetall(key("roof", "status"))) and b"document" in found and found)
        status = unpack_status(key("roof", "status"), raw)
        assert (status.document["device_id"], status.incarnation) == ("roof", 1)
