"""The clips of the catalogue: what was asked, what was got, what is missing. Files are written by `clips.process`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from cupola.core.clock import iso_utc, parse_utc
from cupola.core.errors import StorageFailed
from cupola.storage.catalogue import Catalogue, writes

TRIGGERS_MOST = 100  # kept with a clip
ClipState = Literal["recording", "saved", "failed"]


def copy_of(path: Path) -> Path:
    """Where the H.264 copy of an H.265 clip lies, if there is one."""
    return path.with_suffix(".h264.mp4")


@dataclass(frozen=True, slots=True)
class ClipRow:
    """One clip. Seconds count from the first trigger; `after_s` grows with later ones. `missing`: gaps, each {after_s, frames | null, seconds}.

    `triggers`: each {at, source, payload}. `path` is relative to storage.root. `sha256` of its file follows after it is saved.
    `message`: why it failed, or what to know of it.
    """

    id: int
    camera: str
    label: str
    state: ClipState
    triggered_at: datetime
    triggers: list[dict[str, Any]]
    before_s: float
    after_s: float
    before_got_s: float | None
    after_got_s: float | None
    frames: int | None
    duration_s: float | None
    missing: list[dict[str, Any]]
    codec: str | None
    width: int | None
    height: int | None
    path: str | None
    bytes: int | None
    sha256: str | None
    message: str | None


class ClipRows:
    """Blocking; the loop uses `Catalogue.run`."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def writing(self) -> AbstractContextManager[sqlite3.Connection]:
        return self._catalogue.writing()

    @writes
    def begin(self, camera: str, label: str, triggered_at: datetime, trigger: Mapping[str, Any], before_s: float, after_s: float) -> ClipRow:
        with self.writing() as connection:
            added = connection.execute(
                "INSERT INTO clip (camera, label, state, triggered_at, triggers, before_s, after_s) VALUES (?, ?, 'recording', ?, ?, ?, ?)",
                (camera, label, iso_utc(triggered_at), json.dumps([dict(trigger)]), before_s, after_s),
            )
            return _clip(connection.execute("SELECT * FROM clip WHERE id = ?", (added.lastrowid,)).fetchone())

    @writes
    def extend(self, clip: int, trigger: Mapping[str, Any], after_s: float) -> ClipRow:
        """Another trigger while it is recorded. Of very many the first and the newest are kept. Raises StorageFailed for a clip that is gone."""
        row = self._one(clip)
        return self.update(clip, triggers=[*row.triggers[:1], *row.triggers[1:][-(TRIGGERS_MOST - 2) :], dict(trigger)], after_s=after_s)

    @writes
    def update(self, clip: int, **values: Any) -> ClipRow:
        """Set columns by name. Raises StorageFailed for a clip that is gone."""
        stored = {name: json.dumps(value) if name in ("missing", "triggers") else value for name, value in values.items()}
        with self.writing() as connection:
            connection.execute(f"UPDATE clip SET {', '.join(f'{name} = ?' for name in stored)} WHERE id = ?", (*stored.values(), clip))
            self._catalogue.note_for_stream(clip, saved=values.get("state") == "saved", clip="sha256" in values)
            return self._one(clip)

    @writes
    def delete(self, clip: int) -> None:
        with self.writing() as connection:
            connection.execute("DELETE FROM clip WHERE id = ?", (clip,))

    def _one(self, clip: int) -> ClipRow:
        with self.writing() as connection:
            row = connection.execute("SELECT * FROM clip WHERE id = ?", (clip,)).fetchone()
        if row is None:
            raise StorageFailed(f"Clip {clip} is not in the catalogue (any more).")
        return _clip(row)

    def one(self, clip: int) -> ClipRow | None:
        return next(map(_clip, self._catalogue.read("SELECT * FROM clip WHERE id = ?", clip)), None)

    def unfinished(self) -> list[ClipRow]:
        """Those that were being recorded: after a start, what the server before this one left."""
        return [_clip(row) for row in self._catalogue.read("SELECT * FROM clip WHERE state = 'recording' ORDER BY id")]

    def unsummed(self) -> list[ClipRow]:
        """Saved, but without the checksum of their files."""
        return [_clip(row) for row in self._catalogue.read("SELECT * FROM clip WHERE state = 'saved' AND sha256 IS NULL ORDER BY id")]

    def newest(self, camera: str | None, before: int | None, limit: int) -> list[ClipRow]:
        """By id, newest first; `before` is an id."""
        rows = self._catalogue.read(
            "SELECT * FROM clip WHERE camera = coalesce(?, camera) AND id < coalesce(?, 9e18) ORDER BY id DESC LIMIT ?", camera, before, limit
        )
        return [_clip(row) for row in rows]


def _clip(row: sqlite3.Row) -> ClipRow:
    values: dict[str, Any] = {name: row[name] for name in row.keys()}  # noqa: SIM118 - a Row iterates over values
    values |= {"triggered_at": parse_utc(row["triggered_at"]), "triggers": json.loads(row["triggers"]), "missing": json.loads(row["missing"])}
    return ClipRow(**values)
