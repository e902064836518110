"""The three log files and the console. Only the server writes them; its children send their records to it."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from loguru import logger

from cupola.core.errors import ConfigError

FORMAT = "{time:YYYY-MM-DD HH:mm:ss.SSS!UTC} UTC | {level: <8} | event={extra[event]} camera={extra[camera]} | {message}"
CONSOLE = "<dim>{time:HH:mm:ss!UTC}</dim> <level>{level: <8}</level> {message}"


class _FromLogging(logging.Handler):
    """Records of libraries (uvicorn, asyncio) join ours."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname if record.levelname in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL") else "INFO"
        event = "websocket" if record.name.startswith("uvicorn") else "performance"
        logger.opt(exception=record.exc_info).bind(event=event).log(level, f"{record.name}: {record.getMessage()}")


def set_up(folder: Path, *, debug: bool) -> None:
    """`debug` adds the third file: what passes between server and camera processes. Raises ConfigError when the folder cannot be written."""
    logger.remove()
    logger.configure(extra={"event": "-", "camera": "-"})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {"format": FORMAT, "compression": "gz", "enqueue": True, "encoding": "utf-8", "backtrace": False, "diagnose": False}
        logger.add(folder / "cupola.log", level="INFO", rotation="10 MB", retention="7 days", **options)
        logger.add(folder / "cupola-error.log", level="ERROR", rotation="10 MB", retention="14 days", **options)
        if debug:
            logger.add(folder / "cupola-debug.log", level="DEBUG", rotation="20 MB", retention="3 days", **options)
    except OSError as error:
        raise ConfigError(f"The log folder {folder} cannot be written ({error.strerror}). Change logging.folder, or its owner.") from None
    logger.add(sys.stderr, level="INFO", format=CONSOLE, backtrace=False, diagnose=False)
    logging.basicConfig(handlers=[_FromLogging()], level=logging.WARNING, force=True)


def write(level: str, message: str, *, event: str = "-", camera: str = "-", exception: BaseException | None = None, **facts: object) -> None:
    """One record; further facts are appended as `name=value`."""
    more = "".join(f" {name}={value}" for name, value in facts.items())
    logger.opt(exception=exception).bind(event=event, camera=camera).log(level, "{}", message + more)


def finish() -> None:
    """Write out what is still queued."""
    logger.complete()
    logger.remove()
