"""The MP4 of packets that are copied as they are, written while they still come, so that nearly nothing is left to do at the end.

A thread beside the one that keeps the journal, which waits neither for this one nor for PyAV to be loaded. Room for the index is kept
in front. Whatever this way cannot do, or has no room for, is left to `mp4.make`, which makes the file of the journal.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from cupola.process.wire import Head, Payload
from cupola.storage.files import TMP, ensure_folder

INDEX_FPS = 60  # the index has room for so many pictures a second,
INDEX_BYTES = 20  # of so many bytes each, and
INDEX_REST = 8192
SYNC_S = 1.0


class Unfit(Exception):
    """This clip is not for the short way."""


class Growing(threading.Thread):
    """`add` packets, then `finish`; both from one thread. Not for JPEGs, which have to be encoded."""

    def __init__(self, target: Path, clip: Head, seconds: float) -> None:
        """`seconds`: what the clip is expected to last."""
        super().__init__(name="growing", daemon=True)
        self._target, self._tmp = target, target.with_name(target.name + TMP)
        self._clip, self._seconds = clip, seconds
        self._packets: queue.SimpleQueue[tuple[Head, Payload] | float] = queue.SimpleQueue()
        self._heads: list[Head] = []
        self._stamps: list[int] = []
        self._made: Head | None = None

    def add(self, head: Head, data: Payload) -> None:
        if self.is_alive():
            self._packets.put((head, data))

    def finish(self, after_s: float) -> Head | None:
        """What `mp4.make` would answer, the file being durable and named; None when it has to be made of the journal."""
        self._packets.put(after_s)
        self.join()
        return self._made

    def run(self) -> None:
        import av.error

        try:
            self._made = self._write()
        except (Unfit, av.error.FFmpegError, OSError, ValueError, IndexError):
            pass  # the journal has it all; what is wrong with disk or packets, `make` says in words
        finally:
            with suppress(OSError):
                self._tmp.unlink(missing_ok=True)

    def _write(self) -> Head:
        import av

        from cupola.clips import mp4

        ensure_folder(self._target.parent)
        room = INDEX_REST + round(2 * self._seconds * INDEX_FPS) * INDEX_BYTES
        with self._tmp.open("wb+") as file, av.open(file, "w", format="mp4", options={"moov_size": str(room)}) as container:
            after_s = self._mux(container, file, mp4)
        sealed = mp4.seal(self._tmp, self._target)
        return mp4.record(self._clip, self._heads, self._stamps, after_s) | sealed

    def _mux(self, container: Any, file: BinaryIO, mp4: Any) -> float:
        clock, stream, last = mp4.Clock(), None, -1
        synced = time.monotonic()
        while isinstance(item := self._packets.get(), tuple):
            head, data = item
            if stream is None:
                if not head["keyframe"]:
                    continue
                stream = mp4.add_stream(container, head["codec"], data)
            if (stamp := clock.stamp(head)) <= last:
                raise Unfit("pictures are not shown in the order they came")
            mp4.mux(container, stream, data, stamp, stamp, keyframe=head["keyframe"])
            self._heads.append(head)
            self._stamps.append(stamp)
            last = stamp
            if time.monotonic() - synced > SYNC_S:
                file.flush()
                os.fsync(file.fileno())  # so that little is left at the end
                synced = time.monotonic()
        if stream is None:
            raise Unfit("nothing came")
        return item
