"""Installs, removes and looks at the station's services. What the units say is `unit`'s business, what receives from stations `receiver`'s.

For the whole machine this needs root: the unit lies in /etc, and the service starts before anybody logs in. As a service
of a user's own it needs that user only, and lingering, without which systemd ends it at logout.
"""

from __future__ import annotations

import grp
import pwd
from dataclasses import dataclass
from pathlib import Path

from cupola.config.model import Settings
from cupola.core.errors import ConfigError, CupolaError
from cupola.service.system import (
    OWN_USER,
    complaint_as,
    linger,
    make_folder,
    make_user,
    refuse_tmp,
    require_root,
    require_systemd,
    require_writable,
    run,
    systemctl,
    unit_file,
)
from cupola.service.unit import DEVICE_GROUPS, RECEIVER, RULES, SERVER, STATUS, TEST, TIMER, Unit, folders, udev_rules, unit_for
from cupola.storage.files import sync_folder, write_durable

NAME = SERVER
UNITS = (SERVER, STATUS, TEST, TIMER)
UDEV_RULES = Path("/etc/udev/rules.d") / RULES


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
    require_systemd()
    if not own:
        command = ["install", *(["--config", str(settings.source.absolute())] if settings.source else [])]
        require_root(f"writes {unit_file(own, NAME)}, sees to the service's user and folders, and starts it with the machine", command)
    unit, notes = render(settings, own=own), list[str]()
    text = unit.text()
    if unit.user is not None:
        refuse_tmp((*unit.readable, *unit.writable), "change the configuration")
        make_user(unit.user)
        for folder in folders(settings):
            make_folder(folder, unit.user, f"Change storage or logging in {settings.source}")
        _try_as(unit, unit.user)
        if unit.readable and "ProtectHome=read-only" in text:
            notes.append("Program, configuration or images lie in a home folder, so the service may read homes. It may not when all are elsewhere.")
    notes += _notes_on_reset(settings)
    file = unit_file(own, NAME)
    for name in UNITS:
        write_durable(unit_file(own, name), unit.text(name).encode())
    notes += _grant_devices() if not own else [f"Rights on cameras and serial ports are for root to give: see {RULES} in docs/service.md."]
    systemctl(own, "daemon-reload")
    systemctl(own, "enable", NAME, STATUS, TIMER)
    try:
        systemctl(own, "restart", NAME)
    except CupolaError:
        raise CupolaError(
            f"{file} is installed and enabled, but the service did not start; it is tried again every 5 s. "
            f"See why: journalctl {'--user ' if own else ''}-u cupola -n 50"
        ) from None
    notes += _start_status(own)
    systemctl(own, "start", TIMER)
    if own:
        notes += linger()
    return notes


def uninstall(*, own: bool, units: tuple[str, ...] = UNITS) -> bool:
    """End, disable and remove these services; whether there was one. Configuration, images, state and logs stay."""
    require_systemd()
    found = [file for name in reversed(units) if (file := unit_file(own, name)).exists()]
    if not found:
        return False
    if not own:
        command = ["uninstall", *(["--receive"] if units == (RECEIVER,) else [])]
        require_root(f"ends the service and removes {unit_file(own, units[0])}", command)
    for file in found:
        systemctl(own, "disable", "--now", file.name)
        file.unlink()
        sync_folder(file.parent)
    if not own and NAME in units:
        UDEV_RULES.unlink(missing_ok=True)
    systemctl(own, "daemon-reload")
    return True


def look_at_all(*, own: bool) -> list[State]:
    """Of the server, the status server, the self-test and its timer, and the receiver where there is one. Raises CupolaError where systemd does not run or does not answer."""
    require_systemd()
    return [_look(name, own) for name in (*UNITS, *((RECEIVER,) if unit_file(own, RECEIVER).exists() else ()))]


def _look(name: str, own: bool) -> State:
    wanted = ("LoadState", "ActiveState", "SubState", "UnitFileState", "MainPID", "NRestarts", "StateChangeTimestamp")
    said = systemctl(own, "show", name, f"--property={','.join(wanted)}")
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
        run(["udevadm", "control", "--reload"])
        run(["udevadm", "trigger", "--action=add", "--subsystem-match=usb", "--subsystem-match=tty", "--subsystem-match=dma_heap"])
    except (CupolaError, OSError) as error:
        return [
            f"{UDEV_RULES} says who may use cameras and serial ports, but udev has not read it: {error} Restart the machine, or plug them in anew."
        ]
    return []


def _start_status(own: bool) -> list[str]:
    """The status server is a help: that it does not start is no reason for the station not to run."""
    try:
        systemctl(own, "restart", STATUS)
    except CupolaError as error:
        return [f"The status server did not start; it is tried again every 30 s. {error}"]
    return []


def _try_as(unit: Unit, user: str) -> None:
    """Let the service's user start the program, read the configuration and look at its folders: better now than in the journal."""
    if said := complaint_as(user, str(unit.python), "-m", "cupola", "config", "check", str(unit.config)):
        raise ConfigError(
            f"The service would run as {user}, who cannot start Cupola with this configuration: {said}\n"
            f"Mend that, or give {unit.config} to the user it shall run as, with chown."
        )
    for folder in unit.writable:
        if not folder.is_relative_to("/sys"):
            require_writable(folder, user)


def _notes_on_reset(settings: Settings) -> list[str]:
    with_sudo = [camera.name for camera in settings.cameras if camera.recovery.usb_reset != "off" and "sudo" in camera.recovery.usb_helper]
    if not with_sudo:
        return []
    return [f"The service may not use sudo, so the USB reset of {', '.join(with_sudo)} needs a udev rule instead: see docs/usb-reset.md."]
