"""The two small files by which the server tells how it is: where they lie, how they are written and read, and how old they are.

`status.json` is for everybody on this machine, `status-server.json` for the status server only (it says where pictures and logs lie, and which tokens there are).
What stands in them is `document`'s and `writer`'s business. Standard library only: the status server imports this.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SYSTEM_FOLDER = Path("/run/cupola")  # made by the service's unit for its user
DOCUMENT, PRIVATE = "status.json", "status-server.json"
HEARTBEAT_S = 5.0  # at least so often it is written
STALE_S = 20.0  # a file that is older belongs to a server that is dead or hangs
BYTES_MAX = 4_000_000


def runtime_folder() -> Path:
    """`CUPOLA_RUNTIME_DIR`, /run/cupola if it is ours, $XDG_RUNTIME_DIR/cupola, else a folder of the user's in the temp directory."""
    if given := os.environ.get("CUPOLA_RUNTIME_DIR"):
        return Path(given)
    if os.access(SYSTEM_FOLDER, os.W_OK):
        return SYSTEM_FOLDER
    if given := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(given) / "cupola"
    owner = os.getuid() if sys.platform != "win32" else os.environ.get("USERNAME", "user")
    return Path(tempfile.gettempdir()) / f"cupola-{owner}"


def is_ours(folder: Path) -> bool:
    """Nobody but us, or the system, can have put anything there."""
    if sys.platform == "win32":
        return True
    state = folder.stat()
    return state.st_uid in (os.getuid(), 0) and not state.st_mode & 0o022


def believed(folder: Path) -> bool:
    """Whether what lies there may be believed. Only root can have made a folder in /run, so root may believe what it gave to the service's user."""
    return is_ours(folder) or (folder == SYSTEM_FOLDER and sys.platform != "win32" and os.geteuid() == 0)


def write(folder: Path, name: str, text: str, *, private: bool = False) -> None:
    """Whoever reads sees the file as it was or as it is, never a part. Not synced: it lies on tmpfs, and is of no use after a power cut. Raises OSError."""
    new = folder / f"{name}.{os.getpid()}.tmp"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        if not private and sys.platform != "win32":
            os.fchmod(descriptor, 0o644)  # whatever the umask says
        data = text.encode()
        while data:
            data = data[os.write(descriptor, data) :]
    finally:
        os.close(descriptor)
    os.replace(new, folder / name)


def read(folder: Path, name: str) -> dict[str, Any] | None:
    """What stands in the file; None where there is none that can be believed."""
    try:
        if not believed(folder):
            return None
        with open(folder / name, "rb") as file:
            found = json.loads(file.read(BYTES_MAX))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def uptime_s() -> float:
    """Of this machine, sleep included; a clock that never steps and is the same for all processes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


def boot_id() -> str | None:
    """Another one after each start of the machine; None where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return None


def age_s(document: dict[str, Any]) -> float:
    """How long ago it was written, whatever was done to the wall clock since; infinite when that was before the last start of the machine."""
    then, now = float(document.get("uptime_seconds", 0.0)), uptime_s()
    return now - then if document.get("boot_id") == boot_id() and then <= now else float("inf")
