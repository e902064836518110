"""strace around a writer or attached to one that runs: the list of its file-related system calls, a kill before any of them, errors injected into them."""

import collections
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

CALLS = "%desc,%file,ftruncate,fsync,fdatasync,pwrite64,write,rename,unlink,fcntl,mmap"
# what changes a disk; names that an architecture does not have are passed over
WRITING = (
    "open openat write pwrite64 writev pwritev pwritev2 fsync fdatasync sync_file_range ftruncate truncate fallocate rename renameat renameat2 unlink unlinkat "
    "rmdir mkdir mkdirat link linkat symlink symlinkat copy_file_range sendfile"
)
ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}  # one thread, so that calls have one order


def missing_feature() -> str | None:
    """Why strace cannot be used on this machine; None when it can."""
    if sys.platform != "linux" or shutil.which("strace") is None:
        return "strace is not installed (Debian package strace)"
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False)
    return None if tried.returncode == 0 else "strace may not trace here (ptrace is forbidden)"


def run(command: Sequence[str], options: Sequence[str], acked: Path, timeout_s: float = 120) -> subprocess.CompletedProcess[bytes]:
    """The command under strace, its stdout in the file `acked`."""
    with acked.open("wb") as output:
        return subprocess.run(
            ["strace", "-f", "-qq", *options, *command],
            stdout=output,
            stderr=subprocess.PIPE,
            env=os.environ | ENVIRONMENT,
            timeout=timeout_s,
            check=False,
        )


def calls_of(command: Sequence[str], folder: Path, acked: Path, log: Path) -> list[tuple[str, int]]:
    """(system call, how many-th of its name) from the first call on that names the folder: the points at which a kill can hit."""
    done = run(command, ["-s", "4096", "-o", str(log), "-e", f"trace={CALLS}"], acked)
    if done.returncode:
        raise RuntimeError(f"the writer fails by itself: {done.stderr.decode()[-2000:]}")
    counters: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    points: dict[tuple[str, int], None] = {}
    marked = False
    for line in log.read_text(errors="replace").splitlines():
        match = re.match(r"(\d+)\s+(\w+)\(", line)
        if match:
            thread, name = match.groups()
            counters[thread][name] += 1
            marked = marked or (str(folder) in line and name != "execve")  # the start of the program names it too
            if marked:
                points[name, counters[thread][name]] = None
    return list(points)


def killed_at(command: Sequence[str], point: tuple[str, int], acked: Path) -> bool:
    """Run the command with SIGKILL just as it enters this call; whether it hit."""
    name, number = point
    return run(command, ["-o", os.devnull, "-e", f"trace={name}", "-e", f"inject={name}:signal=SIGKILL:when={number}"], acked).returncode != 0


class Watched:
    """strace attached to a running process, all its threads and what threads it will start, for as long as the context lasts.

    With a `point` the process gets SIGKILL just as one of its threads enters that call for that many-th time; without, `points` tells
    afterwards what it called. Calls are counted in each thread, from the attaching on.
    """

    def __init__(self, pid: int, log: Path, point: tuple[str, int] | None = None) -> None:
        calls = ",".join(f"?{name}" for name in WRITING.split()) if point is None else point[0]
        inject = [] if point is None else ["-e", f"inject={point[0]}:signal=SIGKILL:when={point[1]}"]
        self._log = log
        self._command = ["strace", "-f", "-s", "0", "-o", str(log), "-e", f"trace={calls}", *inject, "-p", str(pid)]

    def __enter__(self) -> "Watched":
        self._strace = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert self._strace.stderr is not None
        line = self._strace.stderr.readline()  # it comes when all threads are attached
        self._reader = threading.Thread(target=self._strace.stderr.read, daemon=True)  # new threads are told there, too
        self._reader.start()
        if b"attached" not in line:
            self.__exit__()
            raise RuntimeError(f"strace does not attach: {line.decode()}")
        return self

    @property
    def ended(self) -> bool:
        """The process is dead, all its threads."""
        return self._strace.poll() is not None

    def __exit__(self, *_: object) -> None:
        """Lets go of the process."""
        self._strace.terminate()
        try:
            self._strace.wait(5)
        except subprocess.TimeoutExpired:  # it waits for a thread that is dying
            self._strace.kill()
            self._strace.wait()
        self._reader.join()
        assert self._strace.stderr is not None
        self._strace.stderr.close()

    def points(self) -> list[tuple[str, int]]:
        """(system call, how many-th of its name in its thread), in the order in which they were first reached; of `openat` those that create."""
        counters: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        points: dict[tuple[str, int], None] = {}
        for line in self._log.read_text(errors="replace").splitlines():
            if match := re.match(r"(\d+)\s+(\w+)\(", line):
                thread, name = match.groups()
                counters[thread][name] += 1
                if name not in ("open", "openat") or "O_CREAT" in line:
                    points[name, counters[thread][name]] = None
        return list(points)
