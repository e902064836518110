"""What grew of each night and day, in the catalogue: which product is how far, and which image is to be fed next.

Blocks; the server's loop calls it through `Catalogue.run`. Periods begin and end by the scheduler; here they are only read, but for a
day that had none and is rendered afterwards.
"""

import json
import sqlite3
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from cupola.core.clock import iso_utc, parse_utc, utc_now
from cupola.storage.catalogue import Catalogue, writes

ProductKind = Literal["keogram", "startrails", "timelapse"]
ProductState = Literal["growing", "finished", "failed"]
PeriodKind = Literal["night", "day"]
PRODUCTS: tuple[ProductKind, ...] = ("keogram", "startrails", "timelapse")
SUFFIXES: dict[ProductKind, str] = {"keogram": ".jpg", "startrails": ".jpg", "timelapse": ".mp4"}


@dataclass(frozen=True, slots=True)
class Span:
    """A night or day as far as its products go. `day` is `2026-11-21`; `over`: its window is; the exposure under way then may still
    come. `concluded`: nothing comes any more."""

    id: int
    camera: str
    kind: PeriodKind
    day: str
    starts_at: datetime
    ends_at: datetime
    interval_s: float | None
    over: bool
    concluded: bool


@dataclass(frozen=True, slots=True)
class ProductRow:
    """`path` relative to storage.root, once it was finished; `upto`: the last image a growing one is sure to contain. `message`: what was left out, or why it failed."""

    period: int
    kind: ProductKind
    state: ProductState
    path: str | None
    bytes: int | None
    sha256: str | None
    images: int
    upto: int
    message: str | None
    made_at: datetime | None


@dataclass(frozen=True, slots=True)
class Feed:
    """An image of a period. `path` of its JPEG, relative to storage.root; None: it has none and gets none, for the `reason`. `waits`: it is not developed yet."""

    id: int
    camera: str
    sequence: int
    opened_at: datetime
    exposure_s: float | None
    path: str | None
    reason: str | None
    waits: bool


class Products:
    """The table `product`, and what it needs of `period` and `image`."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def writing(self) -> AbstractContextManager[sqlite3.Connection]:
        return self._catalogue.writing()

    def span(self, period: int) -> Span | None:
        return next(map(_span, self._catalogue.read("SELECT * FROM period WHERE id = ?", period)), None)

    def span_of(self, camera: str, day: str, kind: PeriodKind) -> Span | None:
        return next(map(_span, self._catalogue.read("SELECT * FROM period WHERE camera = ? AND day = ? AND kind = ?", camera, day, kind)), None)

    def growing(self) -> list[Span]:
        """Those with something to grow or to finish: what is captured now first, then what is made again."""
        rows = self._catalogue.read(
            "SELECT * FROM period WHERE EXISTS (SELECT 1 FROM product WHERE period = period.id AND product.state = 'growing') "
            "OR (state != 'finished' AND NOT EXISTS (SELECT 1 FROM product WHERE period = period.id)) ORDER BY state = 'finished', id"
        )
        return list(map(_span, rows))

    def of(self, period: int) -> list[ProductRow]:
        """The products of a period, in the order of PRODUCTS."""
        rows = [_product(row) for row in self._catalogue.read("SELECT * FROM product WHERE period = ?", period)]
        return sorted(rows, key=lambda row: PRODUCTS.index(row.kind))

    def newest(self, kind: ProductKind, *states: ProductState) -> tuple[Span, ProductRow] | None:
        """Of the night or day that ended last among those whose product is in one of these states."""
        rows = self._catalogue.read(
            "SELECT product.* FROM product JOIN period ON period.id = product.period WHERE product.kind = ? AND product.state IN "
            "(SELECT value FROM json_each(?)) ORDER BY period.ends_at DESC, period.id DESC LIMIT 1",
            kind,
            json.dumps(states),
        )
        row = next(map(_product, rows), None)
        span = None if row is None else self.span(row.period)
        return None if row is None or span is None else (span, row)

    def count(self, period: int) -> int:
        """Images of a period, developed or not."""
        return self._catalogue.read("SELECT count(*) FROM image WHERE period = ?", period)[0][0]

    def next(self, period: int, after: int) -> Feed | None:
        """The image of a period that follows the one with the id `after`."""
        rows = self._catalogue.read(
            "SELECT image.*, jpg.path AS jpg, jpg.missing AS gone, EXISTS (SELECT 1 FROM file WHERE image = image.id AND kind IN ('raw', 'queue') "
            "AND NOT missing) AS original FROM image LEFT JOIN file AS jpg ON jpg.image = image.id AND jpg.kind = 'jpg' "
            "WHERE period = ? AND id > ? ORDER BY id LIMIT 1",
            period,
            after,
        )
        return next(map(_feed, rows), None)

    @writes
    def begin(self, period: int, kinds: Iterable[ProductKind], *, again: bool = False) -> list[ProductRow]:
        """Products that are to grow, from the first image on; those there are already stay as they are, unless `again`."""
        with self.writing() as connection:
            for kind in kinds:
                connection.execute(
                    "INSERT INTO product (period, kind, state) VALUES (?, ?, 'growing') ON CONFLICT (period, kind) DO "
                    + ("UPDATE SET state = 'growing', images = 0, upto = 0, message = NULL" if again else "NOTHING"),
                    (period, kind),
                )
            rows = connection.execute("SELECT * FROM product WHERE period = ?", (period,)).fetchall()
        return sorted(map(_product, rows), key=lambda row: PRODUCTS.index(row.kind))

    @writes
    def grown(self, period: int, upto: int, images: dict[ProductKind, int]) -> None:
        """What a checkpoint on disk contains."""
        with self.writing() as connection:
            for kind, count in images.items():
                values = (count, upto, period, kind)
                connection.execute("UPDATE product SET images = ?, upto = ? WHERE period = ? AND kind = ? AND state = 'growing'", values)

    @writes
    def finished(
        self, period: int, kind: ProductKind, path: str, size: int, sha256: str, *, images: int, upto: int, message: str | None
    ) -> ProductRow:
        """A product whose file is durable."""
        with self.writing() as connection:
            connection.execute(
                "UPDATE product SET state = 'finished', path = ?, bytes = ?, sha256 = ?, images = ?, upto = ?, message = ?, made_at = ? WHERE period = ? AND kind = ?",
                (path, size, sha256, images, upto, message, iso_utc(utc_now()), period, kind),
            )
            return _product(connection.execute("SELECT * FROM product WHERE period = ? AND kind = ?", (period, kind)).fetchone())

    @writes
    def failed(self, period: int, kind: ProductKind, message: str) -> None:
        """A product that will not be made; a file from before stays."""
        with self.writing() as connection:
            connection.execute("UPDATE product SET state = 'failed', message = ? WHERE period = ? AND kind = ?", (message, period, kind))

    @writes
    def gather(self, camera: str, day: str) -> Span | None:
        """A night for the images of a day that belong to none, from the first to the last of them; None when there are none. Dark frames never do."""
        loose = (
            "FROM image LEFT JOIN session ON session.id = image.session "
            "WHERE image.camera = ? AND image.day = ? AND image.period IS NULL AND NOT coalesce(json_extract(plan, '$.darks'), 0)"
        )
        with self.writing() as connection:
            first, last = connection.execute(f"SELECT min(opened_at), max(coalesce(image.ended_at, opened_at)) {loose}", (camera, day)).fetchone()
            if first is None:
                return None
            added = connection.execute(
                "INSERT INTO period (camera, kind, day, starts_at, ends_at, state, finished_at) VALUES (?, 'night', ?, ?, ?, 'finished', ?)",
                (camera, day, first, last, iso_utc(utc_now())),
            )
            connection.execute(f"UPDATE image SET period = ? WHERE id IN (SELECT image.id {loose})", (added.lastrowid, camera, day))
            return _span(connection.execute("SELECT * FROM period WHERE id = ?", (added.lastrowid,)).fetchone())


def product_name(kind: ProductKind, period: PeriodKind) -> str:
    """`keogram.jpg` of a night, `day-keogram.jpg` of a day."""
    return ("day-" if period == "day" else "") + kind + SUFFIXES[kind]


def _span(row: sqlite3.Row) -> Span:
    starts, ends = parse_utc(row["starts_at"]), parse_utc(row["ends_at"])
    return Span(
        row["id"], row["camera"], row["kind"], row["day"], starts, ends, row["interval_s"], row["state"] != "capturing", row["state"] == "finished"
    )


def _product(row: sqlite3.Row) -> ProductRow:
    values: dict[str, Any] = {key: row[key] for key in row.keys()}  # noqa: SIM118 - a Row iterates over values
    values["made_at"] = parse_utc(row["made_at"]) if row["made_at"] else None
    return ProductRow(**values)


def _feed(row: sqlite3.Row) -> Feed:
    reason, waits = None, False
    if row["jpg"] is None and not row["gave_up"] and row["original"]:
        waits = True
    elif row["jpg"] is None:
        reason = "it could not be developed" if row["gave_up"] else "its original is gone"
    elif row["gone"]:
        reason = "it is gone from the disk"
    path = None if reason is not None else row["jpg"]
    return Feed(row["id"], row["camera"], row["sequence"], parse_utc(row["opened_at"]), row["exposure_s"], path, reason, waits)
