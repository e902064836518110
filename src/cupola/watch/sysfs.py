"""Sensors that the Linux kernel shows as files below /sys: 1-wire, hwmon, iio; the machine's supply. The processor's temperature is `status.host`'s.

Reading a 1-wire thermometer takes most of a second: for threads. Elsewhere than on Linux there are none.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from cupola.watch.readings import Values, w1_slave

_HWMON = {"temp": ("temperature", 1000.0), "humidity": ("humidity", 1000.0)}  # Documentation/hwmon/sysfs-interface: milli-units
# Documentation/ABI/testing/sysfs-bus-iio: milli °C, milli percent, kilopascal
_IIO = {"temp": ("temperature", 1e-3), "humidityrelative": ("humidity", 1e-3), "pressure": ("pressure", 10.0), "illuminance": ("light", 1.0)}


class Nothing(Exception):
    """No such sensor is there, or it does not answer; in words for the owner."""


def w1(root: Path, device: str | None) -> Values:
    """°C of one 1-wire thermometer as `temperature`, or of all by their numbers. Raises Nothing; one of several that fails is left out."""
    found = sorted((root / "bus/w1/devices").glob(device or "28-*"))
    values: Values = {}
    for folder in found:
        celsius = w1_slave(_text(folder / "w1_slave") or "")
        if celsius is not None:
            values["temperature" if device else folder.name] = celsius
    return _some(values, f"1-wire thermometer {device}" if device else "1-wire thermometer", found)


def hwmon(root: Path, device: str | None) -> Values:
    """Temperatures in °C and humidities in % of one chip, or of all with the chip's name before theirs. Raises Nothing."""
    found = [folder for folder in _chips(root / "class/hwmon") if device in (None, _text(folder / "name"))]
    values: Values = {}
    for folder in found:
        chip = _word(_text(folder / "name") or folder.name)
        for kind, (name, divisor) in _HWMON.items():
            inputs = sorted(folder.glob(f"{kind}*_input"))
            for path in inputs:
                if (number := _number(path)) is not None:
                    label = _text(path.with_name(path.name.replace("_input", "_label")))
                    own = name if len(inputs) == 1 else _word(label or path.name.removesuffix("_input"))
                    values[own if device else f"{chip}_{own}"] = number / divisor
    return _some(values, f"hwmon chip {device}" if device else "hwmon chip", found)


def iio(root: Path, device: str | None) -> Values:
    """Temperature in °C, humidity in %, pressure in hPa, light in lx of one device, or of all with the device's name before theirs. Raises Nothing."""
    found = [folder for folder in _chips(root / "bus/iio/devices") if device in (None, _text(folder / "name"))]
    values: Values = {}
    for folder in found:
        chip = _word(_text(folder / "name") or folder.name)
        for kind, (name, factor) in _IIO.items():
            number = _number(folder / f"in_{kind}_input")
            if number is None and (raw := _number(folder / f"in_{kind}_raw")) is not None:
                number = (raw + (_number(folder / f"in_{kind}_offset") or 0.0)) * (_number(folder / f"in_{kind}_scale") or 1.0)
            if number is not None:
                values[name if device else f"{chip}_{name}"] = round(number * factor, 4)
    return _some(values, f"iio device {device}" if device else "iio device", found)


def under_voltage(root: Path) -> bool | None:
    """Whether the supply of a Raspberry Pi is too weak now; None where the kernel does not tell."""
    for folder in _chips(root / "class/hwmon"):
        if _text(folder / "name") == "rpi_volt" and (number := _number(folder / "in0_lcrit_alarm")) is not None:
            return number != 0
    return None


def _chips(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.glob("*"))


def _some(values: Values, what: str, found: list[Path]) -> Values:
    if not values:
        raise Nothing(f"the {what} does not answer" if found else f"there is no {what}")
    return values


def _text(path: Path) -> str | None:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip()
    return None


def _number(path: Path) -> float | None:
    with contextlib.suppress(ValueError):
        return float(_text(path) or "")
    return None


def _word(text: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "_", text.lower()).strip("_")[:24]
