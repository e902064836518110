"""The process that a killed server left behind, or that could not be killed, and how long the next one waits for it.

It may still write: until it has let go of its lock, nothing may be started that writes the same files, files must
not be compared with rows (its `.tmp` would be taken for a leftover), nor a sequence number be given. Who starts what
afterwards is decided by `camera.supervisor` and `darkroom.worker`; how a lock is held lies in `storage.space`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from cupola.process.child import SIGKILL
from cupola.storage.space import Holder, Lock

AFTER_KILL_S = 5.0
LOOK_S = 0.1
Say = Callable[[str, str], None]  # (level, message)


class Predecessor:
    """Whoever holds a lock that the next `python -m MODULE` needs.

    `name` ('camera "north"') and `work` ("an exposure") are for the messages; `patience_s` is what its work may take.
    """

    def __init__(self, lock_file: Path, module: str, *, name: str, work: str, patience_s: float, say: Say) -> None:
        self._lock, self._module = Lock(lock_file), module
        self._name, self._work, self._patience_s, self._say = name, work, patience_s, say
        self._had_its_time: int | None = None  # the process that was waited for before, in vain

    async def gone(self, needed: Callable[[], bool]) -> str | None:
        """Return None when nobody holds the lock, or `needed` says that it does not matter any more.

        A process of the module that still holds it after `patience_s` is killed. When that does not help, or when it
        is another program, this returns a sentence for the owner; asked again about the same one, at once. Raises StorageFailed.
        """
        holder = self._lock.holder()
        if holder is None:
            return None
        if holder.pid is None or holder.pid != self._had_its_time:
            self._say(
                "WARNING",
                f"An earlier process ({holder.pid}) still holds {self._name}; it may be finishing {self._work} and gets {self._patience_s:.0f} s.",
            )
            if (holder := await self._held_after(self._patience_s, needed)) is None:
                return None
        if holder.pid is None or not _runs(self._module, holder.pid):
            return self._stays(holder, f"Another program (process {holder.pid}) holds {self._name}, by {self._lock.path}. End it.")
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(holder.pid, SIGKILL)
        if holder.pid != self._had_its_time and await self._held_after(AFTER_KILL_S, needed) is None:
            self._say("ERROR", f"The earlier process {holder.pid} did not let go of {self._name} within {self._patience_s:.0f} s and was killed.")
            return None
        return self._stays(
            holder,
            f"The earlier process {holder.pid} holds {self._name} and cannot be killed: it is stuck in the system. See the kernel's log (dmesg).",
        )

    async def _held_after(self, seconds: float, needed: Callable[[], bool]) -> Holder | None:
        """Who holds the lock when the time is over; None as soon as nobody does or it does not matter."""
        until = time.monotonic() + seconds
        while needed() and (holder := self._lock.holder()) is not None:
            if time.monotonic() >= until:
                return holder
            await asyncio.sleep(LOOK_S)
        return None

    def _stays(self, holder: Holder, why: str) -> str:
        self._had_its_time = holder.pid
        return why


def _runs(module: str, pid: int) -> bool:
    """By its command line, where the system shows it (Linux): a process id may belong to somebody else by now."""
    try:
        return module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
