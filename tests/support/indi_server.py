"""A real indiserver with its simulated camera, reachable on 127.0.0.1 only.

Debian's indiserver listens on every address. So it runs in a network namespace of its own, where nothing but a loopback exists,
and this program in there passes bytes between it and a socket that was opened outside: a listening socket stays in the
namespace it was made in.

Needs Debian's indi-bin, iproute2 and unshare, and root or user namespaces. Used through `IndiServer`; the part in the namespace is
    unshare --net -- python indi_server.py LISTENING_FD HOME DRIVER ...
which prints a line of JSON with the process id of indiserver when that answers, and ends when indiserver or its standard input does.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CAMERA, TELESCOPE = "CCD Simulator", "Telescope Simulator"
DRIVERS = ("indi_simulator_ccd", "indi_simulator_telescope")
_INSIDE_PORT = 7624
_STARTS_WITHIN_S = 20.0


def namespace_command() -> list[str] | None:
    """What runs a command in a network namespace of its own; None where this machine allows none."""
    for command in (["unshare", "--net"], ["unshare", "--net", "--map-root-user"]):
        if shutil.which("unshare") and subprocess.run([*command, "ip", "link", "set", "lo", "up"], capture_output=True).returncode == 0:
            return command
    return None


class IndiServer:
    """Started and stopped as often as wanted, always on the same port of 127.0.0.1. `home` is the server's HOME: its drivers' settings."""

    def __init__(self, home: Path, drivers: tuple[str, ...] = DRIVERS) -> None:
        self._home, self._drivers = home, drivers
        self._process: subprocess.Popen[str] | None = None
        self.pid = 0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    def start(self) -> None:
        command = namespace_command()
        assert command is not None, "no network namespaces here"
        with socket.socket() as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(("127.0.0.1", self.port))
            listening.listen(16)
            words = [*command, "--", sys.executable, __file__, str(listening.fileno()), str(self._home), *self._drivers]
            self._process = subprocess.Popen(
                words, pass_fds=[listening.fileno()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **_environment()}
            )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if not said:
            self.stop()
            raise RuntimeError(f"indiserver did not start: {(self._home / 'server.log').read_text(errors='replace')[-2000:]}")
        self.pid = json.loads(said)["pid"]

    def kill(self) -> None:
        """SIGKILL to indiserver alone; its drivers end when they notice. Returns when nobody listens any more."""
        os.kill(self.pid, signal.SIGKILL)
        self._ended()

    def stop(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._ended()

    def _ended(self) -> None:
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        self._process = None

    def driver_pid(self, driver: str = DRIVERS[0]) -> int:
        """Of a driver's process, a child of indiserver."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return next(int(child) for child in children if driver.encode() in Path(f"/proc/{child}/cmdline").read_bytes())

    def __enter__(self) -> IndiServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _environment() -> Mapping[str, str]:
    return {"PATH": f"{Path(__file__).parent / 'indi'}:{os.environ['PATH']}"}  # the simulator calls "gsc" for its stars


# ── inside the namespace ───────────────────────────────────────────────────


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 18):
            target.sendall(data)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def _serve(listening: socket.socket) -> None:
    while True:
        outside, _ = listening.accept()
        outside.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        inside = socket.create_connection(("127.0.0.1", _INSIDE_PORT))
        inside.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for pair in ((outside, inside), (inside, outside)):
            threading.Thread(target=_copy, args=pair, daemon=True).start()


def main(arguments: list[str]) -> None:
    listening, home = socket.socket(fileno=int(arguments[0])), Path(arguments[1])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with (home / "server.log").open("ab") as log:
        command = ["indiserver", "-p", str(_INSIDE_PORT), "-u", "indi-in-a-namespace", "-m", "500", "-r", "1000", *arguments[2:]]
        server = subprocess.Popen(command, env={**os.environ, "HOME": str(home)}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    end = time.monotonic() + _STARTS_WITHIN_S
    while server.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", _INSIDE_PORT)).close()
            break
        except OSError:
            time.sleep(0.02)
    else:
        server.kill()
        raise SystemExit("indiserver does not answer")
    said: dict[str, Any] = {"pid": server.pid}
    print(json.dumps(said), flush=True)
    threading.Thread(target=_serve, args=(listening,), daemon=True).start()
    threading.Thread(target=lambda: (sys.stdin.read(), server.terminate()), daemon=True).start()
    server.wait()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
