"""The camera process that a killed server left behind, and how long the next server waits for it.

It may still finish an exposure and store it: until it has let go of the camera's lock, files must not be
compared with rows (its `.tmp` would be taken for a leftover) nor a sequence number be given.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from cupola.process.child import SIGKILL
from cupola.storage.space import Lock

PATIENCE_S = 75.0  # an orphan finishes an exposure of up to a minute, and stores it
AFTER_KILL_S = 5.0
LOOK_S = 0.1


async def wait_for_predecessor(lock_file: Path, camera: str, log: Callable[..., None], needed: Callable[[], bool]) -> None:
    """Return when nobody holds the camera's lock, or `needed` says that it does not matter any more.

    A camera process that still holds it after `PATIENCE_S` is killed. When even that does not help, or another
    program holds the lock, this returns too: the new process will say that the camera is busy. Raises StorageFailed.
    """
    lock, begun, killed = Lock(lock_file), time.monotonic(), False
    told = False
    while needed() and (holder := lock.holder()) is not None:
        if not told:
            told = True
            log(
                "WARNING",
                f'An earlier process ({holder.pid}) still holds camera "{camera}"; it may be finishing an exposure and gets {PATIENCE_S:.0f} s.',
                event="session_event",
                camera=camera,
            )
        waited = time.monotonic() - begun
        if waited > PATIENCE_S and not killed:
            if holder.pid is None or not _is_camera_process(holder.pid):
                return
            killed = True
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(holder.pid, SIGKILL)
            log(
                "ERROR",
                f'The earlier process {holder.pid} did not let go of camera "{camera}" within {PATIENCE_S:.0f} s and was killed.',
                event="usb_failure",
                camera=camera,
            )
        elif waited > PATIENCE_S + AFTER_KILL_S:
            return
        await asyncio.sleep(LOOK_S)


def _is_camera_process(pid: int) -> bool:
    """By its command line, where the system shows it (Linux): a process id may belong to somebody else by now."""
    try:
        return b"cupola.camera.process" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
