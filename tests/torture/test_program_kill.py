"""Each process of the running program killed before each call with which it changes the disk, in a series of three stills.

Nothing half is visible, no image that was announced or committed is lost, and the series is completed all the same. All calls, by hand:
`CUPOLA_KILL_POINTS=all pytest -s tests/torture/test_program_kill.py`; a number is how many of each process in each test.
"""

import contextlib
import os
import random
import shutil
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest
from tests.support import syscalls
from tests.torture.station import CAMERA, DARKROOM, Listener, Station, sky, until

from cupola.storage import files
from cupola.storage.originals import read_original

pytestmark = pytest.mark.torture
_KILL_POINTS = os.environ.get("CUPOLA_KILL_POINTS", "4")
_STILLS = 3


@dataclass
class Campaign:
    """One process, one way to treat originals: a fresh station for every kill."""

    folder: Path
    victim: str
    originals: str
    whole: int = 0
    promised: int = 0
    failures: list[str] = field(default_factory=list[str])

    def points(self) -> list[tuple[str, int]]:
        """The calls of a series that nobody disturbs."""
        with self._station() as station, Listener(station, "/ws/events") as events:
            with syscalls.Watched(self._warm(station).pid, self.folder / "strace") as watched:
                station.post("/api/cameras/north/start", count=_STILLS)
                until(lambda: _complete(station), 30, "the series and its developing")
            self._judge(station, events, set())
        return watched.points()

    def kill_at(self, point: tuple[str, int]) -> bool:
        """Whether the process came to the call, in a series that was completed and found whole afterwards."""
        with self._station() as station:
            process = self._warm(station)
            with Listener(station, "/ws/events") as events:
                started = False
                with syscalls.Watched(process.pid, self.folder / "strace", point) as watched:
                    try:
                        started = bool(station.post("/api/cameras/north/start", count=_STILLS))
                        until(lambda: watched.ended or _complete(station), 30, "the kill, or the end of the series")
                    except httpx.TransportError:
                        until(lambda: watched.ended, 10, "the death of a server that does not answer any more")
                    hit = watched.ended
                committed = set[tuple[int, str]]()
                self.whole += station.verify_whole()
                if hit and self.victim == "server":
                    station.kill()  # it is dead, but not reaped
                    until(lambda: events.ended, 10, "the socket of a killed server ends")
                    committed = self._committed(station)
                    for path in self._queued(station):
                        assert path.suffix == files.TMP or read_original(path).data.any()
                    station.start()
                    if not started and not station.camera()["session"] and not _stills(station):  # killed before it had noted the series
                        station.running()
                        station.post("/api/cameras/north/start", count=_STILLS)
                until(lambda: _complete(station), 60, f"{_STILLS} stills, developed; there are {_stills(station)}")
                self._judge(station, events, committed)
        return hit

    def _station(self) -> Station:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        return Station(self.folder, sky(), sky("warm"), originals=self.originals)

    def _warm(self, station: Station) -> psutil.Process:
        """The process, with another camera's image behind it: what is loaded once is loaded, so that the same calls have the same numbers."""
        station.running()
        station.running("warm")
        station.post("/api/cameras/warm/snap")
        until(lambda: [row["developed"] for row in station.captures()] == [True], 30, "the first image developed")
        if self.victim == "server":
            return station.server
        found = {"camera": CAMERA, "darkroom": DARKROOM}[self.victim]
        if found == DARKROOM:
            return station.one(DARKROOM)
        lock = station.root / ".cupola" / "locks" / "north.lock"
        return next(process for process in station.processes(CAMERA) if any(Path(file.path) == lock for file in process.open_files()))

    def _queued(self, station: Station) -> list[Path]:
        return [path for path in (station.root / ".cupola" / "queue").rglob("*") if path.is_file()]

    def _committed(self, station: Station) -> set[tuple[int, str]]:
        """(image, file) of every row that the dead server left, read from a copy as it lies there."""
        copy = self.folder / "copy"
        copy.mkdir()
        for path in (station.root / ".cupola").glob("catalogue.sqlite*"):
            shutil.copy(path, copy)
        with contextlib.closing(sqlite3.connect(copy / "catalogue.sqlite")) as catalogue:
            assert catalogue.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            return set(catalogue.execute("SELECT image, path FROM file WHERE kind != 'queue'").fetchall())

    def _judge(self, station: Station, events: Listener, committed: set[tuple[int, str]]) -> None:
        rows = station.verify_storage()
        self.whole += station.verify_whole()
        assert [row["developed"] for row in rows] == [True] * (_STILLS + 1)
        assert not self._queued(station), "a developed original is still in the queue"
        announced = {(event["id"], event["path"]) for kind in ("image_captured", "image_developed") for event in events.events(kind)}
        there = {(row["id"], file["path"]) for row in rows for file in row["files"]}
        lost = (announced | committed) - there
        assert not lost, f"lost: {lost}"
        self.promised += len(announced | committed)


def _stills(station: Station) -> list[dict[str, object]]:
    return [row for row in station.captures() if row["camera"] == "north"]


def _complete(station: Station) -> bool:
    """The series has ended by itself and all its stills are developed."""
    stills = _stills(station)
    return len(stills) >= _STILLS and all(row["developed"] for row in stills) and station.camera()["session"] is None


@pytest.mark.timeout(7200)
@pytest.mark.skipif(syscalls.missing_feature() is not None, reason=syscalls.missing_feature() or "")
@pytest.mark.parametrize("originals", ["keep", "off"])
@pytest.mark.parametrize("victim", ["server", "camera", "darkroom"])
def test_a_process_killed_before_any_call_that_writes_loses_nothing_and_the_series_is_completed(tmp_path: Path, victim: str, originals: str) -> None:
    campaign = Campaign(tmp_path / "station", victim, originals)
    calls = campaign.points()
    wanted = len(calls) if _KILL_POINTS == "all" else min(int(_KILL_POINTS), len(calls))
    points = random.Random(5).sample(
        calls, min(2 * wanted, len(calls))
    )  # no two runs are alike: some end before a call of the one that was looked at
    hits = tried = 0
    for point in points:
        if hits == wanted:
            break
        tried += 1
        try:
            hits += campaign.kill_at(point)
        except AssertionError as error:
            campaign.failures.append(f"killed at {point}: {error}")
            print(f"\n{victim}, originals {originals}: {campaign.failures[-1]}", flush=True)
    print(
        f"\n{victim}, originals {originals}: {len(calls)} calls, {tried} tried, {hits} kills, {campaign.whole} times a visible file was whole, "
        f"{campaign.promised} promised files there; {len(campaign.failures)} failures"
    )
    assert not campaign.failures, "\n".join(campaign.failures)
    assert hits >= 0.9 * wanted
