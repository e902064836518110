"""Every image, its files and the sessions, in SQLite: the one truth about what was captured.

A row exists only for files that are durable already, and is announced only after COMMIT. All methods
block and may be called from any thread; the server's loop uses `run`. Tables and opening lie
in `schema`, comparing with the disk in `reconcile`.
"""

import asyncio
import base64
import binascii
import functools
import json
import sqlite3
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, cast

from cupola.core.clock import iso_utc, parse_utc, utc_now
from cupola.core.errors import InvalidSetting, StorageFailed
from cupola.storage.rows import FileRow, ImageRow, NewImage, SessionRow, SessionState
from cupola.storage.schema import connect, open_writer, telling_sqlite

P = ParamSpec("P")
T = TypeVar("T")
MAX_PAGE = 1000
_COLUMNS = (
    "camera, sequence, opened_at, ended_at, clock_synced, exposure_s, gain, f_number, temperature_c, width, height, session, day, period, correction"
)
_FILES = "SELECT * FROM file WHERE image IN (SELECT value FROM json_each(?)) ORDER BY kind DESC"
_WAITING = "NOT developed AND NOT gave_up AND EXISTS (SELECT 1 FROM file WHERE image = image.id AND kind IN ('raw', 'queue') AND NOT missing)"


class Writing(Protocol):
    """The catalogue, and who keeps tables of their own in it (`Catalogue.writing` passed on)."""

    def writing(self) -> AbstractContextManager[sqlite3.Connection]: ...


W = TypeVar("W", bound=Writing)


def writes(method: "Callable[Concatenate[W, P], T]") -> "Callable[Concatenate[W, P], T]":
    """One transaction on the writing connection; committed, and synced, when the method returns."""

    @functools.wraps(method)
    def call(self: W, *args: P.args, **kwargs: P.kwargs) -> T:
        with self.writing():
            return method(self, *args, **kwargs)

    call.__dict__["writes"] = True
    return call


class Catalogue:
    """Opened by its constructor; one process at a time (the server) has it.

    `created`: the file is new, so the disk may hold images it does not know (reconcile fully). `problem`: the file
    found was damaged and was set aside; the text is for the owner. Every method raises StorageFull or StorageFailed
    when the disk does not allow it; a write has then not happened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.streams = False  # what becomes durable is also noted in `to_stream`, in the same transaction
        self._write_lock, self._read_lock = threading.RLock(), threading.Lock()
        self._writer, self.created, self.problem = open_writer(path)
        with telling_sqlite(path):
            self._reader = connect(path)
            self._reader.execute("PRAGMA query_only = ON")
        self._write_thread = ThreadPoolExecutor(1, "catalogue-write")
        self._read_thread = ThreadPoolExecutor(1, "catalogue-read")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish what `run` began, fold the log into the file, close. Idempotent."""
        self._write_thread.shutdown()
        self._read_thread.shutdown()
        with self._read_lock, self._write_lock, telling_sqlite(self.path):
            self._reader.close()
            self._writer.close()

    async def run(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method of this object, or of a `Writing`, in its thread (one for writes, one for reads), without holding up the loop.

        A cancelled caller does not stop a write that has begun.
        """
        executor = self._write_thread if getattr(method, "writes", False) else self._read_thread
        return await asyncio.get_running_loop().run_in_executor(executor, functools.partial(method, *args, **kwargs))

    @contextmanager
    def writing(self) -> Generator[sqlite3.Connection]:
        """Several writes as one transaction, all or none. Other threads' writes wait."""
        with self._write_lock, telling_sqlite(self.path):
            if self._writer.in_transaction:
                yield self._writer
                return
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:  # SQLite itself rolls back after some errors
                    self._writer.execute("ROLLBACK")
                raise

    def read(self, query: str, *values: object) -> list[sqlite3.Row]:
        """The rows of one query, as of now; for those who keep tables of their own here."""
        with self._read_lock, telling_sqlite(self.path):
            return self._reader.execute(query, values).fetchall()

    # Images

    @writes
    def add_image(self, new: NewImage, *, announced: bool = False) -> ImageRow:
        """Add an image with its files (at least one), all durable already. `announced`: it was in an earlier catalogue, and whoever wanted it had it then.

        The same path and sha256 again returns the row there is: a message may come twice, and reconciliation may have
        been first. Raises StorageFailed when another image has this camera's sequence number or one of the paths.
        """
        for file in new.files:
            row = self._writer.execute("SELECT image, sha256 FROM file WHERE path = ?", (file.path,)).fetchone()
            if row and row["sha256"] == file.sha256:
                return self._one(self._writer, row["image"])
            if row:
                raise StorageFailed(f"{file.path} is in the catalogue with other content. Something replaced the file: see what, and restart Cupola.")
        kept = {file.kind for file in new.files}
        if not kept:
            raise ValueError("an image without a file")
        values = [new.camera, new.sequence, iso_utc(new.opened_at), iso_utc(new.ended_at) if new.ended_at else None, new.clock_synced]
        values += [new.exposure_s, new.gain, new.f_number, new.temperature_c, new.width, new.height, new.session, new.day, new.period, new.correction]
        try:
            added = self._writer.execute(
                f"INSERT INTO image ({_COLUMNS}, acknowledged, developed) VALUES ({'?, ' * 15}?, ?)",
                (*values, bool(kept & {"raw", "jpg"}), "jpg" in kept),
            )
            for file in new.files:
                self._put_file(cast("int", added.lastrowid), file)
            if not announced:
                self.note_for_stream(cast("int", added.lastrowid), captured=bool(kept & {"raw", "jpg"}), still="jpg" in kept)
        except sqlite3.IntegrityError as error:
            raise StorageFailed(
                f'Image {new.sequence} of camera "{new.camera}" ({new.files[0].path}) cannot be added: {error}. '
                "The file stays where it is; restart Cupola, which then counts on from the highest number."
            ) from error
        return self._one(self._writer, cast("int", added.lastrowid))

    @writes
    def add_file(self, image_id: int, file: FileRow, *, width: int | None = None, height: int | None = None, announced: bool = False) -> ImageRow:
        """Add or replace an image's file of this kind, durable already.

        A `jpg` makes the image developed, and frees it of its file in the queue, which the caller may delete after
        the return. A `raw` or `jpg` makes it acknowledged. Raises StorageFailed for an unknown image or a path in use.
        """
        if self.streams and file.kind != "queue" and not announced:
            was = self._one(self._writer, image_id)
            self.note_for_stream(
                image_id,
                captured=not was.acknowledged,
                developed=file.kind == "jpg" and not was.developed,
                still=file.kind == "jpg" and not was.developed,
            )
        try:
            self._put_file(image_id, file)
        except sqlite3.IntegrityError as error:
            raise StorageFailed(
                f"{file.path} cannot become a file of image {image_id}: {error}. Restart Cupola to reconcile catalogue and disk."
            ) from error
        if file.kind != "queue":
            self._writer.execute("UPDATE image SET acknowledged = 1 WHERE id = ?", (image_id,))
        if file.kind == "jpg":
            self._writer.execute(
                "UPDATE image SET developed = 1, failure = NULL, gave_up = 0, width = coalesce(?, width), height = coalesce(?, height) WHERE id = ?",
                (width, height, image_id),
            )
            self._writer.execute("DELETE FROM file WHERE image = ? AND kind = 'queue'", (image_id,))
        return self._one(self._writer, image_id)

    @writes
    def extend(
        self, image_id: int, file: FileRow, *, width: int | None = None, height: int | None = None, announced: bool = False
    ) -> tuple[ImageRow, ImageRow]:
        """`add_file`; the image as it was, and as it is. Of several who add the same file one sees the change, and may announce it."""
        was = self._one(self._writer, image_id)
        return was, self.add_file(image_id, file, width=width, height=height, announced=announced)

    def _put_file(self, image_id: int, file: FileRow) -> None:
        self._writer.execute(
            "INSERT INTO file (image, kind, path, bytes, sha256, missing) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (image, kind) DO UPDATE "
            "SET path = excluded.path, bytes = excluded.bytes, sha256 = excluded.sha256, missing = excluded.missing",
            (image_id, file.kind, file.path, file.bytes, file.sha256, file.missing),
        )

    def note_for_stream(self, about: int, **what: bool) -> None:
        """That the still or clip, and its announcement, are still to be spooled for other machines. Inside of a transaction."""
        names = {"captured": "image_captured", "developed": "image_developed", "saved": "clip_saved"}
        for name, wanted in what.items():
            if wanted and self.streams:
                self._writer.execute("INSERT OR IGNORE INTO to_stream (what, about) VALUES (?, ?)", (names.get(name, name), about))

    @writes
    def develop_failed(self, image_id: int, message: str, *, final: bool) -> ImageRow:
        """Note a failed try to develop; after a `final` one the image no longer waits for the darkroom."""
        self._writer.execute("UPDATE image SET failure = ?, gave_up = ?, attempts = attempts + 1 WHERE id = ?", (message, final, image_id))
        return self._one(self._writer, image_id)

    @writes
    def flag_missing(self, path: str, missing: bool = True) -> bool:
        """Note that a file is gone, or there again; False when nothing changed."""
        return self._writer.execute("UPDATE file SET missing = ? WHERE path = ? AND missing != ?", (missing, path, missing)).rowcount > 0

    def undeveloped(self, limit: int, exclude: Sequence[int] = ()) -> list[ImageRow]:
        """Images that wait for the darkroom and whose original is there, oldest first, without those of `exclude`."""
        wanted = "id NOT IN (SELECT value FROM json_each(?))"
        return self._images(f"SELECT * FROM image WHERE {_WAITING} AND {wanted} ORDER BY id LIMIT ?", json.dumps(list(exclude)), limit)

    def undeveloped_count(self, camera: str | None = None) -> int:
        """How many images wait for the darkroom, of one camera or all."""
        return self.read(f"SELECT count(*) FROM image WHERE {_WAITING} AND camera = coalesce(?, camera)", camera)[0][0]

    def image(self, image_id: int) -> ImageRow | None:
        """The image with this id, acknowledged or not."""
        return next(iter(self._images("SELECT * FROM image WHERE id = ?", image_id)), None)

    def image_of(self, camera: str, sequence: int) -> ImageRow | None:
        """The image with this number of a camera, acknowledged or not."""
        return next(iter(self._images("SELECT * FROM image WHERE camera = ? AND sequence = ?", camera, sequence)), None)

    def images(
        self, camera: str | None = None, from_: datetime | None = None, to: datetime | None = None, after: str | None = None, limit: int = 100
    ) -> tuple[list[ImageRow], str | None]:
        """Acknowledged images opened in [from_, to), newest first, and the cursor of the next page (None at the end).

        `after` is such a cursor; images added meanwhile neither repeat nor push out others. Raises InvalidSetting
        for a cursor that is not one of ours, a time outside of 1970…9998, a `limit` outside of 1…1000.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidSetting("limit", f"limit is {limit}; it must be 1 to {MAX_PAGE}.")
        where, values = ["acknowledged"], list[object]()
        for condition, value in (("camera = ?", camera), ("opened_at >= ?", _bound("from", from_)), ("opened_at < ?", _bound("to", to))):
            if value is not None:
                where.append(condition)
                values.append(value)
        if after is not None:
            where.append("(opened_at, id) < (?, ?)")
            values += _parse_cursor(after)
        found = self._images(f"SELECT * FROM image WHERE {' AND '.join(where)} ORDER BY opened_at DESC, id DESC LIMIT ?", *values, limit + 1)
        return found[:limit], _cursor(found[limit - 1]) if len(found) > limit else None

    def latest(self, camera: str, *, developed: bool = False) -> ImageRow | None:
        """A camera's newest acknowledged image; with `developed`, the newest that has a JPEG."""
        only = "acknowledged AND developed" if developed else "acknowledged"
        return next(iter(self._images(f"SELECT * FROM image WHERE camera = ? AND {only} ORDER BY opened_at DESC, id DESC LIMIT 1", camera)), None)

    def first_opening(self, session: int) -> datetime | None:
        """When the first image of a series of stills was opened; None without one."""
        first = self.read("SELECT min(opened_at) FROM image WHERE session = ?", session)[0][0]
        return parse_utc(first) if first else None

    def last_sequence(self, camera: str) -> int:
        """The highest image number of a camera, acknowledged or not; 0 when there is none."""
        return self.read("SELECT coalesce(max(sequence), 0) FROM image WHERE camera = ?", camera)[0][0]

    def count_day(self, camera: str, day: str) -> int:
        """Acknowledged images of a camera and observing day (`2026-11-21`)."""
        return self.read("SELECT count(*) FROM image WHERE camera = ? AND day = ? AND acknowledged", camera, day)[0][0]

    def newest_days(self, camera: str) -> tuple[str, str] | None:
        """The days of a camera's newest image by time and by number; they differ when the clock was set back. None without images."""
        by = "(SELECT day FROM image WHERE camera = ?1 ORDER BY {} DESC LIMIT 1)"
        row = self.read(f"SELECT {by.format('opened_at')}, {by.format('sequence')}", camera)[0]
        return (row[0], row[1]) if row[0] else None

    def known_files(self, camera: str, since_day: str = "") -> dict[str, FileRow]:
        """All files of a camera's images from a day on, by path."""
        rows = self.read("SELECT file.* FROM file JOIN image ON image.id = image WHERE camera = ? AND day >= ?", camera, since_day)
        return {row["path"]: _file(row) for row in rows}

    def _one(self, connection: sqlite3.Connection, image_id: int) -> ImageRow:
        row = connection.execute("SELECT * FROM image WHERE id = ?", (image_id,)).fetchone()
        if row is None:
            raise StorageFailed(f"Image {image_id} is not in the catalogue (any more).")
        return _image(row, connection.execute("SELECT * FROM file WHERE image = ? ORDER BY kind DESC", (image_id,)).fetchall())

    def _images(self, query: str, *values: object) -> list[ImageRow]:
        """The images of a query, with their files as they were at the same moment."""
        with self._read_lock, telling_sqlite(self.path):
            self._reader.execute("BEGIN")
            try:
                rows = self._reader.execute(query, values).fetchall()
                files: dict[int, list[sqlite3.Row]] = {row["id"]: [] for row in rows}
                for file in self._reader.execute(_FILES, (json.dumps(list(files)),)):
                    files[file["image"]].append(file)
            finally:
                self._reader.execute("COMMIT")
        return [_image(row, files[row["id"]]) for row in rows]

    # Sessions

    @writes
    def open_session(self, camera: str, plan: Mapping[str, Any]) -> SessionRow:
        """Begin a series of stills; `plan` is kept as it is (JSON)."""
        added = self._writer.execute(
            "INSERT INTO session (camera, plan, started_at) VALUES (?, ?, ?)", (camera, json.dumps(dict(plan), allow_nan=False), iso_utc(utc_now()))
        )
        return _session(self._writer.execute(f"{_SESSIONS} WHERE id = ?", (added.lastrowid,)).fetchone())

    @writes
    def session_failed_once(self, session_id: int) -> None:
        """Count an exposure of the session that gave no image."""
        self._writer.execute("UPDATE session SET failed = failed + 1 WHERE id = ?", (session_id,))

    @writes
    def close_session(self, session_id: int, state: SessionState) -> SessionRow:
        """End a running session; one that has ended stays as it is. Raises StorageFailed for an unknown one."""
        self._writer.execute("UPDATE session SET state = ?, ended_at = ? WHERE id = ? AND state = 'running'", (state, iso_utc(utc_now()), session_id))
        row = self._writer.execute(f"{_SESSIONS} WHERE id = ?", (session_id,)).fetchone()
        if row is None:
            raise StorageFailed(f"Session {session_id} is not in the catalogue (any more).")
        return _session(row)

    def session(self, session_id: int) -> SessionRow | None:
        """The session with this id, its progress counted from its images."""
        return next((_session(row) for row in self.read(f"{_SESSIONS} WHERE id = ?", session_id)), None)

    def running_sessions(self) -> list[SessionRow]:
        """Sessions that nobody ended: after a start, those to go on with."""
        return [_session(row) for row in self.read(f"{_SESSIONS} WHERE state = 'running' ORDER BY id")]

    # Small things to remember

    @writes
    def put(self, key: str, value: object) -> None:
        """Remember a JSON value under a key."""
        self._writer.execute("INSERT INTO kv VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (key, json.dumps(value)))

    def get(self, key: str) -> Any:
        """The value last put under a key, or None."""
        return next((json.loads(row["value"]) for row in self.read("SELECT value FROM kv WHERE key = ?", key)), None)

    def integrity_check(self) -> list[str]:
        """What SQLite finds wrong in the whole file; empty when all is well. Reads everything: slow on a large one."""
        found = [str(row[0]) for row in self.read("PRAGMA integrity_check")] + [str(tuple(row)) for row in self.read("PRAGMA foreign_key_check")]
        return [line for line in found if line != "ok"]


_SESSIONS = "SELECT *, (SELECT count(*) FROM image WHERE session = session.id) AS done FROM session"


def _session(r: sqlite3.Row) -> SessionRow:
    ended = parse_utc(r["ended_at"]) if r["ended_at"] else None
    return SessionRow(r["id"], r["camera"], json.loads(r["plan"]), r["done"], r["failed"], r["state"], parse_utc(r["started_at"]), ended)


def _file(r: sqlite3.Row) -> FileRow:
    return FileRow(r["kind"], r["path"], r["bytes"], r["sha256"], bool(r["missing"]))


def _image(row: sqlite3.Row, files: list[sqlite3.Row]) -> ImageRow:
    values: dict[str, Any] = {key: row[key] for key in row.keys()}  # noqa: SIM118 - a Row iterates over values
    values |= {key: bool(row[key]) for key in ("clock_synced", "acknowledged", "developed", "gave_up")}
    values |= {"opened_at": parse_utc(row["opened_at"]), "ended_at": parse_utc(row["ended_at"]) if row["ended_at"] else None}
    return ImageRow(**values, files=tuple(map(_file, files)))


def _bound(field: str, moment: datetime | None) -> str | None:
    if moment is None:
        return None
    if moment.tzinfo is None or not 1970 <= moment.year <= 9998:
        raise InvalidSetting(field, f"{field} must be a time with its timezone, in the years 1970 to 9998.")
    return iso_utc(moment)


def _cursor(last: ImageRow) -> str:
    return base64.urlsafe_b64encode(json.dumps([iso_utc(last.opened_at), last.id]).encode()).decode().rstrip("=")


def _parse_cursor(text: str) -> list[object]:
    try:
        moment, image_id = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        if not isinstance(moment, str) or type(image_id) is not int or not 0 < image_id < 2**63 or iso_utc(parse_utc(moment)) != moment:
            raise ValueError(text)
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error) as error:
        raise InvalidSetting("after", "after is not a cursor of this list: use the `next` of the page before, unchanged.") from error
    return [moment, image_id]
