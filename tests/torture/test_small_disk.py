"""The whole program on a disk of 300 MB that its images would fill: it never does, and whoever looks on notices nothing."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support import ext4
from tests.torture.station import Station, sky, until

from cupola.storage.space import free_space

pytestmark = pytest.mark.torture
MIN, KEEP = 2.0, 10.0
IMAGES = 60


class Looker:
    """Looks at the live view, the state of the station and its images all the while, and at how full the disk is."""

    def __init__(self, station: Station) -> None:
        self.least_percent = 100.0
        self.pictures: list[int] = []
        self.problems: list[str] = []
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{station.port}", headers=station.owner, timeout=30, trust_env=False)
        self._root = station.root
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Looker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.http.close()

    def _look(self) -> None:
        while not self._over.is_set():
            self.least_percent = min(self.least_percent, free_space(self._root).percent)
            for path in ("/api/status", "/api/captures", "/api/cameras/north/live.jpg"):
                answer = self.http.get(path)
                if not answer.is_success:
                    self.problems.append(f"{path}: {answer.status_code} {answer.text}")
                elif path.endswith("jpg"):
                    self.pictures.append(hash(answer.content))
            self._over.wait(0.2)

    def goes_on(self) -> None:
        """Ten more pictures of the live view."""
        wanted = len(self.pictures) + 10
        until(lambda: len(self.pictures) >= wanted, 60, "pictures of the live view")


def _gapless(rows: list[dict[str, Any]]) -> bool:
    """Newest first, and none missing between the newest and the oldest."""
    return [row["sequence"] for row in rows] == list(range(rows[0]["sequence"], rows[-1]["sequence"] - 1, -1))


def _captures(station: Station) -> list[dict[str, Any]]:
    """All images, newest first."""
    page = station.get("/api/captures", limit=500)
    assert page["next"] is None
    return page["items"]


def _kinds(row: dict[str, Any]) -> set[str]:
    return {file["kind"] for file in row["files"]}


def _fill(path: Path, leave_bytes: float) -> None:
    """What another program stores, until so much is left."""
    with path.open("ab") as file:
        while (more := min(1_000_000, free_space(path.parent).bytes - int(leave_bytes))) > 0:
            file.write(bytes(more))
            file.flush()
            os.fsync(file.fileno())


@pytest.mark.timeout(500)
@pytest.mark.skipif(ext4.missing_feature() is not None, reason=ext4.missing_feature() or "")
def test_a_station_on_a_small_disk_keeps_the_newest_and_its_live_view(tmp_path: Path) -> None:
    disk = ext4.Disk(tmp_path, 300)
    with disk.mounted() as folder:
        one = free_space(folder).usable_bytes / 100  # a percent
        _fill(folder / "first", KEEP * one + 15_000_000)  # for the catalogue and some 50 images with their originals
        storage = {"min_free_percent": MIN, "retention": {"keep_free_percent": KEEP}}
        camera = sky(autostart=True, interval_s=0.1)
        camera["simulator"] |= {"sky_time": "night"}  # noise, so that originals have their size
        with Station(folder, camera, storage=storage) as station, ExitStack() as looking:
            until(lambda: station.get("/api/cameras/north")["state"] == "running", 40, "an open camera")
            looker = looking.enter_context(Looker(station))

            def status() -> dict[str, Any]:
                return station.get("/api/status")["retention"]

            def done() -> int:
                return station.get("/api/cameras/north")["session"]["done"]

            until(lambda: done() >= IMAGES, 200, f"{IMAGES} images")
            rows = _captures(station)
            kept = [row["sequence"] for row in rows if "raw" in _kinds(row)]
            assert len(rows) >= IMAGES and {row["sequence"] for row in rows} == set(range(1, len(rows) + 1)), "every image is there"
            assert 0 < len(kept) < len(rows) and kept == list(range(len(rows), len(rows) - len(kept), -1)), "the oldest originals went"
            assert looker.least_percent > MIN and not status()["low"]

            # somebody else takes more than all originals and most images can give back
            _fill(folder / "second", KEEP * one - 17_000_000)
            until(lambda: status()["low"], 60, "that nothing is left to delete")
            until(lambda: not any("raw" in _kinds(row) for row in _captures(station)), 60, "that no original is left")
            rows = _captures(station)
            assert len(rows) < IMAGES
            assert status()["stored"] in ("no_originals", "every_2nd", "every_4th") and status()["words"] == "full"
            # one that is still being developed is not listed yet
            until(lambda: _gapless(_captures(station)), 60, "that the images left are the newest")
            looker.goes_on()
            assert looker.least_percent > MIN, "the disk was never full"

            # and then nearly all: no still is stored any more
            _fill(folder / "third", 1.0 * one)
            until(lambda: status()["stored"] == "none", 60, "that storing stopped")
            until(lambda: station.get("/api/cameras/north")["problem"], 60, "the camera's word for it")
            looker.goes_on()

            for name in ("first", "second", "third"):
                (folder / name).unlink()
            stored = done()
            until(lambda: done() > stored + 3 and not status()["low"] and status()["stored"] == "all", 90, "that it goes on by itself")
            until(lambda: "raw" in _kinds(_captures(station)[0]), 20, "originals are kept again")
            for row in _captures(station):
                for kind in _kinds(row):
                    answer = looker.http.get(f"/api/captures/{row['id']}/{'image' if kind == 'jpg' else 'raw'}")
                    assert answer.status_code == 200, answer.text
        assert looker.problems == []
        assert len(set(looker.pictures)) > len(looker.pictures) / 2, "the live view went on"
        log = (folder / "logs" / "cupola.log").read_text()
        assert "Old files were deleted" in log and "Traceback" not in log and "gone" not in log
    disk.image.unlink()
