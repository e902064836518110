"""What is attached, told for people: every driver looked with, every camera with the lines to configure it.

For the route `/api/discover`, and for `cupola cameras` where no server runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from cupola.camera.discovery import Configured, Look, claimed_by, discover
from cupola.config.drivers import DRIVERS
from cupola.config.matrix import tried_on
from cupola.drivers.found import Found
from cupola.web import models


async def look_around(configured: Sequence[Configured], in_use: frozenset[str] = frozenset()) -> models.Discovery:
    """Look with all drivers. `in_use`: names of the configured cameras that are open. Takes 10 s for each two drivers at most."""
    looks = await discover({name: path.partition(":")[0] for name, (_, path) in DRIVERS.items()})
    return models.Discovery(items=[_told(look, configured, in_use) for look in looks])


def _told(look: Look, configured: Sequence[Configured], in_use: frozenset[str]) -> models.DriverLook:
    cameras: list[models.AttachedCamera] = []
    taken = {camera.name for camera in configured}
    for found in look.found:
        name = claimed_by(found, configured)
        told: dict[str, Any] = {
            "model": found.model,
            "serial": found.serial,
            "where": found.where,
            "capabilities": list(found.capabilities),
            "note": found.note,
            "camera": name,
            "in_use": name in in_use,
            "config": config_lines(found, name or _free_name(found, taken)),
        }
        cameras.append(models.AttachedCamera.model_validate(told))
    return models.DriverLook(
        driver=look.driver, tried_on=tried_on(look.driver), looks=look.looks, problem=look.message or None if look.kind else None, cameras=cameras
    )


def _free_name(found: Found, taken: set[str]) -> str:
    """A name for a camera out of its model, such as asi294mc; other than those before, which it is added to."""
    words = re.findall(r"[a-z0-9]+", found.model.lower())
    stem = "-".join(words)[:24].strip("-") or found.driver
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name)
    return name


def config_lines(found: Found, name: str) -> str:
    """The entry of a found camera below `cameras:`, as YAML, to be pasted."""
    entry: dict[str, Any] = {"name": name, "driver": found.driver}
    if found.options:
        entry[found.driver] = dict(found.options)
    lines = yaml.safe_dump([entry], sort_keys=False, allow_unicode=True, width=150)
    return "".join(f"  {line}\n" for line in lines.splitlines())
