"""Messages that wait for their channels, and the troubles that were told: tables of telemetry.sqlite.

A message is durable before its first delivery is tried and goes when its channel took it: after an outage, a restart or a crash it is
delivered, at worst once more. What a message says is decided in `watch.notices`, how it gets out in `watch.notify`.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cupola.storage.telemetry import Telemetry

MOST = 200  # of one channel; the oldest go first
OLDEST_S = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message of one channel. `due_at` in Unix seconds; `notice` as JSON types."""

    id: int
    due_at: float
    notice: Mapping[str, Any]


class Outbox:
    """Methods block, as Telemetry's do; use `Telemetry.run`."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def put(self, messages: Iterable[tuple[str, float, Mapping[str, Any]]], troubles: Mapping[str, Mapping[str, Any]]) -> None:
        """Channel, when it is due (Unix seconds), and notice of each; and all troubles that are told and not over, in place of the earlier ones."""
        with self._telemetry.writing() as connection:
            for channel, due_at, notice in messages:
                connection.execute("INSERT INTO message (channel, due_at, notice) VALUES (?, ?, ?)", (channel, due_at, json.dumps(notice)))
                connection.execute(
                    "DELETE FROM message WHERE channel = ?1 AND id <= (SELECT id FROM message WHERE channel = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                    (channel, MOST),
                )
            connection.execute("DELETE FROM trouble")
            connection.executemany("INSERT INTO trouble (key, facts) VALUES (?, ?)", [(key, json.dumps(facts)) for key, facts in troubles.items()])

    def troubles(self) -> dict[str, dict[str, Any]]:
        return {row["key"]: json.loads(row["facts"]) for row in self._telemetry.read("SELECT * FROM trouble")}

    def waiting(self, channel: str) -> list[Waiting]:
        """All of a channel, due or not, the oldest first."""
        rows = self._telemetry.read("SELECT id, due_at, notice FROM message WHERE channel = ? ORDER BY id", channel)
        return [Waiting(row["id"], row["due_at"], json.loads(row["notice"])) for row in rows]

    def done(self, ids: Iterable[int]) -> None:
        with self._telemetry.writing() as connection:
            connection.executemany("DELETE FROM message WHERE id = ?", [(number,) for number in ids])

    def tidy(self, channels: Iterable[str], now: float) -> int:
        """Drop what is older than a week, and what waits for channels that are not configured any more; how many."""
        with self._telemetry.writing() as connection:
            known = json.dumps(list(channels))
            return connection.execute(
                "DELETE FROM message WHERE due_at < ? OR channel NOT IN (SELECT value FROM json_each(?))", (now - OLDEST_S, known)
            ).rowcount
