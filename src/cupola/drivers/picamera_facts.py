"""What libcamera tells of a frame, in our terms: when the shutter opened, with what, and how raw samples lie.

Shared by both ways to a Pi camera: the programs print these facts as text, picamera2 gives them as values.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from cupola.core.clock import monotonic_ns, utc_now
from cupola.core.errors import CameraNotFound
from cupola.core.frame import Controls, PixelFormat, PixelKind

_RAW = re.compile(r"^(?:S([RGB]{4})|R)(\d+)$")
_TOLERANCE = 0.05  # gains exist in steps, exposures in lines
_TOLERANCE_S = 0.00005


def number(value: Any) -> float | None:
    """The first number of a value or of its text (`[ 4096, 4096 ]`), if there is one."""
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, (list, tuple)) and value:
        return number(value[0])
    found = re.search(r"-?\d+(?:\.\d+)?", str(value))
    return float(found.group()) if found else None


def facts_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """`opened_at`, `ended_at`, `monotonic_ns` and `applied` of a frame from its metadata.

    SensorTimestamp is the monotonic clock when the sensor began to send the frame, so the shutter opened an ExposureTime
    (in µs) earlier. Without it the frame counts as ended now.
    """
    now_ns, now = monotonic_ns(), utc_now()
    exposure_us = number(told.get("ExposureTime"))
    gain = number(told.get("AnalogueGain"))
    stamp = number(told.get("SensorTimestamp"))
    closed_ns = min(round(stamp), now_ns) if stamp else now_ns
    opened_ns = max(1, closed_ns - round((exposure_us or 0) * 1000))
    return {
        "opened_at": now - timedelta(microseconds=(now_ns - opened_ns) / 1000),
        "ended_at": now - timedelta(microseconds=(now_ns - closed_ns) / 1000),
        "monotonic_ns": opened_ns,
        "applied": Controls(exposure_s=exposure_us / 1e6 if exposure_us is not None else None, gain=gain),
    }


def obeys(applied: Controls, wanted: Controls) -> bool:
    """Whether a frame was taken with what is wanted, but for the sensor's steps."""
    return _close(applied.exposure_s, wanted.exposure_s, _TOLERANCE_S) and _close(applied.gain, wanted.gain, 0.0)


def _close(has: float | None, wants: float | None, at_least: float) -> bool:
    return wants is None or (has is not None and abs(has - wants) <= max(at_least, _TOLERANCE * wants))


def raw_format(name: str, sensor_bits: int) -> PixelFormat:
    """The layout behind libcamera's name of an unpacked raw format: SRGGB12 (in the low bits), SRGGB16, R10.

    A Pi 5 delivers every sensor as 16 bits, its samples shifted up to the top. Raises CameraNotFound for packed and compressed ones.
    """
    found = _RAW.match(name)
    if found is None:
        raise CameraNotFound(
            f"The camera delivers raw pictures as {name}, which are packed. Update rpicam-apps and libcamera: `sudo apt full-upgrade`."
        )
    bayer, stored = found.group(1), int(found.group(2))
    bits = min(stored, sensor_bits) if stored == 16 else stored
    return PixelFormat(PixelKind.BAYER if bayer else PixelKind.MONO, bits, bayer, padding_bits=16 - bits if stored == 16 else 0)
