"""A publisher whose state, or whose stream in Redis, is not as it left it: deleted, restored from a backup, torn, another's."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import numpy as np
import simplejpeg
from tests.support.light_station import CAMERA, PLACE, LightStation
from tests.support.publishing import IMAGES, LOG, NOWHERE, all_sent, events, numbers, sent, stills, until
from tests.support.receiving import Stored, readings, receiving
from tests.support.redis_server import RedisServer

from cupola.core.clock import utc_now
from cupola.storage.reconcile import reconcile


async def test_a_stream_that_is_deleted_is_sent_again_as_far_as_no_receiver_has_it(redis: RedisServer, tmp_path: Path) -> None:
    client = redis.client()
    async with LightStation(tmp_path, redis.url, "roof") as station:
        for number in range(1, 11):
            station.event(number)
        await all_sent(station, 10)
        names = [await station.still(size) for size in (1000, 2_500_000)]
        await all_sent(station, 12, 4)
        client.xgroup_create(LOG, "archive", "0")
        ids = [id_ for _, entries in client.xreadgroup("archive", "one", {LOG: ">"}, count=4) for id_, _ in entries]
        client.xack(LOG, "archive", *ids)
        await until(lambda: station.publisher.journal.spool.freed == 4)
        client.delete(LOG, IMAGES)
        station.event(11)
        names.append(await station.still())
        await all_sent(station, 14, 5)
        await until(lambda: (numbers(redis), stills(redis)) == ([5, 6, 7, 8, 9, 10, 11], names))
        assert [id_ for id_, _ in events(redis)] == [f"1-{count}" for count in range(5, 15)]
        assert len([words for _, words in station.logged if "is gone" in words]) == 2


async def test_a_station_restored_from_a_backup_goes_on_as_a_new_incarnation_and_a_receiver_has_it_all(redis: RedisServer, tmp_path: Path) -> None:
    folder, backup, names = tmp_path / "station", tmp_path / "backup", list[str]()

    async def work(station: LightStation, first: int, last: int) -> None:
        for number in range(first, last + 1):
            station.event(number)
        names.append(await station.still())

    async with LightStation(folder, redis.url, "roof") as station:
        await work(station, 1, 5)
        await all_sent(station, 6, 1)
    shutil.copytree(folder, backup)
    async with LightStation(folder, redis.url, "roof") as station:
        await work(station, 6, 10)
        await all_sent(station, 12, 2)
    shutil.rmtree(folder)
    backup.rename(folder)
    async with LightStation(folder, redis.url, "roof") as station:
        # the number of the next still was given before: its name has to tell another second
        await until(lambda: f"{utc_now():%Y%m%dT%H%M%SZ}" > Path(names[-1]).name[:16])
        await work(station, 101, 102)
        await until(lambda: station.publisher.journal.spool.incarnation == station.publisher.images.spool.incarnation == 2 and sent(station))
        assert numbers(redis) == [*range(1, 11), 101, 102]
        assert [id_ for id_, _ in events(redis)][-3:] == ["2-1", "2-2", "2-3"]
        assert len([words for _, words in station.logged if "restored from a backup" in words]) == 2
    async with LightStation(folder, redis.url, "roof") as station:
        station.event(103)
        await all_sent(station, 10, 2)
        assert events(redis)[-1][0] == "2-4" and stills(redis) == names and len(set(names)) == 3
        stored = Stored(tmp_path / "archive" / "roof")
        with receiving(redis.url, tmp_path / "archive"):
            await until(lambda: station.publisher.journal.spool.depth == station.publisher.images.spool.depth == 0)
    assert readings(stored) == [*range(1, 11), 101, 102, 103]
    assert stored.files == stored.listed and list(stored.listed) == names


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
    async with LightStation(folder, NOWHERE, "roof") as station:
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


async def test_a_torn_end_of_the_spool_is_told_and_all_that_counted_arrives(redis: RedisServer, tmp_path: Path) -> None:
    async with LightStation(tmp_path, NOWHERE, "roof") as station:
        for number in range(1, 6):
            station.event(number)
        name = await station.still()
        await until(lambda: (station.publisher.journal.spool.next, station.publisher.images.spool.next) == (7, 2))
    for spool in ("log", "images"):
        segment = max((tmp_path / "state/spool" / spool).glob("*.seg"))
        whole = segment.read_bytes()
        segment.write_bytes(whole + whole[: len(whole) // 3])  # as when the power went in the middle of the next write
    async with LightStation(tmp_path, redis.url, "roof") as station:
        station.event(6)
        await all_sent(station, 7, 1)
        assert (numbers(redis), stills(redis)) == ([1, 2, 3, 4, 5, 6], [name])
        assert len([words for _, words in station.logged if "cut off" in words]) == 2


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
