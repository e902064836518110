"""What sensors read, kept for a week, a season and for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cupola.core.errors import StorageFailed
from cupola.storage.history import SEASON_MS, WEEK_MS, History, Reading
from cupola.storage.telemetry import Telemetry

NOW = 1_795_000_000_000 - 1_795_000_000_000 % 3_600_000
HOUR, MINUTE = 3_600_000, 60_000


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    telemetry = Telemetry(tmp_path / "telemetry.sqlite")
    yield History(telemetry)
    telemetry.close()


def note(history: History, *values: tuple[int, float], series: str = "roof.temperature") -> None:
    for at_ms, value in values:
        history.note(Reading(series, "°C", at_ms, value))
    history.flush()


def test_what_is_read_in_an_hour_comes_back_as_it_was(history: History) -> None:
    note(history, *((NOW + second * 1000, second / 10) for second in range(0, 600, 10)))
    width_ms, points = history.read("roof.temperature", NOW, NOW + 600_000, 600, NOW)
    assert width_ms == 1000 and len(points) == 60
    assert points[3].value == points[3].low == points[3].high == 3.0
    assert history.series() == {"roof.temperature": "°C"}


def test_fewer_points_are_the_mean_and_the_extremes_of_what_lies_between(history: History) -> None:
    note(history, *((NOW + minute * MINUTE, float(minute % 2)) for minute in range(600)))
    width_ms, points = history.read("roof.temperature", NOW, NOW + 600 * MINUTE, 10, NOW)
    assert width_ms == HOUR
    assert [(point.value, point.low, point.high) for point in points] == [(0.5, 0.0, 1.0)] * 10


def test_readings_go_after_a_week_minutes_after_a_season_and_hours_never(history: History) -> None:
    year = 365 * 86_400_000
    note(history, (NOW - year, 1.0), (NOW - SEASON_MS + HOUR, 2.0), (NOW - WEEK_MS + HOUR, 3.0), (NOW - HOUR, 4.0))
    history.trim(NOW)
    width_ms, points = history.read("roof.temperature", NOW - WEEK_MS, NOW, 2_000_000, NOW)
    assert width_ms < MINUTE and [point.value for point in points] == [3.0, 4.0]
    width_ms, points = history.read("roof.temperature", NOW - SEASON_MS, NOW, 200_000, NOW)
    assert width_ms == MINUTE and [point.value for point in points] == [2.0, 3.0, 4.0]
    width_ms, points = history.read("roof.temperature", NOW - 2 * year, NOW, 200_000, NOW)
    assert width_ms == HOUR and [point.value for point in points] == [1.0, 2.0, 3.0, 4.0]
    note(history, (NOW, 5.0))
    assert len(history.read("roof.temperature", NOW - 2 * year, NOW + 1, 200_000, NOW)[1]) == 5


def test_a_series_nobody_knows_has_no_points(history: History) -> None:
    assert history.read("nobody.x", 0, NOW, 100, NOW)[1] == []


def test_readings_wait_while_the_disk_takes_none(history: History, tmp_path: Path) -> None:
    import sqlite3

    blocker = sqlite3.connect(tmp_path / "telemetry.sqlite", isolation_level=None)
    blocker.execute("DROP TABLE hour")
    with pytest.raises(StorageFailed):
        note(history, (NOW, 1.0))
    blocker.execute("CREATE TABLE hour (series INTEGER, at INTEGER, count INTEGER, total REAL, low REAL, high REAL, PRIMARY KEY (series, at))")
    blocker.close()
    note(history, (NOW + 1000, 2.0))
    assert [point.value for point in history.read("roof.temperature", NOW, NOW + HOUR, 3600, NOW)[1]] == [1.0, 2.0]


def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.sqlite"
    path.write_bytes(b"no database at all" * 1000)
    telemetry = Telemetry(path)
    history = History(telemetry)
    note(history, (NOW, 1.0))
    assert telemetry.problem is not None and len(list(tmp_path.glob("telemetry.sqlite.broken-*"))) == 1
    telemetry.close()
