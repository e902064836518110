"""A small ext4 in a loop-mounted file, whose power can be cut: what was not synced is gone after the next mount."""

import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

if sys.platform == "linux":
    import fcntl

_SHUTDOWN = (2 << 30) | (4 << 16) | (ord("X") << 8) | 125  # EXT4_IOC_SHUTDOWN, include/uapi/linux/ext4.h
_WITHOUT_LOG_FLUSH = 2
_FREEZE, _THAW = 0xC0045877, 0xC0045878  # FIFREEZE and FITHAW, include/uapi/linux/fs.h


def _must(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


class Disk:
    """An ext4 of `size_mb` in `work/disk.img`, to be mounted at `work/mount`."""

    def __init__(self, work: Path, size_mb: int) -> None:
        self.image, self.folder = work / "disk.img", work / "mount"
        self.folder.mkdir()
        with self.image.open("wb") as file:
            file.truncate(size_mb << 20)
        _must("mkfs.ext4", "-q", "-m0", str(self.image))

    @contextmanager
    def mounted(self) -> Generator[Path]:
        """The folder, mounted (the journal is replayed) and unmounted at the end."""
        _must("mount", "-o", "loop", str(self.image), str(self.folder))
        try:
            yield self.folder
        finally:
            deadline = time.monotonic() + 10
            while subprocess.run(["umount", str(self.folder)], capture_output=True, check=False).returncode:
                if time.monotonic() > deadline:
                    raise OSError(f"{self.folder} cannot be unmounted: some process still uses it")
                time.sleep(0.05)

    def cut_power(self) -> None:
        """Nothing more reaches the disk, the journal's unwritten part included. Mounted only."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_LOG_FLUSH))
        finally:
            os.close(descriptor)

    @contextmanager
    def stalled(self) -> Generator[None]:
        """Every write waits in the kernel, where no signal ends it. Mounted only."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _FREEZE, 0)
            try:
                yield
            finally:
                fcntl.ioctl(descriptor, _THAW, 0)
        finally:
            os.close(descriptor)

    @contextmanager
    def slow(self, wait_s: float) -> Generator[None]:
        """Every write waits up to so long, as on a worn-out card. Mounted only."""
        over = threading.Event()

        def stutter() -> None:
            while not over.is_set():
                with self.stalled():
                    over.wait(wait_s)
                over.wait(0.001)

        thread = threading.Thread(target=stutter)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@cache
def missing_feature() -> str | None:
    """Why no such disk can be had on this machine; None when it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "mounting a loop ext4 needs Linux and root"
    try:
        with tempfile.TemporaryDirectory() as name, Disk(Path(name), 8).mounted():
            return None
    except (OSError, FileNotFoundError) as error:
        return f"no loop-mounted ext4 here ({error})"
