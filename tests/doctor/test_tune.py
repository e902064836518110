"""`cupola tune`: what was measured, and what follows from it for the configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.station import cupola

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


def test_the_command_measures_this_machine_and_says_it_in_json(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "cupola.yaml").write_text("storage: {root: images}\ncameras: []\n")
    done = cupola(tmp_path, "tune", "--json", timeout_s=500)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {"processors", "memory_mb", "disk_mb_s", "sync_s", "measured", "advice"} <= told.keys()
    assert {(one["width"], one["height"]) for one in told["measured"]} >= {(640, 480), (1280, 720), (1920, 1080)}
