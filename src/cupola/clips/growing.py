"""The MP4 of a clip, written while its packets still come, so that little is left to do at the end.

A thread behind the one that keeps the journal, which it follows at its own pace: neither waits for the other, nor for PyAV to be
loaded, and what has not been read yet lies on the disk. H.264 and H.265 are copied, with room for the index kept in front; JPEGs are
encoded. Whatever this way cannot do, or has no room for, is left to `mp4.make`, which makes the file of the whole journal.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from cupola.clips import journal
from cupola.core.errors import CupolaError
from cupola.process.wire import Head
from cupola.storage.files import TMP, ensure_folder

INDEX_FPS = 60  # the index has room for so many pictures a second,
INDEX_BYTES = 20  # of so many bytes each, and
INDEX_REST = 8192
SYNC_S = 1.0
LEAST_NICENESS = 19  # nobody waits for an encoder while packets still come


class Unfit(Exception):
    """This clip is not for the short way."""


class Growing(threading.Thread):
    """`grown` when the journal has more, then `finish`; both from one thread."""

    def __init__(self, book: Path, target: Path, seconds: float, progress: Callable[[int], None]) -> None:
        """`seconds`: what the clip is expected to last. `progress` is called from the thread, with the pictures encoded so far."""
        super().__init__(name="growing", daemon=True)
        self._book, self._target, self._tmp = book, target, target.with_name(target.name + TMP)
        self._seconds, self._progress = seconds, progress
        self._more, self._after_s = threading.Event(), -1.0
        self._made: Head | None = None

    def grown(self) -> None:
        self._more.set()

    def finish(self, after_s: float) -> Head | None:
        """What `mp4.make` would answer, the file being durable and named; None when it has to be made of the journal."""
        self._after_s = after_s
        self._more.set()
        self.join()
        return self._made

    def _wait(self) -> bool:
        """Until there may be more; whether there may be more after that, too."""
        self._more.wait()
        self._more.clear()
        return self._after_s < 0

    def run(self) -> None:
        import av.error

        from cupola.clips import mp4

        try:
            self._made = self._write(mp4)
        except (Unfit, mp4.NothingToShow, CupolaError, av.error.FFmpegError, OSError, ValueError, IndexError):
            pass  # the journal has it all; what is wrong with disk or packets, `make` says in words
        finally:
            with suppress(OSError):
                self._tmp.unlink(missing_ok=True)

    def _write(self, mp4: Any) -> Head:
        ensure_folder(self._target.parent)
        records = journal.follow(self._book, self._wait)
        beginning, packets = next(records, None), mp4.from_keyframe(records)
        first = next(packets, None)
        if beginning is None or first is None:
            raise Unfit("nothing came")
        clip, packets = beginning[0], chain([first], packets)
        made = (self._encode if first[0]["codec"] == "jpeg" else self._copy)(packets, mp4)
        return {**mp4.record(clip, self._after_s, *made), "bytes": mp4.seal(self._tmp, self._target)}

    def _encode(self, packets: Iterator[tuple[Head, bytes]], mp4: Any) -> tuple[list[Head], list[int], list[int]]:
        if sys.platform == "linux":  # where niceness is a thread's own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LEAST_NICENESS)
        return mp4.encode(packets, self._tmp, self._progress)

    def _copy(self, packets: Iterator[tuple[Head, bytes]], mp4: Any) -> tuple[list[Head], list[int], list[int]]:
        room = INDEX_REST + round(2 * self._seconds * INDEX_FPS) * INDEX_BYTES
        with self._tmp.open("wb+") as file, mp4.av.open(file, "w", format="mp4", options={"moov_size": str(room)}) as container:
            return *self._mux(packets, container, file, mp4), []

    def _mux(self, packets: Iterator[tuple[Head, bytes]], container: Any, file: BinaryIO, mp4: Any) -> tuple[list[Head], list[int]]:
        clock, stream, last, shown = mp4.Clock(), None, -1, -1
        heads, stamps = list[Head](), list[int]()
        synced = time.monotonic()
        for head, data in packets:
            stream = stream or mp4.add_stream(container, head["codec"], data)
            if (stamp := clock.stamp(head)) < last:
                raise Unfit("pictures are not shown in the order they came")
            shown = max(stamp, shown + 1)  # a picture that comes in two packets has one time, and MP4 wants two
            mp4.mux(container, stream, data, shown, shown, keyframe=head["keyframe"])
            heads.append(head)
            stamps.append(stamp)
            last = stamp
            if time.monotonic() - synced > SYNC_S:
                file.flush()
                os.fsync(file.fileno())  # so that little is left at the end
                synced = time.monotonic()
        return heads, stamps
