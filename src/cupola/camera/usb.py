"""The server's side of USB: asks the helper with the rights for it to reset a port, and notices devices that are plugged in.

The resetting itself is `cupola.usb_reset`'s, in a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Coroutine
from typing import Any

from cupola.camera.recovery import Policy
from cupola.drivers.usb import DEVICES

PATIENCE_S = 6.0
LOOK_S = 0.5
AGAIN_S = 300.0  # a device that falls off its bus and comes back by itself, again and again, is not being plugged in


class HotPlug:
    """Of one camera: whether a USB device was plugged in while it was away. Looks only meanwhile; on Linux only."""

    def __init__(self) -> None:
        self._seen: frozenset[str] | None = None
        self._told = -AGAIN_S

    def open(self) -> None:
        """The camera is there: what comes next is compared with what is attached when it has gone."""
        self._seen = None

    async def within(self, pause: Coroutine[Any, Any, None], watch: bool) -> bool:
        """Wait for the end of a pause, or of its being worth while: True when a device was plugged in. `watch` False: only wait."""
        if not watch:
            await pause
            self._seen = None if self._seen is None else _attached()
            return False
        self._seen = _attached() if self._seen is None else self._seen
        over = asyncio.ensure_future(pause)
        try:
            while not over.done():
                before, self._seen = self._seen, _attached()
                if self._seen - before and time.monotonic() - self._told >= AGAIN_S:
                    self._told = time.monotonic()
                    return True
                await asyncio.wait({over}, timeout=LOOK_S)
            return False
        finally:
            over.cancel()


def _attached() -> frozenset[str]:
    """The ports and interfaces that have a device, as the kernel names them."""
    try:
        return frozenset(os.listdir(DEVICES))
    except OSError:
        return frozenset()


async def reset_port(policy: Policy, port: str) -> tuple[bool, str]:
    """Run the helper for a port, `PATIENCE_S` at most: whether it did it, and what it said, for people."""
    argv = [*policy.usb_helper, *(["--uhubctl"] if policy.usb_reset == "uhubctl" else []), port]
    pipe = asyncio.subprocess.PIPE
    try:
        helper = await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    except OSError as error:
        return False, f"The helper {argv[0]} cannot be started: {error.strerror}. How to install it: docs/usb-reset.md."
    try:
        async with asyncio.timeout(PATIENCE_S):
            said, _ = await helper.communicate()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            helper.kill()
            await helper.wait()
        return False, f"The helper {argv[0]} did not finish within {PATIENCE_S:.0f} s."
    words = said.decode(errors="replace").strip()[:500]
    if helper.returncode:
        return False, f"{words or f'The helper {argv[0]} failed with exit code {helper.returncode}.'} How to set it up: docs/usb-reset.md."
    return True, words or f"USB port {port} was reset."
