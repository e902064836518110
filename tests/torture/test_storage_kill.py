"""Killed before any system call, or the power cut at any moment: nothing acknowledged is lost, nothing half is visible.

All points, by hand: `CUPOLA_KILL_POINTS=all CUPOLA_POWER_CUTS=20 pytest tests/torture/test_storage_kill.py`.
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
from tests.torture.storage_writer import Verdict, judge

pytestmark = pytest.mark.torture
_ROOT = Path(__file__).parents[2]
_KILL_POINTS = os.environ.get("CUPOLA_KILL_POINTS", "40")
_POWER_CUTS = int(os.environ.get("CUPOLA_POWER_CUTS", "2"))


@pytest.fixture(autouse=True)
def _from_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(_ROOT)
    monkeypatch.setenv("PYTHONPATH", f"{_ROOT / 'src'}{os.pathsep}{_ROOT}")


def _writer(folder: Path, count: int) -> list[str]:
    return [sys.executable, "-m", "tests.torture.storage_writer", str(folder), str(count)]


@pytest.mark.timeout(3600)
@pytest.mark.skipif(syscalls.missing_feature() is not None, reason=syscalls.missing_feature() or "")
def test_a_kill_before_any_system_call_of_three_images_loses_nothing(tmp_path: Path) -> None:
    folder, acked = tmp_path / "data", tmp_path / "acked"
    folder.mkdir()
    points = syscalls.calls_of(_writer(folder, 3), folder, acked, tmp_path / "strace.log")
    assert len(acked.read_text().splitlines()) == 4, "one of three images keeps its original"
    assert judge(folder, acked) == Verdict(), "also without a kill"
    if _KILL_POINTS != "all":
        points = random.Random(7).sample(points, min(int(_KILL_POINTS), len(points)))
    total, hits = Verdict(), 0
    for point in points:
        shutil.rmtree(folder)
        folder.mkdir()
        hits += syscalls.killed_at(_writer(folder, 3), point, acked)
        verdict = judge(folder, acked)
        assert (verdict.corrupt, verdict.lost, verdict.unreconciled) == (0, 0, 0), f"killed at {point}"
        total += verdict
    print(f"{len(points)} points, {hits} kills: {total}")
    assert hits >= 0.9 * len(points)
    assert total.adopted + total.deleted_tmp > 0, "no kill left anything to reconcile, so none hit a write"


@pytest.mark.timeout(1200)
@pytest.mark.skipif(ext4.missing_feature() is not None, reason=ext4.missing_feature() or "")
def test_a_power_cut_at_any_moment_loses_nothing_acknowledged(tmp_path: Path) -> None:
    rng, total, items = random.Random(3), Verdict(), 0
    for number in range(_POWER_CUTS):
        work = tmp_path / str(number)
        work.mkdir()
        disk, acked = ext4.Disk(work, 160), work / "acked"
        with disk.mounted() as folder, acked.open("wb") as output:
            writer = subprocess.Popen(_writer(folder, 1_000_000), stdout=output, stderr=subprocess.DEVNULL)
            try:
                deadline = time.monotonic() + 30
                while not acked.stat().st_size and time.monotonic() < deadline:
                    time.sleep(0.005)
                time.sleep(rng.uniform(0.15, 0.6))
                disk.cut_power()
            finally:
                writer.send_signal(signal.SIGKILL)
                writer.wait()
        items += len(acked.read_text().splitlines())
        with disk.mounted() as folder:
            total += judge(folder, acked)
        disk.image.unlink()
    print(f"{_POWER_CUTS} cuts, {items} acknowledged: {total}")
    assert items > 5 * _POWER_CUTS
    assert (total.corrupt, total.lost, total.unreconciled) == (0, 0, 0)
