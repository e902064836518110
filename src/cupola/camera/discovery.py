"""Looks for cameras that are attached, driver by driver, each in a process that may hang or crash.

Looking itself is `drivers.discovery`'s. This module bounds it in time and number, and tells which of the cameras
are configured already. It opens none.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from cupola.drivers.found import Found
from cupola.process.child import signal_name

LIMIT_S = 10.0
AT_ONCE = 2  # a USB bus is not looked through by many at the same time; and a Raspberry Pi has four cores
MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Look:
    """What looking for one driver's cameras brought. `kind` and `message` are set when it could not be done."""

    driver: str
    found: tuple[Found, ...] = ()
    looks: bool = True  # False: this driver has nothing to look for
    kind: str | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Configured:
    """A camera of the configuration, as far as it is needed to recognise it."""

    name: str
    driver: str
    options: Mapping[str, Any]
    serial: str | None = None  # as the open camera told it


def claimed_by(found: Found, cameras: Iterable[Configured]) -> str | None:
    """The name of the configured camera that a found one is: by the serial number it told, else by its options."""
    own = [camera for camera in cameras if camera.driver == found.driver]
    for camera in own:
        if found.serial and camera.serial == found.serial:
            return camera.name
    for camera in own:
        if found.options and all(camera.options.get(key) == value for key, value in found.options.items()):
            return camera.name
    return None


async def discover(modules: Mapping[str, str], limit_s: float = LIMIT_S) -> list[Look]:
    """Look with every driver (name → module), `AT_ONCE` at a time, in the order given. Raises nothing that a driver does."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(driver: str, module: str) -> Look:
        async with gate:
            return await _look(driver, module, limit_s)

    return list(await asyncio.gather(*(one(driver, module) for driver, module in modules.items())))


async def _look(driver: str, module: str, limit_s: float) -> Look:
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cupola.drivers.discovery", module),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=pipe,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        return Look(driver, kind="error", message=f"Looking for its cameras cannot be started: {error.strerror}.")
    try:
        async with asyncio.timeout(limit_s):
            said, _ = await process.communicate()
    except TimeoutError:
        return Look(
            driver,
            kind="camera_unresponsive",
            message=f"Looking for its cameras did not end within {limit_s:g} s: its library hangs. Unplug and replug the camera, then look again.",
        )
    finally:
        await _kill(process)
    code = process.returncode or 0
    if code:
        how = f"was ended by {signal_name(code)}" if code < 0 else f"ended with exit code {code}"
        return Look(
            driver, kind="crash", message=f"Looking for its cameras {how}: its library crashes. Unplug and replug the camera, then look again."
        )
    return _read(driver, said)


async def _kill(process: asyncio.subprocess.Process) -> None:
    """The process and what it started, if they are still there."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2.0):
            await process.communicate()


def _read(driver: str, said: bytes) -> Look:
    try:
        if len(said) > MOST_BYTES:
            raise ValueError("too long")
        answer = json.loads(said)
        if "message" in answer:
            return Look(driver, kind=answer["kind"], message=answer["message"])
        if answer["found"] is None:
            return Look(driver, looks=False)
        found: list[dict[str, Any]] = answer["found"]
        return Look(driver, tuple(Found(**cast(Any, {**one, "driver": driver, "capabilities": tuple(one["capabilities"])})) for one in found))
    except (ValueError, KeyError, TypeError) as error:
        return Look(driver, kind="error", message=f"Looking for its cameras gave no answer that can be read: {error}.")
