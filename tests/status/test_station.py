"""A whole station with its status server beside it: the same answers at the same addresses, and what is left when the main server dies."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.status.rig import Running, document, status_server
from tests.support.station import RunningStation, eventually, make_night, running_station

from cupola.status import files
from cupola.status.metrics import families, text

CONTRACT = {
    *("device_id", "status", "updated_at", "uptime_seconds", "boot_id", "sequence", "disk_percent", "disk_free_bytes", "cpu_temperature_celsius"),
    *("today", "last_backup_time", "last_capture", "last_video", "errors", "cameras"),
}


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStation]:
    with running_station(tmp_path_factory.mktemp("station")) as running:
        running.snap()
        yield running


@pytest.fixture(scope="module")
def beside(station: RunningStation) -> Iterator[Running]:
    with status_server(station.folder) as running:
        yield running


def file_of(station: RunningStation) -> dict[str, Any]:
    return json.loads((station.folder / "runtime" / "status.json").read_text())


def promtool(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], input=given, capture_output=True, text=True, timeout=60)


def test_file_server_and_status_server_say_the_same(station: RunningStation, beside: Running) -> None:
    main, small, file = station.http.get("/status").json(), beside.json("/status"), file_of(station)
    assert main.keys() == small.keys() == file.keys() | {"stale", "stale_since", "age_seconds"} and file.keys() >= CONTRACT
    assert main["device_id"] == "teststation" and main["boot_id"] == files.boot_id()
    assert set(file["today"]) == {"date", "photos_captured", "expected_photos", "start_time", "end_time", "interval_seconds"}
    assert set(file["last_capture"]) == {"time", "filename", "success", "duration_ms"}
    assert file["status"] in ("idle", "waiting") and file["errors"] == [] and file["cameras"]["sky"]["connected"]


def test_the_file_follows_what_happens_within_two_seconds(station: RunningStation) -> None:
    before = file_of(station)
    image = station.snap()
    newest = next(file["path"] for file in image["files"] if file["kind"] == "raw")
    now = eventually(lambda: (told := file_of(station))["last_capture"]["filename"] == newest and told, 4)
    assert now["today"]["photos_captured"] == before["today"]["photos_captured"] + 1
    assert now["cameras"]["sky"]["images_captured"] == before["cameras"]["sky"]["images_captured"] + 1
    assert now["last_capture"]["success"] and now["last_capture"]["duration_ms"] >= 50 and now["sequence"] > before["sequence"]


def test_the_newest_picture_is_the_same_everywhere(station: RunningStation, beside: Running) -> None:
    image = station.snap()
    jpeg = station.http.get(f"/api/captures/{image['id']}/image").content
    assert station.http.get("/latest/photo").content == jpeg
    eventually(lambda: beside.get("/latest/photo")[2] == jpeg, 4)


def test_a_video_is_there_once_it_is_finished(station: RunningStation, beside: Running) -> None:
    assert station.http.get("/latest/video").status_code == 404
    pictures = [station.snap()["id"] for _ in range(3)]
    day = make_night(station, pictures)
    assert station.http.post(f"/api/nights/sky/{day}/render", json={"products": ["timelapse"]}).status_code < 300
    video = eventually(lambda: (answer := station.http.get("/latest/video")).status_code == 200 and answer.content, 60)
    eventually(lambda: beside.get("/latest/video")[2] == video, 4)
    last = eventually(lambda: file_of(station)["last_video"], 4)
    assert (last["date"], last["photos_used"], last["duration_seconds"], last["youtube_url"]) == (day, 3, 3 / 25, None)


def test_both_show_the_configuration_without_secrets(station: RunningStation, beside: Running) -> None:
    shown = station.http.get("/config").json()
    assert shown == beside.json("/config") and shown["station"]["name"] == "teststation"


def test_metrics_have_the_same_names_and_labels_on_both_and_promtool_has_no_complaint(station: RunningStation, beside: Running) -> None:
    answer = station.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    small = beside.get("/metrics")[2].decode()
    for said in (answer.text, small):
        judged = promtool("check", "metrics", given=said)
        assert (judged.returncode, judged.stderr) == (0, ""), judged.stderr

    def names(said: str) -> dict[str, tuple[str, str, set[tuple[str, ...]]]]:
        found = {}
        for family in text_string_to_metric_families(said):
            if family.name.startswith("cupola"):
                labels = {(sample.name, *(f"{key}={value}" for key, value in sorted(sample.labels.items()))) for sample in family.samples}
                found[family.name] = (family.type, family.documentation, labels)
        return found

    assert names(answer.text) == names(small) and len(names(small)) >= 20


def test_a_token_is_known_to_the_status_server_while_it_is_valid(station: RunningStation) -> None:
    made = station.json("token", "create", "prometheus", "--scope", "view", "--json")
    bearer = f"Bearer {made['token']}"
    with status_server(station.folder, "--host", "0.0.0.0") as guarded:
        eventually(lambda: guarded.get("/metrics", Authorization=bearer)[0] == 200, 10)
        assert guarded.get("/config", Authorization=bearer)[0] == 403
        assert station.http.get("/metrics", headers={"Authorization": bearer}).status_code == 200
        assert station.cupola("token", "revoke", "prometheus").returncode == 0
        eventually(lambda: guarded.get("/metrics", Authorization=bearer)[0] == 401, 10)


def test_readers_never_see_a_part_of_the_file(station: RunningStation) -> None:
    """Beside a series that has it written again and again."""
    assert station.http.post("/api/cameras/sky/start", json={"exposure_s": 0.05, "count": 20}).status_code == 200
    seen: set[int] = set()
    while len(seen) < 3:
        seen.add(file_of(station)["sequence"])
    station.open()


def test_a_camera_that_fails_is_an_error_until_it_is_back(station: RunningStation, beside: Running) -> None:
    status = station.json("status", "--json")
    pid = next(int(entry) for entry in os.listdir("/proc") if entry.isdigit() and _is_camera_of(station, int(entry)))
    assert status["cameras"][0]["state"] == "running"
    os.kill(pid, signal.SIGKILL)
    broken = eventually(lambda: (told := beside.json("/status"))["errors"] and told, 10)
    assert broken["status"] == "error" and broken["errors"][0]["camera"] == "sky" and broken["errors"][0]["kind"] == "crash"
    assert set(broken["errors"][0]) == {"time", "kind", "camera", "message"}
    eventually(lambda: station.camera()["state"] == "degraded")  # back, but no picture yet
    assert station.http.post("/api/cameras/sky/snap", json={}).status_code == 200
    well = eventually(lambda: (told := beside.json("/status"))["errors"] == [] and told, 10)
    assert well["status"] != "error" and well["cameras"]["sky"]["restarts"]["crash"] == 1


def _is_camera_of(station: RunningStation, pid: int) -> bool:
    try:
        if b"cupola.camera.process" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            return False
        return f"CUPOLA_RUNTIME_DIR={station.folder / 'runtime'}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


@pytest.mark.torture
def test_when_the_server_is_killed_or_ended_the_status_server_says_since_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_station(tmp_path) as station:
        station.snap()
        with status_server(tmp_path) as beside:
            eventually(lambda: beside.get("/latest/photo")[0] == 200)
            logged = beside.get("/logs")[2]
            station.process.kill()
            station.process.wait(10)
            assert beside.get("/health")[0] == 200  # not known yet
            last = file_of(station)["updated_at"]
            silent = eventually(lambda: (told := beside.json("/status"))["stale"] and told, files.STALE_S + 10)
            assert (silent["stale_since"], silent["age_seconds"] > files.STALE_S, silent["cameras"].keys()) == (last, True, {"sky"})
            assert beside.get("/latest/photo")[0] == 200 and beside.get("/logs")[2] == logged and beside.get("/config")[0] == 200
            assert b" 0\n" in next(line + b"\n" for line in beside.get("/metrics")[2].splitlines() if line.startswith(b"cupola_up{"))


def test_a_server_that_ends_in_order_says_so_at_once(tmp_path: Path) -> None:
    with running_station(tmp_path) as station, status_server(tmp_path) as beside:
        eventually(lambda: beside.get("/health")[0] == 200)
        station.process.send_signal(signal.SIGTERM)
        station.process.wait(20)
        assert "was stopped at" in beside.json("/status")["detail"]


def test_without_prometheus_both_have_no_metrics(tmp_path: Path) -> None:
    with running_station(tmp_path, after="monitoring: {prometheus: false}") as station, status_server(tmp_path) as beside:
        eventually(lambda: beside.get("/health")[0] == 200)
        assert station.http.get("/metrics").status_code == 404 and beside.get("/metrics")[0] == 404
        assert station.http.get("/status").status_code == 200


# Parts


def test_a_file_is_replaced_whole_while_others_read_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    stop, wrong = threading.Event(), list[object]()

    def read() -> None:
        while not stop.is_set():
            found = files.read(tmp_path, "x.json")
            if found is None or len(set(found["all"])) != 1:
                wrong.append(found)

    files.write(tmp_path, "x.json", json.dumps({"all": [0] * 5000}))
    reader = threading.Thread(target=read)
    reader.start()
    for number in range(300):
        files.write(tmp_path, "x.json", json.dumps({"all": [number] * 5000}))
    stop.set()
    reader.join()
    assert not wrong and os.listdir(tmp_path) == ["x.json"]


def test_the_private_file_is_its_owners_only_and_the_other_everybodys_whatever_the_umask(tmp_path: Path) -> None:
    for umask in (0o000, 0o077):
        before = os.umask(umask)
        try:
            files.write(tmp_path, "public.json", "{}")
            files.write(tmp_path, "private.json", "{}", private=True)
        finally:
            os.umask(before)
        assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("public.json", "private.json")] == [0o644, 0o600]


def test_the_running_server_keeps_to_that(station: RunningStation) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in (station.folder / "runtime").glob("*.json")}
    assert modes == {"server.json": 0o600, "status.json": 0o644, "status-server.json": 0o600}


def test_a_stale_document_has_two_names_and_none_has_them_too() -> None:
    for given, age_s in ((document(), 60.0), (None, float("inf"))):
        said = text(families(given, age_s, stale=True))
        assert set(re.findall(r"^(\w+)[{ ]", said, re.M)) == {"cupola_up", "cupola_status_age_seconds"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool on this machine")
def test_awkward_names_are_escaped() -> None:
    said = text(families(document(device_id='a"b\\c\nd'), 0.0, stale=False))
    assert promtool("check", "metrics", given=said).returncode == 0
    up = next(iter(text_string_to_metric_families(said)))
    assert up.samples[0].labels == {"device": 'a"b\\c\nd'}


def test_ages_go_on_growing_with_the_age_of_the_document() -> None:
    said = text(families(document(), 3.5, stale=False))
    assert 'camera="sky"} 5.5' in next(line for line in said.splitlines() if line.startswith("cupola_frame_age_seconds"))
