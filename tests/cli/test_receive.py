"""`cupola receive` as it is called."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.live_packets import jpegs, publish
from tests.support.receiving import Stored
from tests.support.redis_server import RedisServer
from tests.support.redis_station import PublishedStation
from tests.support.station import cupola, environment, eventually


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), ["appendfsync no"]) as server:
        yield server


def test_as_lines_it_tells_what_it_does_and_ends_in_order_at_sigterm(redis: RedisServer, tmp_path: Path) -> None:
    roof = PublishedStation("roof")
    roof.still(b"a picture")
    roof.event()
    roof.send(redis.client())
    publish(redis, jpegs([1]))
    process = subprocess.Popen(
        [sys.executable, "-m", "cupola", "receive", "--redis", redis.url, "--into", "archive", "--frames", "0"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        stored = Stored(tmp_path / "archive" / "roof")
        eventually(lambda: stored.listed == roof.files and stored.events == roof.events and any(stored.root.rglob("frames/*.jpg")), 60)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait(10)
    assert process.returncode == 0
    lines = [json.loads(line) for line in output.splitlines()]
    assert [lines[0]["event"], lines[-1]["event"]] == ["started", "ended"]
    assert (lines[0]["redis"], lines[0]["group"]) == (f"127.0.0.1:{redis.port}", "archive")
    assert any(line["event"] == "told" and line["message"] == "Receiving station roof." for line in lines)
    assert lines[-1]["stations"]["roof"] | {"bytes": 0} == {
        "stills": 1, "clips": 0, "events": 1, "bytes": 0, "again": 0, "set_aside": 0, "gone": 0, "taken_over": 0, "frames": 1,
    }  # fmt: skip


def test_on_a_terminal_it_shows_a_line_that_lives(redis: RedisServer, tmp_path: Path) -> None:
    dome = PublishedStation("dome")
    dome.still(b"a picture")
    dome.send(redis.client())
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cupola", "receive", "--station", "dome", "--into", "archive"],
        cwd=tmp_path,
        env=environment(tmp_path) | {"CUPOLA_RECEIVE_REDIS": redis.url, "TERM": "xterm"},
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    try:
        while b"stills 1" not in seen:
            seen += os.read(ours, 4096)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait(10)
        os.close(ours)
    assert b"Receiving station dome." in seen and b"stations 1" in seen


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "Missing option '--redis'"),
        (["--redis", "http://:s3cret@hub"], 1, "begins with redis://"),
        (["--redis", "redis://:s3cret@hub:x"], 1, "no URL of a Redis"),
        (["--redis", "redis://:s3cret@hub?password=x"], 1, "has password behind its question mark"),
        (["--redis", "redis://hub", "--station", "../x"], 2, "use letters"),
        (["--redis", "redis://hub", "--group", "a:b"], 2, "use letters"),
    ],
)
def test_what_cannot_be_used_is_said_without_the_password(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    done = cupola(tmp_path, "receive", *arguments)
    assert done.returncode == code and said in done.stderr and "s3cret" not in done.stderr
