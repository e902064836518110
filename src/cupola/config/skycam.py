"""A configuration of skycam (`skycam.yaml`) as one of ours, for `cupola config import`.

Says which keys have no counterpart and why. What ours mean, and whether their values can be, is `model`'s business; a value that cannot be is
told by the key and line it has in the old file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, cast

import yaml

from cupola.config.document import Document, parse
from cupola.config.load import from_text, read_text
from cupola.config.problems import ConfigProblems, KeyPath, Problem, key_text, printable
from cupola.config.version import VERSION

DRIVERS = {"dslr": "gphoto", "astro": "zwo"}
CAMERA: KeyPath = ("cameras", 0)
SENSOR: KeyPath = ("sensors", 0)


class _No(Exception):
    """This value has no counterpart; why."""


def _same(value: Any) -> Any:
    return value


def _driver(value: Any) -> Any:
    return DRIVERS.get(str(value))


def _gphoto_port(value: Any) -> Any:
    if not str(value).startswith("usb:"):
        raise _No("a camera is found by itself; where there are several, `cupola cameras` tells their serial numbers")
    return value


def _folder(value: Any) -> Any:
    return str(PurePosixPath(str(value)).parent)


def _debug(value: Any) -> Any:
    if str(value).upper() != "DEBUG":
        raise _No("what matters is always written: cupola.log from INFO on, cupola-error.log from ERROR on")
    return True


PLACES: dict[str, tuple[KeyPath, Callable[[Any], Any]]] = {
    "camera.type": ((*CAMERA, "driver"), _driver),
    "camera.exposure_time": ((*CAMERA, "exposure", "exposure_s"), _same),
    "camera.f_number": ((*CAMERA, "exposure", "f_number"), _same),
    "camera.delay": ((*CAMERA, "capture", "delay_s"), _same),
    "camera.port": ((*CAMERA, "gphoto", "port"), _gphoto_port),
    "camera.image_path": (("storage", "root"), _same),
    "sensor.type": ((*SENSOR, "source"), _same),
    "sensor.port": ((*SENSOR, "port"), _same),
    "sensor.baud_rate": ((*SENSOR, "baud"), _same),
    "sensor.sampling_interval": ((*SENSOR, "every_s"), _same),
    "web.host": (("web", "host"), _same),
    "web.port": (("web", "port"), _same),
    "monitoring.prometheus.enabled": (("monitoring", "prometheus"), _same),
    "logging.level": (("logging", "debug"), _debug),
    "logging.file": (("logging", "folder"), _folder),
}
NONE = {
    "monitoring.prometheus.port": "/metrics is answered at web.port",
    "monitoring.grafana": "import the dashboards of deploy/grafana into Grafana",
    "logging.max_size": "log files are rotated by themselves",
    "logging.backup_count": "log files are rotated by themselves",
    "web.debug": "for the log there is logging.debug",
    "web.secret_key": "none is needed: the station is claimed (cupola claim), and people log in",
    "cli": "every command has --json",
}


@dataclass(frozen=True, slots=True)
class Left:
    """A key that has no counterpart."""

    key: str
    line: int | None
    why: str


@dataclass(slots=True)
class Imported:
    """`text`: the configuration it becomes, in YAML."""

    text: str = ""
    left: list[Left] = field(default_factory=list[Left])


def convert(file: Path) -> Imported:
    """Raises ConfigProblems for a file that is none, and for values that cannot be, by their old keys."""
    document = parse(read_text(file), str(file))
    theirs: dict[Any, Any] = cast("dict[Any, Any]", document.data) if isinstance(cast(object, document.data), dict) else {}
    if not any(key in theirs for key in ("camera", "sensor")):
        document.report((), "is no configuration of skycam", "that has the groups camera and sensor")
    if document.problems:
        raise ConfigProblems(document.problems)
    ours: dict[KeyPath, Any] = {}
    origins: dict[str, KeyPath] = {}  # our key → theirs
    made = Imported()
    for path, value in _leaves(theirs, ()):
        name = ".".join(map(str, path))
        place, translated = PLACES.get(name, ((), _same))
        try:
            if not place:
                raise _No(next((why for key, why in NONE.items() if f"{name}.".startswith(f"{key}.")), "no such key is known"))
            if value is not None:  # null is the default here as there
                ours[place] = translated(value)
                origins[key_text(place)] = path
        except _No as why:
            made.left.append(Left(printable(name, 80), document.origin(path).line, str(why)))
    if "camera" in theirs and ours.get((*CAMERA, "driver")) is None:
        document.report(("camera", "type"), f"has to be {' or '.join(DRIVERS)}", "see `cupola cameras` for what is attached, and its lines")
        raise ConfigProblems(document.problems)
    made.text = _yaml(ours, file)
    _check(made.text, document, origins, file)
    return made


def _leaves(group: dict[Any, Any], above: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    for key, value in group.items():
        if isinstance(value, dict) and value:
            yield from _leaves(cast("dict[Any, Any]", value), (*above, key))
        else:
            yield (*above, key), value


def _yaml(ours: dict[KeyPath, Any], file: Path) -> str:
    data: dict[str, Any] = {"version": VERSION}
    if any(path[:2] == CAMERA for path in ours):
        data["cameras"] = [{"name": "sky"}]
    if any(path[:2] == SENSOR for path in ours):
        data["sensors"] = [{"name": "outside"}]
    for path, value in ours.items():
        holder: Any = data
        for part in path[:-1]:
            holder = holder[part] if isinstance(part, int) else holder.setdefault(part, {})
        holder[path[-1]] = value
    ordered = {key: data[key] for key in ("version", "storage", "cameras", "sensors", "web", "monitoring", "logging") if key in data}
    head = f"# Of {json.dumps(file.name)}, by cupola config import. Say where the station is: station.latitude and station.longitude, in degrees.\n"
    return head + yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True, width=150)


def _check(text: str, document: Document, origins: dict[str, KeyPath], file: Path) -> None:
    """Whether it can be used; what cannot is told as it stands in the old file."""
    try:
        from_text(text, str(file), Path(), {name: value for name, value in os.environ.items() if not name.startswith("CUPOLA_")})
    except ConfigProblems as error:
        told: list[Problem] = []
        for problem in error.problems:
            path = origins.get(problem.key_path)
            old = "" if path is None else key_text(path)
            message = problem.message if path is not None else f"would become {problem.key_path}, which {problem.message}"
            told.append(Problem(str(file), document.origin(path or ()).line, None, old, message, problem.hint))
        raise ConfigProblems(told) from None
