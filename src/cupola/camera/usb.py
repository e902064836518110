"""Asks the helper with the rights for it to reset a USB port. The resetting itself is `cupola.usb_reset`'s, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib

from cupola.camera.recovery import Policy

PATIENCE_S = 6.0


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
