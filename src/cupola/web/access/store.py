"""People, sessions, tokens: the file `<state>/access.sqlite`, readable by its owner only.

Secrets are in it as hashes. Reads are quick and may be called from the event loop; writes wait for the disk and belong
into a thread (`run`). Who may do what with it is decided elsewhere; a damaged file is never replaced by an
empty one, as that would give the station to whoever claims it first.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from cupola.core.errors import ConfigError, CupolaError, NotAllowed, StorageFailed
from cupola.storage.schema import connect, migrate, version_of
from cupola.web.access.place import place_of
from cupola.web.access.who import RoleName, Scope

P = ParamSpec("P")
T = TypeVar("T")
ADDRESSES_KEPT = 20
# One entry a version, never changed once released.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE user (
            name TEXT PRIMARY KEY,
            role TEXT NOT NULL CHECK (role IN ('observer', 'master', 'admin')),
            hash TEXT NOT NULL,
            created_at REAL NOT NULL,
            seen_at REAL
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE session (
            id TEXT PRIMARY KEY,
            hash BLOB NOT NULL UNIQUE,
            user TEXT NOT NULL REFERENCES user (name) ON DELETE CASCADE,
            created_at REAL NOT NULL,
            seen_at REAL NOT NULL,
            remembered INTEGER NOT NULL,
            address TEXT NOT NULL,
            agent TEXT NOT NULL
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE token (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            scope TEXT NOT NULL CHECK (scope IN ('view', 'control', 'admin')),
            hash BLOB NOT NULL UNIQUE,
            created_at REAL NOT NULL,
            used_at REAL
        ) STRICT""",
        """CREATE TABLE address (
            user TEXT NOT NULL REFERENCES user (name) ON DELETE CASCADE,
            address TEXT NOT NULL,
            seen_at REAL NOT NULL,
            PRIMARY KEY (user, address)
        ) STRICT, WITHOUT ROWID""",
        "CREATE TABLE kv (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    ),
)


class PassphraseChanged(CupolaError):
    """It was right when it was looked at, and is another one by now, or the person is gone."""


@dataclass(frozen=True, slots=True)
class User:
    name: str
    role: RoleName
    hash: str
    created_at: float
    seen_at: float | None


@dataclass(frozen=True, slots=True)
class Session:
    """`id` is public; times in Unix seconds."""

    id: str
    user: str
    role: RoleName
    created_at: float
    seen_at: float
    remembered: bool
    address: str
    agent: str


@dataclass(frozen=True, slots=True)
class Token:
    id: int
    name: str
    scope: Scope
    created_at: float
    used_at: float | None


_SESSION = "SELECT s.id, s.user, u.role, s.created_at, s.seen_at, s.remembered, s.address, s.agent FROM session s JOIN user u ON u.name = s.user"


class Store:
    """`clock` gives Unix seconds. Raises ConfigError when the file cannot be used, StorageFailed when a write fails."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path, self.clock = path, clock
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "access")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            path.chmod(0o600)
            self._writer = _prepared(path)
            self._reader = connect(path)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"{path} cannot be used ({error}). It holds who may log in. Check its owner and the disk; if it is damaged, bring it back from a backup, "
                "or move it away and claim the station anew."
            ) from None

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A write, beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*args, **kwargs))

    def close(self) -> None:
        self._thread.shutdown(wait=True)
        self._reader.close()
        with self._lock:
            self._writer.close()

    @contextmanager
    def _writing(self) -> Generator[sqlite3.Connection]:
        with self._lock:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                yield self._writer
                self._writer.execute("COMMIT")
            except sqlite3.Error as error:
                raise StorageFailed(f"{self.path} cannot be written ({error}). Check the disk, its space and the file's owner.") from error
            finally:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")

    def _read(self, query: str, *values: object) -> list[sqlite3.Row]:
        try:
            with closing(self._reader.execute(query, values)) as cursor:
                return cursor.fetchall()
        except sqlite3.Error as error:
            raise StorageFailed(f"{self.path} cannot be read ({error}). Check the disk and the file's owner.") from error

    # People

    def users(self) -> list[User]:
        return [User(**dict(row)) for row in self._read("SELECT * FROM user ORDER BY name")]

    def user(self, name: str) -> User | None:
        rows = self._read("SELECT * FROM user WHERE name = ?", name)
        return User(**dict(rows[0])) if rows else None

    def add_user(self, name: str, role: RoleName, hashed: str, *, first: bool = False) -> None:
        """Raises NotAllowed when the name is taken; with `first`, when there is anybody."""
        with self._writing() as writer:
            if first and writer.execute("SELECT 1 FROM user").fetchone():
                raise NotAllowed("This station is claimed already. Log in, or set a new passphrase with: cupola passwd")
            if writer.execute("SELECT 1 FROM user WHERE name = ?", (name,)).fetchone():
                raise NotAllowed(f"There is a user {name} already.")
            writer.execute("INSERT INTO user (name, role, hash, created_at) VALUES (?, ?, ?, ?)", (name, role, hashed, self.clock()))

    def change_user(self, name: str, *, role: RoleName | None = None, hashed: str | None = None, instead_of: str | None = None) -> list[str]:
        """The ids of the sessions that end with it. Raises NotAllowed when no admin would be left; with `instead_of`, PassphraseChanged
        when that is not the hash that is stored.
        """
        with self._writing() as writer:
            if instead_of is not None:
                _role_behind(writer, name, instead_of)
            if role not in (None, "admin"):
                _keep_an_admin(writer, name)
            writer.execute("UPDATE user SET role = coalesce(?, role), hash = coalesce(?, hash) WHERE name = ?", (role, hashed, name))
            return _ended(writer, "user = ?", name)

    def delete_user(self, name: str) -> list[str]:
        """The ids of the sessions that end with it. Raises NotAllowed for the last admin."""
        with self._writing() as writer:
            _keep_an_admin(writer, name)
            ended = _ended(writer, "user = ?", name)
            writer.execute("DELETE FROM user WHERE name = ?", (name,))
            return ended

    # Sessions

    def add_session(self, session_id: str, hashed: bytes, user: str, proven: str, *, remembered: bool, address: str, agent: str) -> RoleName:
        """The person's role. `proven`: the hash of the passphrase that was looked at. The place is known to be this person's from now on.

        Raises PassphraseChanged when another hash is stored by now.
        """
        now = self.clock()
        with self._writing() as writer:
            role = _role_behind(writer, user, proven)
            values = (session_id, hashed, user, now, now, remembered, address, agent)
            writer.execute("INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
            writer.execute("UPDATE user SET seen_at = ? WHERE name = ?", (now, user))
            writer.execute("INSERT OR REPLACE INTO address VALUES (?, ?, ?)", (user, place_of(address), now))
            writer.execute(
                "DELETE FROM address WHERE user = ?1 AND address NOT IN (SELECT address FROM address WHERE user = ?1 ORDER BY seen_at DESC LIMIT ?2)",
                (user, ADDRESSES_KEPT),
            )
            return role

    def session(self, hashed: bytes) -> Session | None:
        rows = self._read(f"{_SESSION} WHERE s.hash = ?", hashed)
        return _session(rows[0]) if rows else None

    def sessions(self) -> list[Session]:
        return [_session(row) for row in self._read(f"{_SESSION} ORDER BY s.seen_at DESC")]

    def knows_place(self, user: str, address: str) -> bool:
        """Whether this person has logged in from this address, or its IPv6 network, before."""
        return bool(self._read("SELECT 1 FROM address WHERE user = ? AND address = ?", user, place_of(address)))

    def touch(self, sessions: dict[str, float], tokens: dict[int, float]) -> None:
        """When each was last used."""
        with self._writing() as writer:
            writer.executemany("UPDATE session SET seen_at = ? WHERE id = ?", [(seen, name) for name, seen in sessions.items()])
            writer.executemany("UPDATE token SET used_at = ? WHERE id = ?", [(seen, number) for number, seen in tokens.items()])

    def end_sessions(self, session_ids: list[str]) -> None:
        with self._writing() as writer:
            writer.executemany("DELETE FROM session WHERE id = ?", [(name,) for name in session_ids])

    # Tokens

    def tokens(self) -> list[Token]:
        return [_token(row) for row in self._read("SELECT id, name, scope, created_at, used_at FROM token ORDER BY id")]

    def token_hashes(self) -> dict[str, Scope]:
        """Scope by SHA-256 (hex) of the secret."""
        return {row["hash"].hex(): row["scope"] for row in self._read("SELECT hash, scope FROM token ORDER BY id")}

    def token(self, hashed: bytes) -> Token | None:
        rows = self._read("SELECT id, name, scope, created_at, used_at FROM token WHERE hash = ?", hashed)
        return _token(rows[0]) if rows else None

    def add_token(self, name: str, scope: Scope, hashed: bytes) -> Token:
        """Raises NotAllowed when the name is taken."""
        with self._writing() as writer:
            if writer.execute("SELECT 1 FROM token WHERE name = ?", (name,)).fetchone():
                raise NotAllowed(f'There is a token named "{name}" already. Revoke it first, or take another name.')
            now = self.clock()
            added = writer.execute("INSERT INTO token (name, scope, hash, created_at) VALUES (?, ?, ?, ?)", (name, scope, hashed, now))
            return Token(added.lastrowid or 0, name, scope, now, None)

    def delete_token(self, number: int) -> bool:
        with self._writing() as writer:
            return writer.execute("DELETE FROM token WHERE id = ?", (number,)).rowcount == 1

    def count_start(self) -> int:
        """How often this was called, over all starts of the server."""
        with self._writing() as writer:
            writer.execute("INSERT INTO kv VALUES ('starts', 1) ON CONFLICT (key) DO UPDATE SET value = value + 1")
            return writer.execute("SELECT value FROM kv WHERE key = 'starts'").fetchone()[0]


def _prepared(path: Path) -> sqlite3.Connection:
    connection = connect(path)
    try:
        if version_of(connection) > len(MIGRATIONS):
            raise ConfigError(f"{path} is from a newer Cupola: install that one again.")
        migrate(connection, MIGRATIONS)
    except BaseException:
        connection.close()
        raise
    return connection


def _ended(writer: sqlite3.Connection, where: str, value: str) -> list[str]:
    return [row["id"] for row in writer.execute(f"DELETE FROM session WHERE {where} RETURNING id", (value,)).fetchall()]


def _role_behind(writer: sqlite3.Connection, user: str, proven: str) -> RoleName:
    row = writer.execute("SELECT role FROM user WHERE name = ? AND hash = ?", (user, proven)).fetchone()
    if row is None:
        raise PassphraseChanged("The passphrase was changed at this moment. Log in with the new one.")
    return row["role"]


def _keep_an_admin(writer: sqlite3.Connection, name: str) -> None:
    if not writer.execute("SELECT 1 FROM user WHERE role = 'admin' AND name != ?", (name,)).fetchone():
        raise NotAllowed(f"{name} is the last admin. Make somebody else one first.")


def _session(row: sqlite3.Row) -> Session:
    return Session(**{**dict(row), "remembered": bool(row["remembered"])})


def _token(row: sqlite3.Row) -> Token:
    return Token(**dict(row))
