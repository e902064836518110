"""Free space, the reserve, and locks that a dead process cannot keep."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import ext4

from cupola.core.errors import StorageFull
from cupola.storage.files import write_durable
from cupola.storage.space import Lock, Reserve, free_space

needs_disk = pytest.mark.skipif(ext4.missing_feature() is not None, reason=ext4.missing_feature() or "")
_HOLD = (
    "import sys; from pathlib import Path; from cupola.storage.space import Lock\n"
    "print(Lock(Path(sys.argv[1])).acquire(camera='north'), flush=True); sys.stdin.read()"
)


def test_free_space_is_told_also_for_a_folder_to_come(tmp_path: Path) -> None:
    free = free_space(tmp_path / "not" / "yet")
    assert free.bytes > 0
    assert 0 < free.percent <= 100


def test_the_reserve_is_given_back_and_taken_again(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "state" / "reserve", 1 << 20)
    assert not reserve.held
    assert reserve.restore()
    assert reserve.held
    assert reserve.path.stat().st_blocks * 512 >= 1 << 20, "the space is really taken"
    assert reserve.release()
    assert not reserve.release()
    assert not reserve.held


@needs_disk
def test_on_a_full_disk_the_reserve_makes_room(tmp_path: Path) -> None:
    with ext4.Disk(tmp_path, 16).mounted() as folder:
        reserve = Reserve(folder / "reserve", 2 << 20)
        assert reserve.restore()

        def write_many() -> None:
            for number in range(1000):
                write_durable(folder / f"{number}.jpg", bytes(100_000))

        with pytest.raises(StorageFull):
            write_many()
        assert reserve.release()
        write_durable(folder / "after.jpg", bytes(1 << 20))
        assert not reserve.restore(), "there is no room for it now"
        assert not reserve.path.exists()


def test_a_lock_is_held_by_one_process_and_says_by_whom(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "north.lock"
    assert Lock(path).holder() is None
    child = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "True\n"
        ours = Lock(path)
        holder = ours.holder()
        assert holder is not None
        assert (holder.pid, holder.facts) == (child.pid, {"camera": "north"})
        assert not ours.acquire()
        child.kill()
    assert ours.holder() is None, "kill -9 lets the lock go"
    assert ours.acquire(camera="south")
    holder = Lock(path).holder()
    assert holder is not None
    assert (holder.pid, holder.facts) == (os.getpid(), {"camera": "south"})
    assert not Lock(path).acquire(), "nor does another lock of this process get it"
    ours.release()
    ours.release()
    assert Lock(path).holder() is None
