"""A darkroom process that an earlier server left behind: two never write at a time, whatever state the old one is in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import simplejpeg
from tests.darkroom.station import Place, original, running, until

from cupola.darkroom.worker import Worker, WorkerDied
from cupola.process.wire import Link, socket_pair
from cupola.storage.files import TMP
from cupola.storage.space import Lock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP")

# Loaded by any interpreter that finds it first: the process stops between a whole `.tmp` and its renaming.
_FREEZE = """
import os, signal
rename = os.replace
def replace(source, target):
    os.kill(os.getpid(), signal.SIGSTOP)
    rename(source, target)
os.replace = replace
"""


@pytest.fixture
def place(tmp_path: Path) -> Generator[Place]:
    made = Place(tmp_path / "images", tmp_path / "state")
    yield made
    made.catalogue.close()


@pytest.fixture
def left_behind(place: Place, tmp_path: Path) -> Generator[Callable[[Path, Path], subprocess.Popen[bytes]]]:
    """Starts a darkroom process as a server does, has it develop, and vanishes when it is about to rename."""
    folder = tmp_path / "freeze"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_FREEZE)
    started: list[subprocess.Popen[bytes]] = []

    def start(source: Path, target: Path) -> subprocess.Popen[bytes]:
        ours, theirs = socket_pair()
        argv = [sys.executable, "-m", "cupola.darkroom.process", f"--link={theirs.fileno()}"]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(folder), os.environ["PYTHONPATH"]))}
        process = subprocess.Popen(argv, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=environment)
        started.append(process)
        theirs.close()
        link = Link(ours)
        link.send({"type": "configure", "lock": str(place.lock)})
        link.send({"type": "develop", "job": 1, "original": str(source), "target": str(target), "quality": 90})
        while (message := link.receive()) is not None and message[0]["type"] != "started":
            pass
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        ours.close()
        assert target.with_name(target.name + TMP).is_file()
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(10)


def _paths(place: Place) -> tuple[Path, Path]:
    image = place.add(1, original(1))
    return place.root / image.files[0].path, place.root / "north/2026/11/21/jpg/20261121T230001Z_000001.jpg"


async def test_a_stopped_process_of_a_killed_server_is_gone_before_another_one_starts(place: Place, left_behind: Callable[..., Any]) -> None:
    source, target = _paths(place)
    old = left_behind(source, target)
    async with running(place) as room:
        await until(lambda: room.worker_pid)
        assert old.poll() == -signal.SIGKILL
        await until(lambda: place.kinds() == ["image_developed"])
    assert f"An earlier process ({old.pid}) still holds the darkroom" in place.said("WARNING")
    assert f"The earlier process {old.pid} did not let go of the darkroom" in place.said("ERROR")
    assert simplejpeg.decode_jpeg(target.read_bytes(), strict=True).shape == (240, 320, 3)
    assert place.row(place.catalogue.images()[0][0]).attempts == 0
    assert place.leftovers() == []


async def test_a_process_that_wakes_in_time_finishes_its_picture_and_is_not_killed(place: Place, left_behind: Callable[..., Any]) -> None:
    source, target = _paths(place)
    old = left_behind(source, target)
    async with running(place) as room:
        await until(lambda: "still holds the darkroom" in place.said("WARNING"))
        assert (room.worker_pid, target.exists()) == (None, False)
        old.send_signal(signal.SIGCONT)
        await until(lambda: room.worker_pid)
        assert old.poll() == 0
        assert simplejpeg.decode_jpeg(target.read_bytes(), strict=True).shape == (240, 320, 3)
        await until(lambda: place.kinds() == ["image_developed"])
    assert place.said("ERROR") == ""
    assert place.leftovers() == []


async def test_while_another_program_has_the_lock_images_wait_and_the_owner_is_told_whom_to_end(place: Place) -> None:
    image = place.add(1, original(1))
    other = Lock(place.lock)
    assert other.acquire()
    async with running(place) as room:
        await until(lambda: room.state == "waiting")
        assert f"Another program (process {os.getpid()}) holds the darkroom" in str(room.problem)
        assert (room.worker_pid, room.pending, place.row(image).attempts) == (None, 1, 0)
        other.release()
        await until(lambda: place.kinds() == ["image_developed"])
        await until(lambda: room.state == "idle")
        assert room.problem is None


async def test_stopping_does_not_wait_for_a_predecessor(place: Place, left_behind: Callable[..., Any]) -> None:
    old = left_behind(*_paths(place))
    async with running(place):
        await until(lambda: "still holds the darkroom" in place.said("WARNING"))
    assert old.poll() is None, "there was no time to wait, so it was not killed either"
    assert place.said("ERROR") == ""


async def test_beside_a_process_that_cannot_be_killed_no_other_is_started_until_it_lets_go(place: Place) -> None:
    """The stuck process is one whose lock outlives its SIGKILL, in a child of its own: the kernel gives us no better one here."""
    records: list[str] = []

    def log(level: str, message: str, **_: Any) -> None:
        records.append(message)

    worker = Worker(log, place.lock, wanted=lambda: True, module="tests.darkroom.stuck")
    with pytest.raises(WorkerDied, match="did not finish within"):
        await worker.request({"type": "thumb"}, 3.0)
    [keeper] = [int(record.split()[-1]) for record in records if "keeper" in record]
    try:
        for _ in range(2):
            with pytest.raises(WorkerDied, match="holds the darkroom") as death:
                await worker.request({"type": "thumb"}, 3.0)
            assert not death.value.began
            assert worker.pid is None
        assert sum("keeper" in record for record in records) == 1, "none was started beside it"
    finally:
        with suppress(ProcessLookupError):
            os.kill(keeper, signal.SIGKILL)
    gone = psutil.Process(keeper) if psutil.pid_exists(keeper) else None
    await until(lambda: gone is None or not gone.is_running() or gone.status() == psutil.STATUS_ZOMBIE)
    with pytest.raises(WorkerDied, match="did not finish within"):
        await worker.request({"type": "thumb"}, 3.0)
    keepers = [int(record.split()[-1]) for record in records if "keeper" in record]
    assert len(keepers) == 2, "free again, so one was started"
    os.kill(keepers[1], signal.SIGKILL)
