"""`cupola receive` killed, or its own disk without power, again and again while a station publishes: nothing lost, nothing twice.

CUPOLA_RECEIVER_KILLS and CUPOLA_RECEIVER_POWER_CUTS say how often.
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.ext4 import Disk, missing_feature
from tests.support.receiving import GROUP, Stored
from tests.support.redis_server import RedisServer
from tests.support.station import eventually
from tests.torture.streams import DRAINED_S, all_taken, is_whole, receiver, scripted_station

from cupola.stream.format import key, unpack_part

KILLS = int(os.environ.pop("CUPOLA_RECEIVER_KILLS", "3"))  # programs that are started here know no such key
POWER_CUTS = int(os.environ.pop("CUPOLA_RECEIVER_POWER_CUTS", "2"))
pytestmark = [pytest.mark.torture, pytest.mark.timeout(600 + 30 * (KILLS + POWER_CUTS))]
LOG, IMAGES = key("roof", "log"), key("roof", "images")


def complete(stored: Stored, everything: dict[str, Any]) -> bool:
    """All of it is there, once: in catalogue and events; whether the disk agrees is looked at when all is over."""
    listed, numbers = stored.listed, stored.numbers
    assert len(set(numbers)) == len(numbers), "stored twice"
    return len(listed) == len(everything["files"]) and len(numbers) == len(everything["events"])


def is_all_there(stored: Stored, printed: str) -> None:
    everything = json.loads(printed)
    assert stored.listed == everything["files"] and stored.events == everything["events"]
    assert stored.arriving == [] and stored.set_aside == []
    is_whole(stored)


def told(folder: Path) -> list[dict[str, Any]]:
    """What receivers that ran there printed; the last line of a killed one may be cut."""
    lines = (folder / "output").read_text(errors="replace").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def test_a_receiver_killed_under_load_loses_nothing_and_stores_nothing_twice(tmp_path: Path) -> None:
    dice, into = random.Random(KILLS), tmp_path / "archive"
    stored = Stored(into / "roof")
    with RedisServer(tmp_path / "redis", ["appendfsync no"]) as redis, scripted_station(redis.url, "roof", 2.0 * KILLS, tmp_path / "made") as station:
        for _ in range(KILLS):
            with receiver(redis.url, into, tmp_path / "receiver"):
                before = len(stored.listed)
                eventually(lambda before=before: len(stored.listed) > before or not station.runs, 60)
                time.sleep(dice.uniform(0, 0.3))  # anywhere in its work
        with receiver(redis.url, into, tmp_path / "receiver") as last:
            everything = station.ended()
            eventually(lambda: complete(stored, json.loads(everything)) and all_taken(redis), DRAINED_S)
            last.finish()
        assert len(redis.client().xinfo_consumers(IMAGES, GROUP)) == 1  # the same name after each start
    is_all_there(stored, everything)
    ends = [line for line in told(tmp_path / "receiver") if line["event"] == "ended"]
    assert ends and ends[-1]["gone"] == ends[-1]["set_aside"] == 0


def acknowledged(redis: RedisServer) -> tuple[dict[str, str], set[int]]:
    """What the station need not keep any more: sha256 of stills and clips by path, and numbers of events."""
    client = redis.client()
    names, numbers = dict[str, str](), set[int]()
    for stream in (LOG, IMAGES):
        groups = {group["name"]: group["last-delivered-id"] for group in client.xinfo_groups(stream)} if client.exists(stream) else {}
        if (upto := groups.get(GROUP.encode())) in (None, b"0-0"):
            continue
        pending = {one["message_id"] for one in client.xpending_range(stream, GROUP, "-", "+", 1_000_000)}
        for id_, raw in client.xrange(stream, max=upto):
            if id_ in pending:
                continue
            if stream == LOG:
                numbers.add(json.loads(raw[b"event"])["n"])
            elif (part := unpack_part(stream, id_.decode(), raw)).last:
                names[part.name] = part.sha256
    return names, numbers


@pytest.mark.skipif(missing_feature() is not None, reason=str(missing_feature()))
def test_nothing_that_was_acknowledged_is_lost_when_the_power_of_the_receivers_disk_is_cut(tmp_path: Path) -> None:
    dice, disk, caught = random.Random(POWER_CUTS), Disk(tmp_path, 100 + 50 * POWER_CUTS), 0
    into = disk.folder / "archive"
    stored = Stored(into / "roof")
    with (
        RedisServer(tmp_path / "redis", ["appendfsync no"]) as redis,
        scripted_station(redis.url, "roof", 3.0 * POWER_CUTS, tmp_path / "made") as station,
    ):
        for _ in range(POWER_CUTS):
            before = len(acknowledged(redis)[0])
            with disk.mounted(), receiver(redis.url, into, tmp_path / "receiver"):
                eventually(lambda before=before: len(acknowledged(redis)[0]) > before or not station.runs, 60)
                time.sleep(dice.uniform(0, 0.3))
                disk.cut_power()
                time.sleep(dice.uniform(0, 0.2))  # it may try to go on
            names, numbers = acknowledged(redis)
            caught += len(names) - before
            with disk.mounted():
                files = stored.files
                assert {name: files.get(name) for name in names} == names, "a still or clip is lost, or not whole"
                assert names.items() <= stored.listed.items() and numbers <= set(stored.numbers), "a row is lost"
        with disk.mounted(), receiver(redis.url, into, tmp_path / "receiver") as last:
            everything = station.ended()
            eventually(lambda: complete(stored, json.loads(everything)) and all_taken(redis), DRAINED_S)
            last.finish()
            is_all_there(stored, everything)
    print(f"\n{POWER_CUTS} cuts, {caught} stills and clips acknowledged before them")
    assert caught >= POWER_CUTS
