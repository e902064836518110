"""Free space, the reserve that is given back when there is none, and lock files.

How files are written is the business of `files`. Standard library only: camera processes import this.
"""

import errno
import json
import os
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from cupola.storage.files import ensure_folder, sync_folder, telling

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


@dataclass(frozen=True, slots=True)
class Free:
    """What ordinary users can still write: `percent` is of the space they can ever use, `usable_bytes`, as df counts."""

    bytes: int
    percent: float
    usable_bytes: int


def free_space(path: Path) -> Free:
    """Of the file system `path` is on, or will be on once it exists. Raises StorageFailed."""
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    with telling(place, "look at the free space of"):
        usage = shutil.disk_usage(place)
    usable = max(usage.used + usage.free, 1)
    return Free(usage.free, 100.0 * usage.free / usable, usable)


Rung = Literal["all", "no_originals", "every_2nd", "every_4th", "none"]


@dataclass(frozen=True, slots=True)
class Thrift:
    """What is still stored while free space shrinks from `keep_free_percent` to `min_free_percent`; the latter alone counts where it is not less.

    As long as there is something old to delete, retention keeps the first; less is free only when there is not. Then stills go
    without their originals, then every second and every fourth is stored, at last none.
    """

    min_free_percent: float
    keep_free_percent: float

    def rung(self, free_percent: float) -> Rung:
        if free_percent < self.min_free_percent:
            return "none"
        span = self.keep_free_percent - self.min_free_percent
        left = (free_percent - self.min_free_percent) / span if span > 0 else 1.0
        return "all" if left >= 0.75 else "no_originals" if left >= 0.5 else "every_2nd" if left >= 0.25 else "every_4th"


EVERY: dict[Rung, int] = {"all": 1, "no_originals": 1, "every_2nd": 2, "every_4th": 4, "none": 1}  # images of a series, which of them is stored


class Reserve:
    """Space set aside, to give back when the disk is full: SQLite needs some to go on, even to delete."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        self.size_bytes = size_bytes

    @property
    def held(self) -> bool:
        """Whether the reserve is whole."""
        try:
            return self.path.stat().st_size >= self.size_bytes
        except OSError:
            return False

    def restore(self) -> bool:
        """Set the space aside again, if it is not. False when there is too little; raises StorageFailed."""
        if self.held:
            return True
        ensure_folder(self.path.parent)
        with telling(self.path, "reserve space in"):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                self._fill(descriptor)
                os.fsync(descriptor)
            except OSError as error:
                self.release()
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    return False
                raise
            finally:
                os.close(descriptor)
        return True

    def _fill(self, descriptor: int) -> None:
        if sys.platform == "linux":
            os.posix_fallocate(descriptor, 0, self.size_bytes)
            return
        block = bytes(1 << 20)
        left = self.size_bytes
        while left:
            left -= os.write(descriptor, block[: min(left, len(block))])

    def release(self) -> bool:
        """Give the space back; False when there was nothing to give."""
        try:
            self.path.unlink()
        except OSError:
            return False
        with suppress(OSError):
            sync_folder(self.path.parent)
        return True


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock: its process, and the facts it left. `pid` is None in the instant before it wrote them."""

    pid: int | None
    facts: dict[str, Any]


class Lock:
    """A lock file: held by the process that acquired it until it releases or dies, kill -9 included.

    The kernel holds the lock (flock), the file only tells who: it stays when the lock is gone. On Windows
    `msvcrt.locking` on a byte far behind the text does the same; that part has not been tested there.
    """

    _FAR = 1 << 30

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, **facts: Any) -> bool:
        """Take the lock and write this process's id and `facts` (JSON) into it; False when another holds it."""
        if self._descriptor is not None:
            return True
        ensure_folder(self.path.parent)
        with telling(self.path, "lock"):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            # `holder` takes the lock for some microseconds to see whether it is free: one refusal proves nothing.
            if not any(self._try(descriptor) or time.sleep(0.01) for _ in range(5)):
                os.close(descriptor)
                return False
            with telling(self.path, "write"):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, json.dumps({"pid": os.getpid(), **facts}).encode())
        except BaseException:
            with suppress(OSError):
                os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let go. Idempotent."""
        if self._descriptor is not None:
            if sys.platform != "win32":
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # closing alone would not do if a forked child shares it
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> Holder | None:
        """Who holds it now, this process included; None when nobody does."""
        if not self.path.exists():
            return None
        with telling(self.path, "look into"):
            descriptor = os.open(self.path, os.O_RDWR)
            try:
                if self._try(descriptor):
                    return None
                text = os.read(descriptor, 65536)
            finally:
                os.close(descriptor)
        try:
            facts = cast("dict[str, Any]", json.loads(text))
        except ValueError:
            return Holder(None, {})
        return Holder(facts.pop("pid", None), facts)

    def _try(self, descriptor: int) -> bool:
        try:
            if sys.platform == "win32":
                os.lseek(descriptor, self._FAR, os.SEEK_SET)
                try:
                    msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                finally:
                    os.lseek(descriptor, 0, os.SEEK_SET)
            else:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
                return False
            raise
        return True
