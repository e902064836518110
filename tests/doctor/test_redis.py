"""`cupola doctor redis` with a real Redis that is well, away, closed to the station, or hanging."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.redis_server import RedisServer
from tests.support.station import cupola, free_port


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), ["requirepass open-sesame"], password="open-sesame") as server:
        yield server


def doctor(folder: Path, url: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and findings; the configuration is its owner's only, as it holds a password."""
    (folder / "home").mkdir(exist_ok=True)
    file = folder / "cupola.yaml"
    file.write_text(f"station: {{name: roof}}\nredis: {{url: '{url}'}}\n")
    file.chmod(0o600)
    done = cupola(folder, "doctor", "redis", "--json", timeout_s=300)
    assert done.stdout and "open-sesame" not in done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)["findings"]


def test_a_redis_that_is_well_is_no_error(tmp_path: Path, redis: RedisServer) -> None:
    _, findings = doctor(tmp_path, redis.url)
    assert [finding for finding in findings if finding["level"] == "error"] == []


@pytest.mark.parametrize("password", ["wrong", "unreachable"])
def test_a_redis_that_cannot_be_used_is_the_first_finding(tmp_path: Path, redis: RedisServer, password: str) -> None:
    url = redis.url_of(None, "wrong") if password == "wrong" else f"redis://127.0.0.1:{free_port()}/0"
    code, findings = doctor(tmp_path, url)
    assert code == 1 and (findings[0]["part"], findings[0]["level"]) == ("redis", "error") and findings[0]["fix"]


def test_a_redis_that_hangs_is_told_in_time(tmp_path: Path, redis: RedisServer) -> None:
    with redis.paused():
        code, findings = doctor(tmp_path, redis.url)
    assert code == 1 and (findings[0]["part"], findings[0]["level"]) == ("redis", "error")
