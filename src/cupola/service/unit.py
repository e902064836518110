"""The text of the systemd units, of the server, the status server, the self-test with its timer, and the receiver: one template each for the system's unit and the user's own.

A user's manager may not take devices, capabilities or folders away from its services, so the user's unit is without
the part between `@SYSTEM@` and `@END@`. Installing it is `manage`'s business.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from cupola.config.model import Settings
from cupola.core.errors import ConfigError

# who may use webcams and libcamera, cameras on USB, serial ports, and lines of a Pi, in Debian's udev rules and ours
DEVICE_GROUPS = ("video", "plugdev", "dialout", "gpio")
SERVER, STATUS, TEST, TIMER = "cupola.service", "cupola-status.service", "cupola-selftest.service", "cupola-selftest.timer"
RECEIVER = "cupola-receive.service"
RULES = "60-cupola.rules"
HOMES = tuple(map(Path, ("/home", "/root", "/run/user")))
RESET_FOLDER = Path("/sys/devices")  # `authorized` of a USB port lies below it


@dataclass(frozen=True, slots=True)
class Unit:
    """What the unit needs to know. All paths are absolute; `user` is None for the unit of a user's own manager.

    `readable` are files and folders that the service has to see, `writable` the folders that it writes.
    """

    station: str
    config: Path
    python: Path
    readable: tuple[Path, ...]
    writable: tuple[Path, ...]
    user: str | None = None
    groups: tuple[str, ...] = ()
    status_at: tuple[str, int] = ("127.0.0.1", 8080)

    def text(self, name: str = SERVER) -> str:
        """The unit as systemd reads it. Raises ConfigError for a path that cannot be written in one."""
        arguments = " ".join(argument(text) for text in ("-X", "faulthandler", "-m", "cupola", "run", "--config", str(self.config)))
        host, port = self.status_at
        status = " ".join(argument(text) for text in ("-m", "cupola", "status-server", "--host", host, "--port", str(port)))
        values = {
            "STATION": self.station,
            "STATUSCOMMAND": f"{program(self.python)} {status}",
            "TESTCOMMAND": f"{program(self.python)} -m cupola selftest",
            "COMMAND": f"{program(self.python)} {arguments}",
            "FOLDER": specifiers(_plain(self.config.parent)),
            "GROUPS": " ".join(self.groups),
        }
        return _filled(name, values, self.user, self.readable, self.writable)


@dataclass(frozen=True, slots=True)
class ReceiverUnit:
    """Of `cupola receive`, which needs no configuration: `into` is the folder of the archive, `environment` the file with the URL of Redis. Else as in Unit."""

    python: Path
    into: Path
    environment: Path
    readable: tuple[Path, ...]
    user: str | None = None

    def text(self) -> str:
        """The unit as systemd reads it. Raises ConfigError for a path that cannot be written in one."""
        arguments = " ".join(argument(text) for text in ("-m", "cupola", "receive", "--into", str(self.into)))
        values = {
            "COMMAND": f"{program(self.python)} {arguments}",
            "ENVIRONMENT": specifiers(_plain(self.environment)),
        }
        return _filled(RECEIVER, values, self.user, self.readable, (self.into,))


def _filled(name: str, values: Mapping[str, str], user: str | None, readable: Sequence[Path], writable: Sequence[Path]) -> str:
    """A template with its values, and with those that are found the same way for all."""
    template = files("cupola.service").joinpath(f"{name}.in").read_text("utf-8")
    if user is not None:
        template = template.replace("@SYSTEM@\n", "\n").replace("@END@\n", "")
    else:
        template = re.sub(r"@SYSTEM@\n.*@END@\n", "", template, flags=re.DOTALL)
    common = {
        "TARGET": "multi-user.target" if user is not None else "default.target",
        "USER": user or "",
        "HOME": "read-only" if any(_below(path, HOMES) for path in (*readable, *writable)) else "yes",
        "WRITABLE": " ".join(quoted(specifiers(_plain(path))) for path in writable),
    }
    return re.sub(r"@([A-Z]+)@", lambda found: {**common, **values}[found[1]], template)


def unit_for(settings: Settings, *, user: str | None, groups: Sequence[str] = ()) -> Unit:
    """The unit of a configured station, under the interpreter that runs now. Raises ConfigError for the demo, which has no file."""
    if settings.source is None:
        raise ConfigError("A service needs a configuration of its own. Make one with: cupola init")
    writable = dict.fromkeys(folder.absolute() for folder in folders(settings))
    outer = tuple(folder for folder in writable if not _below(folder.parent, tuple(writable)))
    resets = any(camera.recovery.usb_reset != "off" for camera in settings.cameras)
    return Unit(
        station=settings.station.name,
        config=settings.source.absolute(),
        python=Path(sys.executable),
        readable=(settings.source.absolute(), *program_folders()),
        writable=(*outer, *((RESET_FOLDER,) if resets and user is not None else ())),
        user=user,
        groups=tuple(groups),
        status_at=(settings.monitoring.status_host, settings.monitoring.status_port),
    )


def program_folders() -> tuple[Path, ...]:
    """What a service has to see to run this program at all."""
    return Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[2]


def udev_rules() -> str:
    """Who may use which device."""
    return files("cupola.service").joinpath(RULES).read_text("utf-8")


def folders(settings: Settings) -> tuple[Path, ...]:
    """Those that the service writes: images, state, logs."""
    return settings.storage.root, settings.storage.state_folder, settings.logging.folder


def specifiers(text: str) -> str:
    """Text in which systemd is to expand nothing."""
    return text.replace("%", "%%")


def quoted(text: str) -> str:
    """One word of a list, whatever is in it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def program(path: Path) -> str:
    """The first word of a command line, in which systemd replaces no variables."""
    return quoted(specifiers(_plain(path)))


def argument(text: str) -> str:
    """A further word of a command line, as it is if nothing in it is special."""
    if re.fullmatch(r"[\w./:=+-]+", text, re.ASCII):
        return text
    return quoted(specifiers(_plain(text)).replace("$", "$$"))


def _plain(path: Path | str) -> str:
    text = str(path)
    if not text.isprintable():
        raise ConfigError(f"The path {text!r} has characters that cannot stand in a systemd unit. Rename it.")
    return text


def _below(path: Path, folders: Sequence[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)
