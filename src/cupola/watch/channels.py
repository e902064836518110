"""One message to one channel: what each kind of channel is given, and the process that does it, which ends whatever the far end does.

When something is sent, and what, is the business of `watch.notify`; `try_channels` needs no running server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
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
from cupola.config.notify import Channel
from cupola.watch.notices import Notice

LIMIT_S = 60.0  # a picture by a slow line
LATE_S = 300.0  # after that a message says when it was
TEXT_MAX = 3000


@dataclass(frozen=True, slots=True)
class Outcome:
    """`error`: in words, without secrets; None: it was taken. `refused`: it is this message that is not wanted, another may be."""

    error: str | None = None
    refused: bool = False
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends in the name of a station. `root`: of the pictures. Two processes at once, and one more for those who failed last time: they hold
    up nobody else.
    """

    station: str
    zone: tzinfo
    root: Path
    _well: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    _failing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    async def send(self, channel: Channel, notice: Notice, *, picture: bool = True, failing: bool = False) -> Outcome:
        title, text, now = f"{self.station}: {notice.title}", notice.text[:TEXT_MAX], time.time()
        if now - notice.at > LATE_S:
            text += f"\n({datetime.fromtimestamp(notice.at, self.zone):%Y-%m-%d %H:%M})"
        order: dict[str, Any] = {"kind": notice.kind, "level": notice.level, "title": title, "text": text}
        if notice.picture and picture:
            order["picture"] = str(self.root / notice.picture)
        if channel.webhook is None:
            assert channel.url is not None
            return await self._deliver({**order, "way": "apprise", "address": channel.url.get_secret_value()}, failing)
        document = {
            "message": f"{notice.title}\n{text}",
            "level": notice.level,
            "device_id": self.station,
            "title": notice.title,
            "kind": notice.kind,
            "at": datetime.fromtimestamp(notice.at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "event": dict(notice.facts),
        }
        return await self._deliver({**order, "way": "http", "document": document, "address": channel.webhook.get_secret_value()}, failing)

    async def fetch(self, address: str, *, failing: bool = False) -> Outcome:
        """Get an address, for nothing but its being got."""
        return await self._deliver({"way": "http", "address": address}, failing)

    async def _deliver(self, order: dict[str, Any], failing: bool) -> Outcome:
        async with self._failing if failing else self._well:
            began = time.monotonic()
            outcome = await _in_process(order)
            return Outcome(outcome.error, outcome.refused, round(time.monotonic() - began, 3))


async def _in_process(order: dict[str, Any]) -> Outcome:
    """Never raises for what happens there."""
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cupola.watch.deliver"), stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL, start_new_session=True
        )
    except OSError as error:
        return Outcome(f"the process that sends cannot be started ({error.strerror})")
    try:
        said, _ = await asyncio.wait_for(process.communicate(json.dumps(order).encode()), LIMIT_S)
        answer = json.loads(said)
        return Outcome(None if answer["ok"] else answer["error"], bool(answer.get("refused")))
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
            await asyncio.wait_for(process.wait(), 2.0)


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
