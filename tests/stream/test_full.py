"""No room: in the spool, on its disk, in Redis; and receivers that are gone, which everything waits for."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shlex
import subprocess
import time
from pathlib import Path

import pytest
from tests.support.ext4 import Disk, missing_feature
from tests.support.light_station import LightStation
from tests.support.publishing import IMAGES, LOG, NOWHERE, all_sent, sent, stills, until
from tests.support.redis_server import RedisServer

from cupola.config.load import from_text
from cupola.status.metrics import families
from cupola.stream.check import check_redis
from cupola.stream.filling import Filling
from cupola.stream.format import unpack_event, unpack_part
from cupola.stream.words import in_words
from cupola.watch.streaming import StreamingWatch


async def test_a_redis_out_of_memory_is_told_and_takes_the_rest_when_it_has_room(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis", ["maxmemory 6mb"]) as server:
        async with LightStation(tmp_path / "station", server.url, "roof") as station:
            names = [await station.still(900_000) for _ in range(8)]
            await until(lambda: "out of memory" in str(station.publisher.problem))
            server.client().config_set("maxmemory", "100mb")
            await all_sent(station, 8, 8)
            assert stills(server) == names
            assert station.publisher.problem is None


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
        async with LightStation(mounted, NOWHERE, "roof") as station:
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
        async with LightStation(mounted, NOWHERE, "roof") as station:
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


async def test_alarms_tell_of_a_redis_that_is_away_and_of_a_spool_that_fills_up(tmp_path: Path) -> None:
    async with LightStation(tmp_path, NOWHERE, "roof", spool_mb=10) as station:
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


def test_what_is_left_of_the_spool_is_told_by_the_one_that_fills_first() -> None:
    filling = Filling(100, 1000)
    filling.look(0.0, 0, 0)
    assert filling.full_in_s is None
    filling.look(60.0, 5, 20)
    assert filling.full_in_s == 19 * 60
    filling.look(61.0, 99, 999)  # too soon after the last look
    filling.look(120.0, 5, 200)
    assert (filling.full_in_s, filling.percent(5, 200)) == (8 * 60, 20.0)
    for minute in range(3, 15):
        filling.look(60.0 * minute, 5, 200)
    assert filling.full_in_s is None  # of the last ten minutes


async def test_page_status_metrics_and_alarm_say_in_how_many_hours_the_spool_is_full(tmp_path: Path) -> None:
    async with LightStation(tmp_path, NOWHERE, "roof", spool_mb=1000) as station:
        publisher, watch, now = station.publisher, StreamingWatch(station.publisher, station.bus), time.monotonic()
        await until(lambda: publisher.state == "unreachable")
        publisher.filling = Filling(100_000_000, 900_000_000)
        publisher.filling.look(now - 600, 0, 0)
        publisher.filling.look(now, 0, 900_000_000 // 19)
        report = publisher.report()
        assert report["full_in_seconds"] == 3 * 3600 and "; spool full in 3 h" in report["words"]
        document = {"device_id": "roof", "version": "1", "errors": [], "cameras": {}, "redis": report}
        found = {family.name: family.samples for family in families(document, 0.0, stale=False)}
        assert found["cupola_redis_spool_full_seconds"] == [("", {"device": "roof"}, 10800.0)]
        publisher.filling.percent = lambda *held: 60.0  # type: ignore[method-assign]
        watch.look(now)
        assert ["Full in 3 h. " in alarm.message for alarm in watch.active if alarm.what == "redis_spool"] == [True]


async def test_a_group_of_receivers_that_is_gone_is_named_with_the_command_that_gives_it_up(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By page, alarm and doctor; and that command, as it is told, frees the spool."""
    monkeypatch.setattr("cupola.stream.check.ABANDONED_S", 1.0)
    client = redis.client()
    settings = from_text(f"station: {{name: roof}}\nredis: {{url: '{redis.url}'}}\n", "cupola.yaml", tmp_path)
    async with LightStation(tmp_path, redis.url, "roof") as station:
        publisher, watch = station.publisher, StreamingWatch(station.publisher, station.bus)
        await station.still()
        await all_sent(station, 1, 1)
        for stream, group in itertools.product((LOG, IMAGES), ("archive", "the yard's")):
            client.xgroup_create(stream, group, "0")

        def archive() -> None:
            for stream, entries in client.xreadgroup("archive", "one", {LOG: ">", IMAGES: ">"}):
                client.xack(stream, "archive", *(id_ for id_, _ in entries))

        archive()
        await until(lambda: {group for _, group in publisher.waited_for} == {"the yard's"})
        assert "wait for receivers of the yard's" in publisher.report()["words"]
        publisher.filling.percent = lambda *held: 60.0  # type: ignore[method-assign]
        watch.look(time.monotonic())
        [finding] = [one for one in await check_redis(settings) if "has asked for" in one.message]
        assert "the group the yard's" in finding.message and finding.level == "warning"
        commands = finding.fix.partition(": ")[2]
        assert [alarm.message.endswith(commands) for alarm in watch.active] == [True]
        done = await asyncio.to_thread(subprocess.run, ["sh", "-c", commands], capture_output=True, text=True)
        assert done.stdout.split() == ["1", "1"], done.stderr
        await all_sent(station, 2, 1)
        archive()  # the alarm
        await until(lambda: publisher.journal.spool.depth == publisher.images.spool.depth == client.xlen(IMAGES) == 0)

        station.event(1)  # a receiver that was there, and is there no more
        await all_sent(station, 3)
        client.xreadgroup("archive", "one", {LOG: ">"})
        assert [one.message for one in await check_redis(settings) if "has asked for" in one.message] == []
        await until(lambda: client.xinfo_consumers(LOG, "archive")[0]["idle"] > 1000)
        [finding] = [one for one in await check_redis(settings) if "has asked for" in one.message]
        assert "the group archive has asked for anything for 1 s" in finding.message and shlex.split(finding.fix.partition(": ")[2])[-2:] == [
            LOG,
            "archive",
        ]
