"""`cupola tune`: what was measured, and what follows from it for the configuration."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support import ext4
from tests.support.station import environment

from cupola.config.load import from_text
from cupola.doctor import tuning
from cupola.doctor.tuning import Found, Measured

CAMERA = """
storage: {root: images}
cameras:
  - name: sky
    driver: simulator
    simulator: {width: 320, height: 240}
    live: {fps_max: FPS, exposure_s: 0.01}
    night: {window: always, interval_s: INTERVAL}
    preroll: {seconds: 10, max_mb: 4}
"""


def settings(folder: Path, fps: int = 5, interval: float = 60.0):
    return from_text(CAMERA.replace("FPS", str(fps)).replace("INTERVAL", str(interval)), "cupola.yaml", folder)


@pytest.fixture(scope="module")
def small() -> pytest.MonkeyPatch:
    """Two small sizes, and short runs: what is measured is not judged here."""
    patch = pytest.MonkeyPatch()
    patch.setattr(tuning, "SIZES", ((320, 240), (640, 480)))
    patch.setattr(tuning, "EACH_S", 0.0)
    return patch


@pytest.fixture(scope="module")
def found(small: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Found]:
    folder = tmp_path_factory.mktemp("tune")
    (folder / "images").mkdir()
    own = settings(folder)
    try:
        return folder, tuning.measure(own, tuning.wanted_sizes(own), lambda words: None)
    finally:
        small.undo()


def test_everything_the_program_does_with_a_picture_is_measured(found: tuple[Path, Found]) -> None:
    folder, told = found
    for size in ((320, 240), (640, 480)):
        of = {one.what: one for one in told.measured if (one.width, one.height) == size}
        assert list(of) == ["live from raw", "live from RGB", "original", "develop", "products"]
        assert all(one.seconds > 0 for one in of.values()) and all(of[what].bytes > 1000 for what in ("live from raw", "original", "develop"))
    assert told.disk_mb_s > 0 and told.sync_s > 0 and told.disk == str(folder / "images")
    assert list((folder / "images").iterdir()) == []


def test_a_camera_that_asks_for_little_is_carried(found: tuple[Path, Found]) -> None:
    *sizes, sky = found[1].advice
    assert [one.fits for one in sizes] == [None, None] and (sky.camera, sky.fits) == ("sky", True), sky


def _of(live_s: float, develop_s: float, rate: float = 50.0) -> dict[str, Measured]:
    seconds = {"live from raw": live_s, "live from RGB": live_s, "original": 0.05, "develop": develop_s, "products": 0.2}
    return {what: Measured(what, 320, 240, took, 300_000) for what, took in seconds.items()}


def _advice(folder: Path, live_s: float, develop_s: float, rate: float, fps: int, interval: float) -> tuning.Advice:
    (camera,) = settings(folder, fps, interval).cameras
    return tuning._of_camera(camera, tuning._of_size("sky", 320, 240, _of(live_s, develop_s), rate, 0.02))  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("live_s", "develop_s", "rate", "fps", "interval", "words"),
    [
        (0.2, 0.1, 50.0, 30, 60.0, "set live.fps_max: 3"),
        (0.01, 3.0, 50.0, 1, 4.0, "set interval_s: 5.4"),
        (0.01, 0.1, 0.05, 1, 10.0, "set interval_s: 20.1"),
        (0.01, 0.1, 50.0, 20, 60.0, "set preroll.max_mb: 73"),
    ],
)
def test_what_is_too_much_names_the_key_and_a_value_that_fits(
    tmp_path: Path, live_s: float, develop_s: float, rate: float, fps: int, interval: float, words: str
) -> None:
    advice = _advice(tmp_path, live_s, develop_s, rate, fps, interval)
    assert advice.fits is False and any(words in line for line in advice.words), advice


QUICK = """
import sys
from cupola.doctor import tuning
tuning.EACH_S, tuning.DISK_S, tuning.SIZES = 0.0, 10.0, tuning.SIZES if "every" in sys.argv else ((320, 240),)
if "slow" in sys.argv:
    import cupola.camera.render, cupola.darkroom.job, cv2
    tuning.EACH_S, tuning.DISK_RUNS, tuning.DISK_S = 1.0, 16, 100.0
sys.argv = ["cupola", "tune", *(word for word in sys.argv[1:] if word not in ("every", "slow")), "--config", "cupola.yaml"]
from cupola.__main__ import main
main()
"""


def command(folder: Path, *words: str) -> list[str]:
    """Its runs are as short as can be: what is measured is not judged here."""
    (folder / "home").mkdir(exist_ok=True)
    return [sys.executable, "-c", QUICK, *words]


def tune(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(folder, "--json", *words), cwd=folder, env=environment(folder) | more, capture_output=True, text=True, timeout=300)


def asked_too_much(done: subprocess.CompletedProcess[str], key: str) -> bool:
    """Of the last camera."""
    advice = json.loads(done.stdout)["advice"][-1]
    return done.returncode == 1 and advice["fits"] is False and any(f"set {key}: " in line for line in advice["words"])


def test_the_command_measures_this_machine_and_says_it_in_json(tmp_path: Path) -> None:
    (tmp_path / "cupola.yaml").write_text("storage: {root: images}\ncameras: []\n")
    done = tune(tmp_path, "every")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {"processors", "memory_mb", "disk_mb_s", "sync_s", "measured", "advice"} <= told.keys()
    assert {(one["width"], one["height"]) for one in told["measured"]} >= {(640, 480), (1280, 720), (1920, 1080)}


def test_a_configuration_that_asks_for_too_much_ends_with_1_and_the_key_to_change(tmp_path: Path) -> None:
    (tmp_path / "cupola.yaml").write_text(CAMERA.replace("FPS", "1").replace("INTERVAL", "0.001"))
    done = tune(tmp_path)
    assert asked_too_much(done, "interval_s"), done.stdout


@pytest.mark.parametrize(
    ("text", "words"), [("storrage: {root: images}\n", "cupola.yaml:1: storrage: unknown key"), (None, "cupola.yaml: there is no such file")]
)
def test_a_configuration_that_cannot_be_used_is_told_in_place_of_figures(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "cupola.yaml").write_text(text)
    done = tune(tmp_path)
    assert (done.returncode, done.stdout) == (1, "") and words in done.stderr


@pytest.mark.parametrize("library", ["cv2", "simplejpeg"])
def test_a_library_that_does_not_load_is_named(tmp_path: Path, library: str) -> None:
    (tmp_path / "cupola.yaml").write_text("cameras: []\n")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / f"{library}.py").write_text(f"raise ImportError('{library} is broken')\n")
    done = tune(tmp_path, PYTHONPATH=f"{tmp_path / 'broken'}{os.pathsep}{os.environ['PYTHONPATH']}")
    assert done.returncode == 1 and f"{library} is broken" in done.stderr and "Traceback" not in done.stderr


def test_too_little_memory_is_told_in_place_of_figures(tmp_path: Path) -> None:
    (tmp_path / "cupola.yaml").write_text("cameras: []\n")
    limited = ["prlimit", "--as=300000000", *command(tmp_path, "--json")]
    done = subprocess.run(limited, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (1, "") and "memory" in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_images_whose_folder_is_a_file_are_told_in_place_of_another_disk(tmp_path: Path) -> None:
    (tmp_path / "cupola.yaml").write_text("storage: {root: images}\ncameras: []\n")
    (tmp_path / "images").write_text("not a folder")
    done = tune(tmp_path)
    assert (done.returncode, done.stdout) == (1, "") and f"{tmp_path / 'images'} cannot be written (Not a directory)" in done.stderr


def test_a_slow_processor_carries_fewer_live_pictures(tmp_path: Path) -> None:
    """The same configuration fits without it. Its processor: stopped for nine tenths of the time, from when the pictures are measured."""
    (tmp_path / "cupola.yaml").write_text(CAMERA.replace("FPS", "60").replace("INTERVAL", "60").replace("max_mb: 4", "max_mb: 400"))
    assert tune(tmp_path).returncode == 0
    with subprocess.Popen(
        command(tmp_path, "slow"), cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            while "live picture" not in (line := process.stderr.readline()):
                assert line, process.stdout.read()
            for _ in range(3000):
                if process.poll() is not None:
                    break
                process.send_signal(signal.SIGSTOP)
                time.sleep(0.09)
                process.send_signal(signal.SIGCONT)
                time.sleep(0.01)
            printed = process.stdout.read()
        finally:
            process.kill()
    assert process.returncode == 1 and re.search(r"set\s+live.fps_max: ", printed), printed


@pytest.mark.skipif(bool(missing := ext4.missing_feature()), reason=str(missing))
def test_a_slow_disk_carries_fewer_stills_and_one_that_hangs_is_told(tmp_path: Path) -> None:
    disk = ext4.Disk(tmp_path, 256)
    with disk.mounted() as mount:
        (tmp_path / "cupola.yaml").write_text(CAMERA.replace("root: images", f"root: {mount}").replace("FPS", "1").replace("INTERVAL", "0.5"))
        assert tune(tmp_path).returncode == 0
        with disk.slow(0.3):
            slow = tune(tmp_path, "slow")
        assert asked_too_much(slow, "interval_s"), slow.stdout or slow.stderr
        with disk.stalled():
            hung = tune(tmp_path)
    assert (hung.returncode, hung.stdout) == (1, "") and f"{mount} did not end within 10 s" in hung.stderr, hung.stderr


@pytest.mark.skipif(bool(missing := ext4.missing_feature()), reason=str(missing))
def test_a_disk_that_takes_nothing_is_told_in_place_of_another_ones_figures(tmp_path: Path) -> None:
    disk = ext4.Disk(tmp_path, 16)
    with disk.mounted() as mount:
        (tmp_path / "cupola.yaml").write_text(f"storage: {{root: {mount}}}\ncameras: []\n")
        with (mount / "fill").open("wb") as file:
            free = os.statvfs(mount)
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - 1_000_000)
        full = tune(tmp_path)
        subprocess.run(["mount", "-o", "remount,ro", mount], check=True)
        read_only = tune(tmp_path)
    for done, words in ((full, "full"), (read_only, "Read-only")):
        assert (done.returncode, done.stdout) == (1, "") and words in done.stderr and str(mount) in done.stderr, done.stderr


def test_ended_in_the_middle_it_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "cupola.yaml").write_text("storage: {root: images}\ncameras: []\n")
    (tmp_path / "images").mkdir()
    with subprocess.Popen(command(tmp_path, "every"), cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            assert "disk of" in process.stderr.readline() and "live picture" in process.stderr.readline()
            assert list((tmp_path / "images").iterdir())
            process.terminate()
            assert process.wait(30) == 1
        finally:
            process.kill()
    assert list((tmp_path / "images").iterdir()) == []
