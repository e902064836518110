"""Stills and clips on their way into the spool: taken in the order in which they became durable, without copying them.

The spool holds a hard link of each file, so retention may delete it from the archive meanwhile; only where the file system has no links, or the spool lies
on another one, is it a copy. What there is to take is told by the catalogue's notes, so nothing can be forgotten between archive and spool.
When the spool is full, what comes next just stays noted and waits in the archive. One thread takes; sending is `sender`'s.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from cupola.core.errors import StorageFailed
from cupola.storage.clips import ClipRow
from cupola.storage.files import ensure_folder, inside, settle, sync_folder, telling
from cupola.storage.rows import ImageRow
from cupola.storage.to_stream import FILES, Note, ToStream, What
from cupola.stream.format import DATA_MAX, MEDIA_TYPES, META_MAX, NAME, PARTS_MAX, Part, part_size, parts_of
from cupola.stream.meta import ITEMS_MOST, ClipMeta, StillMeta
from cupola.stream.spool import Entry, Spool

BATCH = 32


class Gone(Exception):
    """A still or clip that cannot be streamed any more, in words."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} is not streamed to Redis: {why}")


class Images:
    """`files`: folder of the links, on the disk of `root` if that can be. `cap_bytes` of all files that the spool holds. `woken` is called when something was taken."""

    def __init__(self, spool: Spool, files: Path, root: Path, notes: ToStream, cap_bytes: int, log: Callable[..., None]) -> None:
        self.spool, self.cap_bytes = spool, cap_bytes
        self.problem: str | None = None  # why nothing is taken now
        self.lost_total = 0
        self.waiting = 0  # noted and not spooled, as of the last look
        self.linked_bytes = 0
        self.woken: Callable[[], None] = lambda: None
        self._files, self._root, self._notes, self._log = files, root, notes, log
        self._after = 0  # the note that was taken last
        self._mutex = threading.Lock()
        ensure_folder(files)
        self._held = {key for _, key in self._take_up()}

    def _take_up(self) -> Iterator[tuple[Entry, tuple[What, int]]]:
        """What is in the spool already; files that belong to nothing in it are deleted."""
        kept: set[str] = set()
        for entry in self.spool.read(self.spool.freed + 1):
            order = json.loads(entry.payload)
            kept.add(str(entry.sequence))
            self.linked_bytes += order["size"]
            yield entry, (order["kind"], order["about"])
        with telling(self._files, "list"):
            for name in set(os.listdir(self._files)) - kept:
                (self._files / name).unlink()

    # ── taking ─────────────────────────────────────────────────────────────

    def take(self) -> bool:
        """Spool the next few; True when there may be more. Raises StorageFull and StorageFailed, then nothing of them was taken."""
        notes = self._notes.notes(FILES, self._after, BATCH)
        fresh = [note for note in notes if (note.what, note.about) not in self._held]
        taken: list[tuple[bytes, int]] = []
        upto, full = self._after, False
        sequence, size = self.spool.next, 0
        lost: list[Note] = []
        for note in notes:
            if note in fresh:
                try:
                    order = self._order(note)
                except Gone as gone:
                    self._lose(gone)
                    lost.append(note)
                else:
                    held = self.linked_bytes + size
                    if held and held + order["size"] > self.cap_bytes:  # an empty spool takes a clip of any size
                        full = True
                        break
                    try:
                        self._link(order, sequence)
                    except Gone as gone:
                        self._lose(gone)
                        lost.append(note)
                    else:
                        taken.append((json.dumps(order, separators=(",", ":")).encode(), order["parts"]))
                        sequence, size = sequence + order["parts"], size + order["size"]
            upto = note.id
        if taken:
            with telling(self._files, "sync"):
                sync_folder(self._files)
            self.spool.append(taken)
            with self._mutex:
                self.linked_bytes += size
        if lost:
            self._notes.done([(note.what, note.about) for note in lost])
        self._after = upto
        if taken:
            self.woken()
        self.waiting = self._notes.count(FILES, upto)
        self._say_full(full)
        return len(notes) == BATCH and not full

    def _say_full(self, full: bool) -> None:
        if full and self.problem is None:
            self.problem = f"The spool holds {self.linked_bytes / 1e6:.0f} MB of stills and clips, all that redis.spool_mb allows. Further ones wait in the archive."
            self._log("ERROR", self.problem, event="storage")
        elif not full and self.problem is not None:
            self.problem = None
            self._log("INFO", "The spool takes stills and clips again.", event="storage")

    def _lose(self, gone: Gone) -> None:
        self.lost_total += 1
        self._log("ERROR", str(gone), event="storage")

    def _order(self, note: Note) -> dict[str, Any]:
        """What the spool's record holds. Raises Gone."""
        row = self._notes.image(note) if note.what == "still" else self._notes.clip(note)
        if row is None:
            raise Gone(f"The {note.what} {note.about}", "it was deleted before the spool had room for it.")
        file = row.file("jpg") if isinstance(row, ImageRow) else row
        if file is None or file.path is None or file.bytes is None or file.sha256 is None:
            raise Gone(f"The {note.what} {note.about} of {row.camera}", "its file is gone.")
        found = NAME.fullmatch(file.path)
        if found is None or not 0 < file.bytes <= PARTS_MAX * DATA_MAX:
            raise Gone(file.path, "its name or its size is none that receivers take.")
        meta = StillMeta.of(row) if isinstance(row, ImageRow) else _clip_meta(row, META_MAX // 2)
        facts = {"kind": note.what, "about": note.about, "name": file.path, "camera": row.camera, "size": file.bytes, "sha256": file.sha256}
        return {**facts, "parts": parts_of(file.bytes), "meta": meta.to_json()}

    def _link(self, order: dict[str, Any], sequence: int) -> None:
        """Raises Gone, StorageFull and StorageFailed."""
        path, place = inside(self._root, order["name"]), self._files / str(sequence)
        place.unlink(missing_ok=True)  # of a try that a full disk ended
        try:
            os.link(path, place)
        except FileNotFoundError:
            raise Gone(order["name"], "it was deleted before the spool had it.") from None
        except OSError:
            self._copy(path, place)
        with telling(place, "look at"):
            size = place.stat().st_size
        if size != order["size"]:
            place.unlink()
            raise Gone(order["name"], f"it has {size} bytes instead of {order['size']}: something changed it.")

    @staticmethod
    def _copy(path: Path, place: Path) -> None:
        with telling(place, "write"):
            try:
                shutil.copyfile(path, place)
            except FileNotFoundError:
                raise Gone(path.name, "it was deleted before the spool had it.") from None
            except OSError:
                with suppress(OSError):
                    place.unlink(missing_ok=True)
                raise
        settle(place)

    # ── sending and freeing ────────────────────────────────────────────────

    def parts(self, entry: Entry, first: int) -> Iterator[tuple[int, Part]]:
        """The records of an entry from the sequence `first` on, each with its sequence. Raises Gone when its file is not there, or too short, before the first."""
        order = json.loads(entry.payload)
        place = self._files / str(entry.sequence)
        try:
            with telling(place, "read"), place.open("rb") as file:
                if os.fstat(file.fileno()).st_size != order["size"]:
                    raise Gone(order["name"], "its file in the spool is damaged.")
                for number in range(first - entry.sequence, entry.span):
                    file.seek(number * DATA_MAX)
                    data = file.read(part_size(order["size"], number))
                    yield entry.sequence + number, _part(order, number, data)
        except StorageFailed:
            if place.exists():
                raise
            raise Gone(order["name"], "its file in the spool is gone.") from None

    def skip(self, gone: Gone) -> None:
        """One of the spool that cannot be sent: told and counted."""
        self._lose(gone)

    def free(self, upto: int) -> int:
        """Receivers have all up to this sequence; up to where they have whole stills and clips. Raises StorageFull and StorageFailed."""
        entries: list[tuple[int, int, tuple[What, int]]] = []
        for entry in self.spool.read(self.spool.freed + 1):
            if entry.last > upto:
                break
            order = json.loads(entry.payload)
            entries.append((entry.sequence, order["size"], (order["kind"], order["about"])))
            whole = entry.last
        if not entries:
            return self.spool.freed
        self._notes.done(key for _, _, key in entries)
        self.spool.free(whole)
        for sequence, size, key in entries:
            with telling(self._files, "delete in"):
                (self._files / str(sequence)).unlink(missing_ok=True)
            with self._mutex:
                self.linked_bytes -= size
            self._held.discard(key)
        return whole


def _part(order: dict[str, Any], number: int, data: bytes) -> Part:
    last = number == order["parts"] - 1
    return Part(
        order["kind"],
        order["name"],
        order["camera"],
        number,
        order["parts"],
        order["size"],
        order["sha256"],
        MEDIA_TYPES[order["kind"]],
        order["meta"] if last else None,
        data,
    )


def _clip_meta(row: ClipRow, most: int) -> ClipMeta:
    """Of triggers that came with more than fits into `most` characters, only when they came and from where."""
    triggers, missing = row.triggers[:ITEMS_MOST], row.missing[:ITEMS_MOST]
    if len(json.dumps([triggers, missing])) > most:
        triggers, missing = [{**trigger, "payload": None} for trigger in triggers], missing[: ITEMS_MOST // 4]
    return ClipMeta.of(row, triggers=triggers, missing=missing)
