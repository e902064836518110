"""Each kind of trouble that the owner is told of, caused for real in one station on a small disk: the disk fills, a video fails, a schedule fails."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.support import ext4
from tests.support.sink import Sink
from tests.support.station import eventually
from tests.torture.station import Station, sky, until

from cupola.storage.space import free_space

pytestmark = [pytest.mark.torture, pytest.mark.timeout(240)]


def _fill(path: Path, percent: float) -> None:
    """What another program stores, until the disk is this full."""
    free = free_space(path.parent)
    leave = free.usable_bytes * (1 - percent / 100)
    with path.open("ab") as file:
        file.write(bytes(max(0, int(free.bytes - leave))))


def _end_periods(station: Station) -> None:
    """With the server down: its images were of a day and a night that are over, and the disk has garbled those of the night."""
    with sqlite3.connect(station.root / ".cupola" / "catalogue.sqlite", timeout=20) as catalogue:
        images = [row[0] for row in catalogue.execute("SELECT id FROM image ORDER BY id")]
        for kind, ids in (("day", images[:2]), ("night", images[2:])):
            day, first, last = catalogue.execute(f"SELECT min(day), min(opened_at), max(ended_at) FROM image WHERE id IN {tuple(ids)}").fetchone()
            values = ("north", kind, day, first, last, "finishing")
            period = catalogue.execute(
                "INSERT INTO period (camera, kind, day, starts_at, ends_at, state) VALUES (?, ?, ?, ?, ?, ?)", values
            ).lastrowid
            catalogue.execute(f"UPDATE image SET period = ? WHERE id IN {tuple(ids)}", (period,))
    catalogue.close()
    for path in sorted(station.root.rglob("jpg/*.jpg"))[2:]:
        path.write_bytes(bytes(path.stat().st_size))


def _with_schedule(station: Station) -> None:
    path = station.folder / "cupola.yaml"
    config = json.loads(path.read_text())
    config["cameras"][0]["night"] = {"window": "always", "interval_s": 60}
    path.write_text(json.dumps(config))


def test_the_owner_is_told_of_a_filling_disk_a_failed_video_and_a_failed_schedule_once_each(tmp_path: Path) -> None:
    """Who asks for INFO gets the summaries and the finished video besides. The host is looked at at the start, then every ten seconds."""
    if missing := ext4.missing_feature():
        pytest.skip(missing)
    with ext4.Disk(tmp_path, 200).mounted() as disk, Sink() as owner, Sink() as curious:
        everything = {"name": "curious", "webhook": curious.url, "loopback": True, "min_level": "INFO"}
        notify = {"channels": [{"name": "owner", "webhook": owner.url, "loopback": True}, everything]}
        storage = {"root": str(disk / "images"), "retention": {"keep_free_percent": 0}}
        station = Station(tmp_path, sky(), storage=storage, more={"notify": notify})
        station.root = disk / "images"
        _fill(disk / "filler", 84)
        with station:

            def kinds() -> list[tuple[str, str]]:
                return [(one["kind"], one["level"]) for one in owner.documents()]

            def told(*wanted: tuple[str, str]) -> list[dict[str, Any]]:
                """These and no others, since the last call."""
                eventually(lambda: len(kinds()) >= len(wanted), 40)
                found, owner.got = owner.documents(), []
                assert sorted((one["kind"], one["level"]) for one in found) == sorted(wanted), found
                return found

            (low,) = told(("host_alarm", "WARNING"))
            assert re.search(r"84(\.\d+)? %, the limit is 80 %", low["message"]) and low["event"]["what"] == "disk"
            _fill(disk / "filler", 94)
            station.running()
            for _ in range(4):
                station.post("/api/cameras/north/snap", exposure_s=0.05)
            until(lambda: [row["developed"] for row in station.captures()] == [True] * 4, 30, "developed images")
            told(("host_alarm", "ERROR"))

            station.stop()
            (disk / "filler").unlink()
            _end_periods(station)
            station.start()
            found = told(("recovered", "INFO"), ("product_failed", "ERROR"), ("product_failed", "WARNING"))
            titles = {one["level"]: one["title"] for one in found}
            assert titles["INFO"] == "The disk has room again" and titles["ERROR"].startswith("The video of the night of ")
            eventually(lambda: len([one for one in curious.documents() if one["kind"] == "night_finished"]) == 2)
            (ready,) = [one for one in curious.documents() if one["kind"] == "product_finished"]
            assert ready["level"] == "INFO" and ready["title"].startswith("The video of the day of ") and "2 images" in ready["message"]

            station.stop()
            _with_schedule(station)
            other = sqlite3.connect(station.root / ".cupola" / "catalogue.sqlite", timeout=20, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")  # another program holds the catalogue
            try:
                station.start()
                told(("schedule_failed", "WARNING"))
            finally:
                other.close()
            until(lambda: len(station.captures()) == 5, 30, "the schedule goes on")
        assert not owner.got
