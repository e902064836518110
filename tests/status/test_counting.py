"""What is counted from events, and what metrics and errors are made of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.status.rig import document

from cupola.core.events import CaptureFailed, ClipFailed, ClipSaved, ImageCaptured
from cupola.status.counting import BUCKETS_S, Counts
from cupola.status.metrics import families, text

NIGHT = datetime(2026, 11, 21, 23, 0, tzinfo=UTC)


def captured(number: int, *, every_s: float = 10.0, exposure_s: float = 8.0, took_s: float = 9.0, session: int | None = 1) -> ImageCaptured:
    opened = NIGHT + timedelta(seconds=number * every_s)
    return ImageCaptured(
        camera="sky",
        id=number,
        sequence=number,
        opened_at=opened,
        at=opened + timedelta(seconds=took_s),
        exposure_s=exposure_s,
        session=session,
        day="2026-11-21",
        path=f"{number}.fits",
    )


def test_durations_are_counted_by_their_upper_bounds() -> None:
    counts = Counts()
    for number, took_s in enumerate((0.05, 0.1, 0.11, 9.0, 700.0)):
        counts.saw(captured(number, took_s=took_s))
    found = counts.durations()
    assert [count for _, count in found["buckets"]] == [2, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert (found["count"], found["sum"]) == (5, pytest.approx(709.26))
    given = document(cameras={"sky": {**document()["cameras"]["sky"], "capture_duration_seconds": found}})
    lines = [line.rpartition(" ") for line in text(families(given, 0.0, stale=False)).splitlines() if "duration_seconds_bucket" in line]
    assert [int(value) for _, _, value in lines] == [2, 3, 3, 3, 3, 3, *[4] * 8, 5] and len(lines) == len(BUCKETS_S) + 1


def test_the_duty_cycle_is_that_of_the_series_that_runs() -> None:
    counts = Counts()
    counts.saw(captured(0))
    assert counts.duty_cycle(1) is None  # one image says nothing yet
    for number in range(1, 30):
        counts.saw(captured(number))
    assert counts.duty_cycle(1) == pytest.approx(0.8)
    assert counts.duty_cycle(2) is None and counts.duty_cycle(None) is None
    counts.saw(captured(30, session=2))
    assert counts.duty_cycle(2) is None
    counts.saw(captured(31, session=2, exposure_s=5.0))
    assert counts.duty_cycle(2) == pytest.approx(0.8)


def test_a_clock_that_stood_still_or_went_back_gives_no_duty_cycle() -> None:
    counts = Counts()
    counts.saw(captured(5))
    counts.saw(captured(5))
    assert counts.duty_cycle(1) is None
    counts.saw(captured(0))
    assert counts.duty_cycle(1) is None


def test_the_newest_is_an_image_or_a_failure() -> None:
    counts = Counts()
    counts.saw(captured(1))
    assert counts.last == {"time": "2026-11-21T23:00:10.000000Z", "filename": "1.fits", "success": True, "duration_ms": 9000}
    counts.saw(CaptureFailed(camera="sky", error_type="camera_lost", message="gone", at=NIGHT + timedelta(minutes=1)))
    assert counts.last == {"time": "2026-11-21T23:01:00.000000Z", "filename": None, "success": False, "duration_ms": None}
    assert counts.errors == {"camera_lost": 1} and counts.last_opened_at == NIGHT + timedelta(seconds=10)


def test_clips_are_counted_by_their_end() -> None:
    counts = Counts()
    for event in (
        ClipSaved(id=1, label="", path="a.mp4", duration_s=1, frames=30),
        ClipFailed(id=2, label="", message="no"),
        ClipFailed(id=3, label="", message="no"),
    ):
        counts.saw(event)
    assert counts.clips == {"saved": 1, "failed": 2}
