"""CPU time and memory of a process or its tree, read from /proc (Linux).

Memory is PSS, which divides shared pages among those who share them: the only figure that may be summed.
"""

from __future__ import annotations

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
MODULES = {"cupola.camera.process": "camera", "cupola.darkroom.process": "darkroom"}


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat behind the command name; the first is the state."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def tree(pid: int) -> list[int]:
    """The process and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                children.setdefault(int(_stat(int(entry))[1]), []).append(int(entry))
            except OSError:
                continue
    found, waiting = list[int](), [pid]
    while waiting:
        current = waiting.pop()
        found.append(current)
        waiting.extend(children.get(current, []))
    return found


def cpu_s(pid: int, *, whole_tree: bool = False) -> float:
    """User and system time, in seconds; of a tree with children that ended and were waited for."""
    total = 0
    for member in tree(pid) if whole_tree else [pid]:
        try:
            fields = _stat(member)
        except OSError:
            continue
        total += sum(int(value) for value in (fields[11:15] if whole_tree else fields[11:13]))
    return total / TICKS


def pss_mib(pid: int) -> float:
    """0 for a process that is gone."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def role(pid: int) -> str:
    """`camera` and `darkroom` for Cupola's children; `server` for anything else."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "gone"
    return next((name for module, name in MODULES.items() if module in words), "server")


def pss_by_role(pid: int) -> dict[str, float]:
    """MiB of `server`, `camera` and `darkroom`, as far as they run."""
    found: dict[str, float] = {}
    for member in tree(pid):
        found[role(member)] = found.get(role(member), 0.0) + pss_mib(member)
    return found
