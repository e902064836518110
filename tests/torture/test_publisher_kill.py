"""A publisher under load, that or whose Redis is killed, or loses its power: nothing is lost, comes twice or out of order at a receiver.

CUPOLA_REDIS_RESTARTS, CUPOLA_REDIS_POWER_CUTS and CUPOLA_REDIS_PUBLISHER_KILLS say how often.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import time
from pathlib import Path

import pytest
from tests.support.ext4 import Disk, missing_feature
from tests.support.light_station import CAMERA
from tests.support.live_reader import LiveReader
from tests.support.receiving import Stored, readings, receiving
from tests.support.redis_server import RedisServer
from tests.support.station import eventually
from tests.torture.streams import DRAINED_S, Process, all_taken, is_whole, light_station, told_by, up

from cupola.stream.format import frames_key

RESTARTS = int(os.environ.pop("CUPOLA_REDIS_RESTARTS", "3"))  # programs that are started here know no such key
POWER_CUTS = int(os.environ.pop("CUPOLA_REDIS_POWER_CUTS", "1"))
PUBLISHER_KILLS = int(os.environ.pop("CUPOLA_REDIS_PUBLISHER_KILLS", "2"))
pytestmark = [pytest.mark.torture, pytest.mark.timeout(600 + 30 * max(RESTARTS, POWER_CUTS, PUBLISHER_KILLS))]
LOAD = ("--events-per-s", "200", "--stills-per-s", "10")
LIVE = ("--live-fps", "30", "--live-bytes", "50000")
UNREAD = 10  # live packets that Redis may have and no reader yet when it is killed
IDLE = ("--events-per-s", "1", "--stills-per-s", "0")


def busy(stored: Stored, seconds: float) -> None:
    """So long, and until some more stills have come: a busy machine takes its time."""
    end, wanted = time.monotonic() + seconds, len(stored.listed) + 3
    eventually(lambda: time.monotonic() >= end and len(stored.listed) >= wanted, seconds + 60)


def check(stored: Stored, server: RedisServer, printed: str) -> None:
    """All that stations printed arrives: nothing of that lost, nothing twice, all in order."""
    numbers, names = told_by(printed)
    assert len(numbers) > 20 and len(names) > 2
    eventually(lambda: set(numbers) <= set(readings(stored)) and set(names) <= stored.listed.keys() and all_taken(server), DRAINED_S)
    found = readings(stored)
    assert found == sorted(set(found)), "events twice or out of order"
    arrived = [row["path"] for row in stored.query("SELECT path FROM received_image ORDER BY incarnation, sequence")]
    assert len(arrived) == len(set(arrived)), "stills twice"
    assert [name for name in arrived if name in set(names)] == names, "stills out of order"
    captured = [event["id"] for event in map(json.loads, stored.events) if event["kind"] == "image_captured"]
    assert len(captured) == len(set(captured)) == len(arrived), "each still is announced once"
    is_whole(stored)


def check_live(reader: LiveReader, printed: str) -> None:
    """Each live packet was delivered or dropped, by the station's own count and by what came."""
    counts = json.loads(next(line for line in printed.splitlines() if line.startswith("live ")).partition(" ")[2])
    print(f"\nlive: {counts}")
    assert counts["produced"] == counts["delivered"] + counts["dropped"]
    eventually(lambda: reader.frames[-1].sequence - reader.frames[-1].dropped == counts["delivered"])
    seen = [frame.sequence for frame in reader.frames]
    assert seen == sorted(set(seen)), "live packets twice or out of order"
    assert reader.frames[-1].dropped == counts["dropped"] > 0
    assert counts["delivered"] - UNREAD * RESTARTS <= len(seen) <= counts["delivered"]


def test_nothing_is_lost_twice_or_out_of_order_when_redis_is_killed_under_load(tmp_path: Path) -> None:
    dice, folder, stored = random.Random(8), tmp_path / "roof", Stored(tmp_path / "archive" / "roof")
    with RedisServer(tmp_path / "redis") as server, receiving(server.url, tmp_path / "archive", stations=["roof"]):
        reader = LiveReader(server, frames_key("roof", CAMERA))
        reader.start()
        with contextlib.closing(reader):
            with up(light_station(folder, server.url, *LOAD, *LIVE)) as station:
                for _ in range(RESTARTS):
                    busy(stored, dice.uniform(0.0, 0.5))
                    server.kill()
                    time.sleep(dice.uniform(0.0, 0.4))
                    server.start()
                busy(stored, 0.0)
                arrived = len(reader.frames)
                eventually(lambda: len(reader.frames) > arrived + 2)  # so that live pictures come again, too
                printed = station.finish()
            check_live(reader, printed)
        with light_station(folder, server.url, *IDLE):
            check(stored, server, printed)


def test_nothing_is_lost_twice_or_out_of_order_when_the_publisher_is_killed_under_load(tmp_path: Path) -> None:
    dice, folder, stored, printed = random.Random(9), tmp_path / "roof", Stored(tmp_path / "archive" / "roof"), ""
    with RedisServer(tmp_path / "redis") as server, receiving(server.url, tmp_path / "archive", stations=["roof"]):
        for _ in range(PUBLISHER_KILLS):
            with up(light_station(folder, server.url, *LOAD)) as station:
                busy(stored, dice.uniform(0.0, 1.0))
                station.kill()
                printed += station.printed.read_text()
        with light_station(folder, server.url, *IDLE):
            check(stored, server, printed)


def test_nothing_is_lost_twice_or_out_of_order_when_the_power_of_redis_is_cut_under_load(tmp_path: Path) -> None:
    if why := missing_feature():
        pytest.skip(why)
    folder, stored, disk = tmp_path / "roof", Stored(tmp_path / "archive" / "roof"), Disk(tmp_path, 256)
    server = RedisServer(disk.folder / "redis")
    (disk.folder / "redis").rename(tmp_path / "redis")
    with contextlib.ExitStack() as stack:
        stack.callback(server.kill)
        station: Process | None = None
        for number in range(POWER_CUTS + 1):
            with disk.mounted() as mounted:
                if number == 0:
                    shutil.copytree(tmp_path / "redis", mounted / "redis")
                    os.sync()
                server.start()
                if station is None:
                    station = stack.enter_context(up(light_station(folder, server.url, *LOAD)))
                    stack.enter_context(receiving(server.url, tmp_path / "archive", stations=["roof"]))
                busy(stored, 1.0)
                if number < POWER_CUTS:
                    disk.cut_power()
                else:
                    printed = station.finish()
                    with light_station(folder, server.url, *IDLE):
                        check(stored, server, printed)
                server.kill()
