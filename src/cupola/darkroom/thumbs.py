"""Thumbnails that were asked for and those kept: each picture is made small once, however many ask at a time.

Who makes them, and when, is decided by `darkroom.queue`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from cupola.core.errors import CupolaError
from cupola.storage.rows import FileRow


class Thumbs:
    """Keyed by the picture's sha256, so a file that was replaced is never shown as it was. One event loop."""

    def __init__(self, cache_bytes: int) -> None:
        self._limit, self._size = cache_bytes, 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._asked: dict[str, tuple[FileRow, asyncio.Future[bytes]]] = {}

    def kept(self, file: FileRow) -> bytes | None:
        """From the cache, if it is there."""
        if file.sha256 not in self._kept:
            return None
        self._kept.move_to_end(file.sha256)
        return self._kept[file.sha256]

    def ask(self, file: FileRow) -> asyncio.Future[bytes]:
        """What somebody will `give` or `refuse`; asked for when this returns. Cancelling it does not take the request back."""
        if file.sha256 not in self._asked:
            future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            future.add_done_callback(lambda done: done.exception())  # nobody may be left to hear of it
            self._asked[file.sha256] = (file, future)
        return asyncio.shield(self._asked[file.sha256][1])

    def oldest(self) -> FileRow | None:
        """What was asked for first and is not answered yet."""
        return next((file for file, _ in self._asked.values()), None)

    def give(self, file: FileRow, jpeg: bytes) -> None:
        self._asked.pop(file.sha256)[1].set_result(jpeg)
        self._kept[file.sha256] = jpeg
        self._size += len(jpeg)
        while self._size > self._limit:
            self._size -= len(self._kept.popitem(last=False)[1])

    def refuse(self, file: FileRow, error: CupolaError) -> None:
        self._asked.pop(file.sha256)[1].set_exception(error)

    def refuse_all(self, error: CupolaError) -> None:
        for file, _ in list(self._asked.values()):
            self.refuse(file, error)
