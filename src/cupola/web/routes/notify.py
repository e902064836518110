"""Who is told, how that goes, and a message to try it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from cupola.config.notify import Level
from cupola.core.errors import NotAllowed
from cupola.web.runtime import runtime_of

router = APIRouter(tags=["station"])
_one = asyncio.Lock()


class ChannelStatus(BaseModel):
    name: str
    address: str = Field(description="Without its secrets.")
    min_level: Level
    waiting: int = Field(description="Messages that it did not take yet, or that wait for the end of the quiet hours.")
    delivered_at: datetime | None = Field(description="Of the last message that it took since the start.")
    problem: str | None = Field(description="Why it did not take the last one.")


class NotifyStatus(BaseModel):
    channels: list[ChannelStatus]
    heartbeat_problem: str | None = Field(description="Why the last sign of life did not get through.")


class TestOutcome(BaseModel):
    name: str
    ok: bool
    error: str | None
    took_s: float


class TestOutcomes(BaseModel):
    items: list[TestOutcome]


@router.get("/api/notify")
async def channels(request: Request) -> NotifyStatus:
    runtime = runtime_of(request)
    found: list[ChannelStatus] = []
    for line in runtime.watch.notifier.lines:
        at, address = line.delivered_at, line.channel.webhook or line.channel.url
        found.append(
            ChannelStatus(
                name=line.channel.name,
                address=str(address),
                min_level=line.channel.min_level or runtime.settings.notify.min_level,
                waiting=line.waiting,
                delivered_at=None if at is None else datetime.fromtimestamp(at, UTC),
                problem=line.problem,
            )
        )
    return NotifyStatus(channels=found, heartbeat_problem=runtime.watch.notifier.heartbeat_problem)


@router.post("/api/notify/test")
async def test(request: Request) -> TestOutcomes:
    """Send a test message to every channel, and wait for what becomes of it (a minute at most)."""
    runtime = runtime_of(request)
    if not runtime.watch.notifier.lines:
        raise NotAllowed("No channel is configured. Add one to notify.channels in the configuration file.")
    if _one.locked():
        raise NotAllowed("A test is under way already.")
    async with _one:
        outcomes = await runtime.watch.notifier.test()
    return TestOutcomes(items=[TestOutcome(name=name, ok=one.error is None, error=one.error, took_s=one.took_s) for name, one in outcomes.items()])
