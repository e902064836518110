"""What is durable and was not spooled for other machines yet: the catalogue's notes of it, made in the transaction that made it durable.

A note goes when receivers have its record, before the spool forgets that. So after a crash at any moment a note tells what is missing: its record is in
the spool, or is made now. Noting lies in `catalogue`, the spool in `stream`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

from cupola.storage.catalogue import Catalogue, writes
from cupola.storage.clips import ClipRow, ClipRows
from cupola.storage.rows import ImageRow

What = Literal["image_captured", "image_developed", "clip_saved", "still", "clip"]
ANNOUNCED: tuple[What, ...] = ("image_captured", "image_developed", "clip_saved")
FILES: tuple[What, ...] = ("still", "clip")


@dataclass(frozen=True, slots=True)
class Note:
    """`id` rises in the order of the commits. `about`: the id of the image or clip."""

    id: int
    what: What
    about: int


class ToStream:
    """Blocking; any thread."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue, self._clips = catalogue, ClipRows(catalogue)

    def writing(self) -> AbstractContextManager[sqlite3.Connection]:
        return self._catalogue.writing()

    def notes(self, whats: Iterable[What], after: int, limit: int) -> list[Note]:
        """In the order of their ids, behind `after`."""
        rows = self._catalogue.read(
            "SELECT * FROM to_stream WHERE id > ? AND what IN (SELECT value FROM json_each(?)) ORDER BY id LIMIT ?",
            after,
            json.dumps(list(whats)),
            limit,
        )
        return [Note(row["id"], row["what"], row["about"]) for row in rows]

    def count(self, whats: Iterable[What], after: int) -> int:
        """Of the notes behind `after`."""
        return self._catalogue.read(
            "SELECT count(*) FROM to_stream WHERE id > ? AND what IN (SELECT value FROM json_each(?))", after, json.dumps(list(whats))
        )[0][0]

    def image(self, note: Note) -> ImageRow | None:
        return self._catalogue.image(note.about)

    def clip(self, note: Note) -> ClipRow | None:
        return self._clips.one(note.about)

    @writes
    def done(self, notes: Iterable[tuple[What, int]]) -> None:
        """What and about what: receivers have it, or it cannot be had any more."""
        with self.writing() as connection:
            connection.executemany("DELETE FROM to_stream WHERE what = ? AND about = ?", list(notes))
