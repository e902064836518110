"""What the sensors read, in telemetry.sqlite: every reading for a week, minutes for a season, hours for ever.

Readings are kept in memory for a minute and written in one transaction, with their minutes and hours, so that a flash card is spared. What
is asked for is taken from the finest of the three that reaches back far enough.
"""

import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from cupola.storage.telemetry import Telemetry

Step = Literal["reading", "minute", "hour"]
WEEK_MS, SEASON_MS = 7 * 86_400_000, 92 * 86_400_000
_STEP_MS: dict[Step, int] = {"reading": 1, "minute": 60_000, "hour": 3_600_000}
MOST_WAITING = 10_000


@dataclass(frozen=True, slots=True)
class Reading:
    """`at_ms`: Unix milliseconds."""

    series: str
    unit: str
    at_ms: int
    value: float


@dataclass(frozen=True, slots=True)
class Point:
    """Mean, least and most of the readings from `at_ms` on, until the next point."""

    at_ms: int
    value: float
    low: float
    high: float


class History:
    """`note` may be called from any thread and never blocks; the others block, as Telemetry's methods do: use `Telemetry.run`."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._waiting: list[Reading] = []
        self._lock = threading.Lock()
        self.dropped = 0  # while the disk took nothing

    def note(self, reading: Reading) -> None:
        with self._lock:
            self._waiting.append(reading)
            if len(self._waiting) > MOST_WAITING:
                del self._waiting[0]
                self.dropped += 1

    def flush(self) -> None:
        """Write what waits. Raises StorageFull and StorageFailed: it waits on."""
        with self._lock:
            batch, self._waiting = self._waiting, []
        if not batch:
            return
        try:
            with self._telemetry.writing() as connection:
                self._write(connection, batch)
        except BaseException:
            with self._lock:
                self._waiting[:0] = batch
            raise

    def _write(self, connection: sqlite3.Connection, batch: Iterable[Reading]) -> None:
        numbers: dict[str, int] = {}
        for one in batch:
            if one.series not in numbers:
                connection.execute(
                    "INSERT INTO series (name, unit) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET unit = excluded.unit", (one.series, one.unit)
                )
                numbers[one.series] = connection.execute("SELECT id FROM series WHERE name = ?", (one.series,)).fetchone()[0]
            number = numbers[one.series]
            connection.execute("INSERT OR REPLACE INTO reading (series, at, value) VALUES (?, ?, ?)", (number, one.at_ms, one.value))
            for step in ("minute", "hour"):
                at = one.at_ms - one.at_ms % _STEP_MS[step]
                connection.execute(
                    f"INSERT INTO {step} (series, at, count, total, low, high) VALUES (?1, ?2, 1, ?3, ?3, ?3) ON CONFLICT DO UPDATE "
                    "SET count = count + 1, total = total + ?3, low = min(low, ?3), high = max(high, ?3)",
                    (number, at, one.value),
                )

    def trim(self, now_ms: int) -> None:
        """Forget readings older than a week, and minutes older than a season."""
        with self._telemetry.writing() as connection:
            for step, kept_ms in (("reading", WEEK_MS), ("minute", SEASON_MS)):
                connection.executemany(
                    f"DELETE FROM {step} WHERE series = ? AND at < ?",
                    [(row["id"], now_ms - kept_ms) for row in connection.execute("SELECT id FROM series")],
                )

    def series(self) -> dict[str, str]:
        """All that ever were, with their units."""
        return {row["name"]: row["unit"] for row in self._telemetry.read("SELECT name, unit FROM series ORDER BY name")}

    def read(self, series: str, begin_ms: int, end_ms: int, points: int, now_ms: int) -> tuple[int, list[Point]]:
        """At most so many points of [begin, end), and how far apart they are in milliseconds. A series nobody knows has none."""
        wanted_ms = max(1, -(-(end_ms - begin_ms) // points))
        step: Step = "reading"
        if wanted_ms >= _STEP_MS["hour"] or begin_ms < now_ms - SEASON_MS:
            step = "hour"
        elif wanted_ms >= _STEP_MS["minute"] or begin_ms < now_ms - WEEK_MS:
            step = "minute"
        width_ms = -(-wanted_ms // _STEP_MS[step]) * _STEP_MS[step]
        columns = "1 AS count, value AS total, value AS low, value AS high" if step == "reading" else "count, total, low, high"
        rows = self._telemetry.read(
            f"SELECT at - at % ?1 AS since, sum(total) / sum(count) AS value, min(low) AS low, max(high) AS high "
            f"FROM (SELECT at, {columns} FROM {step} WHERE series = (SELECT id FROM series WHERE name = ?2) AND at >= ?3 AND at < ?4) "
            "GROUP BY since ORDER BY since",
            *(width_ms, series, begin_ms - begin_ms % _STEP_MS[step], end_ms),
        )
        return width_ms, [Point(row["since"], row["value"], row["low"], row["high"]) for row in rows]
