"""Satellites and meteors: when and where they cross, the same for the same seed and moment.

Each minute of the sky's clock draws its own events from (seed, minute): a frame needs no history, and frames never disagree.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Kind = Literal["satellite", "meteor"]

_SLOT_S = 60.0
_LONGEST_S: dict[Kind, float] = {"satellite": 400.0, "meteor": 1.5}


@dataclass(frozen=True, slots=True)
class Event:
    """One thing crossing the sky on a great circle: from `start` (unit vector, local) towards `across`, at right angles to it."""

    kind: Kind
    begins_s: float
    lasts_s: float
    start: Array
    across: Array
    speed_rad_s: float
    magnitude: float  # at its brightest
    colour: tuple[float, float, float]

    def at(self, moments: Array) -> Array:
        """Directions (N, 3) at moments of the sky's clock."""
        angle = (moments - self.begins_s) * self.speed_rad_s
        return np.cos(angle)[:, None] * self.start + np.sin(angle)[:, None] * self.across

    def flux(self, moments: Array) -> Array:
        """Flux (N,), magnitude 0 = 1: a satellite fades in and out of the earth's shadow, a meteor is brightest at 0.7 of its way."""
        phase = np.clip((moments - self.begins_s) / self.lasts_s, 0.0, 1.0)
        rise, fall = (0.7, 0.3) if self.kind == "meteor" else (0.08, 0.08)
        return 10 ** (-0.4 * self.magnitude) * np.clip(np.minimum(phase / rise, (1 - phase) / fall), 0.0, 1.0)


class Transients:
    """Poisson events of both kinds; `*_per_hour` are means over the whole sky."""

    def __init__(self, satellites_per_hour: float, meteors_per_hour: float, seed: int) -> None:
        self._per_hour: dict[Kind, float] = {"satellite": satellites_per_hour, "meteor": meteors_per_hour}
        self._seed = seed
        self._slots: dict[tuple[Kind, int], list[Event]] = {}

    def between(self, opens_s: float, closes_s: float) -> list[Event]:
        """The events that shine at some moment of an exposure, by their beginning."""
        found: list[Event] = []
        for kind, per_hour in self._per_hour.items():
            if per_hour > 0:
                first, last = math.floor((opens_s - _LONGEST_S[kind]) / _SLOT_S), math.floor(closes_s / _SLOT_S)
                for slot in range(first, last + 1):
                    found += [e for e in self._slot(kind, slot) if e.begins_s < closes_s and e.begins_s + e.lasts_s > opens_s]
        return sorted(found, key=lambda event: event.begins_s)

    def _slot(self, kind: Kind, slot: int) -> list[Event]:
        if (kind, slot) not in self._slots:
            if len(self._slots) > 256:
                self._slots.clear()
            rng = np.random.default_rng([self._seed, len(kind), slot % 2**32])
            make = _satellite if kind == "satellite" else _meteor
            count = rng.poisson(self._per_hour[kind] * _SLOT_S / 3600)
            self._slots[kind, slot] = [make(slot * _SLOT_S + rng.uniform(0, _SLOT_S), rng) for _ in range(count)]
        return self._slots[kind, slot]


def _local(azimuth: float, altitude: float) -> Array:
    return np.array([math.cos(altitude) * math.sin(azimuth), math.cos(altitude) * math.cos(azimuth), math.sin(altitude)])


def _at_right_angles(start: Array, towards: Array) -> Array:
    across = towards - start * float(start @ towards)
    return across / max(float(np.linalg.norm(across)), 1e-9)


def _satellite(begins_s: float, rng: np.random.Generator) -> Event:
    """Rises somewhere, passes high in the sky at 0.3 to 0.9 degrees a second, magnitude 0.5 to 5."""
    rise = rng.uniform(0, 2 * math.pi)
    start = _local(rise, 0.02)
    towards = _local(rise + math.pi + rng.uniform(-0.9, 0.9), rng.uniform(0.4, 1.5))
    speed = math.radians(rng.uniform(0.3, 0.9))
    lasts = min(rng.uniform(0.4, 1.0) * math.pi / speed, _LONGEST_S["satellite"])
    return Event("satellite", begins_s, lasts, start, _at_right_angles(start, towards), speed, rng.uniform(0.5, 5.0), (1.05, 1.0, 0.95))


def _meteor(begins_s: float, rng: np.random.Generator) -> Event:
    """3° to 25° long in 0.2 to 1.2 s, magnitude 4 to -4; a magnitude fainter is 2.5 times as common (the population index)."""
    start = _local(rng.uniform(0, 2 * math.pi), math.asin(rng.uniform(0.2, 1.0)))
    across = _at_right_angles(start, rng.standard_normal(3) - np.array([0.0, 0.0, 1.0]))
    lasts = rng.uniform(0.2, 1.2)
    magnitude = max(4.0 + math.log(1 - rng.uniform()) / math.log(2.5), -4.0)
    return Event("meteor", begins_s, lasts, start, across, math.radians(rng.uniform(3, 25)) / lasts, magnitude, (0.90, 1.20, 0.90))
