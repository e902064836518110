"""Passphrases by argon2id, and everything random: codes, secrets of sessions and tokens.

One hash at a time, in a thread: each takes 19 MiB and some tenths of a second on a Raspberry Pi. Parameters: the
OWASP Password Storage Cheat Sheet's m=19 MiB, p=1, with one pass more than its two.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import unicodedata
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from cupola.core.errors import CupolaError, InvalidSetting

T = TypeVar("T")
SHORTEST, LONGEST = 12, 200
WAITING_MAX = 8  # passphrases of strangers, checked or waiting to be
WAITING_OF_ONE_MAX = 2  # of these from one place
ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"  # nothing that looks like something else
_HASHER = PasswordHasher(time_cost=3, memory_cost=19_456, parallelism=1)


class TooBusy(CupolaError):
    """More logins at once than are checked in a few seconds: try again."""

    retry_in_s = 5.0


def check_passphrase(text: str, field: str = "passphrase") -> None:
    """Raises InvalidSetting when it is too short or too long."""
    if not SHORTEST <= len(_normal(text)) <= LONGEST:
        raise InvalidSetting(field, f"{field}: a passphrase has {SHORTEST} to {LONGEST} characters; a few words do well.")
    if len(set(text)) < 4:
        raise InvalidSetting(field, f"{field}: that is one character again and again. Take a few words.")


def generated_passphrase() -> str:
    """Twenty letters and digits in groups of five: 99 bits."""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(5)) for _ in range(4))


def new_code() -> str:
    """What is typed or scanned to claim the station: 39 bits, and five tries."""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(4)) for _ in range(2))


def new_secret() -> str:
    """256 bits for a session or a token."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> bytes:
    """What is stored of a session's or token's secret. It is random, so a fast hash is enough."""
    return hashlib.sha256(secret.encode()).digest()


def hash_passphrase(text: str) -> str:
    """Blocks for some tenths of a second."""
    return _HASHER.hash(_normal(text))


def _verify(stored: str, text: str) -> bool:
    try:
        return _HASHER.verify(stored, _normal(text))
    except (VerificationError, InvalidHashError):
        return False


def _normal(text: str) -> str:
    """The same letters from any keyboard."""
    return unicodedata.normalize("NFC", text)


class Passwords:
    """Hashes and verifies beside the event loop, one at a time. Strangers wait in a queue in which one place has few places."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "argon2")
        self._waiting: Counter[str] = Counter()
        self._nobody: str | None = None

    async def hash(self, text: str) -> str:
        """For somebody who has proved who they are: always taken."""
        return await self._run(hash_passphrase, text)

    async def verify(self, stored: str | None, text: str, place: str) -> bool:
        """Takes as long for a user that does not exist (`stored` is None). `place`: where it is asked from. Raises TooBusy."""
        if self._waiting.total() >= WAITING_MAX or self._waiting[place] >= WAITING_OF_ONE_MAX:
            raise TooBusy("Many people log in at this moment. Try again in a few seconds.")
        self._waiting[place] += 1
        try:
            if stored is None:
                if self._nobody is None:
                    self._nobody = await self._run(hash_passphrase, new_secret())
                await self._run(_verify, self._nobody, text)
                return False
            return await self._run(_verify, stored, text)
        finally:
            self._waiting[place] -= 1
            if not self._waiting[place]:
                del self._waiting[place]

    async def _run(self, work: Callable[..., T], *values: str) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *values)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
