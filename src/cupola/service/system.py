"""What services need of the machine: systemd's own programs, units' files, the services' user, and what that user may do.

Which units there are, and what becomes of them, is the business of `manage` and `receiver`.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from cupola.core.errors import ConfigError, CupolaError, NotAllowed

SYSTEM_UNITS = Path("/etc/systemd/system")
BOOTED = Path("/run/systemd/system")  # sd_booted(3): there while systemd is the first process
OWN_USER = "cupola"  # whose services these are when nobody else's
PATIENCE_S = 120.0


def unit_file(own: bool, name: str) -> Path:
    """Where a unit lies: the system's, or that of the user's own manager."""
    return (own_config() / "systemd/user" if own else SYSTEM_UNITS) / name


def own_config() -> Path:
    """The user's folder of configurations."""
    config = os.environ.get("XDG_CONFIG_HOME")
    return Path(config) if config else Path.home() / ".config"


def require_systemd() -> None:
    """Raises CupolaError."""
    if not BOOTED.is_dir() or shutil.which("systemctl") is None:
        raise CupolaError(
            "systemd does not run this machine, so there is no service to install or look at. Let whatever starts programs here run: "
            f"{sys.executable} -m cupola run --config FILE. It may send SIGTERM to end it, and has to allow 10 s for that."
        )


def require_root(why: str, command: Sequence[str]) -> None:
    """`command`: words behind `cupola service`. Raises NotAllowed."""
    if os.geteuid() != 0:
        again = shlex.join(["sudo", sys.executable, "-m", "cupola", "service", *command])
        raise NotAllowed(f"cupola service {command[0]} {why}: this needs root. Run: {again}. Without root, as a service of your own: add --user.")


def systemctl(own: bool, *arguments: str) -> str:
    """Raises CupolaError."""
    return run(["systemctl", *(["--user"] if own else []), *arguments])


def run(command: Sequence[str]) -> str:
    """What the command printed. Raises CupolaError with what it complained about."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise CupolaError(f"{' '.join(command)} did not end within {PATIENCE_S:.0f} s. See: systemctl list-jobs") from None
    except OSError as error:
        raise CupolaError(f"{command[0]} cannot be run: {error.strerror}.") from None
    if done.returncode:
        raise CupolaError(f"{' '.join(command)} failed: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout


def refuse_tmp(paths: Iterable[Path], change: str) -> None:
    """Raises ConfigError; `change`: what is to be done besides moving it."""
    for path in paths:
        if any(path.is_relative_to(folder) for folder in ("/tmp", "/var/tmp")):
            raise ConfigError(f"{path} lies in a folder for temporary files, and a service has one of its own. Move it, and {change}.")


def make_user(name: str) -> None:
    """The system user of services that are nobody else's; others are there already."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        run(["useradd", "--system", "--user-group", "--home-dir", "/var/lib/cupola", "--shell", "/usr/sbin/nologin", name])


def make_folder(folder: Path, user: str | None, change: str) -> None:
    """If it is not there yet, as the user's (None: ours): systemd opens for a service only what there is. Raises ConfigError; `change`: what else can be done."""
    entry = None if user is None else pwd.getpwnam(user)
    for path in reversed([path for path in (folder.absolute(), *folder.absolute().parents) if not path.exists()]):
        try:
            path.mkdir(mode=0o750)
            if entry is not None:
                os.chown(path, entry.pw_uid, entry.pw_gid)
        except OSError as error:
            raise ConfigError(f"The folder {path} cannot be made: {error.strerror}. {change}.") from None


def complaint_as(user: str, *command: str) -> str | None:
    """What a command says that fails as this user; None: it works."""
    entry = pwd.getpwnam(user)
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            cwd="/",
            env={"PATH": os.defpath, "HOME": entry.pw_dir, "PYTHONSAFEPATH": "1"},
            user=entry.pw_uid,
            group=entry.pw_gid,
            extra_groups=os.getgrouplist(entry.pw_name, entry.pw_gid),
        )
    except PermissionError:
        return f"the interpreter {os.path.realpath(command[0])} is closed to them."
    return (done.stderr.strip() or f"exit code {done.returncode}") if done.returncode else None


def require_writable(folder: Path, user: str) -> None:
    """Raises ConfigError."""
    if complaint_as(user, "/usr/bin/test", "-w", str(folder)) is not None:
        raise ConfigError(f"{user}, whom the service would run as, may not write {folder}. Run: chown -R {user}: {shlex.quote(str(folder))}")


def linger() -> list[str]:
    """Have a user's services run from boot to shutdown: they end with the last login, and start with the first, unless the user lingers. In sentences."""
    user = pwd.getpwuid(os.getuid()).pw_name
    try:
        if run(["loginctl", "show-user", user, "--property=Linger", "--value"]).strip() != "yes":
            run(["loginctl", "enable-linger", user])
    except CupolaError as error:
        return [f"The service ends when you log out: {error} To let it run from boot to shutdown: sudo loginctl enable-linger {user}"]
    return [f"{user} lingers now: the service runs from boot to shutdown, logged in or not."]
