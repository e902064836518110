"""Live packets through a real Redis that is killed and held up: each is delivered or dropped, and each is counted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.support.light_station import CAMERA, LightStation, jpeg_of
from tests.support.live_reader import LiveReader
from tests.support.publishing import until
from tests.support.redis_server import RedisServer

from cupola.stream.format import frames_key

STREAM = frames_key("roof", CAMERA)


async def test_live_packets_are_delivered_or_dropped_and_each_is_counted(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        reader = LiveReader(server, STREAM)
        async with LightStation(tmp_path / "station", server.url, "roof", live_keep=100_000) as station:
            await until(lambda: station.publisher.state == "connected")
            reader.start()
            data = jpeg_of(20_000, 1)

            def counts() -> dict[str, Any]:
                return station.publisher.live.counts[CAMERA]

            async def packets(first: int, count: int) -> None:
                for number in range(first, first + count):
                    station.packet(number, data)
                    await asyncio.sleep(0.005)

            try:
                await packets(1, 100)
                await until(lambda: len(reader.frames) == counts()["delivered"] == 100 - counts()["dropped"])
                server.kill()  # what nobody had read is gone with it, so wait until all of it was
                await packets(101, 100)
                server.start()
                await packets(201, 100)
                with server.paused():
                    await packets(301, 100)
                await packets(401, 50)
                await until(lambda: counts()["delivered"] + counts()["dropped"] == counts()["produced"] == 450)
                await until(lambda: station.publisher.live_problem is None)
                station.packet(451, data)
                await until(lambda: counts()["delivered"] + counts()["dropped"] == 451)
                await until(lambda: bool(reader.frames) and reader.frames[-1].sequence == 451)
            finally:
                reader.close()
        sequences = [frame.sequence for frame in reader.frames]
        assert sequences == sorted(set(sequences))
        assert (len(sequences), reader.frames[-1].dropped) == (counts()["delivered"], counts()["dropped"])
        assert len(sequences) + reader.frames[-1].dropped == 451 and reader.frames[-1].dropped > 0


async def test_live_packets_are_neither_synced_nor_written_to_redis_disk(tmp_path: Path) -> None:
    """A hundred pictures a second would wait for the disk's syncs, and wear out its flash, for nobody."""
    with RedisServer(tmp_path / "redis") as server:
        async with LightStation(tmp_path / "station", server.url, "roof") as station:
            await until(lambda: station.publisher.state == "connected")
            before = sum(path.stat().st_size for path in (tmp_path / "redis").rglob("*.aof"))
            for number in range(1, 21):
                station.packet(number, jpeg_of(100_000, 1))
                await asyncio.sleep(0.01)
            await until(lambda: server.client().xlen(STREAM) > 10)
            assert sum(path.stat().st_size for path in (tmp_path / "redis").rglob("*.aof")) - before < 100_000
            assert before > 0
