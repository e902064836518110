"""What looking for cameras brings to light. Looking itself is each driver's `discover`, a function of its module:

    def discover() -> list[Found]: ...

It opens nothing for longer than it must, disturbs no camera in use, and raises `LibraryMissing` where
the vendor's library is not installed. It may hang or crash with that library, so it is only ever called
in a process of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Found:
    """One camera that is attached, and how to use it."""

    driver: str  # the name in the configuration
    model: str
    serial: str | None = None  # what tells it from another one of its kind, when it has one
    where: str = ""  # a port or a path, for people
    capabilities: tuple[str, ...] = ()  # in words: "4144 x 2822", "cooler", "bulb"
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])  # the driver's block that opens this camera
    note: str = ""  # what the owner should know: in use, no serial number, needs a group
