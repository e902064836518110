"""Auto exposure as arithmetic: exposure, gain and aperture as one number in stops, and the brightness of the sky ahead of time.

Pure, and the same under a bench as on a camera. How bright a picture is is `metering`'s business, when it is looked at
`auto_stills`'. A stop is a factor of two in light; levels are fractions of what the sensor holds, black removed.

The sky changes by up to 16 stops in an evening, evenly, and clouds swing it on top. The controller predicts the brightness at the next
opening (`Forecast`), aims at the target there, and moves the picture by no more than STEP_STOPS towards it at a time, so that a
misjudged cloud becomes a slow change and not a flicker. What remains is told for each picture, and evened out in developing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cupola.core.frame import ControlRange, Controls, GainScale

CLIPPED = 0.98  # from this level on a picture says only that it is too bright
DARK = 2.0**-8  # below it, only that it is too dark
RETURN = 0.3  # of what the picture before is off, as much is let stand
STEP_STOPS = 0.15  # the picture is moved by no more at a time ...
STRAY_STOPS = 0.4  # ... unless it would be off by more than this
HOLD_STOPS, HOLD_CHOICES_STOPS = 0.03, 0.1  # changes that are not worth setting; the second where a control has few values
CORRECTION_STOPS = 1.0  # most that is evened out afterwards
FLASH_STOPS = 0.5  # a single picture further than this from what was forecast shows lightning, not a wrong exposure

ORDER = 8
MEMORY = 0.998  # a picture counts half as much 350 pictures later
BELIEF = 0.1  # in BEGINNING, in squared stops
BEGINNING = (1.8, -1.2, 0.3)  # a brightness that swings, damped: what is believed before the sky was seen
UNLIKELY_STOPS = 1.5  # a change between two pictures that nothing is learned from

Scale = Literal["linear", "tenth_db", "f_number"]
Names = Literal["exposure_s", "gain", "f_number"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the configuration says (`cameras[].exposure.auto`). None: as far as the camera goes; the aperture is not moved without limits."""

    target: float = 0.25
    exposure_min_s: float | None = None
    exposure_max_s: float | None = None
    gain_min: float | None = None
    gain_max: float | None = None
    f_number_min: float | None = None
    f_number_max: float | None = None
    prefer: Literal["exposure", "gain"] = "exposure"
    gain_scale: GainScale | None = None  # of a camera whose driver does not know it


@dataclass(frozen=True, slots=True)
class Dial:
    """A control in stops: one more is twice the light. `low` and `high` bound what is used; `choices` in stops, rising."""

    name: Names
    scale: Scale
    low: float
    high: float
    choices: tuple[float, ...] | None = None

    @classmethod
    def of(cls, name: Names, scale: Scale, limits: ControlRange, least: float | None, most: float | None) -> Dial:
        """Of a camera's limits and narrower ones in the control's unit; ones outside of the camera's count as the nearest it has."""
        low = limits.minimum if least is None else limits.nearest(least)
        high = limits.maximum if most is None else limits.nearest(most)
        bounds = sorted((stops_of(low, scale), stops_of(max(high, low), scale)))
        choices = sorted(stops_of(value, scale) for value in limits.choices or ())
        inside = tuple(value for value in choices if bounds[0] - 1e-9 <= value <= bounds[1] + 1e-9)
        return cls(name, scale, bounds[0], bounds[1], inside or None)

    def nearest(self, stops: float, most: float = math.inf) -> float:
        """What this control can give of so many stops, up to `most` of its unit's stops."""
        if self.choices:
            allowed = [choice for choice in self.choices if choice <= most + 1e-9] or [self.choices[0]]
            return min(allowed, key=lambda choice: abs(choice - stops))
        return min(max(stops, self.low), max(min(self.high, most), self.low))


def stops_of(value: float, scale: Scale) -> float:
    """A control's value in stops. `tenth_db`: a gain in tenths of a decibel of amplitude, 60.2 to the stop; f-numbers as 1/N²."""
    if scale == "tenth_db":
        return value / (200 * math.log10(2))
    stops = math.log2(max(value, 1e-12))
    return -2 * stops if scale == "f_number" else stops


def value_of(stops: float, scale: Scale) -> float:
    """The inverse of `stops_of`."""
    if scale == "tenth_db":
        return stops * 200 * math.log10(2)
    return 2 ** (-stops / 2 if scale == "f_number" else stops)


def dials_of(ranges: Mapping[str, ControlRange], limits: Limits) -> tuple[Dial, ...]:
    """The controls that auto exposure can move on a camera, in the order in which light is taken from them as it gets dark."""
    found: dict[str, Dial] = {}
    if (exposure := ranges.get("exposure_s")) is not None:
        found["exposure"] = Dial.of("exposure_s", "linear", exposure, limits.exposure_min_s, limits.exposure_max_s)
    if (gain := ranges.get("gain")) is not None and (scale := gain.scale or limits.gain_scale) is not None:
        found["gain"] = Dial.of("gain", scale, gain, limits.gain_min, limits.gain_max)
    if (aperture := ranges.get("f_number")) is not None and (limits.f_number_min is not None or limits.f_number_max is not None):
        found["f_number"] = Dial.of("f_number", "f_number", aperture, limits.f_number_min, limits.f_number_max)
    order = ("f_number", "exposure", "gain") if limits.prefer == "exposure" else ("f_number", "gain", "exposure")
    return tuple(found[name] for name in order if name in found)


def light_of(controls: Controls, gain_scale: GainScale | None) -> float:
    """Stops of light that a picture with these controls gathers and amplifies; what is unknown counts nothing."""
    stops = 0.0
    if controls.exposure_s is not None:
        stops += stops_of(controls.exposure_s, "linear")
    if controls.gain is not None and gain_scale is not None:
        stops += stops_of(controls.gain, gain_scale)
    if controls.f_number is not None:
        stops += stops_of(controls.f_number, "f_number")
    return stops


class Forecast:
    """The sky's brightness in stops, picture by picture, and some pictures ahead.

    The change from one picture to the next is a weighted sum of the ORDER changes before it (an autoregressive model), with the
    weights that fitted best so far: least squares that forget (MEMORY), drawn to BEGINNING where the sky taught nothing (ridge;
    Hoerl & Kennard 1970), so that a clear evening without any swing leaves no weight undetermined.
    """

    def __init__(self) -> None:
        self._beginning = [*BEGINNING, *[0.0] * (ORDER - len(BEGINNING))]
        self._weights = list(self._beginning)
        self._squares = [[0.0] * ORDER for _ in range(ORDER)]
        self._products = [0.0] * ORDER
        self._changes: list[float] = []  # newest first
        self.follows = False  # the next picture is the one after the newest, whose brightness is known
        self.newest: float | None = None

    def add(self, stops: float) -> None:
        """The brightness of the next picture."""
        if self.newest is not None and self.follows:
            change = stops - self.newest
            if abs(change) > UNLIKELY_STOPS:
                self._changes.clear()
            else:
                if len(self._changes) >= ORDER:
                    self._learn(change)
                self._changes = [change, *self._changes[: ORDER - 1]]
        self.newest, self.follows = stops, True

    def gap(self, guess: float | None = None) -> None:
        """The next picture does not follow from the newest, of which no more than a guess is known. What was learned stays."""
        self.newest = self.newest if guess is None else guess
        self.follows = False
        self._changes.clear()

    def ahead(self, pictures: int) -> float:
        """The brightness so many pictures after the newest; 0: the newest itself. Needs one."""
        assert self.newest is not None
        stops, changes = self.newest, list(self._changes)
        for _ in range(pictures):
            if len(changes) < ORDER:  # too few to tell a swing from a slope
                change = sum(changes[:3]) / len(changes[:3]) if changes else 0.0
            else:
                change = sum(weight * before for weight, before in zip(self._weights, changes, strict=True))
            stops += change
            changes = [change, *changes[: ORDER - 1]]
        return stops

    def _learn(self, change: float) -> None:
        for row, before in enumerate(self._changes):
            self._products[row] = MEMORY * self._products[row] + before * change
            squares = self._squares[row]
            for column, other in enumerate(self._changes):
                squares[column] = MEMORY * squares[column] + before * other
        matrix = [[value + (BELIEF if row == column else 0.0) for column, value in enumerate(line)] for row, line in enumerate(self._squares)]
        self._weights = solve(matrix, [value + BELIEF * belief for value, belief in zip(self._products, self._beginning, strict=True)])


def solve(matrix: list[list[float]], right: list[float]) -> list[float]:
    """x of `matrix` x = `right` for a symmetric positive definite matrix, by Gaussian elimination; spoils both."""
    size = len(right)
    for pivot in range(size):
        for row in range(pivot + 1, size):
            factor = matrix[row][pivot] / matrix[pivot][pivot]
            for column in range(pivot, size):
                matrix[row][column] -= factor * matrix[pivot][column]
            right[row] -= factor * right[pivot]
    found = [0.0] * size
    for row in reversed(range(size)):
        found[row] = (right[row] - sum(matrix[row][column] * found[column] for column in range(row + 1, size))) / matrix[row][row]
    return found


class AutoExposure:
    """The controller. For each picture `measured`, before each one `controls`, in the order of the pictures.

    `dials` are those it may move, in order; `gain_scale` is the camera's, for counting a gain that stands fixed.
    """

    def __init__(self, dials: Sequence[Dial], target: float, gain_scale: GainScale | None, forecast: Forecast | None = None) -> None:
        self._gain_scale: GainScale | None = gain_scale
        self.use(dials)
        self._target = math.log2(target)
        self._forecast = forecast or Forecast()
        self._held: float | None = None  # stops of light last wanted of the dials
        self._taken: float | None = None  # stops of light of the newest picture that was measured
        self._asked: float | None = None  # and of the one last asked for
        self._too_bright = 0  # pictures in a row that were clipped
        self._surprised = False  # by the newest picture

    def use(self, dials: Sequence[Dial]) -> None:
        """Which controls may be moved from now on. What is known of the sky stays."""
        self._dials = tuple(dials)
        self._hold = HOLD_CHOICES_STOPS if any(dial.choices for dial in dials) else HOLD_STOPS

    def measured(self, level: float, controls: Controls) -> float:
        """A picture's level, and the controls it was really taken with: the stops by which developing should brighten it.

        Within CORRECTION_STOPS. Of what a single picture shows and no forecast could (lightning) only FLASH_STOPS are evened out.
        """
        taken = light_of(controls, self._gain_scale)
        sky = math.log2(level) - taken if DARK < level < CLIPPED else math.inf if level >= CLIPPED else -math.inf
        if not self._forecast.follows:
            return self._begun(sky, taken)
        expected = self._forecast.ahead(1)
        calm = expected + min(max(sky - expected, -FLASH_STOPS), FLASH_STOPS)
        self._surprised = abs(sky - expected) > FLASH_STOPS and not self._surprised
        if self._surprised:  # once: lightning, headlights, a bird; the next picture is exposed as if it had not been
            self._forecast.add(expected)
        elif math.isinf(sky):
            return self._begun(sky, taken)
        else:
            self._forecast.add(sky)
            calm = sky
        self._taken = taken
        return self._bounded(self._target - calm - taken)

    def _begun(self, sky: float, taken: float) -> float:
        """The first picture after none, after a gap, or after one of which too little was known; as `measured`. Put right at once."""
        self._taken = self._asked = None
        self._too_bright = self._too_bright + 1 if sky == math.inf else 0
        if math.isinf(sky):
            self._forecast.gap(2.0**self._too_bright - taken if sky > 0 else math.log2(DARK) - taken)
        else:
            self._forecast.add(sky)
        return self._bounded(self._target - sky - taken)

    @staticmethod
    def _bounded(stops: float) -> float:
        return min(max(stops, -CORRECTION_STOPS), CORRECTION_STOPS)

    def gap(self) -> None:
        """Pictures are missing, or were not measured."""
        self._forecast.gap()
        self._taken = self._asked = None

    def controls(self, base: Controls, *, ahead: int = 1, exposure_max_s: float | None = None) -> Controls:
        """The controls for the picture that is `ahead` pictures after the newest that was measured (1: the next one).

        `base` has those that stand fixed; of the others it says where to begin while nothing was measured. No exposure is
        longer than `exposure_max_s`, but for the shortest the camera has.
        """
        longest = math.inf if exposure_max_s is None else stops_of(max(exposure_max_s, 1e-9), "linear")
        given: dict[str, float] = {}
        if self._forecast.newest is None:
            for dial in self._dials:
                if (value := base.to_dict()[dial.name]) is not None:
                    most = longest if dial.name == "exposure_s" else math.inf
                    given[dial.name] = value_of(dial.nearest(stops_of(value, dial.scale), most), dial.scale)
        else:
            moved = {dial.name: None for dial in self._dials}
            fixed = light_of(Controls.from_dict({**base.to_dict(), **moved}), self._gain_scale)
            wanted = self._target - self._forecast.ahead(ahead) + self._astray(ahead) - fixed
            if self._held is None or abs(wanted - self._held) > self._hold:
                self._held = wanted
            left = self._held
            for index, dial in enumerate(self._dials):
                least = sum(other.low for other in self._dials[index + 1 :])  # what the later ones give at any rate
                stops = dial.nearest(left - least, longest if dial.name == "exposure_s" else math.inf)
                given[dial.name] = value_of(stops, dial.scale)
                left -= stops
        chosen = Controls.from_dict(given).over(base)
        self._asked = light_of(chosen, self._gain_scale)
        return chosen

    def _astray(self, ahead: int) -> float:
        """By how much the next picture is let be off: the picture before it, as it is expected, and a step from there."""
        before = self._taken if ahead == 1 else self._asked
        if before is None:
            return 0.0
        off = self._forecast.ahead(ahead - 1) + before - self._target
        step = min(max((RETURN - 1) * off, -STEP_STOPS), STEP_STOPS)
        return min(max(off + step, -STRAY_STOPS), STRAY_STOPS)
