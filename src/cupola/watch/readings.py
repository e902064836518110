"""What sensors say, as numbers: lines of DigiTemp and Arduino, messages, files of the 1-wire bus; and the dew point. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, cast

Values = dict[str, float]  # by name: temperature, humidity …

UNITS = {"temperature": "°C", "dew_point": "°C", "humidity": "%", "pressure": "hPa", "voltage": "V", "light": "lx", "wind": "m/s", "rain": "mm"}
_SHORT = {"t": "temperature", "temp": "temperature", "h": "humidity", "hum": "humidity", "rh": "humidity", "p": "pressure", "pres": "pressure"}
_DIGITEMP = re.compile(r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d Sensor (\d{1,2}) C: (-?\d{1,3}\.\d+) F: (-?\d{1,3}\.\d+)")
_NUMBER = r"[-+]?\d{1,7}(?:\.\d{1,9})?"
_BARE = re.compile(_NUMBER)
_PAIR = re.compile(rf"([A-Za-z][A-Za-z0-9_-]{{0,31}})\s*[:=]\s*({_NUMBER})\s*(?:°?[CF]|%|hPa|V|lx)?")
_PAIRS = re.compile(rf"{_PAIR.pattern}(?:[\s,;]+{_PAIR.pattern})*")
_W1 = re.compile(r"\bt=(-?\d+)")
_POWER_ON = 85.0  # °C: what a DS18B20 says that lost its power before it measured (its data sheet, "operation: measuring temperature")
_DS18B20_C = (-55.0, 125.0)


def unit_of(value: str, default: str = "") -> str:
    """The unit of a value by its name or the last word of it, as in `bme280_humidity`."""
    return UNITS.get(value) or UNITS.get(value.rpartition("_")[2], default)


def digitemp(line: str) -> Values | None:
    """A line of DigiTemp, `May 24 21:25:43 Sensor 0 C: 23.66 F: 74.59`: °C by number. None: it is none, or garbled, as its two numbers differ."""
    found = _DIGITEMP.fullmatch(line.strip())
    if found is None:
        return None
    celsius, fahrenheit = float(found[2]), float(found[3])
    if abs(celsius * 1.8 + 32 - fahrenheit) > 0.05 or not _is_ds18b20(celsius):
        return None
    return {found[1]: celsius}


def numbers(text: str) -> Values | None:
    """What an Arduino or an MQTT device says: a number (°C), `T: 21.5, H: 45 %`, or a JSON object of numbers. None: it is none of these."""
    text = text.strip()
    if text.startswith("{"):
        return _of_json(text)
    if _BARE.fullmatch(text):
        return {"temperature": float(text)}
    if _PAIRS.fullmatch(text):
        return {_name(found[1]): float(found[2]) for found in _PAIR.finditer(text)}
    return None


def _of_json(text: str) -> Values | None:
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    values = {
        _name(name): float(value)
        for name, value in cast(Mapping[str, Any], found).items()
        if isinstance(value, int | float) and not isinstance(value, bool) and re.fullmatch(r"[A-Za-z0-9_-]{1,48}", name) and math.isfinite(value)
    }
    return values or None


def _name(name: str) -> str:
    name = name.lower()
    return _SHORT.get(name, name)


def w1_slave(text: str) -> float | None:
    """°C of a thermometer's file `w1_slave`; None where its check sum is wrong or it has not measured."""
    first, _, second = text.strip().partition("\n")
    found = _W1.search(second)
    if not first.endswith("YES") or found is None:
        return None
    celsius = int(found[1]) / 1000
    return celsius if _is_ds18b20(celsius) else None


def _is_ds18b20(celsius: float) -> bool:
    return _DS18B20_C[0] <= celsius <= _DS18B20_C[1] and celsius != _POWER_ON


def dew_point(temperature_c: float, humidity_percent: float) -> float | None:
    """In °C, over water. None outside of -45 to 60 °C, where the formula is not meant to be used, and in perfectly dry air. Sensors in fog say
    a little more than 100 %.

    Magnus' formula with the constants of WMO No. 8, Guide to Instruments and Methods of Observation, annex 4.B (after Sonntag, 1990):
    e_w = 6.112 hPa · exp(17.62 t / (243.12 + t)).
    """
    if not -45 <= temperature_c <= 60 or not 0 < humidity_percent <= 105:
        return None
    exponent = math.log(min(humidity_percent, 100.0) / 100) + 17.62 * temperature_c / (243.12 + temperature_c)
    return 243.12 * exponent / (17.62 - exponent)
