"""A wall clock that starts when a test likes and runs as fast as it likes, for whole programs: a night in a minute.

Sleeps, deadlines, intervals and exposures keep their true length, because the monotonic clock does: a test scales those by hand. The simulator's
sky follows the wall clock, with `sky_time: now`.
"""

from __future__ import annotations

import os
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

SOURCE = Path(__file__).with_name("clock_shim.c")


class FastClock:
    """`environment` is what programs are started with, all of which share this clock; it may be set while they run."""

    def __init__(self, folder: Path, at: datetime, rate: float) -> None:
        library = folder / "clock_shim.so"
        subprocess.run(["cc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(SOURCE)], check=True)
        self._file = folder / "clock"
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_SHIM_FILE": str(self._file)}
        self.set(at, rate)

    def set(self, at: datetime, rate: float | None = None) -> None:
        """Show `at` from now on, and run at `rate` (default: as before)."""
        self._origin, self._shown = time.monotonic(), at
        self._rate = self._rate if rate is None else rate
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{self._origin:.6f} {at.timestamp():.6f} {self._rate:.6f}\n")
        os.replace(fresh, self._file)

    def jump(self, by: timedelta) -> None:
        """Forward, or with a negative step back."""
        self.set(self.now + by)

    @property
    def now(self) -> datetime:
        """What the programs see."""
        return (self._shown + timedelta(seconds=(time.monotonic() - self._origin) * self._rate)).astimezone(UTC)
