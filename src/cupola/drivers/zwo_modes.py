"""Video or snapshots: which way of taking pictures a ZWO camera is used in.

Some models drop off the bus in long video, some at each start of an exposure, and which does what is not known beforehand. So a
way that stayed without a picture twice in a row is left for the other one. The process is started anew after each
failure: what happened is kept in a small file for a day.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Literal

Mode = Literal["video", "snapshot"]
FAILURES_BEFORE_CHANGE = 2
_FORGOTTEN_AFTER_S = 86_400.0
_OTHER: dict[Mode, Mode] = {"video": "snapshot", "snapshot": "video"}


def memory_for(serial: str) -> Path:
    """Where this user's memory of a camera lies: gone with the machine's next start, where the system cleans up."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    runtime = os.environ.get("CUPOLA_RUNTIME_DIR") or os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime) if runtime and os.path.isdir(runtime) else Path(tempfile.gettempdir())
    return folder / f"cupola-zwo-{user}-{serial}.json"


class Modes:
    """Chooses by exposure (`auto`) or as the owner said, who is never overruled."""

    def __init__(self, wanted: Literal["auto", "video", "snapshot"], video_limit_s: float, memory: Path) -> None:
        self._wanted, self._video_limit_s, self._memory = wanted, video_limit_s, memory
        self._failures: dict[Mode, int] = {"video": 0, "snapshot": 0}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            facts = os.stat(memory, follow_symlinks=False)
            if time.time() - facts.st_mtime < _FORGOTTEN_AFTER_S and (not hasattr(os, "getuid") or facts.st_uid == os.getuid()):
                told = json.loads(memory.read_text())
                self._failures = {"video": int(told["video"]), "snapshot": int(told["snapshot"])}

    def choose(self, exposure_s: float) -> Mode:
        if self._wanted == "video" or self._wanted == "snapshot":
            return self._wanted
        usual: Mode = "video" if exposure_s <= self._video_limit_s else "snapshot"
        return _OTHER[usual] if self._bad(usual) and not self._bad(_OTHER[usual]) else usual

    def delivered(self, mode: Mode) -> None:
        """A picture came: failures before it were not in a row."""
        if self._failures[mode]:
            self._failures[mode] = 0
            self._remember()

    def failed(self, mode: Mode) -> Mode | None:
        """No picture came in time; the way that is taken from now on, if it is another one."""
        if self._wanted != "auto":
            return None
        self._failures[mode] += 1
        other = _OTHER[mode]
        if self._bad(mode) and self._bad(other):
            self._failures[other] = 0  # both are bad: they take turns
        self._remember()
        return other if self._bad(mode) else None

    def _bad(self, mode: Mode) -> bool:
        return self._failures[mode] >= FAILURES_BEFORE_CHANGE

    def _remember(self) -> None:
        temporary = self._memory.with_suffix(f".{os.getpid()}.tmp")
        with contextlib.suppress(OSError):  # a full disk costs the memory, not the picture
            temporary.unlink(missing_ok=True)
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump(self._failures, file)
            temporary.replace(self._memory)
