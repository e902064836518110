"""The three log files, the console, and the newest records in memory. Only the server writes them; its children send their records to it."""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loguru import logger

from cupola.core.errors import ConfigError
from cupola.core.logtail import LogTail

FORMAT = "{time:YYYY-MM-DD HH:mm:ss.SSS!UTC} UTC | {level: <8} | event={extra[event]} camera={extra[camera]} | {message}"
_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) UTC \| (\w+) *\| event=(\S+) camera=(\S+) \| (.*)", re.DOTALL)
_BEGINNING = re.compile(r"^(?=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC \| )", re.MULTILINE)
_READ_BACK = 256 * 1024  # bytes of the file that was written last
_PRIVATE = "session_event"  # of a record in a file nobody knows any more whether it is about a login
CONSOLE = "<dim>{time:HH:mm:ss!UTC}</dim> <level>{level: <8}</level> {message}"


class _FromLogging(logging.Handler):
    """Records of libraries (uvicorn, asyncio) join ours."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname if record.levelname in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL") else "INFO"
        event = "websocket" if record.name.startswith("uvicorn") else "performance"
        logger.opt(exception=record.exc_info).bind(event=event).log(level, f"{record.name}: {record.getMessage()}")


tail = LogTail()


def set_up(folder: Path, *, debug: bool) -> None:
    """`debug` adds the third file: what passes between server and camera processes. Raises ConfigError when the folder cannot be written."""
    logger.remove()
    logger.configure(extra={"event": "-", "camera": "-", "private": False})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _read_back(folder / "cupola.log")
        options: dict[str, Any] = {"format": FORMAT, "compression": "gz", "enqueue": True, "encoding": "utf-8", "backtrace": False, "diagnose": False}
        logger.add(folder / "cupola.log", level="INFO", rotation="10 MB", retention="7 days", **options)
        logger.add(folder / "cupola-error.log", level="ERROR", rotation="10 MB", retention="14 days", **options)
        if debug:
            logger.add(folder / "cupola-debug.log", level="DEBUG", rotation="20 MB", retention="3 days", **options)
    except OSError as error:
        raise ConfigError(f"The log folder {folder} cannot be written ({error.strerror}). Change logging.folder, or its owner.") from None
    logger.add(_remember, level="INFO", format="{message}", backtrace=False, diagnose=False)
    logger.add(sys.stderr, level="INFO", format=CONSOLE, backtrace=False, diagnose=False)
    logging.basicConfig(handlers=[_FromLogging()], level=logging.WARNING, force=True)


def _read_back(file: Path) -> None:
    """What an earlier server wrote last comes first in the tail, so that whoever reads along misses nothing over a restart."""
    if not file.is_file():
        return
    with file.open("rb") as written:
        written.seek(max(0, file.stat().st_size - _READ_BACK))
        text = written.read().decode(errors="replace")
    for record in _BEGINNING.split(text):
        if found := _LINE.match(record.rstrip()):
            at, level, event, camera, message = found.groups()
            tail.add(datetime.strptime(at, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC), level, event, camera, message, private=event == _PRIVATE)


def _remember(message: Any) -> None:
    record, extra = message.record, message.record["extra"]
    at: datetime = record["time"].astimezone(UTC)
    text = str(message).rstrip()  # with the trace of an exception
    tail.add(
        at.replace(microsecond=at.microsecond // 1000 * 1000), record["level"].name, extra["event"], extra["camera"], text, private=extra["private"]
    )


def write(
    level: str, message: str, *, event: str = "-", camera: str = "-", private: bool = False, exception: BaseException | None = None, **facts: object
) -> None:
    """One record; further facts are appended as `name=value`. `private`: about logins, which is the business of admins."""
    more = "".join(f" {name}={value}" for name, value in facts.items())
    logger.opt(exception=exception).bind(event=event, camera=camera, private=private).log(level, "{}", message + more)


def finish() -> None:
    """Write out what is still queued."""
    logger.complete()
    logger.remove()
