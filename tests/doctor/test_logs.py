"""Log files as the logger leaves them, and as power cuts leave them."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.station import cupola

from cupola.core.clock import iso_utc
from cupola.doctor.loganalysis import Analysis, analyse, gaps_of_images, generalised, log_files
from cupola.status import logfiles
from cupola.status.logfiles import read, rotations
from cupola.storage.schema import connect

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def line(at: datetime, message: str, level: str = "INFO", event: str = "capture", camera: str = "sky") -> str:
    return f"{iso_utc(at)[:23].replace('T', ' ')} UTC | {level: <8} | event={event} camera={camera} | {message}\n"


def minutes(number: float) -> datetime:
    return NOW + timedelta(minutes=number)


def night() -> list[str]:
    """A start, work, a crash, another start, failures, and an orderly end with another start."""
    return [
        line(minutes(0), "Cupola is at http://127.0.0.1:8000", event="session_event", camera="-"),
        line(minutes(1), "Captured sky/2026/11/21/raw/20261121T120100Z_000001.fits.fz"),
        line(minutes(2), "Developed sky/2026/11/21/raw/20261121T120100Z_000001.fits.fz in 812 ms"),
        line(minutes(3), "Developed sky/2026/11/21/raw/20261121T120200Z_000002.fits.fz in 90 ms"),
        line(minutes(20), "Cupola is at http://127.0.0.1:8000", event="session_event", camera="-"),
        line(minutes(21), 'Camera "sky" (serial 1a2b3c4d5e) did not answer within 35 s. cause=hang', "ERROR", "usb_failure"),
        line(minutes(22), 'Camera "sky" is back after 12.0 s.', "WARNING", "camera_recovered"),
        line(minutes(23), 'Camera "sky" (serial 1a2b3c4d5e) did not answer within 36 s. cause=hang', "ERROR", "usb_failure"),
        line(minutes(24), "It failed.", "ERROR", "storage", "-")
        + "Traceback (most recent call last):\n  File x, line 3\nOSError: [Errno 5] of /dev/sda1\n",
        line(minutes(25), "Cupola is closing.", event="session_event", camera="-"),
        line(minutes(26), "Cupola is at http://127.0.0.1:8000", event="session_event", camera="-"),
    ]


def test_repeats_are_grouped_and_restarts_gaps_and_slow_work_are_found(tmp_path: Path) -> None:
    (tmp_path / "cupola.log").write_text("".join(night()))
    found = analyse(log_files(tmp_path, None), None).to_dict()
    hang, failed, back = found["errors"]
    assert (hang["count"], hang["first"][11:16], hang["last"][11:16], hang["cameras"]) == (2, "12:21", "12:23", ["sky"])
    assert "within # s" in hang["pattern"] and "within 35 s" in hang["example"]
    assert "OSError" in failed["pattern"] and "<path>" in failed["pattern"]
    assert (back["level"], back["count"]) == ("WARNING", 1)
    assert [(one["orderly"], one["down_s"]) for one in found["restarts"]] == [(True, None), (False, 1020.0), (True, 60.0)]
    (gap,) = [gap for gap in found["gaps"] if gap["seconds"] > 60]
    assert (gap["what"], gap["seconds"]) == ("log", 1020.0)
    (slow,) = found["slow"]
    assert (slow["count"], slow["slow"], slow["longest_s"]) == (2, 1, 0.812)
    assert found["camera_failures"] == {"sky": 2}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cannot reach http://10.0.0.1:8000/a?b=1", "cannot reach https://roof.example.org/c"),
        ("10.0.0.7:4711 is gone", "192.168.1.20 is gone"),
        ("fe80::1:2 is gone", "2001:db8::42 is gone"),
        ("cannot write /srv/images/a b.jpg", "cannot write /mnt/disk1/x/y b.jpg"),
        ("sky/2026/11/21/raw/20261121T231502Z_000342.fits.fz is damaged", "sky/2026/11/22/raw/20261122T000002Z_000343.fits.fz is damaged"),
        ("took 3.5 s of 12,000 for 0x7f00", "took 12 s of 9 for 0xdeadbeef"),
        ("image 5e1f9a03bc77 at 2026-11-21T12:00:00Z", "image 99aa5e1f9a03bc77 at 2026-11-22 13:00:01"),
    ],
)
def test_what_differs_by_numbers_paths_and_addresses_only_is_one_pattern(one: str, other: str) -> None:
    assert generalised(one) == generalised(other) != one


def test_different_faults_stay_apart() -> None:
    assert generalised("camera north did not answer within 3 s") != generalised("camera south did not answer within 3 s")
    assert generalised("GET /api/captures/12/image failed: 3") == "GET /api/captures/#/image failed: #"


def test_rotated_and_packed_files_are_read_in_their_order(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "cupola.2026-11-19_12-00-00_000001.log.gz", "wt") as packed:
        packed.write(line(minutes(-2880), "first"))
    (tmp_path / "cupola.2026-11-20_12-00-00_000001.log").write_text(line(minutes(-1440), "second"))
    (tmp_path / "cupola.log").write_text(line(minutes(0), "third"))
    for other in ("cupola-error.log", "cupola-error.2026-11-20_12-00-00_000001.log", "cupola.yaml", "cupola.notes.log"):
        (tmp_path / other).write_text(line(minutes(0), "of another file"))
    told = [record["message"] for path in rotations(str(tmp_path), "cupola.log") for record in read(path)]
    assert told == ["first", "second", "third"]


def test_files_older_than_what_is_asked_for_are_not_read(tmp_path: Path) -> None:
    old = tmp_path / "cupola.2026-11-19_12-00-00_000001.log.gz"
    old.write_bytes(b"no gzip at all")
    os.utime(old, (1e9, 1e9))
    (tmp_path / "cupola.log").write_text(line(minutes(0), "now"))
    assert [path.name for path in log_files(tmp_path, datetime(2026, 1, 1, tzinfo=UTC))] == ["cupola.log"]


def test_damage_costs_only_what_it_hit(tmp_path: Path) -> None:
    good = "".join(night()).encode()
    packed = gzip.compress("".join(line(minutes(n), os.urandom(40).hex()) for n in range(500)).encode())
    files = {
        "torn.log.gz": packed[: len(packed) // 2],
        "rubbish.log.gz": b"\x1f\x8b rubbish",
        "zeros.log": good + bytes(100_000) + b"\n" + good,
        "half.log": good[50:],
        "empty.log": b"",
        "binary.log": os.urandom(200_000) + b"\n" + good,
    }
    counts = dict[str, int]()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        counts[name] = analyse([tmp_path / name], None).records
    assert counts["torn.log.gz"] > 100 and counts["rubbish.log.gz"] == counts["empty.log"] == 0
    assert counts["zeros.log"] >= 2 * len(night()) - 1 and counts["half.log"] == len(night()) - 1 and counts["binary.log"] >= len(night()) - 1


def test_memory_does_not_grow_with_the_files(tmp_path: Path) -> None:
    """A bomb of zeros, a line of megabytes, and more kinds of errors than are kept."""
    with gzip.open(tmp_path / "bomb.log.gz", "wb", compresslevel=1) as packed:
        for _ in range(30):
            packed.write(bytes(1 << 20))
    with (tmp_path / "kinds.log").open("w") as kinds:
        for number in range(1200):
            word = "".join(chr(97 + int(digit)) for digit in str(number))
            kinds.write(line(minutes(number / 100), f"fault of kind {word} {'x' * 300}", "ERROR"))
    tracemalloc.start()
    try:
        found = analyse([tmp_path / "bomb.log.gz", tmp_path / "kinds.log"], None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000
    assert found.records == 1200 and len(found.groups) + found.others == 1200 and found.others > 0


def test_a_line_without_end_is_cut(tmp_path: Path) -> None:
    (tmp_path / "cupola.log").write_text(line(minutes(0), "y" * 500_000) + line(minutes(1), "after it"))
    long, after = read(str(tmp_path / "cupola.log"))
    assert len(long["message"]) <= logfiles.LINE_MOST and after["message"] == "after it"


def test_a_clock_that_was_set_back_is_told() -> None:
    found = Analysis()
    for at in (0, 10, 5):
        (record,) = logfiles.records(line(minutes(at), "Captured").splitlines())
        found.add(record)
    assert [(gap.what, gap.seconds) for gap in found.gaps] == [("clock", 300.0)]


def test_gaps_between_images_of_a_series_are_found_in_the_catalogue(tmp_path: Path) -> None:
    from cupola.storage.catalogue import Catalogue

    Catalogue(tmp_path / "catalogue.sqlite").close()
    connection = connect(tmp_path / "catalogue.sqlite")
    connection.execute("INSERT INTO session (id, camera, plan, started_at) VALUES (1, 'sky', '{}', ?)", (iso_utc(NOW),))
    openings = [0, 0.5, 1, 1.5, 2, 30, 30.5]
    for sequence, at in enumerate(openings, 1):
        row = ("sky", sequence, iso_utc(minutes(at)), iso_utc(minutes(at) + timedelta(seconds=10)), 1, "2026-11-21", 1, 1, 1)
        connection.execute(
            "INSERT INTO image (camera, sequence, opened_at, ended_at, clock_synced, day, acknowledged, developed, session) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
    connection.close()
    (gap,) = gaps_of_images(tmp_path / "catalogue.sqlite", minutes(-1))
    assert (gap.what, gap.camera, gap.seconds, gap.begin[11:19]) == ("images", "sky", 1670.0, "12:02:10")


def test_the_command_says_it_and_ends_with_1_for_errors_only(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    good, bad = tmp_path / "good.log", tmp_path / "bad.log"
    good.write_text("".join(night()[:4]))
    bad.write_text("".join(night()))
    done = cupola(tmp_path, "logs", "--file", str(bad), "--json")
    assert done.returncode == 1 and json.loads(done.stdout)["levels"] == {"INFO": 7, "ERROR": 3, "WARNING": 1}
    assert cupola(tmp_path, "logs", "--file", str(good)).returncode == 0
    errors = cupola(tmp_path, "logs", "--recent-errors", "--file", str(bad))
    assert errors.returncode == 1 and "did not answer within # s" in errors.stdout and "Starts" not in errors.stdout
    assert cupola(tmp_path, "logs", "--file", "nowhere.log").returncode == 2


def test_what_is_no_log_is_told_and_a_folder_among_rotated_ones_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "cupola.yaml").write_text("logging: {folder: logs}\nstorage: {root: images}\ncameras: []\n")
    (tmp_path / "home").mkdir()
    (tmp_path / "logs" / "cupola.2026-11-21_12-00-00_123456.log").mkdir(parents=True)
    log = tmp_path / "logs" / "cupola.log"
    log.write_bytes(os.urandom(10_000))
    done = cupola(tmp_path, "logs")
    assert done.returncode == 1 and "no record of Cupola's" in done.stderr and str(log) in done.stderr, done
    log.write_text("".join(night()))
    assert cupola(tmp_path, "logs", "--hours", "1").returncode == 0  # all of it is older: nothing is wrong
