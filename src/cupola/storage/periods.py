"""The nights and days of the schedule, in the catalogue: each camera has at most one night and one day a date.

When one begins and ends is decided in `capture.nights`; its images are the catalogue's, which carry its number.
"""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from cupola.core.clock import iso_utc, parse_utc, utc_now
from cupola.core.errors import InvalidSetting, StorageFailed
from cupola.storage.catalogue import MAX_PAGE, Catalogue, writes

PeriodKind = Literal["night", "day"]
PeriodState = Literal["capturing", "finishing", "finished"]


@dataclass(frozen=True, slots=True)
class PeriodRow:
    """A night or day of the schedule.

    `day` is its date at the station (`2026-11-21`), `starts_at` and `ends_at` are as planned, in UTC. `session`: the series of stills that ran in
    it last. `finishing`: the window is over, what was taken is still being developed and grown. `summary` is there once it is finished.
    """

    id: int
    camera: str
    kind: PeriodKind
    day: str
    starts_at: datetime
    ends_at: datetime
    interval_s: float | None
    expected: int | None
    state: PeriodState
    session: int | None
    finished_at: datetime | None
    summary: Mapping[str, Any] | None

    @property
    def prefix(self) -> str:
        """What the names of a period's files begin with, in the folder of its date."""
        return "" if self.kind == "night" else "day-"


@dataclass(frozen=True, slots=True)
class Shot:
    """What a summary needs to know of an image of the period; `path` is that of its JPEG, if there is one."""

    id: int
    sequence: int
    opened_at: datetime
    ended_at: datetime | None
    exposure_s: float | None
    developed: bool
    failure: str | None
    clock_synced: bool
    path: str | None


class Periods:
    """Reads and writes through the catalogue. Every method blocks and raises StorageFull or StorageFailed; the loop uses `Catalogue.run`."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def writing(self) -> AbstractContextManager[sqlite3.Connection]:
        return self._catalogue.writing()

    @writes
    def open(
        self, camera: str, kind: PeriodKind, day: str, starts_at: datetime, ends_at: datetime, interval_s: float | None, expected: int | None
    ) -> tuple[PeriodRow, bool]:
        """The period of this date, and whether it is new; one that captures still is brought up to date, one that is over stays as it is."""
        with self.writing() as connection:
            was = self._of_day(connection, camera, kind, day)
            connection.execute(
                "INSERT INTO period (camera, kind, day, starts_at, ends_at, interval_s, expected, state) VALUES (?, ?, ?, ?, ?, ?, ?, 'capturing') "
                "ON CONFLICT (camera, kind, day) DO UPDATE SET starts_at = excluded.starts_at, ends_at = excluded.ends_at, "
                "interval_s = excluded.interval_s, expected = excluded.expected WHERE state = 'capturing'",
                (camera, kind, day, iso_utc(starts_at), iso_utc(ends_at), interval_s, expected),
            )
            row = self._of_day(connection, camera, kind, day)
        assert row is not None
        return row, was is None

    @writes
    def reopen(self, number: int) -> PeriodRow:
        """A period that was ended too early goes on."""
        return self._set(number, "state = 'capturing', finished_at = NULL, summary = NULL")

    @writes
    def take(self, number: int, session: int) -> PeriodRow:
        """Note which series of stills runs in it."""
        return self._set(number, "session = ?", session)

    @writes
    def end(self, number: int) -> PeriodRow:
        """The window is over."""
        return self._set(number, "state = 'finishing'")

    @writes
    def finish(self, number: int, summary: Mapping[str, Any]) -> PeriodRow:
        """All is done; the summary (JSON) is kept with it."""
        return self._set(number, "state = 'finished', finished_at = ?, summary = ?", iso_utc(utc_now()), json.dumps(dict(summary), allow_nan=False))

    def _set(self, number: int, what: str, *values: object) -> PeriodRow:
        with self.writing() as connection:
            connection.execute(f"UPDATE period SET {what} WHERE id = ?", (*values, number))
            row = connection.execute("SELECT * FROM period WHERE id = ?", (number,)).fetchone()
        if row is None:
            raise StorageFailed(f"Period {number} is not in the catalogue (any more).")
        return _period(row)

    def get(self, number: int) -> PeriodRow | None:
        """The period with this number."""
        return next(map(_period, self._catalogue.read("SELECT * FROM period WHERE id = ?", number)), None)

    def of_day(self, camera: str, kind: PeriodKind, day: str) -> PeriodRow | None:
        """The night or day of a date."""
        rows = self._catalogue.read("SELECT * FROM period WHERE camera = ? AND kind = ? AND day = ?", camera, kind, day)
        return next(map(_period, rows), None)

    @staticmethod
    def _of_day(connection: sqlite3.Connection, camera: str, kind: str, day: str) -> PeriodRow | None:
        row = connection.execute("SELECT * FROM period WHERE camera = ? AND kind = ? AND day = ?", (camera, kind, day)).fetchone()
        return None if row is None else _period(row)

    def unfinished(self, camera: str | None = None) -> list[PeriodRow]:
        """Those that capture or are being finished, oldest first."""
        rows = self._catalogue.read("SELECT * FROM period WHERE state != 'finished' AND camera = coalesce(?, camera) ORDER BY starts_at, id", camera)
        return [_period(row) for row in rows]

    def newest(self, camera: str, kind: PeriodKind | None = None) -> PeriodRow | None:
        """The one that starts last."""
        rows = self._catalogue.read(
            "SELECT * FROM period WHERE camera = ? AND kind = coalesce(?, kind) ORDER BY starts_at DESC, id DESC LIMIT 1", camera, kind
        )
        return next(map(_period, rows), None)

    def page(self, camera: str | None = None, after: str | None = None, limit: int = 30) -> tuple[list[tuple[PeriodRow, int]], str | None]:
        """Periods with their number of images, newest first, and the cursor of the next page (None at the end).

        Raises InvalidSetting for a cursor that is not one of ours or a `limit` outside of 1…1000.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidSetting("limit", f"limit is {limit}; it must be 1 to {MAX_PAGE}.")
        where, values = "camera = coalesce(?, camera)", [cast(object, camera)]
        if after is not None:
            where += " AND (starts_at, id) < (?, ?)"
            values += _cursor(after)
        rows = self._catalogue.read(f"{_COUNTED} WHERE {where} ORDER BY starts_at DESC, id DESC LIMIT ?", *values, limit + 1)
        found = [(_period(row), int(row["photos"])) for row in rows]
        last = found[limit - 1][0] if len(found) > limit else None
        return found[:limit], f"{iso_utc(last.starts_at)}_{last.id}" if last else None

    def at(self, camera: str, opened_at: datetime) -> PeriodRow | None:
        """The period of a camera whose window holds a moment."""
        at = iso_utc(opened_at)
        rows = self._catalogue.read(
            "SELECT * FROM period WHERE camera = ? AND starts_at <= ? AND ends_at > ? ORDER BY id DESC LIMIT 1", camera, at, at
        )
        return next(map(_period, rows), None)

    def count(self, number: int) -> int:
        """Images of a period that are in the catalogue."""
        return self._catalogue.read("SELECT count(*) FROM image WHERE period = ?", number)[0][0]

    def waiting(self, number: int) -> int:
        """Images of a period that the darkroom has still to develop."""
        return self._catalogue.read(
            "SELECT count(*) FROM image WHERE period = ? AND NOT developed AND NOT gave_up "
            "AND EXISTS (SELECT 1 FROM file WHERE image = image.id AND kind IN ('raw', 'queue') AND NOT missing)",
            number,
        )[0][0]

    def shots(self, number: int) -> list[Shot]:
        """The images of a period in the order they were taken."""
        rows = self._catalogue.read(
            "SELECT id, sequence, opened_at, ended_at, exposure_s, developed, failure, clock_synced, "
            "(SELECT path FROM file WHERE image = image.id AND kind = 'jpg' AND NOT missing) AS path FROM image WHERE period = ? ORDER BY sequence",
            number,
        )
        return [
            Shot(
                row["id"],
                row["sequence"],
                parse_utc(row["opened_at"]),
                parse_utc(row["ended_at"]) if row["ended_at"] else None,
                row["exposure_s"],
                bool(row["developed"]),
                row["failure"],
                bool(row["clock_synced"]),
                row["path"],
            )
            for row in rows
        ]

    def measurements(self, number: int) -> dict[int, dict[str, Any]]:
        """What was measured on the images of a period, by image; those that were not measured are left out."""
        rows = self._catalogue.read(
            "SELECT measurement.* FROM measurement JOIN image ON image.id = measurement.image WHERE period = ? ORDER BY sequence", number
        )
        return {row["image"]: {**dict(row), "streaks": json.loads(row["streaks"])} for row in rows}

    def products(self, number: int) -> list[dict[str, Any]]:
        """What grew of a period."""
        rows = self._catalogue.read("SELECT kind, state, path, bytes, images, message FROM product WHERE period = ? ORDER BY kind", number)
        return [dict(row) for row in rows]


_COUNTED = "SELECT *, (SELECT count(*) FROM image WHERE period = period.id) AS photos FROM period"


def _period(r: sqlite3.Row) -> PeriodRow:
    return PeriodRow(
        r["id"],
        r["camera"],
        r["kind"],
        r["day"],
        parse_utc(r["starts_at"]),
        parse_utc(r["ends_at"]),
        r["interval_s"],
        r["expected"],
        r["state"],
        r["session"],
        parse_utc(r["finished_at"]) if r["finished_at"] else None,
        json.loads(r["summary"]) if r["summary"] else None,
    )


def _cursor(text: str) -> list[object]:
    moment, _, number = text.partition("_")
    try:
        if not number.isdecimal() or not 0 < int(number) < 2**63 or iso_utc(parse_utc(moment)) != moment:
            raise ValueError(text)
    except (ValueError, OverflowError) as error:
        raise InvalidSetting("after", "after is not a cursor of this list: use the `next` of the page before, unchanged.") from error
    return [moment, int(number)]
