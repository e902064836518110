"""A running systemd to install services in: a real one, as the first process of namespaces of its own (systemd.sh)."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.station import eventually

SOURCE = Path(__file__).parents[2] / "src"
PYTHON = "/srv/env/bin/python"


@dataclass
class Systemd:
    pid: int
    folder: Path

    def run(self, *command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """A command as root beside it."""
        inside = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--uts", "--ipc", "--cgroup"]
        own = {"PATH": os.environ["PATH"], "HOME": pwd.getpwuid(0).pw_dir, "COLUMNS": "200", "SYSTEMD_UNIT_PATH": "/etc/systemd/system:/srv/units"}
        return subprocess.run([*inside, *command], input=text, env=own, capture_output=True, text=True, timeout=300)

    def cupola(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(PYTHON, "-m", "cupola", *arguments)

    def write(self, path: str, text: str) -> None:
        assert self.run("sh", "-c", f"mkdir -p {os.path.dirname(path)} && cat >{path}", text=text).returncode == 0

    def show(self, name: str) -> str:
        """A property of cupola.service."""
        return self.run("systemctl", "show", "--property", name, "--value", "cupola").stdout.strip()


def _groups(name: str) -> list[Path]:
    """New control groups, one in each hierarchy that systemd needs."""
    root = Path("/sys/fs/cgroup")
    kinds = [root / kind for kind in ("systemd", "devices", "unified") if (root / kind / "cgroup.procs").exists()] or [root]
    return [kind / name for kind in kinds]


def why_not() -> str | None:
    """What this machine lacks for a systemd in namespaces."""
    if os.geteuid() != 0:
        return "not root: no namespaces with a systemd"
    if not os.access("/lib/systemd/systemd", os.X_OK):
        return "no systemd on this machine"
    group = _groups("cupola-probe")[0]
    try:
        group.mkdir()
        group.rmdir()
    except OSError:
        return "no control groups that may be written"
    made = subprocess.run(
        ["unshare", "--fork", "--pid", "--mount", "--uts", "--ipc", "--cgroup", "mount", "--make-rprivate", "/"], capture_output=True
    )
    return "no namespaces for a systemd" if made.returncode else None


@contextmanager
def booted(folder: Path) -> Iterator[Systemd]:
    """From its start until everything in it is killed."""
    groups = _groups(f"cupola-test-{os.getpid()}")
    for group in groups:
        group.mkdir()

    def enter() -> None:
        for group in groups:
            (group / "cgroup.procs").write_text("0")

    script = [str(Path(__file__).with_suffix(".sh")), str(folder), sys.prefix, sys.base_prefix, str(SOURCE)]
    with (folder / "script").open("wb") as said:
        outer = subprocess.Popen(
            ["unshare", "--fork", "--kill-child", "--pid", "--mount", "--uts", "--ipc", "--cgroup", *script],
            stdout=said,
            stderr=said,
            preexec_fn=enter,
        )
    try:

        def first() -> int | None:
            assert outer.poll() is None, (folder / "script").read_text() + (folder / "systemd.log").read_text()
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
            return (
                int(children[0]) if children and "systemd --system" in Path(f"/proc/{children[0]}/cmdline").read_text().replace("\0", " ") else None
            )

        machine = Systemd(int(eventually(first, 90) or 0), folder)
        eventually(lambda: machine.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded"), 90)
        yield machine
    finally:
        outer.kill()
        outer.wait(10)
        for group in groups:
            eventually(lambda group=group: not _alive(group))
            for path in sorted(group.rglob("*"), reverse=True):
                if path.is_dir():
                    path.rmdir()
            group.rmdir()


def _alive(group: Path) -> bool:
    with contextlib.suppress(OSError):
        return any(procs.read_text().strip() for procs in group.rglob("cgroup.procs"))
    return True
