"""A publisher under load, that or whose Redis is killed, or loses its power: nothing is lost, comes twice or out of order at a receiver."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.ext4 import Disk, missing_feature
from tests.support.light_station import CAMERA
from tests.support.live_reader import LiveReader
from tests.support.redis_server import RedisServer
from tests.support.station import eventually

from cupola.stream.format import Id, frames_key, key, unpack_event, unpack_part

pytestmark = pytest.mark.torture

RESTARTS = int(os.environ.pop("CUPOLA_REDIS_RESTARTS", "3"))
POWER_CUTS = int(os.environ.pop("CUPOLA_REDIS_POWER_CUTS", "1"))
PUBLISHER_KILLS = int(os.environ.pop("CUPOLA_REDIS_PUBLISHER_KILLS", "2"))
LOG, IMAGES = key("roof", "log"), key("roof", "images")


class Run:
    """A light station in a process of its own, that runs. What it prints is in a file: a pipe that nobody reads would stop it."""

    def __init__(self, folder: Path, url: str, *more: str) -> None:
        folder.mkdir(exist_ok=True)
        self._printed = folder / f"printed-{time.monotonic_ns()}"
        command = [sys.executable, "-m", "tests.support.light_station", str(folder), url, "--name", "roof", *more]
        with self._printed.open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output)
        try:
            eventually(lambda: "up\n" in self._printed.read_text() or self._process.poll() is not None, 120)
            assert self._process.poll() is None
        except BaseException:
            self._process.kill()
            raise

    def finish(self, how: signal.Signals = signal.SIGTERM) -> list[str]:
        """What it printed until its end."""
        self._process.send_signal(how)
        self._process.wait(60)
        return self._printed.read_text().splitlines()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *unused: object) -> None:
        self._process.kill()
        self._process.wait(10)


class Collector:
    """A receiver that confirms what it has in memory: all that ever came, in order, without what comes again."""

    def __init__(self, server: RedisServer) -> None:
        self.server, self.newest = server, {LOG: Id(0, 0), IMAGES: Id(0, 0)}
        self.numbers: list[int] = []
        self.captured: list[int] = []
        self.names: list[str] = []
        self.again = 0

    def read(self) -> int:
        """Some; raises what the client raises."""
        from redis.exceptions import ResponseError

        client = self.server.client()
        for stream in (LOG, IMAGES):
            with contextlib.suppress(ResponseError):  # it is there
                client.xgroup_create(stream, "archive", "0", mkstream=True)
        count = 0
        for start in ("0", ">"):
            for stream, entries in client.xreadgroup("archive", "one", {LOG: start, IMAGES: start}, count=300) or []:
                for id_, raw in entries:
                    self._take(stream.decode(), id_.decode(), raw)
                if entries:
                    client.xack(stream, "archive", *[id_ for id_, _ in entries])
                count += len(entries)
        client.close()
        return count

    def _take(self, stream: str, id_: str, raw: dict[bytes, bytes]) -> None:
        if Id.parse(id_) <= self.newest[stream]:
            self.again += 1
            return
        self.newest[stream] = Id.parse(id_)
        if stream == IMAGES:
            part = unpack_part(stream, id_, raw)
            self.names += [part.name] if part.last else []
            return
        event = unpack_event(stream, id_, raw)
        if event["kind"] == "sensor_reading":
            self.numbers.append(int(event["value"]))
        elif event["kind"] == "image_captured":
            self.captured.append(event["id"])

    def drain(self, told: list[str], seconds: float = 180.0) -> None:
        """Until all of it is here, and a little longer: something may come twice. Of a station that runs."""
        from redis.exceptions import RedisError

        numbers, names = wanted(told)
        end = time.monotonic() + seconds
        while time.monotonic() < end and not (set(numbers) <= set(self.numbers) and set(names) <= set(self.names)):
            with contextlib.suppress(RedisError):
                self.read()
            time.sleep(0.05)
        for _ in range(10):
            self.read()
            time.sleep(0.1)

    def check(self, told: list[str]) -> None:
        """Against what a station printed: nothing of that lost, nothing twice, all in order."""
        numbers, names = wanted(told)
        assert len(numbers) > 20 and len(names) > 2
        assert self.numbers == sorted(set(self.numbers)), "events twice or out of order"
        assert set(numbers) <= set(self.numbers), f"lost: {sorted(set(numbers) - set(self.numbers))[:10]}"
        assert len(self.names) == len(set(self.names)), "stills twice"
        assert set(names) <= set(self.names), f"lost: {sorted(set(names) - set(self.names))[:10]}"
        assert [name for name in self.names if name in set(names)] == names, "stills out of order"
        assert len(self.captured) == len(set(self.captured)) == len(self.names), "each still is announced once"


def wanted(told: list[str]) -> tuple[list[int], list[str]]:
    """The events and stills that a station printed."""
    events = [int(line.split()[1]) for line in told if line.startswith("event ")]
    return events, [line.split()[1] for line in told if line.startswith("still ")]


def read_for(collector: Collector, seconds: float) -> None:
    """So long, and until some more stills have come: a busy machine takes its time."""
    from redis.exceptions import RedisError

    end, wanted = time.monotonic() + seconds, len(collector.names) + 3
    while time.monotonic() < end or (len(collector.names) < wanted and time.monotonic() < end + 60):
        with contextlib.suppress(RedisError):
            collector.read()
        time.sleep(0.02)


LOAD = ("--events-per-s", "200", "--stills-per-s", "10")
LIVE = ("--live-fps", "30", "--live-bytes", "50000")
IDLE = ("--events-per-s", "1", "--stills-per-s", "0")
UNREAD = 10  # live packets that Redis may have and no reader yet when it is killed


def test_nothing_is_lost_twice_or_out_of_order_when_redis_is_killed_under_load(tmp_path: Path) -> None:
    dice, folder = random.Random(8), tmp_path / "station"
    with RedisServer(tmp_path / "redis") as server:
        collector, reader = Collector(server), LiveReader(server, frames_key("roof", CAMERA))
        reader.start()
        with contextlib.closing(reader), Run(folder, server.url, *LOAD, *LIVE) as station:
            for _ in range(RESTARTS):
                read_for(collector, dice.uniform(0.5, 1.5))
                server.kill()
                time.sleep(dice.uniform(0.0, 0.4))
                server.start()
            read_for(collector, 1.0)
            told = station.finish()
        with Run(folder, server.url, *IDLE):
            collector.drain(told)
        collector.check(told)
        counted, seen = json.loads(told[-1].removeprefix("live ")), [frame.sequence for frame in reader.frames]
        assert counted["produced"] == counted["delivered"] + counted["dropped"]
        assert seen == sorted(set(seen)) and reader.frames[-1].dropped == counted["dropped"] > 0
        assert counted["delivered"] - UNREAD * RESTARTS <= len(seen) <= counted["delivered"]


def test_nothing_is_lost_twice_or_out_of_order_when_the_publisher_is_killed_under_load(tmp_path: Path) -> None:
    dice, folder, told = random.Random(9), tmp_path / "station", list[str]()
    with RedisServer(tmp_path / "redis") as server:
        collector = Collector(server)
        for _ in range(PUBLISHER_KILLS):
            with Run(folder, server.url, *LOAD) as station:
                read_for(collector, dice.uniform(0.7, 2.0))
                told += station.finish(signal.SIGKILL)
        with Run(folder, server.url, *IDLE):
            collector.drain(told)
        collector.check(told)


def test_nothing_is_lost_twice_or_out_of_order_when_the_power_of_redis_is_cut_under_load(tmp_path: Path) -> None:
    if why := missing_feature():
        pytest.skip(why)
    folder, disk = tmp_path / "station", Disk(tmp_path, 256)
    server = RedisServer(disk.folder / "redis")
    (disk.folder / "redis").rename(tmp_path / "redis")
    collector = Collector(server)  # it keeps what it confirmed, as a receiver on another machine does
    with contextlib.ExitStack() as stack:
        stack.callback(server.kill)
        station: Run | None = None
        for number in range(POWER_CUTS + 1):
            with disk.mounted() as mounted:
                if number == 0:
                    shutil.copytree(tmp_path / "redis", mounted / "redis")
                    os.sync()
                server.start()
                station = station or stack.enter_context(Run(folder, server.url, *LOAD))
                read_for(collector, 2.0)
                if number < POWER_CUTS:
                    disk.cut_power()
                else:
                    told = station.finish()
                    with Run(folder, server.url, *IDLE):
                        collector.drain(told)
                    collector.check(told)
                server.kill()
