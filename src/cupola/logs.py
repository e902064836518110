"""The three log files, the console or systemd's journal, and the newest records in memory. Only the server writes them; its children send their records to it.

No secret stands in any of them: whatever is written goes through `_masked`, tracebacks too. Lines are handed to the kernel as they come and never synced,
so that it writes them to a card in its own good time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import sys
import traceback
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from loguru import logger

from cupola.config.base import mask
from cupola.core.errors import ConfigError
from cupola.core.logtail import LogTail
from cupola.status.logfiles import records

if TYPE_CHECKING:
    from loguru import Message

FORMAT = "{time:YYYY-MM-DD HH:mm:ss.SSS!UTC} UTC | {level: <8} | event={extra[event]} camera={extra[camera]} | {message}"
_READ_BACK = 256 * 1024  # bytes of the file that was written last
_PRIVATE = "session_event"  # of a record in a file nobody knows any more whether it is about a login
CONSOLE = "<dim>{time:HH:mm:ss!UTC}</dim> <level>{level: <8}</level> {message}"
JOURNAL = Path("/run/systemd/journal/socket")
PRIORITIES = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}  # of syslog(3)
RECORD_MAX = 20_000  # characters
SHORTEST_SECRET = 4
_SECRET_WORDS = re.compile(r"(?i)(\bbearer\s+|#claim=)[^\s\"']+")
_secrets: list[str] = []
_slow_s: float | None = None


class Rotation:
    """A new file at noon, local time, so that a night stays in one piece and old files are looked for every day; or when this one is full."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._day: date | None = None

    def __call__(self, message: Message, file: TextIO) -> bool:
        facts, day = os.fstat(file.fileno()), _noon_day(message.record["time"].timestamp())
        before, self._day = self._day or (_noon_day(facts.st_mtime) if facts.st_size else day), day
        return facts.st_size > 0 and (day != before or facts.st_size + len(message) > self._bytes_max)


def _noon_day(moment: float) -> date:
    return (datetime.fromtimestamp(moment) - timedelta(hours=12)).date()


class _FromLogging(logging.Handler):
    """Records of libraries (uvicorn, asyncio) join ours."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname if record.levelname in PRIORITIES else "INFO"
        event = "websocket" if record.name.startswith("uvicorn") else "-"
        exception = record.exc_info[1] if record.exc_info else None
        write(level, f"{record.name}: {record.getMessage()}", event=event, exception=exception)


class Journal:
    """systemd's journal, with our fields as fields: `journalctl -u cupola CUPOLA_EVENT=usb_failure`. What it does not take at once is left out."""

    def __init__(self, path: Path = JOURNAL) -> None:
        self._path = str(path)
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.setblocking(False)

    def write(self, message: Message) -> None:
        record = message.record
        fields = {
            "MESSAGE": record["message"],
            "PRIORITY": str(PRIORITIES.get(record["level"].name, 6)),
            "SYSLOG_IDENTIFIER": "cupola",
            "CUPOLA_EVENT": str(record["extra"]["event"]),
            "CUPOLA_CAMERA": str(record["extra"]["camera"]),
        }
        with contextlib.suppress(OSError):
            self._sock.sendto(b"".join(map(self._field, fields, fields.values())), self._path)

    def stop(self) -> None:
        self._sock.close()

    @staticmethod
    def _field(name: str, value: str) -> bytes:
        """As systemd's "Native Journal Protocol" has it, which allows line breaks."""
        data = value.encode()
        return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"


tail = LogTail()


def set_up(folder: Path, *, debug: bool, console: bool = True, secrets: Iterable[str] = (), slow_s: float | None = None) -> None:
    """`debug` adds the third file: what passes between server and camera processes. `secrets`: texts that must not be written. What took longer
    than `slow_s` is a record of `performance`.

    Raises ConfigError when the folder cannot be written.
    """
    global _slow_s
    _slow_s = slow_s
    _secrets[:] = sorted({text for text in secrets if len(text) >= SHORTEST_SECRET}, key=len, reverse=True)
    logger.remove()
    logger.configure(extra={"event": "-", "camera": "-", "private": False})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _read_back(folder / "cupola.log")
        options: dict[str, Any] = {"format": FORMAT, "compression": "gz", "enqueue": True, "encoding": "utf-8", "backtrace": False, "diagnose": False}
        logger.add(folder / "cupola.log", level="INFO", rotation=Rotation(10_000_000), retention="7 days", **options)
        logger.add(folder / "cupola-error.log", level="ERROR", rotation=Rotation(10_000_000), retention="14 days", **options)
        if debug:
            logger.add(folder / "cupola-debug.log", level="DEBUG", rotation=Rotation(20_000_000), retention="3 days", **options)
    except OSError as error:
        raise ConfigError(f"The log folder {folder} cannot be written ({error.strerror}). Change logging.folder, or its owner.") from None
    logger.add(_remember, level="INFO", format="{message}")
    if console and into_journal():
        logger.add(Journal(), level="INFO", format="{message}")
    elif console:
        logger.add(sys.stderr, level="INFO", format=CONSOLE, backtrace=False, diagnose=False)
    logging.basicConfig(handlers=[_FromLogging()], level=logging.WARNING, force=True)


def into_journal() -> bool:
    """Whether systemd leads what is printed into its journal: then records go there as they are."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        facts = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(facts.st_dev), str(facts.st_ino)) and JOURNAL.exists()


def _read_back(file: Path) -> None:
    """What an earlier server wrote last comes first in the tail, so that whoever reads along misses nothing over a restart."""
    if not file.is_file():
        return
    size = file.stat().st_size
    with file.open("rb") as written:
        written.seek(max(0, size - _READ_BACK))
        text = written.read().decode(errors="replace")
    for record in records(text.split("\n")[0 if size <= _READ_BACK else 1 :]):
        event = record["event"]
        tail.add(datetime.fromisoformat(record["at"]), record["level"], event, record["camera"], record["message"], private=event == _PRIVATE)


def _remember(message: Message) -> None:
    record, extra = message.record, message.record["extra"]
    at: datetime = record["time"].astimezone(UTC)
    text = record["message"]
    tail.add(
        at.replace(microsecond=at.microsecond // 1000 * 1000), record["level"].name, extra["event"], extra["camera"], text, private=extra["private"]
    )


def write(
    level: str,
    message: str,
    *,
    event: str = "-",
    camera: str = "-",
    private: bool = False,
    exception: BaseException | None = None,
    took_s: float | None = None,
    **facts: object,
) -> None:
    """One record; further facts are appended as `name=value`. `private`: about logins, which is the business of admins. `took_s`: how long that
    took which the message says has been done.
    """
    if took_s is not None:
        message += f" in {1000 * took_s:.0f} ms"
        event = "performance" if _slow_s is not None and took_s > _slow_s else event
    more = "".join(f" {name}={value}" for name, value in facts.items())
    trace = "" if exception is None else "\n" + "".join(traceback.format_exception(exception)).rstrip()
    logger.bind(event=event, camera=camera, private=private).log(level, "{}", _masked(message + more + trace))


def _masked(text: str) -> str:
    if len(text) > RECORD_MAX:
        text = f"{text[:RECORD_MAX]}… and {len(text) - RECORD_MAX} characters more"
    for secret in _secrets:
        text = text.replace(secret, "***")
    return _SECRET_WORDS.sub(r"\1***", mask(text) if "=" in text or "://" in text else text)


def finish() -> None:
    """Write out what is still queued."""
    logger.complete()
    logger.remove()
