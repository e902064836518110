"""Installs, removes and looks at the service through systemd's own programs. What the unit says is `unit`'s business.

For the whole machine this needs root: the unit lies in /etc, and the service starts before anybody logs in. As a service
of a user's own it needs that user only, and lingering, without which systemd ends it at logout.
"""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cupola.config.model import Settings
from cupola.core.errors import ConfigError, CupolaError, NotAllowed
from cupola.service.unit import DEVICE_GROUPS, RULES, SERVER, STATUS, TEST, TIMER, Unit, folders, udev_rules, unit_for
from cupola.storage.files import sync_folder, write_durable

NAME = SERVER
UNITS = (SERVER, STATUS, TEST, TIMER)
SYSTEM_UNIT = Path("/etc/systemd/system") / NAME
UDEV_RULES = Path("/etc/udev/rules.d") / RULES
BOOTED = Path("/run/systemd/system")  # sd_booted(3): there while systemd is the first process
OWN_USER = "cupola"  # whose service it is when the configuration is root's
PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class State:
    """One service as systemd sees it; `state` as `systemctl is-active` says it, `since` in systemd's words."""

    name: str
    unit: str
    installed: bool
    enabled: bool
    state: str
    detail: str
    pid: int | None
    restarts: int
    since: str | None

    @property
    def well(self) -> bool:
        """It runs, or waits for its timer."""
        return self.state == "active" or (self.name == TEST and self.state in ("inactive", "activating"))


def unit_file(own: bool, name: str = NAME) -> Path:
    """Where a unit lies: the system's, or that of the user's own manager."""
    if not own:
        return SYSTEM_UNIT.with_name(name)
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "systemd/user" / name


def render(settings: Settings, *, own: bool) -> Unit:
    """The unit for this station on this machine. Raises ConfigError."""
    return unit_for(settings, user=None if own else service_user(settings), groups=device_groups())


def printed(settings: Settings, *, own: bool) -> list[tuple[Path, str]]:
    """All files that `install` writes, with their text. Raises ConfigError."""
    unit = render(settings, own=own)
    return [(unit_file(own, name), unit.text(name)) for name in UNITS] + ([] if own else [(UDEV_RULES, udev_rules())])


def service_user(settings: Settings) -> str:
    """Who the system's service runs as: the owner of the configuration, never root."""
    if settings.source is None:
        raise ConfigError("A service needs a configuration of its own. Make one with: cupola init")
    owner = settings.source.stat().st_uid
    try:
        return OWN_USER if owner == 0 else pwd.getpwuid(owner).pw_name
    except KeyError:
        raise ConfigError(f"{settings.source} belongs to nobody this machine knows (user {owner}). Give it an owner with chown.") from None


def device_groups() -> tuple[str, ...]:
    """Those of the groups with rights on cameras that there are here: systemd does not start a service with an unknown one."""
    known = {group.gr_name for group in grp.getgrall()}
    return tuple(name for name in DEVICE_GROUPS if name in known)


def install(settings: Settings, *, own: bool) -> list[str]:
    """Write the unit, enable and start it; what the owner has to know besides, in sentences. Raises CupolaError."""
    _require_systemd()
    if not own:
        _require_root("install", f"writes {SYSTEM_UNIT}, sees to the service's user and folders, and starts it with the machine", settings.source)
    unit, notes = render(settings, own=own), list[str]()
    text = unit.text()
    if unit.user is not None:
        _refuse_tmp(unit)
        _make_user(unit.user)
        _make_folders(settings, unit.user)
        _try_as(unit)
        if unit.readable and "ProtectHome=read-only" in text:
            notes.append("Program, configuration or images lie in a home folder, so the service may read homes. It may not when all are elsewhere.")
    notes += _notes_on_reset(settings)
    file = unit_file(own)
    for name in UNITS:
        write_durable(unit_file(own, name), unit.text(name).encode())
    notes += _grant_devices() if not own else [f"Rights on cameras and serial ports are for root to give: see {RULES} in docs/service.md."]
    _systemctl(own, "daemon-reload")
    _systemctl(own, "enable", NAME, STATUS, TIMER)
    try:
        _systemctl(own, "restart", NAME)
    except CupolaError:
        raise CupolaError(
            f"{file} is installed and enabled, but the service did not start; it is tried again every 5 s. "
            f"See why: journalctl {'--user ' if own else ''}-u cupola -n 50"
        ) from None
    notes += _start_status(own)
    _systemctl(own, "start", TIMER)
    if own:
        notes += _linger()
    return notes


def uninstall(*, own: bool) -> bool:
    """End, disable and remove the services; whether there was one. Configuration, images, state and logs stay."""
    _require_systemd()
    found = [file for name in reversed(UNITS) if (file := unit_file(own, name)).exists()]
    if not found:
        return False
    if not own:
        _require_root("uninstall", f"ends the service and removes {SYSTEM_UNIT}")
    for file in found:
        _systemctl(own, "disable", "--now", file.name)
        file.unlink()
        sync_folder(file.parent)
    if not own:
        UDEV_RULES.unlink(missing_ok=True)
    _systemctl(own, "daemon-reload")
    return True


def look_at_all(*, own: bool) -> list[State]:
    """Of the server, the status server, the self-test and its timer. Raises CupolaError where systemd does not run or does not answer."""
    _require_systemd()
    return [_look(name, own) for name in UNITS]


def _look(name: str, own: bool) -> State:
    wanted = ("LoadState", "ActiveState", "SubState", "UnitFileState", "MainPID", "NRestarts", "StateChangeTimestamp")
    said = _systemctl(own, "show", name, f"--property={','.join(wanted)}")
    found = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    return State(
        name=name,
        unit=str(unit_file(own, name)),
        installed=found.get("LoadState") not in (None, "not-found"),
        enabled=found.get("UnitFileState") == "enabled",
        state=found.get("ActiveState", "unknown"),
        detail=found.get("SubState", "unknown"),
        pid=int(found.get("MainPID") or 0) or None,
        restarts=int(found.get("NRestarts") or 0),
        since=found.get("StateChangeTimestamp") or None,
    )


def _grant_devices() -> list[str]:
    """Install the rules of udev, and have them heeded for what is plugged in already."""
    try:
        write_durable(UDEV_RULES, udev_rules().encode())
        _run(["udevadm", "control", "--reload"])
        _run(["udevadm", "trigger", "--action=add", "--subsystem-match=usb", "--subsystem-match=tty", "--subsystem-match=dma_heap"])
    except (CupolaError, OSError) as error:
        return [
            f"{UDEV_RULES} says who may use cameras and serial ports, but udev has not read it: {error} Restart the machine, or plug them in anew."
        ]
    return []


def _start_status(own: bool) -> list[str]:
    """The status server is a help: that it does not start is no reason for the station not to run."""
    try:
        _systemctl(own, "restart", STATUS)
    except CupolaError as error:
        return [f"The status server did not start; it is tried again every 30 s. {error}"]
    return []


def _require_systemd() -> None:
    if not BOOTED.is_dir() or shutil.which("systemctl") is None:
        raise CupolaError(
            "systemd does not run this machine, so there is no service to install or look at. Let whatever starts programs here run: "
            f"{sys.executable} -m cupola run --config FILE. It may send SIGTERM to end it, and has to allow 10 s for that."
        )


def _require_root(what: str, why: str, config: Path | None = None) -> None:
    if os.geteuid() != 0:
        again = shlex.join(["sudo", sys.executable, "-m", "cupola", "service", what, *(["--config", str(config.absolute())] if config else [])])
        raise NotAllowed(f"cupola service {what} {why}: this needs root. Run: {again}. Without root, as a service of your own: add --user.")


def _systemctl(own: bool, *arguments: str) -> str:
    return _run(["systemctl", *(["--user"] if own else []), *arguments])


def _run(command: Sequence[str]) -> str:
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


def _refuse_tmp(unit: Unit) -> None:
    for path in (*unit.readable, *unit.writable):
        if any(path.is_relative_to(folder) for folder in ("/tmp", "/var/tmp")):
            raise ConfigError(
                f"{path} lies in a folder for temporary files, and a service has one of its own. Move it, and change the configuration."
            )


def _make_user(name: str) -> None:
    """The system user of stations whose configuration is root's; others are there already."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        _run(["useradd", "--system", "--user-group", "--home-dir", "/var/lib/cupola", "--shell", "/usr/sbin/nologin", name])


def _make_folders(settings: Settings, user: str) -> None:
    """Those that are not there yet, as the user's: systemd opens for the service only what there is."""
    entry = pwd.getpwnam(user)
    for folder in folders(settings):
        missing = [path for path in (folder.absolute(), *folder.absolute().parents) if not path.exists()]
        for path in reversed(missing):
            try:
                path.mkdir(mode=0o750)
                os.chown(path, entry.pw_uid, entry.pw_gid)
            except OSError as error:
                raise ConfigError(f"The folder {path} cannot be made: {error.strerror}. Change storage or logging in {settings.source}.") from None


def _try_as(unit: Unit) -> None:
    """Let the service's user start the program, read the configuration and look at its folders: better now than in the journal."""
    entry = pwd.getpwnam(unit.user or "")
    environment = {"PATH": os.defpath, "HOME": entry.pw_dir, "PYTHONSAFEPATH": "1"}

    def attempt(*command: str) -> str | None:
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                cwd="/",
                env=environment,
                user=entry.pw_uid,
                group=entry.pw_gid,
                extra_groups=os.getgrouplist(entry.pw_name, entry.pw_gid),
            )
        except PermissionError:
            return f"the interpreter {os.path.realpath(command[0])} is closed to them."
        return (done.stderr.strip() or f"exit code {done.returncode}") if done.returncode else None

    if said := attempt(str(unit.python), "-m", "cupola", "config", "check", str(unit.config)):
        raise ConfigError(
            f"The service would run as {unit.user}, who cannot start Cupola with this configuration: {said}\n"
            f"Mend that, or give {unit.config} to the user it shall run as, with chown."
        )
    for folder in unit.writable:
        if folder.is_relative_to("/sys"):
            continue
        if attempt("/usr/bin/test", "-w", str(folder)) is not None:
            raise ConfigError(
                f"{unit.user}, whom the service would run as, may not write {folder}. Run: chown -R {unit.user}: {shlex.quote(str(folder))}"
            )


def _notes_on_reset(settings: Settings) -> list[str]:
    with_sudo = [camera.name for camera in settings.cameras if camera.recovery.usb_reset != "off" and "sudo" in camera.recovery.usb_helper]
    if not with_sudo:
        return []
    return [f"The service may not use sudo, so the USB reset of {', '.join(with_sudo)} needs a udev rule instead: see docs/usb-reset.md."]


def _linger() -> list[str]:
    """A user's services end with the last login, and start with the first, unless the user lingers."""
    user = pwd.getpwuid(os.getuid()).pw_name
    try:
        if _run(["loginctl", "show-user", user, "--property=Linger", "--value"]).strip() != "yes":
            _run(["loginctl", "enable-linger", user])
    except CupolaError as error:
        return [f"The service ends when you log out: {error} To let it run from boot to shutdown: sudo loginctl enable-linger {user}"]
    return [f"{user} lingers now: the service runs from boot to shutdown, logged in or not."]
