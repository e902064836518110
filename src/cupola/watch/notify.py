"""Tells the owner: hears every event, keeps what is worth telling until its channels took it, and shows a sign of life.

What an event means is written in `watch.meaning`, how often it is told in `watch.notices`, how it gets out in `watch.channels`. Each channel has
a task and a queue of its own, so that one that fails holds up no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import Any

from cupola.config.notify import Channel, Heartbeat, Notify, Quiet
from cupola.core.bus import Bus
from cupola.core.errors import StorageFailed, StorageFull
from cupola.storage.outbox import Outbox, Waiting
from cupola.storage.telemetry import Telemetry
from cupola.watch.channels import Outcome, Sender, show_life, try_channels
from cupola.watch.meaning import Meaning
from cupola.watch.notices import Notice, Notices, merged, rank

GATHER_S = 1.0  # what happens together is told together
RETRY_S = (5.0, 15.0, 60.0, 300.0, 600.0)
FEW = 3  # more than that, waiting for a person, come as one
TRIES = 3  # with the picture
TIDY_S = 3600.0


@dataclass(slots=True)
class Line:
    """A channel and how it does. `problem` in words since the last message that it did not take; `delivered_at` in Unix seconds."""

    channel: Channel
    least: int
    waiting: int = 0
    delivered_at: float | None = None
    problem: str | None = None
    tries: int = 0  # of what is first in its queue
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    unsaved: deque[Waiting] = field(default_factory=lambda: deque[Waiting](maxlen=50))  # while the disk takes nothing
    gone: set[int] = field(default_factory=set[int])  # delivered, but not yet struck from the disk


class Notifier:
    def __init__(self, notify: Notify, sender: Sender, telemetry: Telemetry, bus: Bus, log: Callable[..., None], disk: Callable[[], str]) -> None:
        self._notify, self._sender, self._telemetry, self._bus, self._log = notify, sender, telemetry, bus, log
        self._outbox, self.notices, self._meaning = Outbox(telemetry), Notices(), Meaning(disk)
        self._unsaved = 0
        self.lines = [Line(channel, rank(channel.min_level or notify.min_level)) for channel in notify.channels]
        self.heartbeat_problem: str | None = None
        self.troubles: dict[str, dict[str, Any]] = {}  # of before the start

    async def take_up(self) -> None:
        """What was told before a restart, and what is still to be delivered. Before `run`."""
        try:
            await self._telemetry.run(self._outbox.tidy, [line.channel.name for line in self.lines], time.time())
            self.troubles = await self._telemetry.run(self._outbox.troubles)
        except (StorageFull, StorageFailed) as error:
            self._log("ERROR", str(error), event="storage")
        self.notices.take_up(self.troubles)
        self._meaning.take_up(self.troubles)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if self.lines:
                tasks.create_task(self._listen(), name="notices")
            for line in self.lines:
                tasks.create_task(self._serve(line), name=f"channel {line.channel.name}")
            if self._notify.heartbeat is not None:
                tasks.create_task(self._beat(self._notify.heartbeat), name="heartbeat")
            await asyncio.Event().wait()

    async def test(self) -> dict[str, Outcome]:
        """A test message to each channel, at once; by name."""
        return await try_channels(self._sender, [line.channel for line in self.lines])

    # ── what is told ───────────────────────────────────────────────────────

    async def _listen(self) -> None:
        with self._bus.subscribe(5000) as heard:
            ready: float | None = None  # since when there is something to tell
            while True:
                now = time.monotonic()
                for sign in self._meaning.later(now):
                    self.notices.hear(sign, now, time.time())
                wait, later = self.notices.wait_s(now), self._meaning.later_s(now)
                if wait == 0:
                    ready = now if ready is None else ready
                    wait = ready + GATHER_S - now
                    if wait <= 0:
                        ready = None
                        await self._put(self.notices.due(now, time.time()))
                        continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min((one for one in (wait, later) if one is not None), default=None)):
                        event = await heard.get()
                        now = time.monotonic()
                        for sign in self._meaning.signs(event, now):
                            self.notices.hear(sign, now, event.at.timestamp())

    async def _put(self, notices: list[Notice]) -> None:
        messages: list[tuple[Line, Notice, float]] = []
        for notice in notices:
            due_at = quiet_until(self._notify.quiet, notice, time.time(), self._sender.zone)
            wanted = self._notify.daily_summary and notice.kind == "night_finished"
            messages += [(line, notice, due_at) for line in self.lines if wanted or rank(notice.reach) >= line.least]
        try:
            put = [(line.channel.name, due_at, notice.dumped()) for line, notice, due_at in messages]
            await self._telemetry.run(self._outbox.put, put, self.notices.open())
        except (StorageFull, StorageFailed):  # that the disk is full is worth telling all the same
            for line, notice, due_at in messages:
                self._unsaved -= 1
                line.unsaved.append(Waiting(self._unsaved, due_at, notice.dumped()))
        for line in self.lines:
            line.wake.set()

    # ── to each channel ────────────────────────────────────────────────────

    async def _serve(self, line: Line) -> None:
        while True:
            line.wake.clear()
            waiting = await self._waiting(line)
            line.waiting, now = len(waiting), time.time()
            due = [one for one in waiting if one.due_at <= now]
            if not due:
                soonest = min((one.due_at for one in waiting), default=now + TIDY_S)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(TIDY_S, soonest - now + 0.01)):
                        await line.wake.wait()
                continue
            batch = due if line.channel.webhook is None and len(due) > FEW else due[:1]
            told = merged([Notice(**one.notice) for one in batch])
            outcome = await self._sender.send(line.channel, told, picture=line.tries < TRIES, failing=line.tries > 0)
            if outcome.refused and told.picture:  # it may be too large
                outcome = await self._sender.send(line.channel, told, picture=False, failing=True)
            if outcome.error is None or outcome.refused:
                await self._took(line, batch, outcome)
            else:
                pause_s = RETRY_S[min(line.tries, len(RETRY_S) - 1)]
                line.tries += 1
                if line.problem is None:
                    words = f"Channel {line.channel.name} did not take a message: {outcome.error.rstrip('.')}. It is kept, and tried again."
                    self._log("WARNING", words, event="notify")
                line.problem = outcome.error
                await asyncio.sleep(pause_s)

    async def _waiting(self, line: Line) -> list[Waiting]:
        try:
            if line.gone:
                await self._telemetry.run(self._outbox.done, list(line.gone))
                line.gone.clear()
            stored = await self._telemetry.run(self._outbox.waiting, line.channel.name)
        except (StorageFull, StorageFailed):
            stored = []
        return [*(one for one in stored if one.id not in line.gone), *line.unsaved]

    async def _took(self, line: Line, batch: list[Waiting], outcome: Outcome) -> None:
        if outcome.error is not None:
            self._log("ERROR", f"Channel {line.channel.name} refuses a message, which is dropped: {outcome.error}.", event="notify")
        elif line.problem is not None:
            self._log("INFO", f"Channel {line.channel.name} takes messages again.", event="notify")
        line.tries, line.problem, line.delivered_at = 0, outcome.error, time.time()
        ids = {one.id for one in batch}
        line.gone |= {number for number in ids if number > 0}
        for one in [one for one in line.unsaved if one.id in ids]:
            line.unsaved.remove(one)

    # ── sign of life ───────────────────────────────────────────────────────

    async def _beat(self, heartbeat: Heartbeat) -> None:
        while True:
            outcome = await show_life(heartbeat)
            if outcome.error is not None and self.heartbeat_problem is None:
                self._log("WARNING", f"The heartbeat does not get through: {outcome.error.rstrip('.')}.", event="notify")
            self.heartbeat_problem = outcome.error
            await asyncio.sleep(heartbeat.every_s)


def quiet_until(quiet: Quiet | None, notice: Notice, now: float, zone: tzinfo) -> float:
    """When a notice may be told, Unix seconds: now, or at the end of the quiet hours."""
    if quiet is None or rank(notice.level) >= rank(quiet.level):
        return now
    local, (begin, end) = datetime.fromtimestamp(now, zone), quiet.hours
    clock = local.time().replace(tzinfo=None)
    inside = begin <= clock < end if begin <= end else clock >= begin or clock < end
    if not inside:
        return now
    ends = local.replace(hour=end.hour, minute=end.minute, second=0, microsecond=0)
    if ends <= local:
        ends = datetime.combine(local.date() + timedelta(days=1), end, zone)
    return ends.timestamp()
