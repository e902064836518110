"""Each kind of trouble that the owner is told of, caused for real in one station on a small disk: the disk fills, a video fails, a schedule fails."""

from __future__ import annotations

import json
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


def _spoil_a_night(station: Station) -> None:
    """With the server down: its images were of a night that is over, and the disk has garbled them."""
    with sqlite3.connect(station.root / ".cupola" / "catalogue.sqlite", timeout=20) as catalogue:
        day, first, last = catalogue.execute("SELECT min(day), min(opened_at), max(ended_at) FROM image").fetchone()
        values = ("north", "night", day, first, last, "finishing")
        period = catalogue.execute("INSERT INTO period (camera, kind, day, starts_at, ends_at, state) VALUES (?, ?, ?, ?, ?, ?)", values).lastrowid
        catalogue.execute("UPDATE image SET period = ?", (period,))
    catalogue.close()
    for path in station.root.rglob("jpg/*.jpg"):
        path.write_bytes(bytes(path.stat().st_size))


def _with_schedule(station: Station) -> None:
    path = station.folder / "cupola.yaml"
    config = json.loads(path.read_text())
    config["cameras"][0]["night"] = {"window": "always", "interval_s": 60}
    path.write_text(json.dumps(config))


def test_the_owner_is_told_of_a_filling_disk_a_failed_video_and_a_failed_schedule_once_each(tmp_path: Path) -> None:
    if missing := ext4.missing_feature():
        pytest.skip(missing)
    with ext4.Disk(tmp_path, 200).mounted() as disk, Sink() as owner:
        notify = {"channels": [{"name": "owner", "webhook": owner.url, "loopback": True}]}
        storage = {"root": str(disk / "images"), "retention": {"keep_free_percent": 0}}
        station = Station(tmp_path, sky(), storage=storage, more={"notify": notify})
        station.root = disk / "images"
        with station:

            def kinds() -> list[tuple[str, str]]:
                return [(one["kind"], one["level"]) for one in owner.documents()]

            def told(*wanted: tuple[str, str]) -> list[dict[str, Any]]:
                """These and no others, since the last call."""
                eventually(lambda: len(kinds()) >= len(wanted), 40)
                found, owner.got = owner.documents(), []
                assert sorted((one["kind"], one["level"]) for one in found) == sorted(wanted), found
                return found

            _fill(disk / "filler", 84)
            (low,) = told(("host_alarm", "WARNING"))
            assert "84 %" in low["message"] and "80 %" in low["message"] and low["event"]["what"] == "disk"
            _fill(disk / "filler", 94)
            told(("host_alarm", "ERROR"))
            (disk / "filler").unlink()
            (over,) = told(("recovered", "INFO"))
            assert over["title"] == "The disk has room again"

            station.running()
            for _ in range(2):
                station.post("/api/cameras/north/snap", exposure_s=0.05)
            until(lambda: [row["developed"] for row in station.captures()] == [True, True], 30, "developed images")
            station.stop()
            _spoil_a_night(station)
            station.start()
            failed = told(("product_failed", "ERROR"), ("product_failed", "WARNING"))
            assert any("video" in one["title"] for one in failed if one["level"] == "ERROR")

            station.stop()
            _with_schedule(station)
            other = sqlite3.connect(station.root / ".cupola" / "catalogue.sqlite", timeout=20, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")  # another program holds the catalogue
            try:
                station.start()
                told(("schedule_failed", "WARNING"))
            finally:
                other.close()
            until(lambda: len(station.captures()) == 3, 30, "the schedule goes on")
        assert not owner.got
