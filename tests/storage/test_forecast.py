"""In how many nights the disk is full."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.storage.filled import CAMERA, FIRST_NIGHT, Filled, run

from cupola.storage.forecast import Nights, forecast


@pytest.fixture
def filled(tmp_path: Path) -> Generator[Filled]:
    made = Filled(tmp_path, 100_000)
    yield made
    made.catalogue.close()


def test_the_night_that_goes_on_counts_only_as_long_as_it_is_the_only_one(filled: Filled) -> None:
    nights = Nights(filled.catalogue, [CAMERA])
    assert forecast(nights.note(), 50_000, 5000).words == "no night yet to tell by"
    assert forecast(nights.note(), 5000, 5000).words == "full"
    filled.night(0, 2)
    assert forecast(nights.note(), 50_000, 5000).bytes_per_night == 10_000
    filled.night(1, 4)
    filled.night(2, 1)
    told = forecast(nights.note(), 50_000, 5000)
    assert (told.bytes_per_night, told.nights, told.nights_left, told.words) == (15_000, 2, 3.0, "full in 3 nights")


def test_products_count_too(filled: Filled) -> None:
    filled.night(0, 2)
    filled.products(filled.period(0), 0, size=700)
    assert Nights(filled.catalogue, [CAMERA]).note() == {"2026-11-01": 11_400}


def test_what_was_deleted_since_still_counts(filled: Filled) -> None:
    nights = Nights(filled.catalogue, [CAMERA])
    filled.night(0, 4)
    filled.night(1, 4)
    assert nights.note() == {"2026-11-01": 20_000, "2026-11-02": 20_000}
    run(filled.retention(days={"jpg": 0.1}, now=FIRST_NIGHT + timedelta(days=9)))
    filled.night(2, 2)
    assert nights.note() == {"2026-11-01": 20_000, "2026-11-02": 20_000, "2026-11-03": 10_000}


def test_only_the_last_week_tells_the_pace(filled: Filled) -> None:
    stored = {f"2026-11-{day:02d}": 9_000_000 if day < 3 else 1000 for day in range(1, 12)}
    assert forecast(stored, 0, 0).bytes_per_night == 1000


@pytest.mark.parametrize(
    ("free", "words"),
    [
        (0, "full"),
        (5000, "full"),
        (5900, "full within a night"),
        (6000, "full in 1 night"),
        (17_500, "full in 12 nights"),
        (9e6, "full in more than 1000 nights"),
    ],
)
def test_the_words_say_when(free: float, words: str) -> None:
    assert forecast({"2026-11-01": 1000, "2026-11-02": 5}, int(free), 5000).words == words
