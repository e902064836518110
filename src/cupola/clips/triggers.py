"""What makes clips by itself: MQTT messages, an answer that becomes true, motion, events of Cupola. Each has a state that can be told.

Which clips come of a trigger is `clips.clips`'s, the broker's connection `net.mqtt`'s, looking at pictures `clips.motion`'s. A trigger that
cannot work says so in its state, and is tried again; it never ends the others. Nothing here waits in the way of anything else: what a
trigger is told waits in a short queue of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from cupola.clips.clips import Clips, Trigger
from cupola.clips.motion import Motion, Moved
from cupola.clips.payload import kept
from cupola.config.triggers import OnEvent, OnMessage, OnPoll, TriggerRule
from cupola.core.bus import Bus
from cupola.core.clock import monotonic_ns, utc_now
from cupola.core.condition import Condition, Unanswerable, facts_of
from cupola.core.errors import CupolaError
from cupola.core.hub import FrameHub
from cupola.net.mqtt import Message, Mqtt
from cupola.net.outgoing import Unreachable, place, request

ANSWER_MOST = 1 << 18  # bytes of a polled answer
POLL_TIMEOUT_S = 5.0
WAITING_MOST = 16
PACE_S = 0.1  # between two triggers of one rule, so that a flood of messages does not become a flood of writes
QUIET_S = 10.0
State = Literal["armed", "active", "unreachable"]
Log = Callable[..., None]


@dataclass(slots=True)
class Told:
    """How a trigger is. `active`: its condition holds, and has to clear before it triggers again. `trouble`: why it does not work now; `failed`:
    why there was no clip, or not one of each camera, the last time that it triggered.
    """

    name: str
    source: str
    state: State = "armed"
    since: datetime = field(default_factory=utc_now)
    trouble: str | None = None
    failed: str | None = None
    count: int = 0
    last_at: datetime | None = None
    left_out: int = 0  # more came than could be taken

    def be(self, state: State, problem: str | None = None) -> None:
        if state != self.state:
            self.state, self.since = state, utc_now()
        self.trouble = problem

    @property
    def problem(self) -> str | None:
        return self.trouble or self.failed


class Watcher:
    """One rule: what it was told becomes clips, one after the other."""

    def __init__(self, rule: TriggerRule, clips: Clips, log: Log) -> None:
        self.rule, self.told = rule, Told(rule.name, rule.source)
        self._clips, self._log = clips, log
        self._waiting: asyncio.Queue[tuple[Any, int, str | None]] = asyncio.Queue(WAITING_MOST)
        self._said: str | None = None
        self._quiet_until = 0.0

    def fire(self, payload: Any, at_ns: int | None = None, camera: str | None = None) -> None:
        """Make a clip, soon, of the moment `at_ns`, or of now. `camera`: the one it concerns."""
        try:
            self._waiting.put_nowait((payload, monotonic_ns() if at_ns is None else at_ns, camera))
        except asyncio.QueueFull:
            self.told.left_out += 1

    def be(self, state: State, problem: str | None = None) -> None:
        """Set the state; a new problem is logged."""
        self.told.be(state, problem)
        self._warn(problem)

    def _warn(self, problem: str | None) -> None:
        """Log what is new, and not more than a line in ten seconds, whatever comes."""
        now = asyncio.get_running_loop().time()
        if problem is not None and problem != self._said and now >= self._quiet_until:
            self._said, self._quiet_until = problem, now + QUIET_S
            self._log("WARNING", f'Trigger "{self.rule.name}": {problem}', event="clip")

    async def run(self) -> None:
        while True:
            payload, at_ns, camera = await self._waiting.get()
            self.told.count, self.told.last_at = self.told.count + 1, utc_now()
            wanted = Trigger(
                self.rule.label or self.rule.name, self.rule.before_s, self.rule.after_s, source=self.rule.source, payload=kept(payload), at_ns=at_ns
            )
            failed: list[str] = []
            for name in self._cameras(camera):
                try:
                    await self._clips.trigger(name, wanted)
                except CupolaError as error:
                    failed.append(f"No clip of {name}: {error}")
            self.told.failed = " ".join(failed) or None
            self._warn(self.told.failed)
            await asyncio.sleep(PACE_S)

    def _cameras(self, camera: str | None) -> tuple[str, ...]:
        if self.rule.cameras:
            return tuple(self.rule.cameras)
        return (camera,) if camera in self._clips.cameras else self._clips.cameras


class Triggers:
    """All rules of a station. `run` is its task; `told` their states."""

    def __init__(self, rules: list[TriggerRule], clips: Clips, bus: Bus, mqtt: Mqtt | None, hubs: dict[str, FrameHub], log: Log) -> None:
        self._bus = bus
        self._watchers = [Watcher(rule, clips, log) for rule in rules]
        self._messages: list[_Messages] = []
        self._motions: dict[str, Motion] = {}
        for watcher in self._watchers:
            rule = watcher.rule
            if rule.mqtt is not None and mqtt is not None:
                self._messages.append(_Messages(watcher, rule.mqtt, mqtt))
            elif rule.motion is not None:
                camera = rule.motion.camera
                if camera not in self._motions:
                    self._motions[camera] = Motion(camera, hubs[camera], log)
                self._motions[camera].watch(rule.motion, _moved(watcher, camera), watcher.be)

    @property
    def told(self) -> list[Told]:
        """In the configuration's order."""
        for messages in self._messages:
            messages.look()
        return [watcher.told for watcher in self._watchers]

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for watcher in self._watchers:
                tasks.create_task(watcher.run(), name=f"trigger {watcher.rule.name}")
                if watcher.rule.poll is not None:
                    tasks.create_task(poll(watcher, watcher.rule.poll), name=f"poll {watcher.rule.name}")
                if watcher.rule.event is not None:
                    tasks.create_task(_listen(watcher, watcher.rule.event, self._bus), name=f"events {watcher.rule.name}")
            for camera, motion in self._motions.items():
                tasks.create_task(motion.run(), name=f"motion {camera}")
            await asyncio.Event().wait()


class _Messages:
    """A rule's part of the broker."""

    def __init__(self, watcher: Watcher, wanted: OnMessage, mqtt: Mqtt) -> None:
        self._watcher, self._mqtt = watcher, mqtt
        self._when = None if wanted.when is None else Condition(wanted.when)
        self._heard = mqtt.subscribe(wanted.topic, self._take)

    def look(self) -> None:
        """Bring the state in step with the connection's, which logs its own troubles."""
        problem = self._heard.problem if self._mqtt.connected else f"The MQTT broker {self._mqtt.where} {self._mqtt.problem}"
        if problem is not None or self._watcher.told.state == "unreachable":
            self._watcher.told.be("unreachable" if problem else "armed", problem)

    def _take(self, message: Message) -> None:
        if message.retained:
            return  # it is told because we came, not because it happened
        facts = facts_of(message.payload)
        try:
            if self._when is not None and not self._when.holds(facts):
                return self._watcher.be("armed")
        except Unanswerable as error:
            return self._watcher.be("armed", f"A message of {message.topic} {error}, so the condition {self._when and self._when.text} says nothing.")
        self._watcher.be("armed")
        self._watcher.fire(facts)
        return None


async def poll(watcher: Watcher, wanted: OnPoll) -> None:
    """Ask again and again; trigger each time that the condition becomes true after it was false."""
    when, url, loop = Condition(wanted.when), wanted.url.get_secret_value(), asyncio.get_running_loop()
    held: bool | None = None  # None: not known yet
    while True:
        begun = loop.time()
        try:
            reply = await request(url, loopback=wanted.loopback, timeout_s=POLL_TIMEOUT_S, most_bytes=ANSWER_MOST)
            if not 200 <= reply.status < 300:
                raise Unreachable(f"{place(url)} answers HTTP {reply.status}.")
            facts = facts_of(reply.body, json_only=True)
            holds = when.holds(facts)
        except CupolaError as error:
            watcher.be("unreachable", str(error))
        except Unanswerable as error:
            watcher.be("unreachable", f"The answer of {place(url)} {error}, so the condition {when.text} says nothing.")
        else:
            watcher.be("active" if holds else "armed")
            if holds and held is False:
                watcher.fire(facts)
            held = holds
        await asyncio.sleep(max(0.0, begun + wanted.every_s - loop.time()))


async def _listen(watcher: Watcher, wanted: OnEvent, bus: Bus) -> None:
    when = None if wanted.when is None else Condition(wanted.when)
    with bus.subscribe() as heard:
        async for event in heard:
            if event.kind != wanted.kind:
                continue
            facts = event.model_dump(mode="json")
            try:
                if when is not None and not when.holds(facts):
                    continue
            except Unanswerable as error:
                watcher.be("armed", f"An event {event.kind} {error}, so the condition {when and when.text} says nothing.")
                continue
            watcher.be("armed")
            watcher.fire(facts, camera=event.camera)


def _moved(watcher: Watcher, camera: str) -> Callable[[Moved], None]:
    return lambda moved: watcher.fire({"share": moved.share, "box": moved.box}, moved.at_ns, camera)
