"""strace around a writer: the list of its file-related system calls, a kill before any of them, errors injected into them."""

import collections
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CALLS = "%desc,%file,ftruncate,fsync,fdatasync,pwrite64,write,rename,unlink,fcntl,mmap"
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
