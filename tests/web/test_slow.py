"""What is told of answers that somebody had to wait for."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.types import Message

from cupola.web.slow import AGAIN_S, SLOW_S, Slow

START: Message = {"type": "http.response.start", "status": 200, "headers": []}
BODY: Message = {"type": "http.response.body", "body": b""}


@pytest.fixture
def said() -> list[tuple[str, dict[str, Any]]]:
    return []


async def _answered(slow: Slow, now: list[float], took_s: float, key: str = "GET /api/captures") -> list[Message]:
    sent = list[Message]()

    async def send(message: Message) -> None:
        sent.append(message)

    timed = slow.timed(key, send)
    now[0] += took_s
    await timed(START)
    now[0] += 100.0  # whoever takes it is slow
    await timed(BODY)
    return sent


async def test_a_slow_answer_is_told_once_a_minute_with_how_many_there_were_and_a_quick_one_never(said: list[tuple[str, dict[str, Any]]]) -> None:
    now = [1000.0]
    slow = Slow(lambda level, message, **facts: said.append((message, facts)), lambda: now[0])
    assert await _answered(slow, now, 0.9 * SLOW_S) == [START, BODY] and not said
    assert await _answered(slow, now, 3.0) == [START, BODY]
    assert said == [("GET /api/captures was answered", {"event": "performance", "took_s": 3.0})]
    now[0] -= 100.0
    await _answered(slow, now, 0.1 * AGAIN_S)
    now[0] -= 100.0
    await _answered(slow, now, 2.0, "GET /api/status")
    assert [message for message, _ in said[1:]] == ["GET /api/status was answered"]
    await _answered(slow, now, 2.0)
    assert said[2][0] == "GET /api/captures was answered, as 1 more since the last record"
