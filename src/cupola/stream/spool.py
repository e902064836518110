"""Records that wait on disk until a receiver has them: segments of an append-only journal, for one lossless stream.

A record counts when its segment is synced, not before. What a record means, and when it may go, is the business of `events` and
`images`; sending it that of `sender`. Standard library only. One thread appends, others read.

A segment is `<first sequence>.seg` and holds, one behind the other: length, CRC-32, sequence, span, time and payload of each record.
A record takes `span` ids of the stream. Sequences count on for ever; `state.json` says from which of them on which incarnation counts from 1,
and up to where receivers have everything.
"""

from __future__ import annotations

import bisect
import json
import os
import re
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cupola.core.errors import StorageFailed
from cupola.storage.files import ensure_folder, store_durable, sync_folder, telling
from cupola.storage.space import Lock
from cupola.stream.format import Id

SEGMENT_BYTES = 4 << 20
PAYLOAD_MAX = 2 << 20
MARKS = 64
_HEAD = struct.Struct("<IIQIQ")  # bytes of the payload, CRC-32 of all that follows, sequence, span, milliseconds since 1970
_CHECKED = struct.Struct("<QIQ")
_SEGMENT = re.compile(r"(\d{20})\.seg", re.ASCII)


@dataclass(frozen=True, slots=True)
class Entry:
    """A record: the first of its `span` sequence numbers, which count on through all incarnations."""

    sequence: int
    span: int
    at_s: float
    payload: bytes

    @property
    def last(self) -> int:
        return self.sequence + self.span - 1


class Spool:
    """Opened by its constructor, by one process at a time. `found` are sentences for the owner: what was damaged, and what became of it.

    Every method raises StorageFull or StorageFailed when the disk does not allow it; nothing was appended then.
    """

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder, self.found = folder, list[str]()
        self._segment_bytes = segment_bytes
        ensure_folder(folder)
        self._lock_file = Lock(folder / "lock")
        if not self._lock_file.acquire():
            raise StorageFailed(f"Another Cupola has the spool {folder}. Stop it, or give this one a storage.state of its own.")
        self._mutex = threading.RLock()
        self._writing: int | None = None  # the segment that is open for writing, its descriptor
        self._marks: dict[int, tuple[int, int]] = {}  # where readers were last: by sequence the segment and the offset in it
        try:
            self._open()
        except BaseException:
            self._lock_file.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Idempotent."""
        with self._mutex:
            self._leave_segment()
            self._lock_file.release()

    # ── opening ────────────────────────────────────────────────────────────

    def _open(self) -> None:
        state = self.folder / "state.json"
        self.new = not state.exists()
        self.freed, self._eras = 0, [(1, 1)]  # the latter: incarnation, and the sequence of its first record
        if not self.new:
            with telling(state, "read"):
                text = state.read_bytes()
            try:
                values = json.loads(text)
                self.freed, self._eras = int(values["freed"]), [(int(incarnation), int(first)) for incarnation, first in values["eras"]]
            except (ValueError, KeyError, TypeError) as error:
                raise StorageFailed(f"{state} is damaged ({error}). Restore it from a backup, or move the folder {self.folder} away.") from None
        self.oldest_s: float | None = None
        self._consumed = 0  # bytes of the first segments that were freed
        self._firsts: list[int] = []
        self._sizes: list[int] = []  # bytes of each segment that are whole
        self.next = self.freed + 1
        with telling(self.folder, "list"):
            names = sorted(name for name in os.listdir(self.folder) if _SEGMENT.fullmatch(name))
        for number, name in enumerate(names):
            following = int(names[number + 1][:20]) if number + 1 < len(names) else None
            self._take_up(int(name[:20]), following)
        self._look_at_oldest()
        if self.new:
            self._write_state()

    def _take_up(self, first: int, following: int | None) -> None:
        """Read one segment through, and cut off what is torn at its end."""
        path, end, after = self._path(first), 0, first
        for entry, offset in self._scan(path, 0, None):
            if entry.sequence != after or (following is not None and entry.last >= following):
                break
            after, end = entry.last + 1, offset
        with telling(path, "look at"):
            size = path.stat().st_size
        if size > end and following is None:
            self.found.append(f"The last {size - end} bytes of {path} were not whole (was the power cut?) and are cut off: they had not counted yet.")
            self._cut(path, end)
        if following is not None and after != following:
            self.found.append(f"{path} is damaged: {following - after} records of the stream that were not sent yet are lost.")
        if first > self.next:
            self.found.append(f"{first - self.next} records before {path} are gone: somebody deleted a file there.")
        if end:
            self._firsts.append(first)
            self._sizes.append(end)
            self.next = max(self.next, after)
        else:
            with telling(path, "delete"):
                path.unlink()

    # ── what there is ──────────────────────────────────────────────────────

    @property
    def depth(self) -> int:
        """Ids that no receiver confirmed."""
        return self.next - 1 - self.freed

    @property
    def bytes(self) -> int:
        """Of what no receiver confirmed; on disk it may be a segment more. Waits for nothing: the lock may be held while the disk hangs."""
        return max(0, sum(self._sizes) - self._consumed)

    @property
    def incarnation(self) -> int:
        return self._eras[-1][0]

    def id_of(self, sequence: int) -> Id:
        """Of a record that is, or will be, here."""
        incarnation, first = next(era for era in reversed(self._eras) if era[1] <= sequence)
        return Id(incarnation, sequence - first + 1)

    def upto(self, id_: Id) -> int:
        """The sequence of the last of our records whose id is not above this one; less than all when there is none."""
        for number, (incarnation, first) in reversed(list(enumerate(self._eras))):
            end = self._eras[number + 1][1] if number + 1 < len(self._eras) else self.next
            if id_.incarnation > incarnation:
                return end - 1
            if id_.incarnation == incarnation:
                return min(first + id_.sequence, end) - 1
        return self._eras[0][1] - 1

    def read(self, sequence: int) -> Iterator[Entry]:
        """Synced records from the one that holds `sequence` on, or the next one there is; also while others are appended. Those that were freed meanwhile are left out."""
        while True:
            with self._mutex:
                at = bisect.bisect_right(self._firsts, sequence) - 1
                at = max(at, 0)
                if at >= len(self._firsts) or sequence >= self.next:
                    return
                path, end, first = self._path(self._firsts[at]), self._sizes[at], self._firsts[at]
                following = self._firsts[at + 1] if at + 1 < len(self._firsts) else None
            known = self._marks.get(sequence)
            for entry, offset in self._scan(path, known[1] if known is not None and known[0] == first else 0, end):
                if entry.last >= sequence:
                    sequence = entry.last + 1
                    self._mark(sequence, first, offset)
                    yield entry
            if following is None:
                with self._mutex:
                    if self._firsts and self._firsts[-1] == first and self._sizes[-1] == end:
                        return
            elif sequence < following:
                sequence = following

    def _mark(self, sequence: int, first: int, offset: int) -> None:
        with self._mutex:
            self._marks[sequence] = (first, offset)
            while len(self._marks) > MARKS:
                del self._marks[next(iter(self._marks))]

    def _scan(self, path: Path, offset: int, end: int | None) -> Iterator[tuple[Entry, int]]:
        """Whole records of a segment, each with where the next one begins; ends at the first that is not whole."""
        try:
            with telling(path, "read"):
                file = path.open("rb")
        except StorageFailed:
            if not path.exists():
                return  # freed meanwhile
            raise
        with file, telling(path, "read"):
            file.seek(offset)
            while end is None or offset < end:
                head = file.read(_HEAD.size)
                if len(head) < _HEAD.size:
                    return
                length, crc, sequence, span, at_ms = _HEAD.unpack(head)
                if length > PAYLOAD_MAX or not span:
                    return
                payload = file.read(length)
                if len(payload) < length or zlib.crc32(payload, zlib.crc32(head[8:])) != crc:
                    return
                offset += _HEAD.size + length
                yield Entry(sequence, span, at_ms / 1000, payload), offset

    # ── appending ──────────────────────────────────────────────────────────

    def append(self, records: Sequence[tuple[bytes, int]]) -> int:
        """Payload and span of each. When this returns, no kill and no power cut takes them away; the sequence of the first."""
        at_ms, sequence, packed = round(time.time() * 1000), self.next, bytearray()
        for payload, span in records:
            if len(payload) > PAYLOAD_MAX or span < 1:
                raise ValueError(f"a record of {len(payload)} bytes and {span} ids")
            checked = _CHECKED.pack(sequence, span, at_ms)
            packed += struct.pack("<II", len(payload), zlib.crc32(payload, zlib.crc32(checked))) + checked + payload
            sequence += span
        with telling(self.folder, "write the spool"):
            descriptor = self._segment()
            try:
                rest = memoryview(packed)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
                os.fsync(descriptor)
            except OSError:
                self._give_up_segment()
                raise
        with self._mutex:
            first, self.next = self.next, sequence
            self._sizes[-1] += len(packed)
            if self.oldest_s is None:
                self.oldest_s = at_ms / 1000
        return first

    def _segment(self) -> int:
        """The descriptor to write to, at its end."""
        if self._writing is not None and self._sizes[-1] < self._segment_bytes:
            return self._writing
        self._leave_segment()
        path = self._path(self.next)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600)
        try:
            sync_folder(self.folder)
        except OSError:
            os.close(descriptor)
            raise
        self._writing = descriptor
        with self._mutex:
            self._firsts.append(self.next)
            self._sizes.append(0)
        return descriptor

    def _leave_segment(self) -> None:
        if self._writing is not None:
            os.close(self._writing)
            self._writing = None

    def _give_up_segment(self) -> None:
        """After a failed write: a second fsync on the same descriptor may report success for pages that are lost. What cannot be cut off is passed over when it is opened."""
        self._leave_segment()
        with self._mutex:
            path, size = self._path(self._firsts[-1]), self._sizes[-1]
            if not size:
                del self._firsts[-1], self._sizes[-1]
        with suppress(OSError):
            if size:
                self._cut(path, size)
            else:
                path.unlink()

    @staticmethod
    def _cut(path: Path, size: int) -> None:
        with telling(path, "cut the torn end off"):
            descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_BINARY", 0))
            try:
                os.ftruncate(descriptor, size)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    # ── what goes ──────────────────────────────────────────────────────────

    def free(self, upto: int) -> None:
        """Receivers have everything up to and including this sequence number, for good."""
        upto = min(upto, self.next - 1)
        if upto <= self.freed:
            return
        with self._mutex:
            before, self.freed = self.freed, upto
            try:
                self._write_state()
            except BaseException:
                self.freed = before
                raise
            whole = max(0, bisect.bisect_right(self._firsts, upto + 1) - 1)
            gone, self._consumed = self._firsts[:whole], max(0, self._consumed - sum(self._sizes[:whole]))
            self._firsts, self._sizes = self._firsts[whole:], self._sizes[whole:]
        for first in gone:
            with telling(self.folder, "delete in"):
                self._path(first).unlink(missing_ok=True)
        self._look_at_oldest()

    def _look_at_oldest(self) -> None:
        """Of what is not freed: its age, and how much of its segment lies before it."""
        entry = next(self.read(self.freed + 1), None)
        with self._mutex:
            if entry is None:
                self.oldest_s, self._consumed = None, sum(self._sizes) if self.freed + 1 == self.next else 0
            else:
                first, end = self._marks[entry.last + 1]
                before = sum(size for segment, size in zip(self._firsts, self._sizes, strict=True) if segment < first)
                self.oldest_s, self._consumed = entry.at_s, before + end - _HEAD.size - len(entry.payload)

    def renew(self, incarnation: int, first: int) -> None:
        """Begin a further incarnation, in which the record with the sequence `first` has the id 1."""
        with self._mutex:
            before, self._eras = self._eras, [*(era for era in self._eras if era[1] < first), (incarnation, first)]
            try:
                self._write_state()
            except BaseException:
                self._eras = before
                raise

    def _write_state(self) -> None:
        while len(self._eras) > 1 and self._eras[1][1] <= self.freed + 1:
            del self._eras[0]
        store_durable(self.folder / "state.json", json.dumps({"freed": self.freed, "eras": self._eras}).encode())

    def _path(self, first: int) -> Path:
        return self.folder / f"{first:020d}.seg"
