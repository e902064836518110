"""Files that survive a power cut, and what they are called. Locks and free space have a module of their own, `space`.

Owns the durable-write discipline and the names of CONTRACT. Which of those files are known is the
business of `catalogue`. Standard library only: camera and darkroom processes import this.
"""

import errno
import hashlib
import os
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from cupola.core.clock import observing_day
from cupola.core.errors import CupolaError, StorageFailed, StorageFull

if TYPE_CHECKING:  # it would bring numpy along
    from cupola.core.frame import Station

TMP = ".tmp"
ORIGINAL_SUFFIX = ".fits.fz"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM)
_STEM = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z_(\d{6}|[1-9]\d{6,17})", re.ASCII)
_CAMERA = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?", re.ASCII)

_durable_folders: set[Path] = set()  # folders whose own entry, and their parents', this process has synced


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that is safely on disk: its size and the sha256 (hex) of its content."""

    path: Path
    bytes: int
    sha256: str


def write_durable(path: Path, data: bytes | bytearray | memoryview) -> WrittenFile:
    """Write `data` so that after the return no kill and no power cut can lose or truncate it.

    `.tmp` beside it, write, fsync, close, rename, fsync the folder; folders that do not exist are made and
    their parents synced. An existing `path` is replaced at once or not at all. There is one writer of a
    path at a time, so a `.tmp` found there belongs to a dead one and goes. When the disk answers EIO the whole
    file is written once more: a second fsync on the same descriptor would report success for lost pages. So it is when the
    folder is gone, which retention removes when it is empty.

    Raises StorageFull (no space, quota used up) and StorageFailed (anything else); then no `.tmp` stays, and
    `path` may hold the new content, the old or none.
    """
    content = memoryview(data).cast("B")
    digest = hashlib.sha256(content).hexdigest()
    store_durable(path, content)
    return WrittenFile(path, len(content), digest)


def store_durable(path: Path, data: bytes | bytearray | memoryview) -> None:
    """`write_durable` for what nobody lists: without the digest, which costs more than the write itself for the largest files."""
    content = memoryview(data).cast("B")
    with telling(path, "write"):
        try:
            _write_once(path, content)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.ENOENT):
                raise
            _durable_folders.clear()
            _write_once(path, content)


def _write_once(path: Path, content: memoryview) -> None:
    ensure_folder(path.parent)
    tmp = path.with_name(path.name + TMP)
    try:
        descriptor = _create(tmp)
        try:
            rest = content
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(tmp, path)
    except BaseException:
        with suppress(OSError):
            tmp.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _create(tmp: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(tmp, flags, 0o644)
    except FileExistsError:
        tmp.unlink()
        return os.open(tmp, flags, 0o644)


def ensure_folder(folder: Path) -> None:
    """Make `folder` and its parents, durably. Cheap when this process has done so before."""
    folder = Path(os.path.abspath(folder))
    if folder in _durable_folders and folder.is_dir():
        return
    with telling(folder, "make the folder"):
        folder.mkdir(parents=True, exist_ok=True)
        # Also where the folder exists: a writer killed between mkdir and fsync leaves one that a power cut still takes.
        device = folder.stat().st_dev
        for parent in folder.parents:
            if parent.stat().st_dev != device or not sync_folder(parent) or parent in _durable_folders:
                break
    _durable_folders.add(folder)


def sync_folder(folder: Path) -> bool:
    """Make the entries of `folder` durable; False where system, file system or rights do not allow to ask for it."""
    if sys.platform == "win32":  # NTFS journals its metadata, and a folder cannot be opened
        return False
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _NO_FOLDER_SYNC:
            return False
        raise
    return True


def settle(path: Path) -> None:
    """Make a file durable that somebody else wrote and may not have synced. Raises as `write_durable`."""
    with telling(path, "sync"):
        descriptor = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        ensure_folder(path.parent)
        sync_folder(path.parent)


def place_durable(tmp: Path, path: Path) -> WrittenFile:
    """Make `tmp`, which is too large to be written from memory and is complete, durable, and rename it to `path` in the same folder. Raises as `write_durable`."""
    settle(tmp)
    digest = sha256_of(tmp)
    with telling(path, "write"):
        size = tmp.stat().st_size
        os.replace(tmp, path)
        sync_folder(path.parent)
    return WrittenFile(path, size, digest)


@contextmanager
def telling(path: Path, action: str) -> Generator[None]:
    """Turn an OSError into StorageFull or StorageFailed that say where, what, and what to do."""
    try:
        yield
    except OSError as error:
        raise storage_error(path, action, error) from error


def storage_error(path: Path, action: str, error: OSError) -> CupolaError:
    """The error of the right class for a failed `action` on `path`, with advice for its errno."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        limit = "The user's disk quota is used up" if error.errno == errno.EDQUOT else "The disk is full"
        return StorageFull(f"Cannot {action} {path}: {reason}. {limit}: delete or move old images, or point storage.root to a larger disk.")
    advice = {
        errno.EIO: "The disk reports an error: look at its cable and power and the kernel's log (dmesg); replace the card or disk if it repeats.",
        errno.EROFS: "The file system is read-only, often after an error: look at the kernel's log (dmesg), check it with fsck and mount it again.",
        errno.EACCES: "The user that runs Cupola may not write there: change the owner of the folder, or storage.root.",
        errno.EPERM: "The user that runs Cupola may not write there: change the owner of the folder, or storage.root.",
        errno.ENOTDIR: "A file is in the way where a folder belongs: move it, or change storage.root.",
        errno.EEXIST: "A file is in the way where a folder belongs: move it, or change storage.root.",
        errno.EFBIG: "The file is larger than the limit of this process or file system: raise the limit (ulimit -f, LimitFSIZE).",
    }.get(error.errno or 0, "Check the disk and storage.root.")
    return StorageFailed(f"Cannot {action} {path}: {reason}. {advice}")


def sha256_of(path: Path) -> str:
    """The sha256 (hex) of a file's content, read in pieces. Raises StorageFailed."""
    with telling(path, "read"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def image_stem(opened_at: datetime, sequence: int) -> str:
    """`20261121T231502Z_000342`: UTC second of shutter opening, and the camera's sequence number (0 and up)."""
    if opened_at.tzinfo is None:
        raise ValueError("opened_at needs a timezone")
    if not 0 <= sequence < 10**18:
        raise ValueError(f"sequence {sequence} is out of range")
    at = opened_at.astimezone(UTC)
    return f"{at.year:04d}{at.month:02d}{at.day:02d}T{at.hour:02d}{at.minute:02d}{at.second:02d}Z_{sequence:06d}"


def parse_stem(stem: str) -> tuple[datetime, int]:
    """The inverse of `image_stem`, to the second; raises ValueError on any other text."""
    match = _STEM.fullmatch(stem)
    if match is None:
        raise ValueError(f"{stem!r} is not the name of an image")
    *moment, sequence = map(int, match.groups())
    year, month, day, hour, minute, second = moment
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC), sequence


def stem_of(path: Path | PurePosixPath) -> str:
    """The name without any suffix: `x.fits.fz` → `x`."""
    return path.name.split(".", 1)[0]


def camera_folder(root: Path, camera: str) -> Path:
    """`<root>/<camera>`; raises ValueError for a name that could lead elsewhere."""
    if not _CAMERA.fullmatch(camera):
        raise ValueError(f"{camera!r} cannot be a camera's folder: use letters, digits, '-', '_' and '.', at most 64")
    return root / camera


def day_of(opened_at: datetime, station: "Station") -> str:
    """`2026-11-21`: the observing day an image belongs to. Some 40 µs, so it is not worth a cache."""
    return observing_day(opened_at, station.longitude, ZoneInfo(station.timezone)).isoformat()


def folder_of(root: Path, camera: str, day: str) -> Path:
    """`<root>/<camera>/YYYY/MM/DD` of a date (`2026-11-21`)."""
    return camera_folder(root, camera).joinpath(*day.split("-"))


def raw_path(
    root: Path, camera: str, opened_at: datetime, sequence: int, station: "Station", suffix: str = ORIGINAL_SUFFIX, day: str | None = None
) -> Path:
    """Where the original of a sensor, or the camera's own file, is kept: in the folder of `day`, or else of its observing day."""
    return folder_of(root, camera, day or day_of(opened_at, station)) / "raw" / (image_stem(opened_at, sequence) + suffix)


def jpg_path(root: Path, camera: str, opened_at: datetime, sequence: int, station: "Station", day: str | None = None) -> Path:
    """Where the developed image, or the original of a source that sends JPEG, is kept; `day` as of `raw_path`."""
    return folder_of(root, camera, day or day_of(opened_at, station)) / "jpg" / (image_stem(opened_at, sequence) + ".jpg")


def queue_path(queue: Path, camera: str, opened_at: datetime, sequence: int, suffix: str = ORIGINAL_SUFFIX) -> Path:
    """Where an original that is not kept waits to be developed."""
    return camera_folder(queue, camera) / (image_stem(opened_at, sequence) + suffix)


def relative_name(path: Path, root: Path) -> str:
    """The path as the catalogue has it: relative to `root`, with `/` on every system."""
    return path.relative_to(root).as_posix()


def inside(root: Path, name: str) -> Path:
    """`root/name`, for a name out of the catalogue; raises ValueError when it (or a symlink in it) leads out of `root`."""
    relative = PurePosixPath(name)
    if relative.is_absolute() or not relative.parts or ".." in relative.parts or "\\" in name or "\0" in name:
        raise ValueError(f"{name!r} is not a path inside of {root}")
    path = root.joinpath(*relative.parts)
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):  # `resolve` of Python 3.11 raises at a link to itself
        raise ValueError(f"{name!r} leads out of {root}")
    return path
