"""Alarms of streaming to Redis: it is unreachable for long, its spool fills up, something could not be streamed. How it is doing is told by `stream.publisher`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from cupola.core.bus import Bus
from cupola.core.events import HostAlarm
from cupola.stream.publisher import Publisher
from cupola.stream.words import give_up, span
from cupola.watch.alarms import Alarm, Limits

EVERY_S = 5.0
UNREACHABLE_S = 60.0
LOST_HOLD_S = 600.0  # so long after the last loss the alarm is over

LIMITS = (
    Limits("redis", "Redis is not reached", "Redis is reached again", "s", [(UNREACHABLE_S, "WARNING")]),
    Limits(
        "redis_spool", "The spool for Redis fills up", "The spool for Redis has room again", "%", [(50.0, "WARNING"), (90.0, "ERROR")], slack=10.0
    ),
    Limits("redis_lost", "Not everything could be streamed to Redis", "Everything is streamed to Redis again", "", [(0.5, "ERROR")]),
)


class StreamingWatch:
    def __init__(self, publisher: Publisher, bus: Bus) -> None:
        self._publisher, self._bus = publisher, bus
        self._alarms = {limits.what: Alarm(limits) for limits in LIMITS}
        self._lost, self._lost_at = 0, float("-inf")

    @property
    def active(self) -> list[HostAlarm]:
        return [_with(alarm.now, self._words(what)) for what, alarm in self._alarms.items() if alarm.now is not None]

    def take_up(self, troubles: Mapping[str, Mapping[str, Any]]) -> None:
        """Those that were told before a restart, so that their end is told too."""
        for what, alarm in self._alarms.items():
            if (trouble := troubles.get(f"host:{what}")) is not None:
                alarm.take_up(trouble["told"])

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.look(time.monotonic())
            await asyncio.sleep(EVERY_S)

    def look(self, now: float) -> None:
        publisher = self._publisher
        if publisher.lost > self._lost:
            self._lost, self._lost_at = publisher.lost, now
        away_s = 0.0 if publisher.state == "connected" else now - publisher.since
        lost = float(self._lost) if now - self._lost_at < LOST_HOLD_S else 0.0
        for what, value in (("redis", away_s), ("redis_spool", publisher.fill_percent), ("redis_lost", lost)):
            event = self._alarms[what].judge(value, now)
            if event is not None:
                self._bus.publish(_with(event, self._words(what)) if event.active else event)

    def _words(self, what: str) -> str:
        """What more there is to say."""
        if what == "redis":
            return self._publisher.problem or ""
        if what == "redis_spool":
            publisher = self._publisher
            when = "" if publisher.full_in_s is None else f"Full in {span(publisher.full_in_s)}. "
            if publisher.problem:
                return when + publisher.problem
            if not (held := publisher.waited_for):
                return when + "There is no receiver."
            groups = " and ".join(sorted({group for _, group in held}))
            return f"{when}It waits for the receivers of {groups}. If nobody needs them any more: {give_up(publisher.target.words, held)}"
        return "See the log for what."


def _with(event: HostAlarm, more: str) -> HostAlarm:
    """The alarm with more to say."""
    return event.model_copy(update={"message": f"{event.message}. {more}"}) if more else event
