"""A supervisor around a real camera process, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cupola.camera.claims import Claims
from cupola.camera.messages import Plan
from cupola.camera.recovery import Policy
from cupola.camera.spec import AutoSpec, CameraSpec
from cupola.camera.supervisor import CameraSupervisor
from cupola.core.bus import Bus, Subscription
from cupola.core.events import CameraRecovery, Event
from cupola.core.frame import Controls, Station
from cupola.process.wire import Head


@dataclass
class MemoryArchive:
    """Counts what the supervisor hands over."""

    rows: list[Head] = field(default_factory=list)
    failures: list[Head] = field(default_factory=list)
    running: Plan | None = None

    async def prepare(self, camera: str) -> int:
        return len(self.rows) + 1

    async def captured(self, camera: str, head: Head) -> int:
        self.rows.append(head)
        return len(self.rows)

    def failed(self, camera: str, head: Head) -> None:
        self.failures.append(head)

    def plan(self, camera: str) -> Plan | None:
        if self.running is None or self.running.remaining is None:
            return self.running
        done = sum(row["session"] == self.running.session for row in self.rows)
        return Plan(self.running.session, self.running.remaining - done, self.running.interval_s, self.running.delay_s)


@dataclass
class Rig:
    camera: CameraSupervisor
    archive: MemoryArchive
    events: Subscription
    log: list[str]

    def told(self, *kinds: str) -> list[Event]:
        """The events so far of these kinds, in order. A camera that is opened again in its process is lost for milliseconds: no look at its state sees that."""
        return [event for event in self.events._waiting if event.kind in kinds]

    @property
    def rungs(self) -> list[tuple[str, int, bool | None]]:
        """What was done about failures."""
        return [(event.rung, event.attempt, event.ok) for event in self.events._waiting if isinstance(event, CameraRecovery)]

    @property
    def exposing_since(self) -> float:
        """The monotonic clock's time when the exposure under way began, as the camera process told last; 0 without one."""
        return self.camera.beat_at - self.camera.beat["age_s"] if self.camera.beat.get("phase") == "exposing" else 0.0

    async def until(self, condition: Callable[[], Any], seconds: float = 15.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)


Make = Callable[..., Any]


@pytest.fixture
def rig(tmp_path: Path) -> Make:
    @asynccontextmanager
    async def make(
        driver: str = "tests.support.testcard:TestCard",
        *,
        connect: bool = True,
        policy: Policy | None = None,
        claims: Claims | None = None,
        interpreter: str | None = None,
        auto: AutoSpec | None = None,
        station: Station | None = None,
        width_max: int | None = None,
        **options: Any,
    ) -> AsyncIterator[Rig]:
        bus, archive, log = Bus(), MemoryArchive(), list[str]()
        spec = CameraSpec(
            name="card",
            driver="testcard",
            driver_path=driver,
            options=options,
            station=station or Station(),
            storage={
                "root": str(tmp_path / "root"),
                "queue": str(tmp_path / "queue"),
                "keep_originals": True,
                "lock": str(tmp_path / "card.lock"),
                "min_free_percent": 0,
                "keep_free_percent": 0,
            },
            live_view={"quality": 80, "fps_max": 100, "width_max": width_max},
            live=Controls(),
            still=Controls(),
            auto=auto,
            recovery=policy or Policy(),
            exclusive=claims is not None,
            python=interpreter,
        )
        (tmp_path / "root").mkdir()
        camera = CameraSupervisor(
            spec, archive=archive, bus=bus, log=lambda level, text, **_: log.append(f"{level} {text}"), epoch=7, connect=connect, claims=claims
        )
        with bus.subscribe() as events:
            running = asyncio.create_task(camera.run())
            try:
                yield Rig(camera, archive, events, log)
            finally:
                camera.end()
                async with asyncio.timeout(15):
                    await running

    return make
