"""What is written to the log files and to the journal: where, how long it stays, and that no secret is among it."""

from __future__ import annotations

import contextlib
import gzip
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cupola import logs
from cupola.config.base import secrets_of
from cupola.config.load import load
from cupola.status.logfiles import records

DAY_S = 86_400


@pytest.fixture(autouse=True)
def _finished() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logs.finish()
    root.handlers[:], root.level = handlers, level


def written(folder: Path, name: str = "cupola.log") -> str:
    logs.finish()
    return (folder / name).read_text()


def test_each_level_goes_to_its_files(tmp_path: Path) -> None:
    logs.set_up(tmp_path, debug=True, console=False)
    for level in ("DEBUG", "INFO", "WARNING", "ERROR"):
        logs.write(level, f"a word at {level}", event="capture", camera="sky")
    logs.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cupola-debug.log", "cupola-error.log", "cupola.log"]
    levels = {path.name: [record["level"] for record in records(path.read_text().splitlines())] for path in tmp_path.iterdir()}
    assert levels["cupola.log"] == ["INFO", "WARNING", "ERROR"] and levels["cupola-error.log"] == ["ERROR"] and len(levels["cupola-debug.log"]) == 4


def test_without_debug_there_is_no_file_of_it(tmp_path: Path) -> None:
    logs.set_up(tmp_path, debug=False, console=False)
    logs.write("DEBUG", "nobody needs this")
    assert written(tmp_path) == "" and not (tmp_path / "cupola-debug.log").exists()


def test_a_record_has_its_event_its_camera_and_further_facts(tmp_path: Path) -> None:
    logs.set_up(tmp_path, debug=False, console=False)
    logs.write("INFO", "It is back {not a field}", event="camera_recovered", camera="sky", after_s=3)
    logging.getLogger("uvicorn.error").warning("a %s", "word")
    found = list(records(written(tmp_path).splitlines()))
    assert [(one["event"], one["camera"], one["message"]) for one in found] == [
        ("camera_recovered", "sky", "It is back {not a field} after_s=3"),
        ("websocket", "-", "uvicorn.error: a word"),
    ]


@pytest.mark.parametrize(("slow_s", "event"), [(0.5, "performance"), (1.0, "capture"), (None, "capture")])
def test_what_took_longer_than_the_limit_is_a_record_of_performance(tmp_path: Path, slow_s: float | None, event: str) -> None:
    logs.set_up(tmp_path, debug=False, console=False, slow_s=slow_s)
    logs.write("INFO", "Developed a.jpg", event="capture", camera="sky", took_s=0.812)
    (found,) = records(written(tmp_path).splitlines())
    assert (found["event"], found["message"]) == (event, "Developed a.jpg in 812 ms")


def test_a_full_file_is_put_aside_compressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs.Rotation, "__init__", _small)
    logs.set_up(tmp_path, debug=False, console=False)
    for number in range(40):
        logs.write("INFO", f"image {number:04d} " + "x" * 80)
    logs.finish()
    aside = sorted(tmp_path.glob("cupola.*.log.gz"))
    assert len(aside) == 4
    kept = "".join(gzip.decompress(path.read_bytes()).decode() for path in aside) + (tmp_path / "cupola.log").read_text()
    assert [f"image {number:04d}" in kept for number in range(40)] == [True] * 40


def _small(rotation: logs.Rotation, bytes_max: int) -> None:
    rotation._bytes_max, rotation._day = 1500, None


@pytest.mark.parametrize(("name", "days"), [("cupola", 7), ("cupola-error", 14)])
def test_at_noon_a_new_file_begins_and_what_is_too_old_goes(tmp_path: Path, name: str, days: int) -> None:
    """Also where a day's records would never fill a file."""
    file, old, young = tmp_path / f"{name}.log", tmp_path / f"{name}.2026-01-01_00-00-00_000000.log.gz", tmp_path / f"{name}.b.log.gz"
    for path, age_days in ((file, 2), (old, days + 1), (young, days - 1)):
        path.write_text("of another day\n")
        moment = time.time() - age_days * DAY_S
        os.utime(path, (moment, moment))
    logs.set_up(tmp_path, debug=False, console=False)
    logs.write("ERROR", "of today")
    logs.write("ERROR", "and again")
    assert [record["message"] for record in records(written(tmp_path, f"{name}.log").splitlines())] == ["of today", "and again"]
    assert young.exists() and not old.exists()
    assert len(list(tmp_path.glob(f"{name}.*.log.gz"))) == 2


def test_a_restart_on_the_same_day_goes_on_in_the_same_file(tmp_path: Path) -> None:
    for number in range(3):
        logs.set_up(tmp_path, debug=False, console=False)
        logs.write("INFO", f"start {number}")
        logs.finish()
    assert [record["message"] for record in records((tmp_path / "cupola.log").read_text().splitlines())] == ["start 0", "start 1", "start 2"]


# Secrets


def test_nothing_secret_of_the_configuration_is_written_whatever_a_library_says(tmp_path: Path) -> None:
    (tmp_path / "cupola.yaml").write_text(
        "cameras: [{name: gate, driver: video, video: {source: 'rtsp://observer:s%40fe-word@10.0.0.9/live?token=abc123def'}}]\n"
    )
    settings = load(tmp_path / "cupola.yaml", {})
    assert set(secrets_of(settings)) == {"s%40fe-word", "s@fe-word"}
    logs.set_up(tmp_path / "logs", debug=True, console=False, secrets=secrets_of(settings))
    logs.write("ERROR", "rtsp://observer:s%40fe-word@10.0.0.9/live?token=abc123def does not answer", source="s@fe-word")
    logs.write("INFO", "Authorization: Bearer Zm9vYmFy, and http://127.0.0.1:8000/#claim=ABCD-EFGH password=hunter22")
    logging.getLogger("av").error("401 for %s", "s@fe-word")
    try:
        raise RuntimeError("login with s@fe-word failed")
    except RuntimeError as error:
        logs.write("ERROR", "It failed", exception=error)
    logs.finish()
    for path in (tmp_path / "logs").iterdir():
        text = path.read_text()
        assert not [word for word in ("s@fe", "s%40fe", "abc123def", "Zm9vYmFy", "ABCD-EFGH", "hunter22") if word in text], path
        assert "RuntimeError: login with *** failed" in text


# The journal


def test_in_the_journal_records_have_their_fields(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "socket"))
        journal.settimeout(5)
        logs.set_up(tmp_path / "logs", debug=False, console=False)
        logs.logger.add(logs.Journal(tmp_path / "socket"), level="INFO", format="{message}")
        logs.write("WARNING", "It is gone.\nIt printed: ä", event="usb_failure", camera="sky")
        fields = parsed(journal.recv(65536))
    assert fields == {
        "MESSAGE": "It is gone.\nIt printed: ä",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "cupola",
        "CUPOLA_EVENT": "usb_failure",
        "CUPOLA_CAMERA": "sky",
    }


def parsed(data: bytes) -> dict[str, str]:
    """Of systemd's Native Journal Protocol, with lengths."""
    found: dict[str, str] = {}
    while data:
        name, _, rest = data.partition(b"\n")
        size = int.from_bytes(rest[:8], "little")
        found[name.decode()] = rest[8 : 8 + size].decode()
        assert rest[8 + size : 9 + size] == b"\n"
        data = rest[9 + size :]
    return found


def test_a_journal_that_takes_nothing_holds_up_nobody(tmp_path: Path) -> None:
    """What it does not take is in the files all the same; a record that is too long is cut."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "socket"))
        journal.setblocking(False)
        logs.set_up(tmp_path / "logs", debug=False, console=False)
        logs.logger.add(logs.Journal(tmp_path / "socket"), level="INFO", format="{message}")
        for number in range(1000):
            logs.write("INFO", f"image {number} " + "x" * 300)
        logs.write("ERROR", "y" * 10_000_000)
        text, taken = written(tmp_path / "logs"), 0
        with contextlib.suppress(BlockingIOError):
            while journal.recv(65536):
                taken += 1
    assert 0 < taken < 1000
    assert len(list(records(text.splitlines()))) == 1001 and "characters more" in text and len(text) < 2_000_000


@pytest.mark.parametrize("ours", [True, False])
def test_the_journal_is_used_where_systemd_leads_what_is_printed_there(tmp_path: Path, ours: bool) -> None:
    program = "import pathlib, sys; from cupola import logs; logs.JOURNAL = pathlib.Path(sys.argv[1]); sys.stdout.write(str(logs.into_journal()))"
    with (tmp_path / "printed").open("wb") as printed, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "socket"))
        facts = os.fstat(printed.fileno())
        stream = f"{facts.st_dev}:{facts.st_ino if ours else facts.st_ino + 1}"
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "socket")],
            env={**os.environ, "JOURNAL_STREAM": stream},
            stdout=subprocess.PIPE,
            stderr=printed,
            text=True,
            timeout=60,
        )
    assert done.stdout == str(ours)


# Tracebacks


def _fail(passphrase: str) -> None:
    raise RuntimeError(f"{len(passphrase)} characters")


@pytest.mark.parametrize("by_library", [False, True], ids=["ours", "a library's"])
def test_a_traceback_tells_no_values(tmp_path: Path, capfd: pytest.CaptureFixture[str], by_library: bool) -> None:
    passphrase = "canary over the dome"
    logs.set_up(tmp_path, debug=True)
    try:
        _fail(passphrase)
    except RuntimeError as error:
        if by_library:
            logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
        else:
            logs.write("ERROR", "POST /api/login failed", exception=error)
    logs.finish()
    console = capfd.readouterr().err
    files = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert len(files) == 3
    for name, text in {"the console": console, **files}.items():
        assert "_fail(passphrase)" in text and "RuntimeError: 20 characters" in text, name
        assert passphrase not in text, name
