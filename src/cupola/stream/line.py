"""Whether Redis answers, for the several threads of one receiver; told when that changes, once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit

from cupola.core.errors import ConfigError
from cupola.stream.link import Target, words_of

_OPTIONS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "db"})


def target_of(url: str) -> Target:
    """Raises ConfigError for what is no URL of a Redis, without repeating what may be its password."""
    try:
        parts = urlsplit(url)
        port, options = parts.port, {name for name, _ in parse_qsl(parts.query)}
    except ValueError:
        raise ConfigError("This is no URL of a Redis. Write redis://USER:PASSWORD@HOST:6379, or rediss:// for TLS.") from None
    if parts.scheme not in ("redis", "rediss") or not parts.hostname or port == 0:
        raise ConfigError("The URL of a Redis begins with redis:// or rediss:// (TLS) and names a host, as redis://USER:PASSWORD@HOST:6379")
    if unknown := options - _OPTIONS:
        raise ConfigError(f"The URL of Redis has {', '.join(sorted(unknown))} behind its question mark; known are {', '.join(sorted(_OPTIONS))}.")
    return Target(url)


class Line:
    def __init__(self, target: Target, tell: Callable[[str, str], None]) -> None:
        self.where = target.words
        self._target, self._tell, self._lock = target, tell, threading.Lock()
        self._failing: dict[str, str] = {}  # by who uses it, as Redis may refuse one command and answer others

    @property
    def problem(self) -> str | None:
        with self._lock:
            return next(iter(self._failing.values()), None)

    def words(self, error: Exception) -> str:
        return words_of(error, self._target)

    def failed(self, who: str, error: Exception) -> None:
        said = self.words(error)
        with self._lock:
            told = bool(self._failing)
            self._failing[who] = said
        if not told:
            self._tell("error", f"{said} It is tried again until it works.")

    def works(self, who: str) -> None:
        with self._lock:
            over = self._failing.pop(who, None) is not None and not self._failing
        if over:
            self._tell("info", f"Redis at {self.where} answers again.")
