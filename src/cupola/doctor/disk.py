"""The disks of images, state and logs: room, mounts, errors of the file system, wear, and how fast they are."""

from __future__ import annotations

import errno
import json
import os
import re
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cupola.config.model import Settings
from cupola.doctor.finding import Told
from cupola.doctor.patient import Patient
from cupola.storage.space import free_space

MEASURED_BYTES, PIECE, SMALL, SYNCS = 16 << 20, 1 << 20, 4096, 5
MEASURING_S = 4.0
SLOW_MB_S, SLOW_SYNC_S = 2.0, 1.0
NO_LINKS = ("vfat", "exfat", "msdos", "ntfs", "ntfs3", "fuseblk")  # no rights, and names that differ by case only
IN_MEMORY = ("tmpfs", "ramfs")
_PARTITION = re.compile(r"(mmcblk\d+|nvme\d+n\d+|loop\d+)p\d+|([a-z]+)\d+")


@dataclass(frozen=True, slots=True)
class Mount:
    """As /proc/self/mountinfo has it (proc(5)). `device`: of the kernel, such as mmcblk0p2; None where no block device is mounted."""

    point: Path
    kind: str
    source: str
    options: frozenset[str]
    device: str | None

    @property
    def whole(self) -> str | None:
        """The disk that the partition is on."""
        if self.device is None or (found := _PARTITION.fullmatch(self.device)) is None:
            return self.device
        return found[1] or found[2]


def nearest(folder: Path) -> Path:
    """The folder or, before it is made, the nearest one above it that there is. Raises OSError where none can be made: below a link that leads nowhere,
    or where this user may not look.
    """
    for place in (folder.absolute(), *folder.absolute().parents):
        try:
            place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        if place.is_symlink() and not os.path.exists(place):
            raise FileNotFoundError(errno.ENOENT, f"it is a link to {os.readlink(place)}, which is not there", str(place))
        return place
    return Path(folder.anchor or os.sep)


def mount_of(patient: Patient, folder: Path) -> Mount | None:
    """Where a folder, or the nearest one above it that there is, is mounted from."""
    place, best = nearest(folder).resolve(), None
    for line in (patient.text("proc/self/mountinfo") or "").splitlines():
        own, dash, rest = line.partition(" - ")
        fields, kind = own.split(" "), rest.split(" ")
        if not dash or len(fields) < 6 or len(kind) < 3:
            continue
        point = Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        if place.is_relative_to(point) and (best is None or len(point.parts) >= len(best.point.parts)):
            best = Mount(
                point, kind[0], kind[1], frozenset(fields[5].split(",")) | frozenset(kind[2].split(",")), _device(patient, fields[2], kind[1])
            )
    return best


def _device(patient: Patient, numbers: str, source: str) -> str | None:
    try:
        return os.path.basename(os.readlink(patient.path("sys/dev/block", numbers)))
    except OSError:
        return os.path.basename(source) if source.startswith("/dev/") and source != "/dev/root" else None


def check(patient: Patient, told: Told) -> None:
    """Every disk once, however many folders are on it."""
    if patient.settings is None:
        told.saw("not looked at: the configuration names the folders")
        return
    seen = set[Any]()
    for key, folder in _folders(patient.settings):
        if not _usable(key, folder, told):
            continue
        mount = mount_of(patient, folder)
        disk = mount.point if mount else folder.stat().st_dev
        if disk in seen:
            continue
        seen.add(disk)
        _room(patient, key, folder, told)
        if mount is not None:
            _mounted(key, folder, mount, told)
            _errors(patient, mount, told)
            _wear(patient, mount, told)
        if free_space(folder).bytes > 4 * MEASURED_BYTES:
            _speed(folder, mount, told)


def _folders(settings: Settings) -> Iterator[tuple[str, Path]]:
    yield "storage.root", settings.storage.root
    yield "storage.state", settings.storage.state_folder
    yield "logging.folder", settings.logging.folder


def _usable(key: str, folder: Path, told: Told) -> bool:
    """A folder that is not there yet is made at the start, if what is above it lets."""
    try:
        place = nearest(folder)
    except OSError as error:
        fix = f"Mount what the link leads to, or give this user the folder above, or change {key}; or run doctor as the service's user."
        told.error(f"{key}: {error.filename} cannot be used: {error.strerror}.", fix)
        return False
    if not place.is_dir():
        told.error(f"{key}: {place} is no folder.", f"Move that file away, or change {key}.")
    elif not os.access(place, os.W_OK | os.X_OK):
        told.error(
            f"{key}: the folder {place} may not be written by this user.", f"sudo chown -R $(id -un): {place}; or run doctor as the service's user."
        )
    elif place != folder.absolute():
        told.saw(f"{key} {folder} is not there yet")
    else:
        return True
    return False


def _room(patient: Patient, key: str, folder: Path, told: Told) -> None:
    settings = patient.settings
    assert settings is not None
    free, storage, alarms = free_space(folder), settings.storage, settings.alarms
    retention = (patient.status or {}).get("retention")
    forecast = f", {retention['words']}" if retention and key == "storage.root" else ""
    told.saw(f"{folder}: {free.bytes / 1e9:.1f} GB ({free.percent:.0f} %) free{forecast}")
    room = f"{free.bytes / 1e9:.2f} GB ({free.percent:.1f} %) are free on the disk of {folder}"
    more = f"See what takes it: du -xh -d2 {folder} | sort -h | tail. Older images go by themselves with storage.retention: cupola retention"
    if free.percent < storage.min_free_percent or free.bytes < 1_000_000:
        told.error(f"The disk is full: {room}{', and no new images are stored' if key == 'storage.root' else ''}.", more)
    elif key == "storage.root" and retention and retention["problem"]:
        told.error(f"Nothing is deleted although it should be: {retention['problem']}", more)
    elif key == "storage.root" and retention and retention["low"]:
        told.error(f"The disk is nearly full, and nothing is left that may be deleted: {room}.", more)
    else:
        used = 100 - free.percent
        kept = storage.keep_free_percent > 0  # then retention sees to it
        for limit, level in ((alarms.disk_error_percent, told.warning), (alarms.disk_warning_percent, told.note if kept else told.warning)):
            if limit is not None and used >= limit:
                level(f"The disk fills up: {room}{forecast}.", more)
                break
    system = os.statvfs(folder) if hasattr(os, "statvfs") else None
    if system is not None and system.f_files and system.f_favail < system.f_files / 100:
        told.error(
            f"The file system of {folder} has no room for more files ({system.f_favail} left), however many bytes are free.",
            "Delete old images (storage.retention.days), or make the file system anew with more inodes.",
        )


def _mounted(key: str, folder: Path, mount: Mount, told: Told) -> None:
    if "ro" in mount.options:
        told.error(
            f"{folder} is mounted read-only ({mount.source} on {mount.point}): after errors the kernel does that by itself.",
            f"See why: journalctl -k | grep -i {mount.device or mount.kind}. Then check it (fsck), and: sudo mount -o remount,rw {mount.point}",
        )
    if mount.kind in IN_MEMORY and key != "logging.folder":
        told.warning(f"{key}: {folder} lies in memory ({mount.kind}); all of it is gone after a restart.", f"Point {key} at a folder on a disk.")
    if mount.kind in NO_LINKS:
        told.warning(
            f"{folder} is on {mount.kind}, which keeps no rights and loses files at power cuts.",
            "Use a disk with ext4: sudo mkfs.ext4 (deletes all on it).",
        )
    if "sync" in mount.options:
        told.warning(
            f"{mount.point} is mounted with sync: every write waits for the disk.",
            f"Remove sync from its options in /etc/fstab, and remount {mount.point}.",
        )


def _errors(patient: Patient, mount: Mount, told: Told) -> None:
    """What ext4 has noted of itself (Documentation/ABI/testing/sysfs-fs-ext4)."""
    if mount.device is not None and (count := patient.number("sys/fs/ext4", mount.device, "errors_count")):
        told.error(
            f"The file system on {mount.device} has {count} errors.",
            f"Copy what you need, then check it while it is not mounted: sudo fsck.ext4 -f /dev/{mount.device}. If they come again, the disk is dying.",
        )


def _wear(patient: Patient, mount: Mount, told: Told) -> None:
    """eMMC by its registers EXT_CSD[267..269] (JESD84-B51: life time in tenths, pre-EOL 1 to 3), other disks by smartctl, where it may look."""
    disk = mount.whole
    if disk is None:
        return
    replace = f"Copy what you need, and replace {disk} soon."
    lived = [int(word, 16) for word in (patient.text("sys/block", disk, "device/life_time") or "").split() if re.fullmatch(r"0x[0-9a-f]+", word)]
    if lived:
        worst = max(lived)
        told.saw(f"{disk}: {'all' if worst > 10 else f'{10 * worst} %'} of its life used")
        if worst > 10 or patient.number("sys/block", disk, "device/pre_eol_info") == 3:
            told.error(f"The flash memory {disk} has reached the end of its life.", replace)
        elif worst >= 9 or patient.number("sys/block", disk, "device/pre_eol_info") == 2:
            told.warning(f"The flash memory {disk} has used {10 * worst} % of its life.", replace)
        return
    if disk.startswith(("sd", "nvme", "hd")) and (said := patient.program("smartctl", "-H", "-j", f"/dev/{disk}")):
        try:
            passed = json.loads(said)["smart_status"]["passed"]
        except (ValueError, KeyError, TypeError):
            return  # not ours to read, or behind a bridge that does not tell
        told.saw(f"{disk}: {'well' if passed else 'failing'}, says SMART")
        if not passed:
            told.error(f"The disk {disk} says of itself that it is failing.", replace)


def _speed(folder: Path, mount: Mount | None, told: Told) -> None:
    """Written, synced and gone: the file has no name."""
    name = folder / f".cupola-doctor-{os.getpid()}"
    file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        name.unlink()
        piece, began, written = os.urandom(PIECE), time.monotonic(), 0
        while written < MEASURED_BYTES and time.monotonic() - began < MEASURING_S:
            written += os.write(file, piece)
            os.fsync(file)
        rate = written / 1e6 / max(time.monotonic() - began, 1e-3)
        synced = [_sync_s(file, piece[:SMALL]) for _ in range(SYNCS)]
    finally:
        os.close(file)
    middle = statistics.median(synced)
    told.saw(f"{folder}: writes {rate:.0f} MB/s, syncs in {1000 * middle:.0f} ms")
    if rate < SLOW_MB_S or middle > SLOW_SYNC_S:
        told.warning(
            f"The disk of {folder} is slow: {rate:.1f} MB/s, {middle:.2f} s to sync{f' ({mount.source})' if mount else ''}.",
            "An old card slows down before it dies: use another one (A1, or better an SSD). What it can carry: cupola tune",
        )


def _sync_s(file: int, data: bytes) -> float:
    began = time.monotonic()
    os.write(file, data)
    os.fsync(file)
    return time.monotonic() - began
