"""What publishes and what receives, in processes of their own that can be killed, and whether all of it arrived."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.receiving import GROUP, Stored
from tests.support.redis_server import RedisServer
from tests.support.station import environment, eventually

DRAINED_S = 300.0
_PROJECT = Path(__file__).parents[2]


class Process:
    """What it prints is in a file: a pipe that nobody reads would stop it. `inside`: what runs a command elsewhere, as in a network namespace."""

    def __init__(self, printed: Path, command: Sequence[str], inside: Sequence[str] = (), env: dict[str, str] | None = None) -> None:
        self.printed = printed
        with printed.open("ab") as output:
            self._process = subprocess.Popen([*inside, sys.executable, "-m", *command], cwd=_PROJECT, env=env, stdout=output)

    def kill(self) -> None:
        """SIGKILL; also of one that has ended."""
        self._process.kill()
        self._process.wait(10)

    def finish(self) -> str:
        """What it has printed when it has ended in order, by SIGTERM."""
        self._process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> str:
        """What it has printed when it has ended by itself."""
        assert self._process.wait(120) == 0
        return self.printed.read_text()

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *unused: object) -> None:
        self.kill()


def light_station(folder: Path, url: str, *more: str, inside: Sequence[str] = ()) -> Process:
    """A station with its own spool and publisher, named as its folder; goes on where the one before it in this folder ended."""
    folder.mkdir(exist_ok=True)
    command = ["tests.support.light_station", str(folder), url, "--name", folder.name, *more]
    return Process(folder / f"printed-{time.monotonic_ns()}", command, inside)


def scripted_station(url: str, station: str, seconds: float, output: Path) -> Process:
    """Of `redis_station`: it prints what it made, and has no spool."""
    return Process(output, ["tests.support.redis_station", url, station, "--seconds", str(seconds)])


def receiver(url: str, into: Path, folder: Path, inside: Sequence[str] = ()) -> Process:
    """`cupola receive`; its home, and what it prints, are in `folder`."""
    folder.mkdir(exist_ok=True)
    command = ["cupola", "receive", "--into", str(into), "--claim-after", "3"]
    return Process(folder / "output", command, inside, environment(folder) | {"CUPOLA_RECEIVE_REDIS": url})


def up(station: Process) -> Process:
    """Until it runs."""
    eventually(lambda: "up\n" in station.printed.read_text() or not station.runs, 120)
    assert station.runs
    return station


def told_by(printed: str) -> tuple[list[int], list[str]]:
    """Of what a light station printed: the events that somebody outside was told, and the stills in its catalogue; both in order."""
    lines = [line.split() for line in printed.splitlines(keepends=True) if line.endswith("\n")]  # the last one of a killed one may be cut
    return [int(line[1]) for line in lines if line[0] == "event"], [line[1] for line in lines if line[0] == "still"]


def catalogued(folder: Path) -> dict[str, str]:
    """sha256 of the stills that are in the catalogue of a light station, by path."""
    with contextlib.closing(sqlite3.connect(folder / "state" / "catalogue.sqlite", timeout=20)) as connection:
        return dict(connection.execute("SELECT path, sha256 FROM file").fetchall())


def all_taken(redis: RedisServer, station: str = "roof") -> bool:
    """Receivers were handed all there is, and have acknowledged it."""
    client = redis.client()
    facts: list[tuple[Any, Any]] = []
    for stream in ("log", "images"):
        key = f"cupola:{{{station}}}:{stream}"
        [group] = [one for one in client.xinfo_groups(key) if one["name"] == GROUP.encode()]
        facts.append(((group["pending"], group["last-delivered-id"]), (0, client.xinfo_stream(key)["last-generated-id"])))
    return all(has == wanted for has, wanted in facts)


def is_whole(stored: Stored) -> None:
    """Disk and catalogue agree."""
    assert stored.files == stored.listed
    assert [row[0] for row in stored.query("PRAGMA integrity_check")] == ["ok"]
