"""One message to one channel: what each kind of channel is given, and an end in time whatever the far end does.

Webhooks and signs of life go by `net.outgoing`, everything else through Apprise in a process of its own (`watch.deliver`). When something is
sent, and what, is the business of `watch.notify`; `check_notify` needs no running server.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import mimetypes
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from cupola.config.model import Settings
from cupola.config.notify import Channel, Heartbeat, Hook
from cupola.net.outgoing import Refused, Unreachable, request
from cupola.watch.notices import Notice

LIMIT_S = 60.0  # a picture by a slow line
HEARTBEAT_S = 15.0
LATE_S = 300.0  # after that a message says when it was
TEXT_MAX = 3000
PICTURE_MAX = 8 << 20  # bytes; larger ones stay at home
NOT_FOR_GOOD = (401, 403, 404, 408, 425, 429)  # answers that are about the address, or the moment, not the message


@dataclass(frozen=True, slots=True)
class Outcome:
    """`error`: in words, without secrets; None: it was taken. `refused`: it is this message that is not wanted, another may be."""

    error: str | None = None
    refused: bool = False
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends in the name of a station. `root`: of the pictures. One process of Apprise at a time, and one more for those who failed last time:
    they hold up nobody else.
    """

    station: str
    zone: tzinfo
    root: Path
    _well: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    _failing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    async def send(self, channel: Channel, notice: Notice, *, picture: bool = True, failing: bool = False) -> Outcome:
        """Never raises for what happens on the way. `picture`: with the notice's, if it is still there; `failing`: this channel failed last time."""
        title, text = f"{self.station}: {notice.title}", notice.text[:TEXT_MAX]
        if time.time() - notice.at > LATE_S:
            text += f"\n({datetime.fromtimestamp(notice.at, self.zone):%Y-%m-%d %H:%M})"
        path = await asyncio.to_thread(self._picture, notice) if picture else None
        began = time.monotonic()
        if channel.webhook is not None:
            outcome = await self._post(channel.webhook, channel.loopback, notice, text, path)
        else:
            assert channel.url is not None
            order = {"kind": notice.kind, "level": notice.level, "title": title, "text": text, "picture": None if path is None else str(path)}
            async with self._failing if failing else self._well:
                outcome = await _by_apprise({**order, "address": channel.url.get_secret_value(), "loopback": channel.loopback})
        return Outcome(outcome.error, outcome.refused, round(time.monotonic() - began, 3))

    async def _post(self, hook: Hook, loopback: bool, notice: Notice, text: str, picture: Path | None) -> Outcome:
        document: dict[str, Any] = {
            "message": f"{notice.title}\n{text}",
            "level": notice.level,
            "device_id": self.station,
            "title": notice.title,
            "kind": notice.kind,
            "at": datetime.fromtimestamp(notice.at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "event": dict(notice.facts),
        }
        if picture is not None:
            document["picture"] = await asyncio.to_thread(_packed, picture)
        return await _ask(hook, "POST", json.dumps(document).encode(), loopback=loopback, timeout_s=LIMIT_S)

    def _picture(self, notice: Notice) -> Path | None:
        """Unless it is gone by now, or too large."""
        path = self.root / notice.picture if notice.picture else None
        return path if path is not None and path.is_file() and path.stat().st_size <= PICTURE_MAX else None


def _packed(picture: Path) -> dict[str, str]:
    kind = mimetypes.guess_type(picture.name)[0] or "application/octet-stream"
    return {"name": picture.name, "type": kind, "base64": base64.b64encode(picture.read_bytes()).decode()}


async def _ask(hook: Hook, method: str, body: bytes, *, loopback: bool, timeout_s: float) -> Outcome:
    headers = {"Content-Type": "application/json"} if body else {}
    try:
        reply = await request(hook.get_secret_value(), method=method, body=body, headers=headers, loopback=loopback, timeout_s=timeout_s)
    except (Refused, Unreachable) as error:
        return Outcome(str(error))
    if 200 <= reply.status < 300:
        return Outcome()
    return Outcome(f"{hook} answered {reply.status}", 400 <= reply.status < 500 and reply.status not in NOT_FOR_GOOD)


async def show_life(heartbeat: Heartbeat) -> Outcome:
    """Get its address, for nothing but its being got."""
    return await _ask(heartbeat.url, "GET", b"", loopback=heartbeat.loopback, timeout_s=HEARTBEAT_S)


async def _by_apprise(order: dict[str, Any]) -> Outcome:
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cupola.watch.deliver"), stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL, start_new_session=True
        )
    except OSError as error:
        return Outcome(f"the process that sends cannot be started ({error.strerror})")
    try:
        async with asyncio.timeout(LIMIT_S):
            said, _ = await process.communicate(json.dumps(order).encode())
        return Outcome(json.loads(said)["error"])
    except TimeoutError:
        return Outcome(f"no answer within {LIMIT_S:.0f} s")
    except (ValueError, KeyError):
        return Outcome("the process that sends crashed")
    finally:
        await asyncio.shield(_end(process))


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                await process.wait()


async def try_channels(sender: Sender, channels: Sequence[Channel]) -> dict[str, Outcome]:
    """A test message to each, whatever its level, by name."""
    notice = Notice("test", "INFO", "INFO", time.time(), "test", f"This is a test of the notifications of {sender.station}.")
    outcomes = await asyncio.gather(*(sender.send(channel, notice) for channel in channels))
    return {channel.name: outcome for channel, outcome in zip(channels, outcomes, strict=True)}


def sender_of(settings: Settings) -> Sender:
    return Sender(settings.station.name, ZoneInfo(settings.station.timezone), settings.storage.root.absolute())


async def check_notify(settings: Settings) -> dict[str, Outcome]:
    """As `try_channels`, of a configuration: for commands, with or without a running server."""
    return await try_channels(sender_of(settings), settings.notify.channels)
