"""`cupola receive` as a service, on a machine that may be a station, too, or none. What its unit says is `unit`'s business, how it is removed and looked at `manage`'s.

Where Redis is, with the password, stands in a file of its own that the owner writes: everybody may read units and command lines.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cupola.core.errors import ConfigError, CupolaError
from cupola.service.system import (
    OWN_USER,
    complaint_as,
    linger,
    make_folder,
    make_user,
    own_config,
    refuse_tmp,
    require_root,
    require_systemd,
    require_writable,
    systemctl,
    unit_file,
)
from cupola.service.unit import RECEIVER, ReceiverUnit, program_folders
from cupola.storage.files import write_durable

URL = "CUPOLA_RECEIVE_REDIS"


def environment_file(own: bool) -> Path:
    """Where the URL of Redis stands, as URL=…"""
    return own_config() / "cupola/receive.env" if own else Path("/etc/cupola/receive.env")


def render(into: Path | None, *, own: bool) -> ReceiverUnit:
    """The unit on this machine; `into`: the archive's folder, if not the usual one."""
    usual = Path.home() / "cupola-archive" if own else Path("/var/lib/cupola-archive")
    return ReceiverUnit(Path(sys.executable), (into or usual).absolute(), environment_file(own), program_folders(), None if own else OWN_USER)


def printed(into: Path | None, *, own: bool) -> list[tuple[Path, str]]:
    """All files that `install` writes, with their text. Raises ConfigError."""
    return [(unit_file(own, RECEIVER), render(into, own=own).text())]


def install(into: Path | None, *, own: bool) -> list[str]:
    """Write the unit, enable and start it; what the owner has to know besides, in sentences. Raises CupolaError."""
    require_systemd()
    if not own:
        command = ["install", "--receive", *(["--into", str(into.absolute())] if into else [])]
        require_root(f"writes {unit_file(own, RECEIVER)}, sees to the service's user and folder, and starts it with the machine", command)
    unit = render(into, own=own)
    _check_environment(unit.environment, own)
    if unit.user is not None:
        refuse_tmp((unit.into, *unit.readable), "name another folder with --into")
        make_user(unit.user)
    make_folder(unit.into, unit.user, "Name another one with --into")
    if unit.user is not None:
        if said := complaint_as(unit.user, str(unit.python), "-m", "cupola", "receive", "--help"):
            raise ConfigError(
                f"The service would run as {unit.user}, who cannot start Cupola: {said}\nInstall the program where everybody may read it."
            )
        require_writable(unit.into, unit.user)
    write_durable(unit_file(own, RECEIVER), unit.text().encode())
    systemctl(own, "daemon-reload")
    systemctl(own, "enable", RECEIVER)
    try:
        systemctl(own, "restart", RECEIVER)
    except CupolaError:
        why = f"See why: journalctl {'--user ' if own else ''}-u cupola-receive -n 50"
        raise CupolaError(f"{unit_file(own, RECEIVER)} is installed and enabled, but did not start; it is tried again every 5 s. {why}") from None
    return linger() if own else []


def _check_environment(file: Path, own: bool) -> None:
    """It names a Redis, and nobody else may read it. Raises ConfigError."""
    try:
        text, mode = file.read_text(), file.stat().st_mode
    except FileNotFoundError:
        text, mode = "", 0o600
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None
    if not any(line.startswith(f"{URL}=") for line in text.splitlines()):
        sudo = "" if own else "sudo "
        raise ConfigError(
            f"Where Redis is has to stand in {file}. Write it by: {sudo}mkdir -p {file.parent}; "
            f"{sudo}install -m 600 /dev/stdin {file} <<<'{URL}=rediss://archive:PASSWORD@HOST:6379'"
        )
    if mode & 0o077 and os.name == "posix":
        raise ConfigError(f"{file} holds a password, and others may read it. Run: {'' if own else 'sudo '}chmod 600 {file}")
