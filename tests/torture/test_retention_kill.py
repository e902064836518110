"""Retention killed before any system call, or the power cut: nothing listed is gone, nothing deleted comes back, nothing is left over.

All points, by hand: `CUPOLA_KILL_POINTS=all CUPOLA_POWER_CUTS=20 pytest tests/torture/test_retention_kill.py`.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support import ext4, syscalls
from tests.torture.retention_worker import fill, judge

pytestmark = pytest.mark.torture
_ROOT = Path(__file__).parents[2]
_KILL_POINTS = os.environ.get("CUPOLA_KILL_POINTS", "12")
_POWER_CUTS = int(os.environ.get("CUPOLA_POWER_CUTS", "2"))


@pytest.fixture(autouse=True)
def _from_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(_ROOT)
    monkeypatch.setenv("PYTHONPATH", f"{_ROOT / 'src'}{os.pathsep}{_ROOT}")


def _worker(folder: Path) -> list[str]:
    return [sys.executable, "-m", "tests.torture.retention_worker", str(folder)]


@pytest.mark.timeout(3600)
@pytest.mark.skipif(syscalls.missing_feature() is not None, reason=syscalls.missing_feature() or "")
def test_a_kill_before_any_system_call_leaves_nothing_listed_that_is_gone_and_brings_nothing_back(tmp_path: Path) -> None:
    full, folder, acked = tmp_path / "full", tmp_path / "data", tmp_path / "acked"
    full.mkdir()
    fill(full, 6)

    def again() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(full, folder)

    again()
    points = syscalls.calls_of(_worker(folder), folder, acked, tmp_path / "strace.log")
    assert len(acked.read_text().splitlines()) >= 7
    assert judge(folder) == [], "also without a kill"
    if _KILL_POINTS != "all":
        named = [point for point in points if point[0] in ("unlink", "unlinkat", "fsync", "fdatasync", "pwrite64", "rmdir")]
        points = random.Random(7).sample(named, min(int(_KILL_POINTS), len(named)))
    hits = 0
    for point in points:
        again()
        hits += syscalls.killed_at(_worker(folder), point, acked)
        assert judge(folder) == [], f"killed at {point}"
    print(f"{len(points)} points, {hits} kills")
    assert hits >= 0.9 * len(points)


@pytest.mark.timeout(1200)
@pytest.mark.skipif(ext4.missing_feature() is not None, reason=ext4.missing_feature() or "")
def test_a_power_cut_at_any_moment_brings_nothing_back(tmp_path: Path) -> None:
    rng, steps = random.Random(5), 0
    for number in range(_POWER_CUTS):
        work = tmp_path / str(number)
        work.mkdir()
        disk, acked = ext4.Disk(work, 64), work / "acked"
        with disk.mounted() as folder:
            fill(folder, 10)
        with disk.mounted() as folder, acked.open("wb") as output:
            worker = subprocess.Popen(_worker(folder), stdout=output, stderr=subprocess.DEVNULL)
            try:
                wanted, deadline = rng.randrange(1, 9), time.monotonic() + 40
                while acked.read_bytes().count(b"\n") < wanted:
                    assert time.monotonic() < deadline and worker.poll() is None, "the steps did not come"
                    time.sleep(0.001)
                disk.cut_power()
            finally:
                worker.send_signal(signal.SIGKILL)
                worker.wait()
        steps += acked.read_bytes().count(b"\n")
        with disk.mounted() as folder:
            assert judge(folder) == [], f"cut {number}"
        disk.image.unlink()
    print(f"{_POWER_CUTS} cuts in {steps} steps")
