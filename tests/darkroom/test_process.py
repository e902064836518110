"""The darkroom's process by itself, spoken to over its link as the server does."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from tests.darkroom.station import AT, STATION, original

from cupola.core.frame import CameraInfo, Controls, Frame, PixelFormat, PixelKind
from cupola.process.wire import Link, socket_pair
from cupola.storage.originals import encode_original
from cupola.storage.space import Lock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="file descriptors are passed on in another way on Windows")


class Process:
    def __init__(self, lock: Path) -> None:
        ours, theirs = socket_pair()
        ours.settimeout(60)
        self._socket, self.link = ours, Link(ours)
        argv = [sys.executable, "-m", "cupola.darkroom.process", f"--link={theirs.fileno()}"]
        self.process = subprocess.Popen(argv, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        self.link.send({"type": "configure", "lock": str(lock)})

    def ask(self, **head: Any) -> tuple[list[str], dict[str, Any], bytes]:
        """The types of all messages up to the answer, the answer's head and its payload."""
        self.link.send({"job": 7, **head})
        types: list[str] = []
        while True:
            message = self.link.receive()
            assert message is not None, "the process closed its link"
            types.append(message[0]["type"])
            if types[-1] not in ("started", "log"):
                return types, message[0], bytes(message[1])

    def vanish(self) -> None:
        """What the process sees when the server is killed."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def ended(self) -> int:
        return self.process.wait(30)


@pytest.fixture
def lock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state") / "darkroom.lock"


@pytest.fixture
def process(lock: Path) -> Generator[Process]:
    started = Process(lock)
    yield started
    started.vanish()
    if started.process.poll() is None:
        started.process.kill()
        started.process.wait(10)


@pytest.fixture
def sky(tmp_path: Path) -> Path:
    path = tmp_path / "sky.fits.fz"
    path.write_bytes(original(1))
    return path


def test_a_job_leaves_the_jpeg_it_reports(process: Process, sky: Path, tmp_path: Path) -> None:
    target = tmp_path / "jpg" / "sky.jpg"
    types, answer, _ = process.ask(type="develop", original=str(sky), target=str(target), quality=90)
    assert types == ["started", "developed"]
    content = target.read_bytes()
    assert (answer["job"], answer["path"], answer["bytes"], answer["width"], answer["height"]) == (7, str(target), len(content), 320, 240)
    assert answer["sha256"] == hashlib.sha256(content).hexdigest()
    assert simplejpeg.decode_jpeg(content).shape == (240, 320, 3)
    assert [path.name for path in target.parent.iterdir()] == ["sky.jpg"]


def test_an_rgb_original_is_shown_as_the_camera_rendered_it(process: Process, tmp_path: Path) -> None:
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:, 32:] = (200, 40, 90)
    frame = Frame(1, AT, AT, 1, pixels, PixelFormat(PixelKind.RGB), Controls())
    info = CameraInfo("replay", "test", 64, 48, frame.format, frozenset())
    (tmp_path / "a.fits.fz").write_bytes(encode_original(frame, camera="north", sequence=1, station=STATION, info=info, software="test"))
    types, _, _ = process.ask(type="develop", original=str(tmp_path / "a.fits.fz"), target=str(tmp_path / "a.jpg"), quality=95)
    assert types == ["started", "developed"]
    picture = simplejpeg.decode_jpeg((tmp_path / "a.jpg").read_bytes()).astype(int)
    assert np.abs(picture[:, :28]).max() < 8
    assert np.abs(picture[:, 36:] - (200, 40, 90)).max() < 8


def test_quality_decides_the_size(process: Process, sky: Path, tmp_path: Path) -> None:
    sizes = [process.ask(type="develop", original=str(sky), target=str(tmp_path / "a.jpg"), quality=quality)[1]["bytes"] for quality in (50, 95)]
    assert sizes[0] * 2 < sizes[1]


def test_what_is_no_original_is_told_and_the_next_job_is_done(process: Process, sky: Path, tmp_path: Path) -> None:
    whole, target = sky.read_bytes(), tmp_path / "a.jpg"
    middle = len(whole) // 2
    broken = {
        "cut": whole[:middle],
        "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "empty": b"",
        "other": b"GIF89a" * 2000,
    }
    for name, content in broken.items():
        path = tmp_path / f"{name}.fits.fz"
        path.write_bytes(content)
        types, answer, _ = process.ask(type="develop", original=str(path), target=str(target), quality=90)
        assert types == ["started", "failed"]
        assert answer["kind"] == "original"
        assert str(path) in answer["message"]
    types, answer, _ = process.ask(type="develop", original=str(tmp_path / "none.fits.fz"), target=str(target), quality=90)
    assert (types[-1], answer["kind"]) == ("failed", "original")
    assert not target.exists()
    assert process.ask(type="develop", original=str(sky), target=str(target), quality=90)[1]["type"] == "developed"


def test_a_place_that_cannot_be_written_is_not_blamed_on_the_original(process: Process, sky: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    answer = process.ask(type="develop", original=str(sky), target=str(tmp_path / "file" / "a.jpg"), quality=90)[1]
    assert (answer["type"], answer["kind"]) == ("failed", "storage_failed")
    assert "in the way" in answer["message"]


def test_a_mistake_in_a_job_is_told_with_its_traceback_and_survived(process: Process, sky: Path, tmp_path: Path) -> None:
    types, answer, _ = process.ask(type="develop", original=str(sky), target=str(tmp_path / "a.jpg"), quality="high")
    assert types == ["started", "log", "failed"]
    assert answer["kind"] == "error"
    types, answer, _ = process.ask(type="dance")
    assert (types, answer["kind"]) == (["log", "failed"], "error")
    assert process.ask(type="develop", original=str(sky), target=str(tmp_path / "a.jpg"), quality=90)[1]["type"] == "developed"


def test_a_thumbnail_comes_over_the_link_and_leaves_no_file(process: Process, sky: Path, tmp_path: Path) -> None:
    target = tmp_path / "jpg" / "sky.jpg"
    process.ask(type="develop", original=str(sky), target=str(target), quality=90)
    types, answer, payload = process.ask(type="thumb", path=str(target), width=100)
    assert (types, answer) == (["started", "thumb"], {"type": "thumb", "job": 7})
    assert simplejpeg.decode_jpeg(payload).shape == (75, 100, 3)
    assert [path.name for path in target.parent.iterdir()] == ["sky.jpg"]
    for path in (sky, tmp_path / "none.jpg"):
        types, answer, payload = process.ask(type="thumb", path=str(path), width=100)
        assert (types, answer["kind"], payload) == (["started", "failed"], "original", b"")
        assert str(path) in answer["message"]


def test_close_ends_the_process_after_the_job_before_it(process: Process, sky: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.jpg"
    process.link.send({"type": "develop", "job": 1, "original": str(sky), "target": str(target), "quality": 90})
    process.link.send({"type": "close"})
    assert process.ended() == 0
    assert simplejpeg.decode_jpeg(target.read_bytes()).shape == (240, 320, 3)


def test_a_server_that_dies_during_a_job_finds_it_done(process: Process, sky: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.jpg"
    process.link.send({"type": "develop", "job": 1, "original": str(sky), "target": str(target), "quality": 90})
    message = process.link.receive()
    assert message is not None
    assert message[0]["type"] == "started"
    process.vanish()
    assert process.ended() == 0
    assert simplejpeg.decode_jpeg(target.read_bytes()).shape == (240, 320, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "sky.fits.fz"]


def test_an_idle_process_loads_neither_opencv_nor_astropy_and_is_nice(process: Process, sky: Path, tmp_path: Path) -> None:
    process.ask(type="thumb", path=str(tmp_path / "none.jpg"), width=100)
    maps = Path(f"/proc/{process.process.pid}/maps")
    if maps.exists():
        assert "cv2" not in maps.read_text()
        process.ask(type="develop", original=str(sky), target=str(tmp_path / "a.jpg"), quality=90)
        assert "cv2" in maps.read_text()
    assert os.getpriority(os.PRIO_PROCESS, process.process.pid) == os.getpriority(os.PRIO_PROCESS, 0) + 10


def test_it_holds_its_lock_for_life_and_a_second_one_refuses_to_work(process: Process, lock: Path, sky: Path, tmp_path: Path) -> None:
    process.ask(type="thumb", path=str(tmp_path / "none.jpg"), width=100)
    holder = Lock(lock).holder()
    assert holder is not None
    assert holder.pid == process.process.pid
    second = Process(lock)
    types, answer, _ = second.ask(type="develop", original=str(sky), target=str(tmp_path / "a.jpg"), quality=90)
    assert types == ["refused"]
    assert str(lock) in answer["message"]
    assert second.ended() == 1
    second.vanish()
    process.vanish()
    assert process.ended() == 0
    assert Lock(lock).holder() is None
    assert not (tmp_path / "a.jpg").exists()


def test_started_by_hand_it_says_how_it_is_started() -> None:
    done = subprocess.run([sys.executable, "-m", "cupola.darkroom.process"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "cupola run" in done.stderr
