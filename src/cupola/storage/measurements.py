"""What was measured on images: a row an image, in the catalogue's own file.

How it is measured is the business of `darkroom.measure`. An image that could not be measured has a row without numbers, so that it is
not tried again and again.
"""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from sqlite3 import Connection
from typing import Any, Literal

from cupola.core.clock import iso_utc, parse_utc
from cupola.storage.catalogue import Catalogue, writes
from cupola.storage.rows import FileRow, ImageRow

Number = Literal["stars", "hfr", "sky", "sharpness"]
NUMBERS: tuple[Number, ...] = ("stars", "hfr", "sky", "sharpness")
MOST_POINTS = 2000


@dataclass(frozen=True, slots=True)
class Measurement:
    """The numbers of an image as `darkroom.measure` defines them; None where there is none. `streaks` have their crops' paths, relative to storage.root."""

    stars: int | None
    hfr: float | None
    sky: float | None
    sharpness: float | None
    streaks: tuple[Mapping[str, Any], ...]


class Measurements:
    """No state of its own: any number of them may be made of one catalogue. Methods block, as the catalogue's do; use `Catalogue.run`."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def writing(self) -> AbstractContextManager[Connection]:
        return self._catalogue.writing()

    @writes
    def developed(
        self, image_id: int, file: FileRow, measured: Mapping[str, Any], *, width: int | None = None, height: int | None = None
    ) -> tuple[ImageRow, ImageRow]:
        """`Catalogue.extend`, and what was measured on the way, in one transaction."""
        was, row = self._catalogue.extend(image_id, file, width=width, height=height)
        self.put(image_id, measured)
        return was, row

    @writes
    def put(self, image_id: int, measured: Mapping[str, Any]) -> None:
        """The numbers of an image, in place of earlier ones; {} notes that there are none to be had. An image that is gone has none."""
        with self.writing() as connection:
            connection.execute(
                "INSERT INTO measurement (image, stars, hfr, sky, sharpness, streaks) SELECT id, ?, ?, ?, ?, ? FROM image WHERE id = ? "
                "ON CONFLICT (image) DO UPDATE SET stars = excluded.stars, hfr = excluded.hfr, sky = excluded.sky, sharpness = excluded.sharpness, "
                "streaks = excluded.streaks",
                (*(measured.get(name) for name in NUMBERS), json.dumps(measured.get("streaks", []), allow_nan=False), image_id),
            )

    def of(self, image_id: int) -> Measurement | None:
        """What was measured on an image; None when nobody has tried."""
        for row in self._catalogue.read("SELECT * FROM measurement WHERE image = ?", image_id):
            return Measurement(row["stars"], row["hfr"], row["sky"], row["sharpness"], tuple(json.loads(row["streaks"])))
        return None

    def unmeasured(self, after: int, since: datetime) -> ImageRow | None:
        """The first image with a higher id that has its JPEG but was not measured, and was opened not before `since`."""
        rows = self._catalogue.read(
            "SELECT id FROM image WHERE id > ? AND developed AND opened_at >= ? AND NOT EXISTS (SELECT 1 FROM measurement WHERE image = image.id) "
            "ORDER BY id LIMIT 1",
            after,
            iso_utc(since),
        )
        return self._catalogue.image(rows[0]["id"]) if rows else None

    def history(self, camera: str, number: Number, from_: datetime, to: datetime, points: int = 500) -> list[tuple[datetime, float]]:
        """One number of a camera's images opened in [from_, to): at most `points` moments and means over equal parts of the time, oldest first.

        Raises ValueError for an unknown number, a time that does not pass, `points` outside of 1…2000.
        """
        if number not in NUMBERS:
            raise ValueError(f"there is no number {number!r}; there are {', '.join(NUMBERS)}")
        seconds = (to - from_).total_seconds()
        if seconds <= 0 or not 1 <= points <= MOST_POINTS:
            raise ValueError(f"{points} points over {seconds:g} s; it must be 1 to {MOST_POINTS} over some time")
        rows = self._catalogue.read(
            f"SELECT min(opened_at) AS at, avg({number}) AS value FROM image JOIN measurement ON image = image.id "
            f"WHERE camera = ? AND opened_at >= ? AND opened_at < ? AND {number} IS NOT NULL "
            "GROUP BY CAST((strftime('%s', opened_at) - strftime('%s', ?)) / ? AS INTEGER) ORDER BY at",
            camera,
            iso_utc(from_),
            iso_utc(to),
            iso_utc(from_),
            seconds / points,
        )
        return [(parse_utc(row["at"]), row["value"]) for row in rows]
