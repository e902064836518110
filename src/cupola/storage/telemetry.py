"""The file `<state>/telemetry.sqlite`: what the station felt, and what it has still to tell. Apart from the catalogue, which must not wait for it.

The tables are those of `history` (readings of sensors) and `outbox` (messages that wait for their channels). A file that is damaged is set
aside, and a new one begun: images do not depend on it.
"""

import asyncio
import functools
import sqlite3
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

from cupola.core.errors import StorageFailed, StorageFull
from cupola.storage.files import ensure_folder
from cupola.storage.schema import BROKEN, FULL, connect, migrate, set_aside, version_of

P = ParamSpec("P")
T = TypeVar("T")

# One entry a version, never changed once released.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE series (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, unit TEXT NOT NULL) STRICT",
        """CREATE TABLE reading (
            series INTEGER NOT NULL REFERENCES series (id),
            at INTEGER NOT NULL,
            value REAL NOT NULL,
            PRIMARY KEY (series, at)
        ) STRICT, WITHOUT ROWID""",
        *(
            f"""CREATE TABLE {step} (
                series INTEGER NOT NULL REFERENCES series (id),
                at INTEGER NOT NULL,
                count INTEGER NOT NULL,
                total REAL NOT NULL,
                low REAL NOT NULL,
                high REAL NOT NULL,
                PRIMARY KEY (series, at)
            ) STRICT, WITHOUT ROWID"""
            for step in ("minute", "hour")
        ),
        """CREATE TABLE message (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            channel TEXT NOT NULL,
            due_at REAL NOT NULL,
            notice TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX message_due ON message (channel, id)",
        "CREATE TABLE trouble (key TEXT PRIMARY KEY, facts TEXT NOT NULL) STRICT, WITHOUT ROWID",
    ),
)


class Telemetry:
    """Opened by its constructor; the server alone has it. `problem`: the file found was damaged and was set aside; the text is for the owner.

    Methods raise StorageFull or StorageFailed, block, and may be called from any thread; the loop uses `run`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self._lock = threading.RLock()
        self._thread = ThreadPoolExecutor(1, "telemetry")
        ensure_folder(path.parent)
        with self._telling():
            try:
                self._connection = _prepared(path)
            except sqlite3.DatabaseError as error:
                if not (getattr(error, "sqlite_errorname", "") or "").startswith(BROKEN):
                    raise
                aside = set_aside(path)
                self.problem = f"{path} was damaged ({error}) and is kept as {aside.name}: the history of the sensors begins anew."
                self._connection = _prepared(path)

    async def run(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method in this file's thread, without holding up the loop. A cancelled caller does not stop what has begun."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, functools.partial(method, *args, **kwargs))

    def close(self) -> None:
        """Finish what `run` began, fold the log into the file, close."""
        self._thread.shutdown()
        with self._lock, self._telling():
            self._connection.close()

    @contextmanager
    def writing(self) -> Generator[sqlite3.Connection]:
        """Several writes as one transaction, all or none; durable at its end."""
        with self._lock, self._telling():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def read(self, query: str, *values: object) -> list[sqlite3.Row]:
        with self._lock, self._telling():
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _telling(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if (getattr(error, "sqlite_errorname", "") or "").startswith(FULL):
                raise StorageFull(f"Cannot write {self.path}: {error}. The disk is full: delete or move old images.") from error
            raise StorageFailed(f"{self.path} cannot be used: {error}. Check the disk and the file's owner.") from error


def _prepared(path: Path) -> sqlite3.Connection:
    connection = connect(path)
    try:
        if (version := version_of(connection)) > len(MIGRATIONS):
            raise StorageFailed(f"{path} is of version {version}, from a newer Cupola (this one knows {len(MIGRATIONS)}): install that Cupola again.")
        migrate(connection, MIGRATIONS)
    except BaseException:
        connection.close()
        raise
    return connection
