"""A connection to Redis that repeats nothing by itself, and its failures in words.

A client that silently sends again after a lost connection sends twice, or leaves out: whoever sends here asks first what arrived.
"""

from __future__ import annotations

import random
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from redis import Redis

ANSWER_S = 10.0  # longer than Redis takes to write a megabyte to a slow disk; a paused or unreachable one is noticed by it
CONNECT_S = 5.0
PAUSE_S = (0.1, 15.0)  # before connecting again: it doubles from the first to the second


@dataclass(frozen=True, slots=True)
class Target:
    """`url` with user and password; never printed. `ca`: PEM file of the authority, for rediss://."""

    url: str
    ca: Path | None = None

    def __repr__(self) -> str:
        return f"Target({self.words})"

    @property
    def words(self) -> str:
        """Host and port, for people."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port or 6379}"


def connect(target: Target, name: str) -> Redis:
    """A client of one connection, for one thread; connects at its first command. Bytes in, bytes out. The library takes 0.1 s to import: here, once it is needed."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    options: dict[str, Any] = {}
    if target.ca is not None and target.url.startswith("rediss:"):
        options["ssl_ca_certs"] = str(target.ca)
    return Redis.from_url(
        target.url,
        socket_timeout=ANSWER_S,
        socket_connect_timeout=CONNECT_S,
        retry=Retry(NoBackoff(), 0),
        retry_on_timeout=False,
        retry_on_error=[],
        health_check_interval=0,
        max_connections=1,
        protocol=2,
        client_name=name,
        **options,
    )


def failures() -> tuple[type[Exception], ...]:
    """All that can go wrong between here and Redis."""
    from redis.exceptions import RedisError

    return (RedisError, OSError, ssl.SSLError)


def words_of(error: Exception, target: Target) -> str:
    """For the owner: what is wrong, and what to do."""
    from redis import exceptions as e

    text, at = str(error).strip(), target.words
    if isinstance(error, e.AuthenticationError | e.AuthenticationWrongNumberOfArgsError) or text.startswith(("WRONGPASS", "NOAUTH")):
        return f"Redis at {at} refuses the user or the password. Correct redis.url, or the ACL file of Redis."
    if isinstance(error, e.NoPermissionError) or "NOPERM" in text or "ACL failure" in text or "permissions" in text:
        return (
            f"Redis at {at} does not allow this station what it needs ({text[:200]}). Correct its line in the ACL file; docs/redis.md has an example."
        )
    if isinstance(error, e.OutOfMemoryError) or "OOM" in text:
        return f"Redis at {at} is out of memory (maxmemory). Start receivers, which empty it, or give it more; meanwhile all waits in the spool."
    if isinstance(error, e.BusyLoadingError):
        return f"Redis at {at} is starting: it still reads its data."
    if isinstance(error, e.ReadOnlyError):
        return f"Redis at {at} is a replica, which cannot be written to. Name the primary in redis.url."
    if "MISCONF" in text:
        return f"Redis at {at} cannot write to its own disk, and takes nothing: make room there, or check that disk ({text[:120]})."
    if isinstance(error, e.TimeoutError | TimeoutError):
        return f"Redis at {at} does not answer within {ANSWER_S:.0f} s. Is it stopped, or the network down?"
    if "CERTIFICATE" in text.upper():
        return f"The certificate of Redis at {at} is not accepted ({text[:160]}). Name the authority that signed it in redis.ca."
    if isinstance(error, e.ConnectionError | OSError):
        return f"Redis at {at} cannot be reached ({text[:160]}). Is it running, and the address right?"
    return f"Redis at {at} refused: {text[:200]}"


class Pause:
    """How long to wait before the next try: doubling, and by chance a little more or less, so that stations do not all come at once."""

    def __init__(self) -> None:
        self._next_s = PAUSE_S[0]

    def next_s(self) -> float:
        pause_s, self._next_s = self._next_s, min(2 * self._next_s, PAUSE_S[1])
        return pause_s * random.uniform(0.7, 1.3)

    def reset(self) -> None:
        self._next_s = PAUSE_S[0]
