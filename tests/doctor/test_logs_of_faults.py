"""`cupola logs` over what a real station wrote while it had one fault at a time: the fault comes first, and errors end it with 1."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support import ext4
from tests.support.station import cupola
from tests.torture.station import DARKROOM, Station, sky, until

from cupola.status.logfiles import records
from cupola.web.slow import SLOW_S

pytestmark = pytest.mark.timeout(240)

FAULTS: dict[str, dict[str, Any]] = {
    "unplugged": {"unplug_after_frames": 2, "replug_after_s": 60},
    "crashing": {"crash_on": [2]},
    "hanging": {"hang_on": [2]},
    "frozen": {"freeze_after_frames": 2},
}
# camera → cause, level, and what is told first
CAMERAS = {
    "unplugged": ("lost", "ERROR", "was unplugged"),
    "crashing": ("crash", "ERROR", "SIGSEGV"),
    "hanging": ("hang", "ERROR", "did not answer within"),
    "frozen": ("frozen", "ERROR", "is frozen"),
    "absent": ("unreachable", "WARNING", "nowhere"),
    "bare": ("failed", "ERROR", "libNothing.so"),
}


@dataclass
class Patient:
    station: Station
    log: Path
    known: int = 0  # bytes of the log that are of faults before

    @property
    def news(self) -> str:
        return self.log.read_bytes()[self.known :].decode()

    def logs(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Exit code and answer for what was written since the last call."""
        part = self.station.folder / "part.log"
        part.write_text(self.news)
        self.known = self.log.stat().st_size
        done = cupola(self.station.folder, "logs", "--file", str(part), "--json", *arguments)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def first(self, *words: str, level: str = "ERROR") -> dict[str, Any]:
        """What comes first, once there is a record of this level with all of the words; exit 1 is for errors."""
        until(lambda: any(level in line and all(word in line for word in words) for line in self.news.splitlines()), 60, f"the log says {words}")
        code, told = self.logs()
        assert code == (level == "ERROR"), told
        return told["errors"][0]


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    folder = tmp_path_factory.mktemp("patient")
    storage: dict[str, Any] = {"retention": {"keep_free_percent": 0}}
    faulty: list[dict[str, Any]] = [sky(name, faults=faults, autostart=True) | {"connect": False} for name, faults in FAULTS.items()]
    for number, camera in enumerate(faulty):
        camera["recovery"] = {"reopen": 0, "frozen_after_s": 1}
        camera["simulator"]["seed"] = 700 + number  # a device of its own
    absent = {"name": "absent", "driver": "replay", "replay": {"path": str(folder / "nowhere")}, "connect": False}
    bare = {"name": "bare", "driver": "zwo", "zwo": {"library": str(folder / "libNothing.so")}, "connect": False}
    with contextlib.ExitStack() as stack:
        if not ext4.missing_feature():
            disk = ext4.Disk(tmp_path_factory.mktemp("disk"), 100)
            storage["root"] = str(stack.enter_context(disk.mounted()) / "images")
        midnight = f"MID{datetime.now(UTC).hour}"  # where it is some minutes past midnight now: a new file is begun at noon
        own = {"TMPDIR": str(folder), "TZ": midnight}
        station = Station(folder, sky(), *faulty, absent, bare, storage=storage, more={"alarms": {"processing_s": 0.001}}, environment=own)
        station.root = Path(storage.get("root", station.root))
        stack.enter_context(station)
        station.running()
        yield Patient(station, folder / "logs" / "cupola.log")


def snap(patient: Patient) -> dict[str, Any]:
    return patient.station.post("/api/cameras/north/snap", exposure_s=0.05)


def developed(patient: Patient, image: dict[str, Any]) -> None:
    until(lambda: patient.station.get(f"/api/captures/{image['id']}")["developed"], 60, "it is developed")


def test_a_healthy_station_has_no_errors_and_exit_0_and_what_was_slow_is_told(patient: Patient) -> None:
    """Its limit is a thousandth of a second, so that storing and developing is slow; an answer that waits for a darkroom that was paused is."""
    image = snap(patient)
    developed(patient, image)
    address = f"http://127.0.0.1:{patient.station.port}/api/captures/{image['id']}/thumb"
    darkroom = patient.station.one(DARKROOM)
    darkroom.suspend()
    try:
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(httpx.get, address, headers=patient.station.owner, timeout=30, trust_env=False)
            time.sleep(SLOW_S + 0.3)  # so slow it has to be
            darkroom.resume()
            assert asked.result().is_success
    finally:
        darkroom.resume()
    until(lambda: "was answered" in patient.news, 20, "it is in the log")
    assert [one["message"].split()[0] for one in records(patient.news.splitlines()) if one["event"] == "performance"] == [
        "Captured",
        "Developed",
        "GET",
    ]
    code, told = patient.logs()
    assert (code, told["errors"]) == (0, []) and [one["orderly"] for one in told["restarts"]] == [True]
    answered, *stills = told["slow"]
    assert answered["pattern"] == "GET /api/captures/{number}/thumb was answered in # ms" and answered["longest_s"] > SLOW_S
    assert {one["pattern"].split()[0]: one["slow"] for one in stills} == {"Captured": 1, "Developed": 1}


@pytest.mark.parametrize("name", CAMERAS)
def test_a_camera_that_fails_comes_first_with_its_cause(patient: Patient, name: str) -> None:
    cause, level, words = CAMERAS[name]
    patient.station.post(f"/api/cameras/{name}/connect")
    try:
        found = patient.first(f"camera={name} ", f"cause={cause}", level=level)
    finally:
        patient.station.post(f"/api/cameras/{name}/disconnect")
    assert (found["level"], found["event"], found["cameras"]) == (level, "usb_failure", [name]) and words in found["example"]


def test_an_image_that_cannot_be_developed_comes_first(patient: Patient) -> None:
    snapped = snap(patient)
    developed(patient, snapped)
    darkroom = patient.station.one(DARKROOM)
    darkroom.suspend()
    try:
        (original,) = [file for file in snap(patient)["files"] if file["kind"] == "raw"]
        path = patient.station.root / original["path"]
        whole = path.read_bytes()
        path.write_bytes(whole[:3000])
    finally:
        darkroom.resume()
    found = patient.first("Gave up developing")
    path.write_bytes(whole)
    assert "Gave up developing" in found["example"] and found["cameras"] == ["north"]


def test_an_image_that_is_gone_comes_first(patient: Patient) -> None:
    image = snap(patient)
    developed(patient, image)
    (original,) = [file for file in image["files"] if file["kind"] == "raw"]
    (patient.station.root / original["path"]).unlink()
    patient.station.post("/api/cameras/north/disconnect")
    patient.station.post("/api/cameras/north/connect")
    found = patient.first("gone from the disk")
    assert (found["event"], found["cameras"]) == ("storage", ["north"]) and original["path"] in found["example"]
    patient.station.running()


@pytest.mark.skipif(bool(missing := ext4.missing_feature()), reason=str(missing))
def test_a_full_disk_comes_first(patient: Patient) -> None:
    fill = patient.station.root / "fill"
    with fill.open("wb") as file:
        free = os.statvfs(patient.station.root)
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - 100_000)
    try:
        with pytest.raises(httpx.HTTPStatusError):
            snap(patient)
        found = patient.first("event=storage")
    finally:
        fill.unlink()
    assert found["event"] == "storage" and "full" in found["example"]


def test_a_server_that_was_killed_is_told_apart_from_a_first_start(patient: Patient) -> None:
    """The last tests of this file: they restart the station."""
    patient.station.kill()
    patient.station.start()
    until(lambda: "Cupola is at" in patient.news, 20, "the start")
    patient.known = 0
    assert [one["orderly"] for one in patient.logs()[1]["restarts"]] == [True, False]


def test_a_catalogue_that_is_damaged_comes_first(patient: Patient) -> None:
    patient.station.stop()
    for path in (patient.station.root / ".cupola").glob("catalogue.sqlite*"):
        path.write_bytes(b"no catalogue" * 1000)
    patient.station.start()
    found = patient.first("event=storage")
    assert found["event"] == "storage" and "catalogue" in found["example"]
