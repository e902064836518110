"""The configuration, and the program with its libraries: do they fit each other?"""

from __future__ import annotations

import re
import sys
from importlib import metadata

from cupola import __version__
from cupola.doctor.finding import Told
from cupola.doctor.patient import Patient

NEXT_PYTHON = (3, 15)  # the first one nothing was tried with


def config(patient: Patient, told: Told) -> None:
    """Everything that is wrong with the file, as `cupola config check` says it."""
    for what, fix in patient.problems:
        told.error(what, fix)
    if patient.problems:
        return
    if patient.settings is None or patient.settings.source is None:
        told.saw("none: the built-in demo")
        told.note("There is no configuration: the built-in demo station was looked at.", "cupola init makes one.")
        return
    told.saw(f"{patient.settings.source}: {len(patient.settings.cameras)} cameras, station {patient.settings.station.name}")


def versions(patient: Patient, told: Told) -> None:
    """What is installed beside what this version asks for."""
    python = ".".join(map(str, sys.version_info[:3]))
    told.saw(f"Cupola {__version__}, Python {python}")
    if sys.version_info >= NEXT_PYTHON:
        told.note(f"Cupola was not tried with Python {python} yet.", "If something is odd, use Python 3.11 to 3.14.")
    try:
        wanted = metadata.requires("cupola") or []
    except metadata.PackageNotFoundError:
        told.warning("Cupola is not installed as a package, so its libraries cannot be compared.", "make setup, or pip install the wheel")
        return
    from packaging.requirements import InvalidRequirement, Requirement

    wrong: list[str] = []
    for line in wanted:
        try:
            asked = Requirement(line)
        except InvalidRequirement:
            continue
        if asked.marker is not None and not asked.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(asked.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{asked.name} is missing")
            continue
        if not asked.specifier.contains(found, prereleases=True):
            wrong.append(f"{asked.name} is {found}, not {asked.specifier}")
    if wrong:
        told.warning(f"Libraries are not as this version asks: {'; '.join(wrong)}.", "make setup, or pip install the wheel anew")
    if re.search(r"dev|rc|a\d|b\d", __version__):
        told.saw("a version under development")
