"""Ends that come at the wrong time: of the server in a long exposure, of the darkroom in its work."""

import time
from pathlib import Path

import psutil
import pytest
from tests.torture.station import CAMERA, DARKROOM, Listener, Station, sky, until

pytestmark = pytest.mark.torture


def _exposing(station: Station, elapsed_s: float) -> None:
    def far_enough() -> bool:
        doing = station.camera()["activity"]
        return doing["kind"] == "exposing" and doing["elapsed_s"] > elapsed_s

    until(far_enough, 20, f"{elapsed_s:g} s of an exposure")


def test_the_server_ends_within_ten_seconds_in_the_middle_of_a_long_exposure(tmp_path: Path) -> None:
    with Station(tmp_path, sky(exposure_s=30)) as station:
        station.running()
        station.post("/api/cameras/north/start")
        _exposing(station, 1)
        children = station.server.children()
        assert children
        begun = time.monotonic()
        assert station.stop(10) == 0
        print(f"\nended {time.monotonic() - begun:.1f} s after SIGTERM, 1 s into 30 s")
        assert not psutil.wait_procs(children, timeout=1)[1], "no child outlives an orderly end"
        assert not station.visible()


def test_an_orphaned_camera_process_finishes_its_exposure_and_the_next_server_takes_the_image_up(tmp_path: Path) -> None:
    with Station(tmp_path, sky(exposure_s=6)) as station:
        station.running()
        station.post("/api/cameras/north/start", count=2)
        _exposing(station, 1)
        orphan = station.one(CAMERA)
        station.kill()
        station.start()
        assert orphan in station.processes(CAMERA), "the exposure goes on without a server"
        station.running()
        assert orphan not in station.processes(CAMERA), "the next one waited for it"
        first = station.captures()[0]
        assert (first["sequence"], first["exposure_s"], first["session"]) == (1, 6, 1)
        log = (tmp_path / "printed").read_text()
        assert f"An earlier process ({orphan.pid}) still holds" in log and "Took up north/" in log
        until(lambda: station.camera()["session"] is None, 20, "the series of two ends")
        rows = station.verify_storage()
        assert [row["session"] for row in rows] == [1, 1], "one by the orphan, one by its successor"
        station.verify_whole()


@pytest.mark.parametrize("originals", ["keep", "off"])
def test_a_killed_darkroom_loses_nothing_and_developing_goes_on(tmp_path: Path, originals: str) -> None:
    kills = 3
    with Station(tmp_path, sky(autostart=True), originals=originals) as station, Listener(station, "/ws/events") as events:
        for kill in range(kills):
            developed = len(events.events("image_developed"))
            until(lambda: len(events.events("image_developed")) > developed + 3, 20, f"developing goes on after kill {kill}")  # noqa: B023
            station.one(DARKROOM).kill()
        captured = {event["id"] for event in events.events("image_captured")}
        restarts = station.camera()["restarts"]
        rows = station.verify_storage()
        assert captured <= {row["id"] for row in rows}
        assert all(row["developed"] and row["failure"] is None for row in rows)
        assert restarts == 0, "the camera does not notice"
        station.verify_whole()
        print(f"\noriginals {originals}: {kills} kills of the darkroom, {len(rows)} images, all developed")
