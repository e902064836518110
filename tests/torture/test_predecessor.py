"""Processes that a killed server left behind and that cannot end by themselves: the next server is not held up by them for good."""

import signal
from pathlib import Path

import pytest
from tests.torture.station import CAMERA, DARKROOM, Station, sky, until

from cupola.camera.supervisor import PATIENCE_S
from cupola.darkroom.worker import PATIENCE_S as DARKROOM_PATIENCE_S
from cupola.process.predecessor import AFTER_KILL_S
from cupola.storage.space import Lock

pytestmark = pytest.mark.torture
_STILLS = 6


@pytest.mark.timeout(PATIENCE_S + 120)
def test_a_stopped_camera_process_of_a_killed_server_is_killed_in_time_and_the_series_is_completed(tmp_path: Path) -> None:
    with Station(tmp_path, sky()) as station:
        station.running()
        station.post("/api/cameras/north/start", count=_STILLS, interval_s=1.0)
        until(lambda: len(station.captures()) >= 2, 20, "two images")
        old = station.one(CAMERA)
        old.send_signal(signal.SIGSTOP)
        station.kill()
        promised = len(station.visible())
        station.start()
        until(lambda: "still holds camera" in (station.folder / "logs" / "cupola.log").read_text(), 10, "the owner is told who is waited for")
        assert station.camera()["state"] == "starting"
        assert station.processes(CAMERA) == [old], "nothing is started beside it: it may be finishing an exposure"
        until(lambda: old not in station.processes(CAMERA), PATIENCE_S + AFTER_KILL_S, "the end of the old process")
        station.running()
        until(lambda: station.camera()["session"] is None, 30, "the end of the series")
        rows = station.verify_storage()
        assert len(rows) == _STILLS
        assert len(station.visible()) >= promised
        assert {row["session"] for row in rows} == {1}, "one series all along"
        assert f"{old.pid} did not let go" in (station.folder / "logs" / "cupola-error.log").read_text()
        assert len(station.processes(CAMERA)) == 1
        assert station.stop() == 0


@pytest.mark.timeout(120)
@pytest.mark.parametrize("wakes", [False, True], ids=["stays stopped", "wakes again"])
def test_a_stopped_darkroom_of_a_killed_server_never_writes_beside_the_next_one(tmp_path: Path, wakes: bool) -> None:
    camera = sky()
    camera["simulator"] |= {"width": 1280, "height": 960}  # so that developing takes a while
    with Station(tmp_path, camera) as station:
        station.running()
        station.post("/api/cameras/north/start", count=_STILLS, interval_s=1.0)
        old = station.one(DARKROOM)

        def at_work() -> bool:
            holder = Lock(station.root / ".cupola" / "darkroom.lock").holder()
            return holder is not None and holder.pid == old.pid and not all(row["developed"] for row in station.captures())

        until(at_work, 20, "an image in the darkroom's hands")
        old.send_signal(signal.SIGSTOP)
        station.kill()
        station.start()
        until(lambda: "still holds the darkroom" in (tmp_path / "logs" / "cupola.log").read_text(), 20, "the owner is told who is waited for")
        if wakes:
            old.send_signal(signal.SIGCONT)

        def another() -> bool:
            station.verify_whole()
            now = station.processes(DARKROOM)
            assert not (old in now and len(now) > 1), "two darkrooms at a time"
            return bool(now) and old not in now

        until(another, DARKROOM_PATIENCE_S + AFTER_KILL_S + 10, "a new darkroom")
        until(lambda: station.camera()["session"] is None, 30, "the end of the series")
        rows = station.verify_storage()
        station.verify_whole()
        assert len(rows) == _STILLS
        assert all(row["developed"] for row in rows)
        killed = f"{old.pid} did not let go of the darkroom" in (tmp_path / "logs" / "cupola-error.log").read_text()
        assert killed != wakes
        assert station.stop() == 0
