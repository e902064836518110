"""What the checks look at: the configuration, the machine's files, and what the running server says."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cupola.config.model import Settings

COMMAND_S = 8.0
ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Patient:
    """`settings` are None where the configuration cannot be read, `problems` says why. `root` is where /proc, /sys, /run and /etc are looked for:
    another folder shows the files of another machine, whose programs are then not asked. `ask` gets the JSON that the running server answers to
    a path, and raises CupolaError; `facts` are what a check before has learnt of it.
    """

    ask: Callable[[str], Any]
    settings: Settings | None = None
    file: Path | None = None
    problems: tuple[tuple[str, str], ...] = ()
    root: Path = ROOT
    send: bool = False  # test messages may be sent to people
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def is_this_machine(self) -> bool:
        return self.root == ROOT

    @property
    def status(self) -> Mapping[str, Any] | None:
        """What the running server says of the station (`/api/status`); None where none answers."""
        return self.facts.get("status")

    def camera_status(self, name: str) -> Mapping[str, Any] | None:
        return next((camera for camera in (self.status or {}).get("cameras", []) if camera["name"] == name), None)

    def path(self, *parts: str) -> Path:
        return self.root.joinpath(*parts)

    def text(self, *parts: str) -> str | None:
        """A file of the kernel's, such as `sys/class/…`; None where it is not there or says nothing."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return self.path(*parts).read_text().strip("\n\0 ")
        return None

    def number(self, *parts: str) -> int | None:
        """As `text`, of a decimal or 0x… number."""
        with contextlib.suppress(ValueError):
            return int((self.text(*parts) or "").split()[0], 0) if self.text(*parts) else None
        return None

    def program(self, *command: str) -> str | None:
        """What a program of this machine prints, whatever its exit code; None where it is not installed or does not end."""
        if not self.is_this_machine or shutil.which(command[0]) is None:
            return None
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_S, env=_plain()).stdout.strip()
        return None


def _plain() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}
