"""One Redis for the tests of a module; each test has its database emptied."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="module")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), ["appendfsync no"]) as server:
        yield server


@pytest.fixture
def redis(shared_redis: RedisServer) -> RedisServer:
    shared_redis.client().flushall()
    return shared_redis


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a publisher does every second, and a receiver every five, is done more often: tests wait for it."""
    monkeypatch.setattr("cupola.stream.publisher.CONFIRM_S", 0.1)
    monkeypatch.setattr("cupola.stream.receiver.LOOK_S", 0.5)
