"""`cupola selftest`: all that is installed works, what does not is said, and nothing stays."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support import ext4
from tests.support.station import config, environment, eventually, free_port, running_station


def selftest(folder: Path, *arguments: str, **more: str) -> tuple[int, dict[str, Any]]:
    """Exit code and answer; temporary files go below `folder/tmp`. `more`: of its environment."""
    command = [sys.executable, "-m", "cupola", "selftest", "--json", *arguments]
    done = subprocess.run(command, cwd=folder, env=own(folder) | more, capture_output=True, text=True, timeout=500)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def own(folder: Path) -> dict[str, str]:
    for name in ("home", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    return environment(folder) | {"TMPDIR": str(folder / "tmp")}


def nothing_left(folder: Path) -> bool:
    """No file, and no process that had one of its folders."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("CUPOLA_RUNTIME_DIR", "").startswith(str(folder / "tmp")):
                return False
        except psutil.Error:
            continue
    return list((folder / "tmp").iterdir()) == []


def test_a_healthy_installation_passes_every_step_and_leaves_nothing_behind(tmp_path: Path) -> None:
    code, told = selftest(tmp_path)
    assert (code, told["ok"]) == (0, True), told
    said = {step["name"]: step["words"] for step in told["steps"]}
    assert list(said) == ["start", "capture", "clip", "night", "end", "clean"]
    assert "raw 640 x 480" in said["capture"] and "jpg 640 x 480" in said["capture"]
    images, frames = map(int, re.findall(r"(\d+) images, .*timelapse of (\d+) frames", said["night"])[0])
    assert images == frames >= 2 and "keogram" in said["night"] and "startrails" in said["night"]
    assert nothing_left(tmp_path)


def test_a_camera_that_does_not_open_fails_its_step_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "cupola.yaml").write_text("cameras: [{name: roll, driver: replay, replay: {path: nowhere}}]\n")
    code, answer = selftest(tmp_path, "--camera", "roll")
    told = {step["name"]: step for step in answer["steps"]}
    assert code == 1 and told["start"]["ok"] is False and "nowhere" in told["start"]["words"]
    assert told["capture"]["ok"] is None and told["clean"]["ok"] is True
    assert nothing_left(tmp_path)


FAULTS = {
    "hang_on: [2, 3, 4, 5]": ("capture", "did not answer within its deadline"),
    "crash_on: [1]": (None, "was ended by SIGSEGV"),
    "unplug_after_frames: 2, replug_after_s: 9999": (None, "is unplugged"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_camera_that_fails_is_told_with_its_cause(tmp_path: Path, fault: str) -> None:
    """A camera that dies is seen in whatever step is tried at that moment."""
    camera = f"{{name: sky, driver: simulator, simulator: {{width: 320, height: 240, faults: {{{fault}}}}}, live: {{exposure_s: 0.1}}}}"
    (tmp_path / "cupola.yaml").write_text(f"cameras: [{camera}]\n")
    code, answer = selftest(tmp_path, "--camera", "sky")
    step, words = FAULTS[fault]
    first = next(one for one in answer["steps"] if not one["ok"])
    assert (code, first["ok"]) == (1, False) and first["name"] == (step or first["name"]) and words in first["words"], answer
    for one in (tmp_path / "tmp").glob("cupola-simulator-*.json"):  # whether the simulated cable is in
        one.unlink()
    assert nothing_left(tmp_path)


def test_a_driver_whose_library_is_not_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "cupola.yaml").write_text("cameras: [{name: sky, driver: zwo, zwo: {library: /nowhere/libASICamera2.so}}]\n")
    code, answer = selftest(tmp_path, "--camera", "sky")
    first = answer["steps"][0]
    assert (code, first["name"], first["ok"]) == (1, "start", False) and "There is no /nowhere/libASICamera2.so" in first["words"], answer
    assert nothing_left(tmp_path)


@pytest.mark.skipif(bool(missing := ext4.missing_feature()), reason=str(missing))
def test_a_full_disk_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    disk = ext4.Disk(tmp_path, 24)
    with disk.mounted() as mount:
        with (mount / "fill").open("wb") as file:
            free = os.statvfs(mount)
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - 500_000)
        code, answer = selftest(tmp_path, TMPDIR=str(mount))
        assert sorted(path.name for path in mount.iterdir()) == ["fill", "lost+found"]
    first = next(one for one in answer["steps"] if not one["ok"])
    assert code == 1 and "The disk is full" in first["words"], answer


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="a network without its loopback interface needs Linux and root")
def test_a_machine_that_cannot_reach_itself_is_told(tmp_path: Path) -> None:
    command = ["unshare", "--net", sys.executable, "-m", "cupola", "selftest", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=own(tmp_path), capture_output=True, text=True, timeout=300)
    first = json.loads(done.stdout)["steps"][0]
    assert (done.returncode, first["name"], first["ok"]) == (1, "start", False) and "loopback" in first["words"], done.stdout
    assert nothing_left(tmp_path)


def test_a_program_that_does_not_start_says_what_it_printed(tmp_path: Path) -> None:
    env = own(tmp_path) | {"PYTHONPATH": f"{tmp_path / 'broken'}{os.pathsep}{os.environ['PYTHONPATH']}"}
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "uvicorn.py").write_text("raise ImportError('uvicorn is broken')\n")
    done = subprocess.run([sys.executable, "-m", "cupola", "selftest"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "uvicorn is broken" in done.stdout
    assert nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("library", "step", "words"),
    [("astropy", "capture", "astropy"), ("cv2", "capture", "the darkroom cannot work"), ("av", "clip", "The clip failed")],
)
def test_a_library_that_does_not_load_fails_the_step_that_needs_it(tmp_path: Path, library: str, step: str, words: str) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / f"{library}.py").write_text(f"raise ImportError('{library} is broken')\n")
    code, answer = selftest(tmp_path, PYTHONPATH=f"{tmp_path / 'broken'}{os.pathsep}{os.environ['PYTHONPATH']}")
    first = next(one for one in answer["steps"] if not one["ok"])
    assert (code, first["name"], first["ok"]) == (1, step, False) and words in first["words"] and library in first["words"], answer
    assert nothing_left(tmp_path)


def test_a_camera_of_a_running_server_is_tried_through_it(tmp_path: Path) -> None:
    with running_station(tmp_path, more="preroll: {seconds: 3, before_s: 1, after_s: 1}") as station:
        code, told = selftest(tmp_path, "--camera", "sky")
        assert code == 0, told
        assert [step["name"] for step in told["steps"]] == ["camera", "capture", "clip"]
        assert len(station.http.get("/api/captures").json()["items"]) == 1 and station.http.get("/api/clips").json()["items"] == []
    assert nothing_left(tmp_path)


def test_a_server_that_hangs_is_told(tmp_path: Path) -> None:
    with running_station(tmp_path) as station:
        station.process.send_signal(signal.SIGSTOP)
        try:
            code, answer = selftest(tmp_path, "--camera", "sky")
        finally:
            station.process.send_signal(signal.SIGCONT)
    first = answer["steps"][0]
    assert (code, first["ok"]) == (1, False) and "did not answer within 30 s" in first["words"], answer


def test_ended_in_the_middle_it_takes_everything_with_it(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-m", "cupola", "selftest"], cwd=tmp_path, env=own(tmp_path), stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: list((tmp_path / "tmp").glob("*/cupola_runtime_dir/server.json")), 120)
        process.terminate()
        assert process.wait(60) == 1
    finally:
        process.kill()
    assert nothing_left(tmp_path)


def test_an_unknown_camera_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "cupola.yaml").write_text(config(free_port()))
    done = subprocess.run(
        [sys.executable, "-m", "cupola", "selftest", "--camera", "moon"], cwd=tmp_path, env=own(tmp_path), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and "sky" in done.stderr
