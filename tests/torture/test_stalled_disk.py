"""A disk that answers no write: stills wait, nothing else does, and a process that is stuck in such a write is told of and replaced."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from tests.support import ext4
from tests.torture.station import CAMERA, Listener, Prober, Station, sky, until

pytestmark = pytest.mark.torture


def _stuck(process: psutil.Process) -> bool:
    """Whether one of its threads is where no signal ends it."""
    tasks = Path(f"/proc/{process.pid}/task").glob("*/stat")
    return any(task.read_text().rpartition(")")[2].split()[0] == "D" for task in tasks)


@pytest.mark.timeout(240)
@pytest.mark.skipif(ext4.missing_feature() is not None, reason=ext4.missing_feature() or "")
def test_a_stalled_disk_holds_up_stills_only_and_its_camera_process_is_given_up(tmp_path: Path) -> None:
    disk = ext4.Disk(tmp_path, 100)
    with disk.mounted() as mount:
        (tmp_path / "station").mkdir()
        station = Station(tmp_path / "station", sky(autostart=True), storage={"root": str(mount / "images"), "state": str(tmp_path / "state")})
        station.root = mount / "images"
        with station:
            until(lambda: len(station.captures()) > 2, 60, "a series of stills")
            process = station.one(CAMERA)
            with Listener(station, "/ws/live/north") as live, Listener(station, "/ws/events") as events, Prober(station) as prober, disk.stalled():
                until(lambda: _stuck(process), 30, "a still waits for the disk")
                seen = len(live.pictures)
                until(lambda: len(live.pictures) > seen + 10, 30, "the live view goes on")
                station.post("/api/cameras/north/disconnect")
                (told,) = until(lambda: [event for event in events.events("camera_lost") if event["cause"] == "abandoned"], 30, "it is given up")
                assert str(process.pid) in told["message"] and psutil.pid_exists(process.pid)
                assert station.camera()["state"] == "stopped"
            assert not prober.failures
            until(lambda: process not in station.processes(CAMERA), 30, "the stuck process ends when the disk goes on")
            station.post("/api/cameras/north/connect")
            station.running()
            station.post("/api/cameras/north/snap")
            assert len(station.verify_storage()) > 3
            station.verify_whole()
