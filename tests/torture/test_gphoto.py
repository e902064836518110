"""200 exposures in a row through the whole program with libgphoto2's virtual Nikon, whose 27th gives no file each time."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.drivers.gphoto_sources import virtual_nikon
from tests.torture.station import Listener, Station, until

COUNT = 200
pytestmark = pytest.mark.torture


@pytest.mark.timeout(400)
def test_every_one_of_200_exposures_is_on_disk_or_reported_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    virtual_nikon(monkeypatch, tmp_path)
    camera = {"name": "north", "driver": "gphoto", "gphoto": {"serial": "0.1"}, "exposure": {"exposure_s": 0.0001}}
    camera["recovery"] = {"frozen_after_s": None}  # the virtual camera has one picture only
    with Station(tmp_path, camera) as station:
        station.running()
        with Listener(station, "/ws/events") as events:
            station.post("/api/cameras/north/start", count=COUNT, interval_s=0.05)
            until(lambda: events.events("capture_stopped"), 300, f"{COUNT} images")
            (stopped,) = events.events("capture_stopped")
            failures = events.events("capture_failed")
        assert (stopped["done"], stopped["reason"]) == (COUNT, "finished")
        rows = station.verify_storage()
        assert len(rows) == COUNT
        assert all([file["kind"] for file in row["files"]] == ["jpg"] and row["developed"] for row in rows)
        assert station.verify_whole() == COUNT
        assert COUNT // 27 <= len(failures) == stopped["failed"] <= COUNT // 27 + 1
        assert all("took no picture" in failure["message"] for failure in failures)
        assert station.camera()["restarts"] == 0, "a failed exposure cost the camera's process"
        print(f"{COUNT} images on disk and developed, {len(failures)} exposures reported failed, 0 restarts of the camera process")
