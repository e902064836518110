"""The catalogue's tables, how they came to be, and opening the file whatever state it is in.

What is asked of the tables is the business of `catalogue`.
"""

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cupola.core.clock import utc_now
from cupola.core.errors import StorageFailed, StorageFull
from cupola.storage.files import ensure_folder, sync_folder, telling

BUSY_TIMEOUT_MS = 10_000
_CHECKED_BYTES = 64 << 20  # a quick_check of so much takes some tenths of a second; of a larger file it would hold up the start
BROKEN = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
FULL = ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_SHMOPEN")

# One entry a version, never changed once released: user_version says how many have run.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE session (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            camera TEXT NOT NULL,
            plan TEXT NOT NULL,
            failed INTEGER NOT NULL DEFAULT 0,
            state TEXT NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'finished', 'stopped', 'replaced')),
            started_at TEXT NOT NULL,
            ended_at TEXT
        ) STRICT""",
        "CREATE INDEX session_running ON session (camera) WHERE state = 'running'",
        """CREATE TABLE image (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            camera TEXT NOT NULL,
            sequence INTEGER NOT NULL,
            opened_at TEXT NOT NULL,
            ended_at TEXT,
            clock_synced INTEGER NOT NULL,
            exposure_s REAL,
            gain REAL,
            f_number REAL,
            temperature_c REAL,
            width INTEGER,
            height INTEGER,
            session INTEGER REFERENCES session (id),
            day TEXT NOT NULL,
            acknowledged INTEGER NOT NULL,
            developed INTEGER NOT NULL,
            failure TEXT,
            gave_up INTEGER NOT NULL DEFAULT 0,
            attempts INTEGER NOT NULL DEFAULT 0,
            UNIQUE (camera, sequence)
        ) STRICT""",
        "CREATE INDEX image_newest ON image (opened_at, id) WHERE acknowledged",
        "CREATE INDEX image_newest_of_camera ON image (camera, opened_at, id)",
        "CREATE INDEX image_day ON image (camera, day, acknowledged)",
        "CREATE INDEX image_session ON image (session) WHERE session IS NOT NULL",
        "CREATE INDEX image_undeveloped ON image (id) WHERE NOT developed AND NOT gave_up",
        """CREATE TABLE file (
            image INTEGER NOT NULL REFERENCES image (id) ON DELETE CASCADE,
            kind TEXT NOT NULL CHECK (kind IN ('raw', 'jpg', 'queue')),
            path TEXT NOT NULL UNIQUE,
            bytes INTEGER NOT NULL,
            sha256 TEXT NOT NULL,
            missing INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (image, kind)
        ) STRICT, WITHOUT ROWID""",
        "CREATE TABLE kv (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    ),
    (
        """CREATE TABLE period (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            camera TEXT NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('night', 'day')),
            day TEXT NOT NULL,
            starts_at TEXT NOT NULL,
            ends_at TEXT NOT NULL,
            interval_s REAL,
            expected INTEGER,
            state TEXT NOT NULL CHECK (state IN ('capturing', 'finishing', 'finished')),
            session INTEGER REFERENCES session (id),
            finished_at TEXT,
            summary TEXT,
            UNIQUE (camera, kind, day)
        ) STRICT""",
        "CREATE INDEX period_open ON period (camera) WHERE state != 'finished'",
        "CREATE INDEX period_day ON period (camera, day)",
        "ALTER TABLE image ADD COLUMN period INTEGER REFERENCES period (id)",
        "ALTER TABLE image ADD COLUMN correction REAL",
        "CREATE INDEX image_period ON image (period, sequence) WHERE period IS NOT NULL",
        """CREATE TABLE measurement (
            image INTEGER PRIMARY KEY REFERENCES image (id) ON DELETE CASCADE,
            stars INTEGER,
            hfr REAL,
            sky REAL,
            sharpness REAL,
            streaks TEXT NOT NULL DEFAULT '[]'
        ) STRICT""",
        """CREATE TABLE product (
            period INTEGER NOT NULL REFERENCES period (id) ON DELETE CASCADE,
            kind TEXT NOT NULL CHECK (kind IN ('keogram', 'startrails', 'timelapse')),
            state TEXT NOT NULL CHECK (state IN ('growing', 'finished', 'failed')),
            path TEXT,
            bytes INTEGER,
            sha256 TEXT,
            images INTEGER NOT NULL DEFAULT 0,
            upto INTEGER NOT NULL DEFAULT 0,
            message TEXT,
            made_at TEXT,
            PRIMARY KEY (period, kind)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE clip (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            camera TEXT NOT NULL,
            label TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('recording', 'saved', 'failed')),
            triggered_at TEXT NOT NULL,
            triggers TEXT NOT NULL,
            before_s REAL NOT NULL,
            after_s REAL NOT NULL,
            before_got_s REAL,
            after_got_s REAL,
            frames INTEGER,
            duration_s REAL,
            missing TEXT NOT NULL DEFAULT '[]',
            codec TEXT,
            width INTEGER,
            height INTEGER,
            path TEXT UNIQUE,
            bytes INTEGER,
            sha256 TEXT,
            message TEXT
        ) STRICT""",
        "CREATE INDEX clip_newest ON clip (triggered_at, id)",
        "CREATE INDEX clip_recording ON clip (id) WHERE state = 'recording'",
    ),
    (
        "CREATE INDEX file_of_kind ON file (kind, image)",  # retention: the oldest of a kind
        "CREATE INDEX image_gave_up ON image (id) WHERE gave_up",
    ),
    (
        """CREATE TABLE to_stream (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            what TEXT NOT NULL CHECK (what IN ('image_captured', 'image_developed', 'clip_saved', 'still', 'clip')),
            about INTEGER NOT NULL,
            UNIQUE (what, about)
        ) STRICT""",
    ),
)


@contextmanager
def telling_sqlite(path: Path) -> Generator[None]:
    """Turn an error of SQLite into StorageFull or StorageFailed that say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "") or ""
        if name.startswith(FULL):
            raise StorageFull(f"Cannot write the catalogue {path}: {error}. The disk is full: delete or move old images.") from error
        if name.startswith(BROKEN):
            raise StorageFailed(
                f"The catalogue {path} is damaged: {error}. Restart Cupola: it sets the file aside and makes a new one from the images on disk."
            ) from error
        raise StorageFailed(
            f"The catalogue {path} cannot be used: {error}. Check the disk and its rights, and that no other program has it open."
        ) from error


def connect(path: Path) -> sqlite3.Connection:
    """A connection for any thread (the caller locks), durable at every COMMIT."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False)
    try:
        connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "cache_size = -4000"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def version_of(connection: sqlite3.Connection) -> int:
    """How many of its migrations a file has had; 0 for a new one."""
    return connection.execute("PRAGMA user_version").fetchone()[0]


def migrate(connection: sqlite3.Connection, migrations: Sequence[Sequence[str]]) -> None:
    """Run those that the file has not had yet, each as one transaction. A file that has had more than there are is left as it is."""
    for number, script in enumerate(migrations[version_of(connection) :], version_of(connection) + 1):
        connection.execute("BEGIN IMMEDIATE")
        for statement in script:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")


def open_writer(path: Path) -> tuple[sqlite3.Connection, bool, str | None]:
    """The writing connection, whether the file is new, and what was wrong with the old one, if it had to be set aside.

    Raises StorageFailed for a file of a newer Cupola, or one that cannot be opened; StorageFull.
    """
    ensure_folder(path.parent)
    with telling_sqlite(path):
        try:
            return *_prepared(path), None
        except sqlite3.DatabaseError as error:
            if not (getattr(error, "sqlite_errorname", "") or "").startswith(BROKEN):
                raise
            damage = str(error)
        aside = set_aside(path)
        message = f"The catalogue {path} was damaged ({damage}). It is kept as {aside.name}; a new one is made from the images, sessions are lost."
        return *_prepared(path), message


def _prepared(path: Path) -> tuple[sqlite3.Connection, bool]:
    connection = connect(path)
    try:
        version = version_of(connection)
        if version > len(MIGRATIONS):
            raise StorageFailed(
                f"The catalogue {path} is of version {version}, from a newer Cupola (this one knows {len(MIGRATIONS)}): install that Cupola again."
            )
        if version and path.stat().st_size <= _CHECKED_BYTES:
            answer: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if answer != "ok":
                damage = sqlite3.DatabaseError(answer)
                damage.sqlite_errorname = "SQLITE_CORRUPT"
                raise damage
        migrate(connection, MIGRATIONS)
    except BaseException:
        with suppress(sqlite3.Error):
            connection.close()
        raise
    return connection, version == 0


def set_aside(path: Path) -> Path:
    """Rename a damaged file, with what SQLite keeps beside it; its new name. Raises StorageFull and StorageFailed."""
    aside = path.with_name(f"{path.name}.broken-{utc_now():%Y%m%dT%H%M%SZ}")
    with telling(path, "set aside"):
        for suffix in ("-wal", "-shm", ""):  # the file itself last: killed in between, the next start finds it broken still
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.replace(aside.with_name(aside.name + suffix))
        sync_folder(path.parent)
    return aside
