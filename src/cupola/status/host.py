"""The temperature of this machine's processor, as the kernel tells it."""

from __future__ import annotations

import contextlib
from pathlib import Path

ZONES = Path("/sys/class/thermal")
PROCESSOR = ("cpu", "soc", "pkg", "core")  # in the type of a zone: cpu-thermal, x86_pkg_temp, …


def cpu_zone(zones: Path = ZONES) -> Path | None:
    """The file of the processor's zone; None on a machine that has none, or does not tell."""
    found: list[tuple[bool, str, Path]] = []
    for zone in zones.glob("thermal_zone*"):
        with contextlib.suppress(OSError):
            kind = (zone / "type").read_text().strip().lower()
            found.append((not any(word in kind for word in PROCESSOR), zone.name, zone / "temp"))
    return min(found)[2] if found else None


def temperature_c(zone: Path | None) -> float | None:
    """Degrees of a zone, which tells thousandths."""
    with contextlib.suppress(OSError, ValueError):
        if zone is not None:
            return round(int(zone.read_text()) / 1000, 1)
    return None
