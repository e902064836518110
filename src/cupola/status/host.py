"""The temperature of this machine's processor, as the kernel tells it: for the status, and for the alarm on it (`watch.host`)."""

from __future__ import annotations

import contextlib
from pathlib import Path

CHIPS = ("cpu_thermal", "coretemp", "k10temp", "soc_thermal", "cpu-thermal")  # names below hwmon; AMD's has no zone
ZONES = ("cpu", "soc", "pkg", "core")  # in the type of a thermal zone: cpu-thermal, x86_pkg_temp, …


def processor_sensor(sys: Path) -> Path | None:
    """The file below `sys` that tells the processor's temperature; None on a machine that has none, or does not tell."""
    for chip in sorted((sys / "class/hwmon").glob("*")):
        if _text(chip / "name") in CHIPS and temperature_c(chip / "temp1_input") is not None:
            return chip / "temp1_input"
    for zone in sorted((sys / "class/thermal").glob("thermal_zone*")):
        if any(word in _text(zone / "type").lower() for word in ZONES):
            return zone / "temp"
    return None


def temperature_c(sensor: Path | None) -> float | None:
    """Degrees of a sensor, which tells thousandths."""
    with contextlib.suppress(ValueError):
        if sensor is not None:
            return round(int(_text(sensor)) / 1000, 1)
    return None


def _text(path: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip()
    return ""
