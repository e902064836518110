"""In how many nights the disk is full, from what the last nights have stored.

What a night stored is noted while it is there, since retention deletes it later. A night is an observing day on which
there were images; the newest may go on, and counts only as long as it is the only one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, timedelta
from sqlite3 import Connection
from typing import cast

from cupola.storage.catalogue import Catalogue, writes

NIGHTS = "retention.nights"  # key of the catalogue: bytes by observing day
KEPT, COUNTED = 30, 7
LOOKED_AT_DAYS = 2  # before the newest: a day's images may be developed late


@dataclass(frozen=True, slots=True)
class Forecast:
    """`bytes_per_night` is the mean of the last `nights` nights; `nights_left` until the disk is full; both None before the first image."""

    bytes_per_night: int | None
    nights: int
    nights_left: float | None

    @property
    def words(self) -> str:
        """`full in 12 nights`."""
        if self.nights_left is None:
            return "no night yet to tell by"
        whole = int(self.nights_left)
        if self.nights_left <= 0:
            return "full"
        if whole < 1:
            return "full within a night"
        return "full in more than 1000 nights" if whole > 1000 else f"full in {whole} night{'' if whole == 1 else 's'}"


class Nights:
    """What each night stored, in the catalogue."""

    def __init__(self, catalogue: Catalogue, cameras: Sequence[str]) -> None:
        self._catalogue, self._cameras = catalogue, tuple(cameras)

    def writing(self) -> AbstractContextManager[Connection]:
        return self._catalogue.writing()

    @writes
    def note(self) -> dict[str, int]:
        """Look what the newest days hold; the bytes of all noted days, which never shrink."""
        before = cast("dict[str, int]", self._catalogue.get(NIGHTS) or {})
        noted = Counter(before)
        for day, size in self._stored().items():
            noted[day] = max(noted[day], size)
        kept = dict(sorted(noted.items())[-KEPT:])
        if kept != before:
            self._catalogue.put(NIGHTS, kept)
        return kept

    def _stored(self) -> Counter[str]:
        stored = Counter[str]()
        for camera in self._cameras:
            days = self._catalogue.newest_days(camera)
            if days is None:
                continue
            since = (date.fromisoformat(min(days)) - timedelta(days=LOOKED_AT_DAYS)).isoformat()
            for row in self._catalogue.read(
                "SELECT day, sum(bytes) AS bytes FROM image JOIN file ON file.image = image.id WHERE camera = ? AND day >= ? AND file.kind != 'queue' "
                "GROUP BY day UNION ALL SELECT day, sum(bytes) FROM period JOIN product ON product.period = period.id "
                "WHERE camera = ? AND day >= ? AND bytes IS NOT NULL GROUP BY day",
                camera,
                since,
                camera,
                since,
            ):
                stored[row["day"]] += row["bytes"]
        return stored


def forecast(stored: dict[str, int], free_bytes: int, full_bytes: float) -> Forecast:
    """From the bytes of each night, what is free, and what is left free when the disk counts as full."""
    nights = [size for _, size in sorted(stored.items()) if size > 0]
    if len(nights) > 1:
        del nights[-1]
    nights = nights[-COUNTED:]
    if not nights:
        return Forecast(None, 0, None if free_bytes > full_bytes else 0.0)
    mean = sum(nights) / len(nights)
    return Forecast(round(mean), len(nights), max(0.0, free_bytes - full_bytes) / mean)
