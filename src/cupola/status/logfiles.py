"""Reads log files as `cupola.logs` writes them: the one being written and rotated ones, packed or not, damaged or huge, in little memory.

Standard library only: the status server imports this. What is made of the records is `doctor.loganalysis`'.
"""

from __future__ import annotations

import os
import re
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from io import BufferedReader
    from typing import TypedDict

    class Record(TypedDict):
        at: str
        level: str
        event: str
        camera: str
        message: str


LEVELS = ("debug", "info", "warning", "error", "critical")
PIECE = 64 * 1024
LINE_MOST = 32 * 1024  # bytes; more of a line is left out
MESSAGE_MOST = 20_000  # characters: as much as `cupola.logs` writes
_ROTATED = re.compile(r"\.\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_\d+")  # cupola.2026-11-21_12-00-00_123456.log.gz


def rotations(folder: str, name: str) -> list[str]:
    """The files of one log (`cupola.log`), the oldest first; what is being written comes last. Raises OSError.

    A packed file beside which it is still there unpacked is left out: it is being packed, or the power was cut meanwhile.
    """
    stem, suffix = os.path.splitext(name)
    old = [
        file for file in os.listdir(folder) if file.startswith(stem) and _ROTATED.match(file, len(stem)) and file.endswith((suffix, f"{suffix}.gz"))
    ]
    old = [file for file in old if os.path.isfile(os.path.join(folder, file))]
    old = [file for file in old if file.removesuffix(".gz") == file or file.removesuffix(".gz") not in old]
    now = [name] if os.path.exists(os.path.join(folder, name)) else []
    return [os.path.join(folder, file) for file in sorted(old) + now]


def pieces(file: BufferedReader, packed: bool) -> Iterator[bytes]:
    """What is in the file, unpacked, at most `PIECE` bytes at a time. A packed file that is damaged ends there."""
    unpacker = zlib.decompressobj(31) if packed else None
    while data := file.read(PIECE):
        if unpacker is None:
            yield data
            continue
        while data:
            try:
                yield unpacker.decompress(data, PIECE)
            except zlib.error:
                return
            data = unpacker.unconsumed_tail
            if unpacker.eof:
                data, unpacker = unpacker.unused_data, zlib.decompressobj(31)


def lines(found: Iterable[bytes]) -> Iterator[str]:
    """The lines of pieces, each at most `LINE_MOST` bytes of it."""
    rest, cut = b"", False
    for piece in found:
        first, *more = piece.split(b"\n")
        if not cut:
            rest += first
        for line in more:
            yield rest[:LINE_MOST].decode("utf-8", "replace")
            rest, cut = line, False
        if len(rest) > LINE_MOST:
            rest, cut = rest[:LINE_MOST], True
    if rest:
        yield rest.decode("utf-8", "replace")


def records(found: Iterable[str]) -> Iterator[Record]:
    """The records of lines; what goes on over several lines stays together, and what comes before the first record is left out."""
    record: Record | None = None
    for line in found:
        parts = line.rstrip("\r").split(" | ", 3)
        if len(parts) == 4 and parts[1].strip().lower() in LEVELS and parts[2].startswith("event="):
            if record is not None:
                yield record
            event, _, camera = parts[2].partition(" camera=")
            at = parts[0].removesuffix(" UTC").replace(" ", "T") + "Z"
            record = {"at": at, "level": parts[1].strip(), "event": event.removeprefix("event="), "camera": camera, "message": parts[3]}
        elif record is not None and line and len(record["message"]) < MESSAGE_MOST:
            record["message"] += "\n" + line
    if record is not None:
        yield record


def read(path: str) -> Iterator[Record]:
    """All records of a file. Raises OSError."""
    with open(path, "rb") as file:
        yield from records(lines(pieces(file, path.endswith(".gz"))))
