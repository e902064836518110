"""What a receiver stored: a folder for each station, laid out as the station's own, with a catalogue that the same code opens.

Files are durable before their rows are, and a row is committed together with the number of the record it came by: what is stored is never
stored again, whoever brings it. Several receivers may write one archive; SQLite's write lock takes them one by one. Reading Redis is
`consumer`'s business, telling good records from bad ones `intake`'s.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cupola.core.errors import StorageFailed, StorageFull
from cupola.core.frame import Station
from cupola.storage.catalogue import Catalogue
from cupola.storage.clips import ClipRows
from cupola.storage.files import TMP, ensure_folder, inside, store_durable, sync_folder, telling
from cupola.storage.reconcile import reconcile
from cupola.storage.rows import FileRow, NewImage
from cupola.storage.space import Lock, free_space
from cupola.stream.format import Id, Malformed, Part
from cupola.stream.meta import ClipMeta, StillMeta
from cupola.stream.names import STATION

STATE = ".cupola"
FREE_PERCENT = 1.0  # kept free, so that the catalogue can still be written and folded
OPENING_S = 60.0
# Beside the catalogue's own tables, which a station has too; migrations of those leave these alone.
_TABLES = (
    """CREATE TABLE IF NOT EXISTS received_image (
        incarnation INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        path TEXT NOT NULL,
        meta TEXT NOT NULL,
        PRIMARY KEY (incarnation, sequence)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS received_image_path ON received_image (path)",
    """CREATE TABLE IF NOT EXISTS received_event (
        incarnation INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        at TEXT NOT NULL,
        kind TEXT NOT NULL,
        camera TEXT,
        event TEXT NOT NULL,
        PRIMARY KEY (incarnation, sequence)
    ) STRICT""",
    "CREATE INDEX IF NOT EXISTS received_event_kind ON received_event (kind, incarnation, sequence)",
)
_TABLE_OF = {"log": "received_event", "images": "received_image"}


class Event(NamedTuple):
    """An event as it came; `text` is its JSON."""

    id: Id
    at: str
    kind: str
    camera: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """A still or clip that is complete: `last` is its last record, with that record's id, and its bytes lie synced in `tmp`."""

    id: Id
    last: Part
    meta: StillMeta | ClipMeta
    tmp: Path


class Archive:
    """One station's. `arriving`: the folder, this receiver's own, where files lie until they are complete."""

    def __init__(self, station: str, root: Path, arriving: Path) -> None:
        self.root, self.arriving = root, arriving
        self._wanted_bytes = 0
        ensure_folder(root / STATE)
        self.catalogue = Catalogue(root / STATE / "catalogue.sqlite")
        self.problem = self.catalogue.problem
        try:
            with self.catalogue.writing() as writer:
                for statement in _TABLES:
                    writer.execute(statement)
            self._clips = ClipRows(self.catalogue)
            self._inode = self.catalogue.path.stat().st_ino
            if self.catalogue.created:  # another one was lost, or set aside: what it knew lies on the disk
                for folder in root.iterdir():
                    if folder.is_dir() and STATION.fullmatch(folder.name):
                        reconcile(self.catalogue, root, folder.name, Station(station), full=True)
        except BaseException:
            self.catalogue.close()
            raise

    def close(self) -> None:
        self.catalogue.close()

    @property
    def current(self) -> bool:
        """False when another receiver has set this catalogue aside, because it was damaged, and made a new one."""
        with suppress(OSError):
            return self.catalogue.path.stat().st_ino == self._inode
        return False

    def incarnation(self, stream: str) -> int | None:
        """The newest that anything was stored of."""
        return self.catalogue.read(f"SELECT max(incarnation) FROM {_TABLE_OF[stream]}")[0][0]

    def stored(self, ids: Iterable[Id]) -> set[Id]:
        """Which records of `images` are stored already."""
        return {id_ for id_ in ids if self.catalogue.read("SELECT 1 FROM received_image WHERE incarnation = ? AND sequence = ?", *id_)}

    def add_events(self, events: Sequence[Event]) -> int:
        """Store those that are not yet; how many these were. Raises StorageFull, StorageFailed; then none was."""
        self._room(2 * sum(len(event.text) for event in events))
        rows = [(*event.id, event.at, event.kind, event.camera, event.text) for event in events]
        with self.catalogue.writing() as writer:
            return writer.executemany("INSERT INTO received_event VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows).rowcount

    def collect(self, stream: str, id_: Id, last: Part, pieces: Iterable[bytes]) -> Path:
        """Write and sync what will be a file, beside the archive's folders; raises Malformed where it is not what its records say. Raises StorageFull, StorageFailed."""
        self._room(last.size)
        ensure_folder(self.arriving)
        tmp = self.arriving / f"{id_}{TMP}"
        digest, size = hashlib.sha256(), 0
        try:
            with telling(tmp, "write"):
                tmp.unlink(missing_ok=True)
                descriptor = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o644)
                try:
                    for piece in pieces:
                        digest.update(piece)
                        size += len(piece)
                        rest = memoryview(piece)
                        while rest:
                            rest = rest[os.write(descriptor, rest) :]
                    if size != last.size or digest.hexdigest() != last.sha256:
                        raise Malformed(stream, str(id_), "sha256", f"is not that of the {size} bytes that came")
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        except BaseException:
            with suppress(OSError):
                tmp.unlink(missing_ok=True)
            raise
        return tmp

    def add_images(self, arrived: Sequence[Arrived]) -> list[Id]:
        """Put files in their places, and their rows into the catalogue; the ids of those that were not stored before. Raises StorageFull, StorageFailed."""
        with self.catalogue.writing() as writer:  # held while files are renamed: of two receivers with one record, one finds it stored
            fresh = sorted((one for one in arrived if not _known(writer, one.id)), key=lambda one: one.id)
            newest = {one.last.name: one for one in fresh if not _outdated(writer, one)}
            for folder in {self._place(one.tmp, name) for name, one in newest.items()}:
                with telling(folder, "sync"):
                    sync_folder(folder)
            for one in fresh:
                values = (*one.id, one.last.name, json.dumps(one.last.meta))
                writer.execute("INSERT INTO received_image VALUES (?, ?, ?, ?)", values)
            for one in newest.values():
                self._list(writer, one)
            return [one.id for one in fresh]

    def add_frame(self, name: str, data: bytes) -> None:
        """Put a live picture where it belongs; it is on no list. By one thread. Raises StorageFull, StorageFailed."""
        self._check_room(len(data))
        tmp = self.arriving / f"frame{TMP}"
        store_durable(tmp, data)
        folder = self._place(tmp, name)
        with telling(folder, "sync"):
            sync_folder(folder)

    def try_storing(self) -> None:
        """Whether there is room again for what was to be stored last. Raises StorageFull, StorageFailed."""
        self._room(self._wanted_bytes)
        probe = self.root / STATE / "probe"
        store_durable(probe, bytes(4096))
        with telling(probe, "delete"):
            probe.unlink(missing_ok=True)

    def _room(self, size: int) -> None:
        self._wanted_bytes = size
        self._check_room(size)

    def _check_room(self, size: int) -> None:
        free = free_space(self.root)
        if free.percent < FREE_PERCENT or free.bytes < size:
            raise StorageFull(
                f"{self.root} has {free.bytes / 1e6:.0f} MB free ({free.percent:.1f} %). Delete what is not needed, or receive into a larger disk."
            )

    def _place(self, tmp: Path, name: str) -> Path:
        """Rename to where it belongs; the folder, which is still to be synced."""
        with telling(self.root / name, "write"):
            try:
                path = inside(self.root, name)
            except ValueError as error:
                raise StorageFailed(f"Nothing more is stored of this station: {error}. Put a folder there instead of the link.") from error
            ensure_folder(path.parent)
            os.replace(tmp, path)
        return path.parent

    def _list(self, writer: sqlite3.Connection, one: Arrived) -> None:
        part, meta = one.last, one.meta
        if isinstance(meta, ClipMeta):
            found = writer.execute("SELECT id FROM clip WHERE path = ?", (part.name,)).fetchone()
            first = meta.triggers[0] if meta.triggers else {}
            clip = found["id"] if found else self._clips.begin(part.camera, meta.label, meta.triggered_at, first, meta.before_s, meta.after_s).id
            columns = ("triggers", "before_got_s", "after_got_s", "frames", "duration_s", "missing", "codec", "width", "height")
            values = {name: getattr(meta, name) for name in columns}
            self._clips.update(clip, state="saved", path=part.name, bytes=part.size, sha256=part.sha256, **values)
            return
        file = FileRow("jpg", part.name, part.size, part.sha256)
        found = writer.execute("SELECT image FROM file WHERE path = ?", (part.name,)).fetchone()
        if found:  # developed once more
            self.catalogue.add_file(found["image"], file, width=meta.width, height=meta.height)
            return
        number = meta.sequence
        if writer.execute("SELECT 1 FROM image WHERE camera = ? AND sequence = ?", (part.camera, number)).fetchone():
            # a station that was restored from a backup counts from there again; the name of the file keeps its number
            number = writer.execute("SELECT max(sequence) FROM image WHERE camera = ?", (part.camera,)).fetchone()[0] + 1
        facts = {
            name: getattr(meta, name) for name in ("ended_at", "clock_synced", "exposure_s", "gain", "f_number", "temperature_c", "width", "height")
        }
        self.catalogue.add_image(NewImage(part.camera, number, meta.opened_at, meta.day, (file,), **facts))


def _known(writer: sqlite3.Connection, id_: Id) -> bool:
    return writer.execute("SELECT 1 FROM received_image WHERE incarnation = ? AND sequence = ?", id_).fetchone() is not None


def _outdated(writer: sqlite3.Connection, one: Arrived) -> bool:
    """Whether a later record of the same file was stored before this one."""
    later = "SELECT 1 FROM received_image WHERE path = ? AND (incarnation, sequence) > (?, ?)"
    return writer.execute(later, (one.last.name, *one.id)).fetchone() is not None


class Archives:
    """Of all stations, below one folder; each is opened when something comes for it. Any thread.

    `slot`: this receiver's own name among those that share the folder; `alive` says of another one whether it runs.
    """

    def __init__(self, into: Path, slot: str, alive: Callable[[str], bool], tell: Callable[[str, str, str], None]) -> None:
        self.into, self._slot, self._alive, self._tell = into, slot, alive, tell
        self._open: dict[str, Archive] = {}
        self._lock = threading.Lock()

    def of(self, station: str) -> Archive:
        """Raises StorageFull and StorageFailed."""
        with self._lock:
            archive = self._open.get(station)
            if archive is not None and not archive.current:
                archive.close()
                del self._open[station]
                archive = None
            if archive is None:
                archive = self._open[station] = self._opened(station)
                if archive.problem:
                    self._tell("error", f"{archive.problem} Events stored so far are in the old file.", station)
            return archive

    def root(self, station: str) -> Path:
        if not STATION.fullmatch(station):
            raise ValueError(f"{station!r} cannot be a folder")
        return self.into / station

    def _opened(self, station: str) -> Archive:
        root = self.root(station)
        arriving = root / STATE / "arriving"
        lock = Lock(root / STATE / "opening.lock")  # two that make the tables at once would fail
        waited = threading.Event()
        for _ in range(round(OPENING_S / 0.1)):
            if lock.acquire():
                break
            waited.wait(0.1)
        else:
            raise StorageFailed(f"Another receiver has been opening {root} for {OPENING_S:.0f} s. See whether it hangs.")
        try:
            with telling(arriving, "clear"):
                for left in arriving.iterdir() if arriving.is_dir() else ():
                    if left.name == self._slot or not self._alive(left.name):
                        shutil.rmtree(left, ignore_errors=True)
            with telling(root, "open"):
                return Archive(station, root, arriving / self._slot)
        finally:
            lock.release()

    def close(self) -> None:
        with self._lock:
            for archive in self._open.values():
                archive.close()
            self._open.clear()
