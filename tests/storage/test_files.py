"""Durable writes, names, and errors that say what to do."""

import errno
import hashlib
import os
import re
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import ext4, syscalls

from cupola.core.errors import StorageFailed, StorageFull
from cupola.core.frame import Station
from cupola.storage import files

_SRC = Path(__file__).parents[2] / "src"
_WRITE = (
    "import sys; from pathlib import Path; from cupola.core.errors import CupolaError; from cupola.storage.files import write_durable\n"
    "try: write_durable(Path(sys.argv[1]), b'x' * 5000); print('written')\n"
    "except CupolaError as error: print(error.kind, error)"
)
needs_strace = pytest.mark.skipif(syscalls.missing_feature() is not None, reason=syscalls.missing_feature() or "")


def _traced(path: Path, tmp_path: Path, *options: str) -> str:
    answer = tmp_path / "answer"
    done = syscalls.run(["env", f"PYTHONPATH={_SRC}", sys.executable, "-c", _WRITE, str(path)], options, answer)
    assert done.returncode == 0, done.stderr.decode()
    return answer.read_text()


def test_what_was_written_is_there_with_its_size_and_sha256(tmp_path: Path) -> None:
    data = os.urandom(100_000)
    written = files.write_durable(tmp_path / "new" / "folders" / "a.jpg", data)
    assert written.path.read_bytes() == data
    assert (written.bytes, written.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert [p.name for p in written.path.parent.iterdir()] == ["a.jpg"]


def test_a_memoryview_of_pixels_is_written_whole(tmp_path: Path) -> None:
    pixels = memoryview(bytes(range(240)) * 4).cast("B", (4, 80, 3))
    written = files.write_durable(tmp_path / "a", pixels)
    assert written.bytes == 960
    assert written.path.read_bytes() == pixels.tobytes()


def test_the_tmp_file_of_a_dead_writer_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.jpg.tmp").write_bytes(b"half")
    files.write_durable(tmp_path / "a.jpg", b"whole")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.jpg", b"whole")]


def test_a_symlink_in_the_place_of_the_tmp_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "a.jpg.tmp").symlink_to(victim)
    files.write_durable(tmp_path / "a.jpg", b"whole")
    assert victim.read_bytes() == b"precious"


def test_a_folder_that_was_removed_meanwhile_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "day" / "raw" / "a"
    files.write_durable(path, b"1")
    path.unlink()
    path.parent.rmdir()
    path.parent.parent.rmdir()
    files.write_durable(path, b"2")
    assert path.read_bytes() == b"2"


@needs_strace
def test_file_folder_and_new_parents_are_synced_in_the_order_that_survives_a_power_cut(tmp_path: Path) -> None:
    log, path = tmp_path / "log", tmp_path / "root" / "day" / "a.jpg"
    assert _traced(path, tmp_path, "-y", "-o", str(log), "-e", "trace=write,fsync,rename,mkdir") == "written\n"
    told = re.findall(r"(write|fsync|rename|mkdir)\((?:\d+<)?\"?([^>\"]+)", log.read_text())
    steps = [(call, os.path.relpath(name, tmp_path)) for call, name in told if name.startswith(str(tmp_path)) and not name.endswith("/answer")]
    tmp = "root/day/a.jpg.tmp"
    assert steps == [
        *[("mkdir", "root/day"), ("mkdir", "root"), ("mkdir", "root/day")],
        *[("fsync", "root"), ("fsync", ".")],
        *[("write", tmp), ("fsync", tmp), ("rename", tmp)],
        ("fsync", "root/day"),
    ]


@needs_strace
def test_after_one_eio_of_fsync_the_whole_file_is_written_again(tmp_path: Path) -> None:
    log, path = tmp_path / "log", tmp_path / "a.jpg"
    first = 1 + _ancestors_on_device(tmp_path)
    assert _traced(path, tmp_path, "-y", "-o", str(log), "-e", "trace=fsync,write", "-e", f"inject=fsync:error=EIO:when={first}") == "written\n"
    assert path.read_bytes() == b"x" * 5000
    about = [line for line in log.read_text().splitlines() if "a.jpg.tmp" in line]
    assert [line.split("(")[0].split()[-1] for line in about] == ["write", "fsync", "write", "fsync"]
    assert "EIO" in about[1], "the injected error hit the fsync of the file"


@needs_strace
def test_an_fsync_that_always_fails_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    first = 1 + _ancestors_on_device(tmp_path)
    answer = _traced(path, tmp_path, "-o", os.devnull, "-e", "trace=fsync", "-e", f"inject=fsync:error=EIO:when={first}+")
    assert answer.startswith("storage_failed Cannot ")
    assert "dmesg" in answer
    assert not list(tmp_path.glob("a.jpg*"))


def _ancestors_on_device(folder: Path) -> int:
    device = folder.stat().st_dev
    same = [parent.stat().st_dev == device for parent in folder.parents]
    return [*same, False].index(False)


@pytest.mark.skipif(ext4.missing_feature() is not None, reason=ext4.missing_feature() or "")
def test_a_full_disk_says_so_and_keeps_what_was_there(tmp_path: Path) -> None:
    with ext4.Disk(tmp_path, 16).mounted() as folder:
        kept = files.write_durable(folder / "kept", b"k" * 100_000)

        def write_many() -> None:
            for number in range(100):
                files.write_durable(folder / f"{number}.jpg", bytes(1 << 20))

        with pytest.raises(StorageFull, match=r"storage\.root"):
            write_many()
        assert not list(folder.glob("*.tmp"))
        assert all(p.stat().st_size == 1 << 20 for p in folder.glob("*.jpg"))
        assert kept.path.read_bytes() == b"k" * 100_000


def test_a_file_beyond_the_process_limit_is_an_error_with_advice(tmp_path: Path) -> None:
    limited = subprocess.run(
        [sys.executable, "-c", _WRITE, str(tmp_path / "a")],
        env=os.environ | {"PYTHONPATH": str(_SRC), "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert limited.stdout.startswith("storage_failed Cannot write")
    assert "ulimit" in limited.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EROFS, StorageFailed), (999, StorageFailed)]
)
def test_each_errno_becomes_the_error_of_who_must_act(number: int, expected: type[Exception]) -> None:
    error = files.storage_error(Path("/x/a.jpg"), "write", OSError(number, os.strerror(number)))
    assert type(error) is expected
    assert "/x/a.jpg" in str(error)


def test_a_file_where_a_folder_belongs_is_named(tmp_path: Path) -> None:
    (tmp_path / "north").write_bytes(b"")
    with pytest.raises(StorageFailed, match="in the way"):
        files.write_durable(tmp_path / "north" / "raw" / "a", b"")


@given(
    st.datetimes(
        timezones=st.sampled_from([UTC, ZoneInfo("Asia/Kolkata"), ZoneInfo("America/Lima")]),
        min_value=datetime(2, 1, 1),
        max_value=datetime(9998, 1, 1),
    ),
    st.integers(0, 10**18 - 1),
)
def test_a_stem_gives_back_second_and_sequence(opened_at: datetime, sequence: int) -> None:
    stem = files.image_stem(opened_at, sequence)
    assert files.parse_stem(stem) == (opened_at.astimezone(UTC).replace(microsecond=0), sequence)


def test_stems_are_those_of_the_contract() -> None:
    assert files.image_stem(datetime(2026, 11, 21, 23, 15, 2, 999999, tzinfo=UTC), 342) == "20261121T231502Z_000342"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "20261121T231502Z_342",
        "20261121T231502Z_0000342",
        "20261321T231502Z_000342",
        "20261121T231502Z_000342.jpg",
        "20261121T231502Z_٣٣٣٣٣٣",
    ],
)
def test_other_names_are_no_stems(text: str) -> None:
    with pytest.raises(ValueError):
        files.parse_stem(text)


def test_one_night_lies_in_one_folder_and_noon_begins_the_next(tmp_path: Path) -> None:
    station = Station(longitude=11.0, timezone="Europe/Berlin")
    evening, morning, next_day = (datetime(2026, 11, *at, tzinfo=UTC) for at in ((21, 18), (22, 10), (22, 12)))
    assert [files.day_of(at, station) for at in (evening, morning, next_day)] == ["2026-11-21", "2026-11-21", "2026-11-22"]
    assert files.folder_of(tmp_path, "north", "2026-11-21") == tmp_path / "north/2026/11/21"
    assert files.jpg_path(tmp_path, "north", next_day, 7, station, "2026-11-21").parent == tmp_path / "north/2026/11/21/jpg"
    assert files.raw_path(tmp_path, "north", evening, 7, station) == tmp_path / "north/2026/11/21/raw/20261121T180000Z_000007.fits.fz"


@pytest.mark.parametrize("camera", ["", ".", "..", "../x", "a/b", "/etc", "a\\b", "a.", "-a", "x" * 65, "a\n", "a\0"])
def test_a_camera_name_cannot_lead_out_of_the_root(tmp_path: Path, camera: str) -> None:
    with pytest.raises(ValueError):
        files.camera_folder(tmp_path, camera)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a\\..\\x", "link/x", "a\0b"])
def test_a_name_of_the_catalogue_cannot_lead_out_of_the_root(tmp_path: Path, name: str) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to("/etc")
    with pytest.raises(ValueError):
        files.inside(tmp_path / "root", name)


def test_a_name_of_the_catalogue_finds_its_file(tmp_path: Path) -> None:
    path = tmp_path / "north" / "a.jpg"
    assert files.inside(tmp_path, files.relative_name(path, tmp_path)) == path
