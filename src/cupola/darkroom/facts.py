"""What the names in an overlay's lines stand for on one picture: `{time}`, `{sun}` and the others of `core.template`.

How the words get onto the picture is the business of `overlay`. The sun and the moon are computed by `core.ephemeris`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from cupola.core.clock import iso_utc, parse_utc
from cupola.core.ephemeris import moon, phase_angle_deg, sun
from cupola.core.frame import Station
from cupola.core.template import Piece, fill, parse
from cupola.darkroom.recipe import Overlay
from cupola.storage.originals import Facts

WINDS = ("N", "NE", "E", "SE", "S", "SW", "W", "NW")
UNKNOWN = "–"
TIME = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True, slots=True)
class Shot:
    """The facts of one picture that an overlay may tell."""

    opened_at: datetime
    camera: str
    exposure_s: float | None = None
    gain: float | None = None
    f_number: float | None = None
    temperature_c: float | None = None

    @classmethod
    def of(cls, facts: Facts) -> Shot:
        """From an original's header."""
        applied = facts.applied
        return cls(facts.opened_at, facts.camera, applied.exposure_s, applied.gain, applied.f_number, facts.temperature_c)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Shot:
        return cls(**{**values, "opened_at": parse_utc(values["opened_at"])})

    def to_dict(self) -> dict[str, Any]:
        return {
            "opened_at": iso_utc(self.opened_at),
            "camera": self.camera,
            "exposure_s": self.exposure_s,
            "gain": self.gain,
            "f_number": self.f_number,
            "temperature_c": self.temperature_c,
        }


def lines_of(overlay: Overlay, shot: Shot, station: Station) -> list[str]:
    """The overlay's lines with everything filled in. Raises TemplateError for a line that cannot be understood."""
    parsed = [parse(line) for line in overlay.lines]
    values = {_key(piece): _value(piece, overlay, shot, station) for pieces in parsed for piece in pieces if piece.name}
    return [fill(pieces, values) for pieces in parsed]


def _key(piece: Piece) -> str:
    return f"{piece.name}:{piece.form}" if piece.form else str(piece.name)


def _value(piece: Piece, overlay: Overlay, shot: Shot, station: Station) -> str:
    match piece.name:
        case "time":
            return shot.opened_at.astimezone(ZoneInfo(station.timezone)).strftime(piece.form or TIME)
        case "utc":
            return shot.opened_at.astimezone(UTC).strftime(piece.form or TIME)
        case "exposure":
            return UNKNOWN if shot.exposure_s is None else _duration(shot.exposure_s)
        case "gain":
            return UNKNOWN if shot.gain is None else f"{shot.gain:g}"
        case "f_number":
            return UNKNOWN if shot.f_number is None else f"f/{shot.f_number:g}"
        case "temperature":
            return UNKNOWN if shot.temperature_c is None else f"{_signed(shot.temperature_c, 1)} °C"
        case "sun":
            return f"{_signed(sun(shot.opened_at.timestamp(), station.latitude, station.longitude).altitude_deg)}°"
        case "moon":
            return _moon(shot.opened_at.timestamp(), station)
        case "compass":
            return UNKNOWN if overlay.north_deg is None else _at_top(overlay)
        case "station":
            return station.name
        case _:
            return shot.camera


def _duration(exposure_s: float) -> str:
    if exposure_s >= 0.3:
        return f"{exposure_s:.3g} s"
    return f"{1000 * exposure_s:.3g} ms" if exposure_s >= 0.001 else f"{1e6 * exposure_s:.3g} µs"


def _signed(value: float, digits: int = 0) -> str:
    """With a real minus sign, and no minus before a zero."""
    text = f"{abs(value):.{digits}f}"
    return f"−{text}" if value < 0 and float(text) else text


def _moon(sky_s: float, station: Station) -> str:
    """`23°, 76 %`: altitude and lit share of the disc, (1 + cos i) / 2 (Meeus 48.1)."""
    import math

    lit = (1 + math.cos(math.radians(phase_angle_deg(sky_s)))) / 2
    return f"{_signed(moon(sky_s, station.latitude, station.longitude).altitude_deg)}°, {100 * lit:.0f} %"


def _at_top(overlay: Overlay) -> str:
    """The direction at the picture's top. With east to the left, directions run counterclockwise."""
    north = overlay.north_deg or 0.0
    azimuth = north if overlay.east == "left" else -north
    return WINDS[round(azimuth / 45) % 8]
