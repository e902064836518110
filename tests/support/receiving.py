"""A receiver at work, in this process, and a look into what it stored."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cupola.stream.receiver import Receiver
from tests.support.redis_server import RedisServer
from tests.support.station import eventually

SOON_S = 60.0
GROUP = "archive"


@dataclass
class Receiving:
    receiver: Receiver
    told: list[tuple[str, str, str | None]] = field(default_factory=list[tuple[str, str, "str | None"]])

    def heard(self, words: str, level: str | None = None) -> bool:
        return any(words in message and level in (None, of) for of, message, _ in self.told)

    def until_told(self, words: str, level: str | None = None) -> None:
        eventually(lambda: self.heard(words, level), SOON_S)

    @property
    def total(self) -> dict[str, int]:
        return self.receiver.tally.total()

    def until(self, **least: int) -> dict[str, int]:
        """Until so much was done, by the names of `tally.Count`."""
        eventually(lambda: all(self.total[name] >= number for name, number in least.items()), SOON_S)
        return self.total


@contextmanager
def receiving(url: str, into: Path, **options: Any) -> Iterator[Receiving]:
    """From its start until it has ended in order."""
    work = Receiving(None)  # type: ignore[arg-type]
    work.receiver = Receiver(url, into, lambda *told: work.told.append(told), **options)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work.receiver.run(lambda: None)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield work
    finally:
        work.receiver.stop()
        thread.join(30)
        assert not thread.is_alive()
    assert not failures, failures


@dataclass(frozen=True)
class Stored:
    """One station's part of an archive, as the disk and the catalogue have it."""

    root: Path

    def query(self, text: str, *values: object) -> list[sqlite3.Row]:
        path = self.root / ".cupola" / "catalogue.sqlite"
        if not path.exists():
            return []
        with contextlib.closing(sqlite3.connect(path, timeout=20)) as connection:
            connection.row_factory = sqlite3.Row
            try:
                return connection.execute(text, values).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise
                return []  # it is being made

    @property
    def files(self) -> dict[str, str]:
        """sha256 of what lies on the disk, by path; without the state folder."""
        found = [path for path in self.root.rglob("*") if path.is_file() and ".cupola" not in path.relative_to(self.root).parts]
        return {path.relative_to(self.root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}

    @property
    def listed(self) -> dict[str, str]:
        """sha256 of what the catalogue knows, by path."""
        rows = self.query("SELECT path, sha256 FROM file WHERE kind = 'jpg' UNION ALL SELECT path, sha256 FROM clip WHERE state = 'saved'")
        assert len({row["path"] for row in rows}) == len(rows), "one file is listed twice"
        return {row["path"]: row["sha256"] for row in rows}

    @property
    def events(self) -> list[str]:
        return [row["event"] for row in self.query("SELECT event FROM received_event ORDER BY incarnation, sequence")]

    @property
    def numbers(self) -> list[int]:
        """`n` of each event, in the order of the archive."""
        return [json.loads(event)["n"] for event in self.events]

    @property
    def arriving(self) -> list[Path]:
        return [path for path in (self.root / ".cupola" / "arriving").rglob("*") if path.is_file()]

    @property
    def set_aside(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted((self.root / ".cupola" / "quarantine").glob("*.json"))]


def pending(redis: RedisServer, station: str = "roof") -> int:
    """Records that were handed out and not acknowledged."""
    client = redis.client()
    return sum(client.xpending(f"cupola:{{{station}}}:{stream}", GROUP)["pending"] for stream in ("log", "images"))


def readings(stored: Stored) -> list[int]:
    """The numbered events of a light station, in the order of the archive."""
    return [int(event["value"]) for event in map(json.loads, stored.events) if event["kind"] == "sensor_reading"]
