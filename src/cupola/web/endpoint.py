"""Where the running server can be reached: a small file that only its owner may read, for the command line.

This module is imported by commands that must start fast: standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
from pathlib import Path


def runtime_folder() -> Path:
    """`CUPOLA_RUNTIME_DIR`, /run/cupola if it is ours, $XDG_RUNTIME_DIR/cupola, else a folder of the user's in the temp directory."""
    if given := os.environ.get("CUPOLA_RUNTIME_DIR"):
        return Path(given)
    system = Path("/run/cupola")
    if os.access(system, os.W_OK):
        return system
    if given := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(given) / "cupola"
    owner = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    return Path(tempfile.gettempdir()) / f"cupola-{owner}"


class Endpoint:
    def __init__(self, sock: socket.socket) -> None:
        host, port = sock.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._file = runtime_folder() / "server.json"

    def announce(self) -> None:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = json.dumps({"url": self.url, "pid": os.getpid()})
        new = self._file.with_suffix(f".{os.getpid()}.tmp")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        new.replace(self._file)

    def withdraw(self) -> None:
        """Unless another server has announced itself since."""
        with contextlib.suppress(OSError, ValueError):
            if json.loads(self._file.read_text())["pid"] == os.getpid():
                self._file.unlink()


def announced() -> str | None:
    """The address of the running server, if one has announced itself."""
    try:
        found = json.loads((runtime_folder() / "server.json").read_text())
        return str(found["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
