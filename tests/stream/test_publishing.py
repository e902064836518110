"""A publisher and a real Redis: what arrives, what is freed, and what becomes of it when either fails."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from tests.support.ext4 import Disk, missing_feature
from tests.support.light_station import CAMERA, PLACE, LightStation
from tests.support.redis_server import RedisServer

from cupola.core.errors import StorageFailed
from cupola.storage.reconcile import reconcile
from cupola.stream.format import key, unpack_event, unpack_part, unpack_status
from cupola.stream.words import in_words
from cupola.watch.streaming import StreamingWatch

LOG, IMAGES = key("roof", "log"), key("roof", "images")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(shared: RedisServer) -> RedisServer:
    """Empty."""
    shared.client().flushall()
    return shared


def events(redis: RedisServer, stream: str = LOG) -> list[tuple[str, dict[str, Any]]]:
    return [(id_.decode(), unpack_event(stream, id_.decode(), raw)) for id_, raw in redis.client().xrange(stream)]


def numbers(redis: RedisServer, stream: str = LOG) -> list[int]:
    return [int(event["value"]) for _, event in events(redis, stream) if event["kind"] == "sensor_reading"]


def stills(redis: RedisServer, stream: str = IMAGES) -> list[str]:
    """The names of the whole ones, each checked against its own size and digest."""
    whole, data = [], b""
    for id_, raw in redis.client().xrange(stream):
        part = unpack_part(stream, id_.decode(), raw)
        data = part.data if part.part == 0 else data + part.data
        if part.last:
            assert (len(data), hashlib.sha256(data).hexdigest()) == (part.size, part.sha256)
            whole.append(part.name)
    return whole


async def until(look: Callable[[], Any], seconds: float = 120.0) -> Any:
    end = time.monotonic() + seconds
    while not (answer := await asyncio.to_thread(look)):
        assert time.monotonic() < end, f"not within {seconds} s; the last answer was {answer!r}"
        await asyncio.sleep(0.05)
    return answer


def sent(station: LightStation) -> bool:
    return station.publisher.state == "connected" and not any(sender.unsent for sender in station.publisher.senders.values())


async def all_sent(station: LightStation, events: int, stills: int = 0) -> None:
    """So many records were spooled, counted from the first, and Redis has them."""
    spools = station.publisher.journal.spool, station.publisher.images.spool
    await until(lambda: spools[0].next > events and spools[1].next > stills and sent(station))


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

        def read(group: str, count: int) -> list[bytes]:
            return [id_ for _, entries in client.xreadgroup(group, "one", {IMAGES: ">"}, count=count) for id_, _ in entries]

        first = read("archive", 3)
        client.xack(IMAGES, "archive", *first)
        await asyncio.sleep(1.5)
        assert images.spool.freed == 0  # `second` has nothing yet
        client.xack(IMAGES, "second", *read("second", 5))
        await until(lambda: images.spool.freed == 1)  # the clip of three records is not whole at its second
        await until(lambda: client.xrange(IMAGES)[0][0] == b"1-2")
        rest = read("archive", 2)
        client.xack(IMAGES, "archive", rest[1])
        await asyncio.sleep(1.5)
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


async def test_a_redis_out_of_memory_is_told_and_takes_the_rest_when_it_has_room(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis", ["maxmemory 6mb"]) as server:
        async with LightStation(tmp_path / "station", server.url, "roof") as station:
            names = [await station.still(900_000) for _ in range(8)]
            await until(lambda: "out of memory" in str(station.publisher.problem))
            server.client().config_set("maxmemory", "100mb")
            await all_sent(station, 8, 8)
            assert stills(server) == names
            assert station.publisher.problem is None


async def test_a_stream_that_is_deleted_is_sent_again_as_far_as_no_receiver_has_it(redis: RedisServer, tmp_path: Path) -> None:
    client = redis.client()
    async with LightStation(tmp_path, redis.url, "roof") as station:
        for number in range(1, 11):
            station.event(number)
        await all_sent(station, 10)
        client.xgroup_create(LOG, "archive", "0")
        ids = [id_ for _, entries in client.xreadgroup("archive", "one", {LOG: ">"}, count=4) for id_, _ in entries]
        client.xack(LOG, "archive", *ids)
        await until(lambda: station.publisher.journal.spool.freed == 4)
        client.delete(LOG)
        station.event(11)
        await until(lambda: numbers(redis) == [5, 6, 7, 8, 9, 10, 11])
        assert [id_ for id_, _ in events(redis)] == [f"1-{count}" for count in range(5, 12)]
        assert any("is gone" in words for _, words in station.logged)


async def test_a_station_restored_from_a_backup_goes_on_as_a_new_incarnation(redis: RedisServer, tmp_path: Path) -> None:
    folder, backup = tmp_path / "station", tmp_path / "backup"
    async with LightStation(folder, redis.url, "roof") as station:
        for number in range(1, 6):
            station.event(number)
        await all_sent(station, 5)
    shutil.copytree(folder, backup)
    async with LightStation(folder, redis.url, "roof") as station:
        for number in range(6, 11):
            station.event(number)
        await all_sent(station, 10)
    shutil.rmtree(folder)
    backup.rename(folder)
    async with LightStation(folder, redis.url, "roof") as station:
        for number in (101, 102):
            station.event(number)
        await until(lambda: station.publisher.journal.spool.incarnation == 2 and sent(station))
        assert numbers(redis) == [*range(1, 11), 101, 102]
        assert [id_ for id_, _ in events(redis)][-2:] == ["2-1", "2-2"]
        assert any("restored from a backup" in words for _, words in station.logged)
    async with LightStation(folder, redis.url, "roof") as station:
        station.event(103)
        await all_sent(station, 8)
        assert events(redis)[-1][0] == "2-3"


async def test_a_restored_station_that_went_further_than_redis_before_they_met_loses_nothing(redis: RedisServer, tmp_path: Path) -> None:
    folder, backup = tmp_path / "station", tmp_path / "backup"
    async with LightStation(folder, redis.url, "roof") as station:
        station.event(1)
        await all_sent(station, 1)
    shutil.copytree(folder, backup)
    async with LightStation(folder, redis.url, "roof") as station:
        station.event(2)
        await all_sent(station, 2)
    shutil.rmtree(folder)
    backup.rename(folder)
    async with LightStation(folder, "redis://127.0.0.1:1/0", "roof") as station:
        for number in range(11, 16):
            station.event(number)
        await until(lambda: station.publisher.journal.spool.next == 7)
    async with LightStation(folder, redis.url, "roof") as station:
        await until(lambda: sent(station))
        assert numbers(redis) == [1, 2, 11, 12, 13, 14, 15]
        assert [id_ for id_, _ in events(redis)][2] == "2-1"


async def test_a_second_station_of_the_same_name_is_told_to_take_another(redis: RedisServer, tmp_path: Path) -> None:
    async with LightStation(tmp_path / "a", redis.url, "roof") as one, LightStation(tmp_path / "b", redis.url, "roof") as other:
        for number in range(30):
            one.event(number)
            other.event(100 + number)
            await asyncio.sleep(0.05)
        await until(lambda: any("another station of this name" in words.lower() for _, words in one.logged + other.logged))
        await until(lambda: {*range(30), *range(100, 130)} <= set(numbers(redis)))


async def test_a_full_spool_leaves_stills_in_the_archive_and_says_so_and_events_are_missing_by_name(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")
    async with LightStation(tmp_path / "station", server.url, "roof", spool_mb=10) as station:
        station.publisher.journal.cap_bytes = 100_000
        names = [await station.still(2_000_000) for _ in range(6)]
        await until(lambda: station.publisher.images.problem and station.publisher.report()["waiting_in_archive"] == 2)
        assert station.publisher.images.spool.depth == 8
        (station.root / names[5]).unlink()  # retention needs room meanwhile
        for number in range(6000):
            station.event(number)
            if number % 100 == 0:
                await asyncio.sleep(0)
        await until(lambda: station.publisher.journal.problem)
        lost = station.publisher.journal.lost_total
        assert 0 < lost < 6000
        with server:
            for stream in (LOG, IMAGES):
                server.client().xgroup_create(stream, "archive", "0", mkstream=True)
            got: dict[str, list[dict[bytes, bytes]]] = {LOG: [], IMAGES: []}

            def receive() -> bool:
                client = server.client()
                for stream, entries in client.xreadgroup("archive", "one", {LOG: ">", IMAGES: ">"}, count=500) or []:
                    got[stream.decode()] += [raw for _, raw in entries]
                    client.xack(stream, "archive", *[id_ for id_, _ in entries])
                return sent(station) and not station.publisher.journal.problem and station.publisher.images.lost_total > 0 and not entries_left()

            def entries_left() -> int:
                return station.publisher.journal.spool.depth + station.publisher.images.spool.depth

            await until(receive, 120)
        parts = [unpack_part(IMAGES, "-", raw) for raw in got[IMAGES]]
        assert [part.name for part in parts if part.last] == names[:5]
        assert station.publisher.images.lost_total == 1
        told = [unpack_event(LOG, "-", raw) for raw in got[LOG]]
        gap = [event for event in told if event.get("what") == "redis_events_lost"]
        assert sum(int(event["value"]) for event in gap) == lost
        assert len([event for event in told if event["kind"] == "sensor_reading"]) == 6000 - lost


async def test_an_event_is_told_all_the_same_when_the_disk_of_the_spool_hangs(tmp_path: Path) -> None:
    if why := missing_feature():
        pytest.skip(why)
    disk = Disk(tmp_path, 32)
    with disk.mounted() as mounted:
        async with LightStation(mounted, "redis://127.0.0.1:1/0", "roof") as station:
            with station.bus.subscribe() as heard:
                with disk.stalled():
                    station.event(1)
                    assert (await asyncio.wait_for(heard.get(), 20)).kind == "sensor_reading"
                    assert station.publisher.journal.spool.next == 1
                station.event(2)
                await asyncio.wait_for(heard.get(), 20)
                await until(lambda: station.publisher.journal.spool.next == 3)


async def test_events_wait_in_memory_while_the_disk_is_full(tmp_path: Path) -> None:
    if why := missing_feature():
        pytest.skip(why)
    with Disk(tmp_path, 8).mounted() as mounted:
        async with LightStation(mounted, "redis://127.0.0.1:1/0", "roof") as station:
            with contextlib.suppress(OSError), (mounted / "filler").open("wb", buffering=0) as filler:
                while True:
                    filler.write(bytes(4096))
            for number in range(400):
                station.event(number)
            await until(lambda: "full" in str(station.publisher.journal.problem))
            (mounted / "filler").unlink()
            await until(lambda: station.publisher.journal.spool.next == 401)
            assert [int(json.loads(entry.payload)["value"]) for entry in station.publisher.journal.spool.read(1)] == list(range(400))
            assert station.publisher.lost == 0


async def test_a_spool_belongs_to_one_program(tmp_path: Path) -> None:
    async with LightStation(tmp_path, "redis://127.0.0.1:1/0", "roof"):
        with pytest.raises(StorageFailed, match="Another Cupola"):
            LightStation(tmp_path, "redis://127.0.0.1:1/0", "roof")


async def test_the_status_stands_in_its_hash(redis: RedisServer, tmp_path: Path) -> None:
    async with LightStation(tmp_path, redis.url, "roof") as station:
        station.publisher.document = lambda: {"device_id": "roof", "redis": station.publisher.report()}
        raw = await until(lambda: (found := redis.client().hgetall(key("roof", "status"))) and b"document" in found and found)
        status = unpack_status(key("roof", "status"), raw)
        assert (status.document["device_id"], status.incarnation) == ("roof", 1)


async def test_alarms_tell_of_a_redis_that_is_away_and_of_a_spool_that_fills_up(tmp_path: Path) -> None:
    async with LightStation(tmp_path, "redis://127.0.0.1:1/0", "roof", spool_mb=10) as station:
        watch = StreamingWatch(station.publisher, station.bus)
        await until(lambda: station.publisher.state == "unreachable")
        now = time.monotonic()
        watch.look(now)
        assert watch.active == []
        watch.look(now + 70)
        assert ["cannot be reached" in alarm.message for alarm in watch.active] == [True]
        for _ in range(3):
            await station.still(2_000_000)
        await until(lambda: station.publisher.fill_percent > 60)
        watch.look(now + 75)
        assert [(alarm.what, alarm.level) for alarm in watch.active] == [("redis", "WARNING"), ("redis_spool", "WARNING")]
        words = in_words(station.publisher.report())
        assert "cannot be reached" in words and "records wait for receivers, the oldest for" in words


async def test_an_archive_of_a_catalogue_that_had_to_be_made_anew_is_not_streamed_again(redis: RedisServer, tmp_path: Path) -> None:
    async with LightStation(tmp_path, redis.url, "roof") as station:
        path = station.root / await station.still()
        await all_sent(station, 1, 1)
    path.unlink()  # the spool has a link of it
    path.write_bytes(simplejpeg.encode_jpeg(np.zeros((16, 16, 3), np.uint8)))
    for file in (tmp_path / "state").glob("catalogue.sqlite*"):
        file.unlink()
    async with LightStation(tmp_path, redis.url, "roof") as station:
        report = await asyncio.to_thread(reconcile, station.catalogue, station.root, CAMERA, PLACE, full=True)
        assert [adopted.file.kind for adopted in report.adopted] == ["jpg"]
        station.sequence = 1
        name = await station.still()
        await all_sent(station, 2, 2)
        assert stills(redis)[1:] == [name]


async def test_a_still_whose_file_in_the_spool_is_gone_is_told_and_the_others_arrive(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")
    async with LightStation(tmp_path / "station", server.url, "roof") as station:
        names = [await station.still() for _ in range(3)]
        await until(lambda: station.publisher.images.spool.depth == 3)
        (tmp_path / "station/state/spool/images/files/2").unlink()
        with server:
            await all_sent(station, 3, 3)
            assert stills(server) == [names[0], names[2]]
            assert [id_ for id_, _ in server.client().xrange(IMAGES)] == [b"1-1", b"1-3"]
        assert station.publisher.lost == 1
        assert any(names[1] in words and level == "ERROR" for level, words in station.logged)
