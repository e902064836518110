"""Where the running server can be reached, and the token that gives its owner's shell all rights: a small file that only its owner may read.

This module is imported by commands that must start fast: standard library, core and `status.files` only.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cupola.core.errors import ConfigError
from cupola.status.files import believed, is_ours, runtime_folder


class Endpoint:
    """`url` is for people. The commands of this machine come by `local`, where that is another socket. `fingerprint`: the SHA-256 (hex) of
    our certificate under TLS.
    """

    def __init__(self, sock: socket.socket, local: socket.socket | None, token: str, fingerprint: str | None = None) -> None:
        self.scheme = "http" if fingerprint is None else "https"
        self._token, self._fingerprint = token, fingerprint
        self.port: int = sock.getsockname()[1]
        self.url = self._url(sock)
        self._for_commands = self.url if local is None else self._url(local)
        self._file = runtime_folder() / "server.json"

    def _url(self, sock: socket.socket) -> str:
        host, port = sock.getsockname()[:2]
        name = ("::1" if ":" in host else "127.0.0.1") if ip_address(host.partition("%")[0]).is_unspecified else host
        return f"{self.scheme}://[{name}]:{port}" if ":" in name else f"{self.scheme}://{name}:{port}"

    def announce(self) -> None:
        """Raises ConfigError when the folder cannot be written, or is not only ours: the token would not be safe there."""
        folder = self._file.parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if is_ours(folder):
                self._write()
                return
        except OSError as error:
            raise ConfigError(
                f"The folder {folder}, where commands find the server, cannot be written ({error.strerror}). Set CUPOLA_RUNTIME_DIR to one of yours."
            ) from None
        raise ConfigError(f"The folder {folder} belongs to somebody else or others may write to it. Set CUPOLA_RUNTIME_DIR to one of yours.")

    def _write(self) -> None:
        text = json.dumps({"url": self._for_commands, "pid": os.getpid(), "token": self._token, "fingerprint": self._fingerprint})
        new = self._file.with_suffix(f".{os.getpid()}.tmp")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        new.replace(self._file)

    def withdraw(self) -> None:
        """Unless another server has announced itself since."""
        with contextlib.suppress(OSError, ValueError):
            if json.loads(self._file.read_text())["pid"] == os.getpid():
                self._file.unlink()


@dataclass(frozen=True, slots=True)
class Announced:
    """`fingerprint`: of the only certificate that is taken for the server's; None without TLS."""

    url: str
    token: str
    fingerprint: str | None
    pid: int


def announced(folder: Path | None = None) -> Announced | None:
    """The running server, if one has announced itself in the runtime folder, or another one, and its file is ours to read."""
    try:
        folder = folder or runtime_folder()
        if not believed(folder):
            return None
        found = json.loads((folder / "server.json").read_text())
        pid = int(found["pid"])
        if not _lives(pid):
            return None  # it was killed, and could not withdraw
        return Announced(str(found["url"]), str(found["token"]), found["fingerprint"], pid)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _lives(pid: int) -> bool:
    if pid <= 0:
        return False
    if sys.platform == "win32":
        import psutil  # there, signal 0 would be Ctrl+C

        return psutil.pid_exists(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass  # another user's, as the service's is for root in a container
    return True
