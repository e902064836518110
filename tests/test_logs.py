"""The three log files: what goes where, how large they grow, how long they are kept, and no values in what a mistake leaves."""

from __future__ import annotations

import gzip
import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cupola import logs

WRITE = """
import sys
from pathlib import Path
from cupola import logs

logs.set_up(Path(sys.argv[1]), debug=sys.argv[2] == "debug")
logs.write("DEBUG", "a detail", event="session_event", camera="north")
logs.write("INFO", "an {image}", event="capture", camera="north", rung="restart")
logs.write("ERROR", "a failure", event="storage")
for piece in range(int(sys.argv[3])):
    logs.write("INFO", f"{piece} " + "x" * 1_000_000)
logs.finish()
"""


def written(folder: Path, mode: str, megabytes: int = 0) -> str:
    """What appears on the console."""
    command = [sys.executable, "-c", WRITE, str(folder), mode, str(megabytes)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stderr


def test_each_file_has_its_level_and_the_third_is_for_debugging(tmp_path: Path) -> None:
    console = written(tmp_path / "usual", "usual")
    assert sorted(path.name for path in (tmp_path / "usual").iterdir()) == ["cupola-error.log", "cupola.log"]
    assert "a failure" in console and "a detail" not in console
    info, error = ((tmp_path / "usual" / name).read_text().splitlines() for name in ("cupola.log", "cupola-error.log"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d [\d:]{8}\.\d{3} UTC \| INFO     \| event=capture camera=north \| an \{image\} rung=restart", info[0])
    assert len(info) == 2 and [line.partition(" | ")[2] for line in error] == ["ERROR    | event=storage camera=- | a failure"]
    written(tmp_path / "more", "debug")
    assert len((tmp_path / "more" / "cupola-debug.log").read_text().splitlines()) == 3
    assert "a detail" not in (tmp_path / "more" / "cupola.log").read_text()


def test_a_full_file_is_compressed_and_the_oldest_are_deleted(tmp_path: Path) -> None:
    for days in (6, 8):
        old = tmp_path / f"cupola.2026-01-0{days}_00-00-00_000000.log.gz"
        old.write_bytes(b"")
        moment = time.time() - days * 86400
        os.utime(old, (moment, moment))
    written(tmp_path, "usual", 11)
    packed = [path for path in tmp_path.glob("cupola.*.log.gz") if path.stat().st_size]
    assert len(packed) == 1 and "an {image}" in gzip.decompress(packed[0].read_bytes()).decode()
    assert (tmp_path / "cupola.log").stat().st_size < 10_000_000
    assert (tmp_path / "cupola.2026-01-06_00-00-00_000000.log.gz").exists()
    assert not (tmp_path / "cupola.2026-01-08_00-00-00_000000.log.gz").exists(), "older than seven days"


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
