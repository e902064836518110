"""What a mistake leaves in the logs and on the console: where it happened, never with what."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from cupola import logs


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
