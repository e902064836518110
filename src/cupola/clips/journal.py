"""A clip as it grows on disk: packet after packet, so that whatever dies leaves all but the last moment.

One record a packet, as `process.wire` writes messages: lengths, a JSON head, the data; the head has the data's CRC. A torn tail is
cut off when the file is read. Standard library only: the clip's own process imports this before anything heavy.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from cupola.process.wire import HEAD_LIMIT, PAYLOAD_LIMIT, PREFIX, Head, Payload, pack_head
from cupola.storage.files import ensure_folder, sync_folder, telling

SUFFIX = ".journal"


class Journal:
    """Open for appending; a torn tail of an earlier life is cut off first. Raises StorageFull, StorageFailed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        ensure_folder(path.parent)
        with telling(path, "write"):
            self._file: BinaryIO = open(path, "ab")  # noqa: SIM115 - closed by `close`
            whole = whole_length(path)
            if whole < self._file.tell():
                self._file.truncate(whole)
            sync_folder(path.parent)

    def append(self, head: Head, data: Payload) -> None:
        """In the system's hands on return: it outlives this process, and after `sync` a power cut too."""
        with telling(self.path, "write"):
            self._file.write(pack_head({**head, "crc": zlib.crc32(data)}, len(data)))
            self._file.write(data)
            self._file.flush()

    def sync(self) -> None:
        with telling(self.path, "sync"):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        with suppress(OSError):  # everything was flushed by `append`, or it raised: a full disk would fail once more here
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def read(path: Path) -> Iterator[tuple[Head, bytes]]:
    """The whole records of a journal, in order, until its end or the first one that is torn. Raises StorageFailed when it cannot be read."""
    with telling(path, "read"), path.open("rb") as file:
        while (record := _record(file)) is not None:
            yield record


def follow(path: Path, wait: Callable[[], bool]) -> Iterator[tuple[Head, bytes]]:
    """The records of a journal that is still written. At its end `wait` is called, until it says that nothing further comes. Raises StorageFailed."""
    with telling(path, "read"), path.open("rb") as file:
        more, at = True, 0
        while True:
            if (record := _record(file)) is not None:
                at = file.tell()
                yield record
            elif more:
                more = wait()
                file.seek(at)
            else:
                return


def whole_length(path: Path) -> int:
    """Bytes up to the end of the last whole record."""
    with telling(path, "read"), path.open("rb") as file:
        end = 0
        while _record(file) is not None:
            end = file.tell()
        return end


def _record(file: BinaryIO) -> tuple[Head, bytes] | None:
    prefix = file.read(PREFIX.size)
    if len(prefix) < PREFIX.size:
        return None
    head_length, data_length = PREFIX.unpack(prefix)
    if not 2 <= head_length <= HEAD_LIMIT or data_length > PAYLOAD_LIMIT:
        return None
    text, data = file.read(head_length), file.read(data_length)
    if len(text) < head_length or len(data) < data_length:
        return None
    try:
        head = json.loads(text)
    except ValueError:
        return None
    return (head, data) if isinstance(head, dict) and head.get("crc") == zlib.crc32(data) else None
