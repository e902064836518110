"""Auto exposure through sunset and sunrise: the real meter and the real controller on a simulated sky and sensor.

The sky's brightness follows the sun from +8° to -12°, 0.2° a minute, a picture every 15 s; clouds are slow waves of its transparency.
The sensor is linear, with shot and read noise, gain in tenths of a decibel. `lag`: a picture is measured so many pictures late, as where
capture is pipelined. Counted are the pictures whose target can be reached at all, after 8 pictures of settling: how many are more than
half a stop off, and how many change by more than 0.3 stop from one to the next.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bench.results import Options, Result, median
from cupola.camera.auto_exposure import ORDER, AutoExposure, Forecast, Limits, dials_of, light_of
from cupola.camera.metering import level_of
from cupola.core.frame import ControlRange, Controls, Frame, PixelFormat, PixelKind
from cupola.darkroom.evening import evened

SETTLING, PERIOD_S, TARGET = 8, 15.0, 75 / 255
RANGES = {"exposure_s": ControlRange(32e-6, 15.0, 0.001), "gain": ControlRange(0, 300, 0, scale="tenth_db")}
LUX = ((10.0, 10000.0), (5.0, 4000.0), (0.0, 400.0), (-6.0, 3.4), (-12.0, 0.008), (-18.0, 0.0006))  # by the sun's altitude
REFERENCE = light_of(Controls(0.001, 0), "tenth_db") - math.log2(TARGET) + math.log2(4000)  # what shows the target at 4000 lux
SIDE, BITS, BLACK = 64, 12, 200
FULL_WELL_E, READ_NOISE_E = 15000.0, 3.0
AT = datetime(2026, 11, 21, 17, tzinfo=UTC)
PEER = "indi-allsky"


def _lux(altitude: float) -> float:
    """Log-linear between the table's points."""
    return 2.0 ** float(np.interp(-altitude, [-high for high, _ in LUX], [math.log2(lux) for _, lux in LUX]))


def _transparency(count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A factor for each picture, 0.35 to 1: slow waves, minutes long."""
    moments = np.arange(count) * PERIOD_S
    waves = sum(np.sin(2 * np.pi * moments / length + rng.uniform(0, 6.3)) for length in (1500, 660, 310, 170))
    return 0.35 + 0.65 / (1 + np.exp(-1.5 * np.asarray(waves)))


def sky_stops(rising: bool, clouds: bool, rng: np.random.Generator) -> list[float]:
    """The sky's brightness in stops, picture by picture; 0 shows its target in a picture of no stops."""
    step = 0.2 * PERIOD_S / 60
    altitudes = [8 - step * number for number in range(int(20 / step))]
    if rising:
        altitudes.reverse()
    through = _transparency(len(altitudes), rng) if clouds else np.ones(len(altitudes))
    return [math.log2(_lux(altitude) * share) - REFERENCE for altitude, share in zip(altitudes, through, strict=True)]


def _take(sky: float, controls: Controls, noise: bool, rng: np.random.Generator, number: int) -> Frame:
    """What the sensor makes of an even sky."""
    level = 2.0 ** (sky + light_of(controls, "tenth_db"))
    electrons = FULL_WELL_E / 10 ** ((controls.gain or 0.0) / 200)  # at white
    shape, white = (SIDE, SIDE), (1 << BITS) - 1 - BLACK
    light = np.full(shape, min(level, 1e3) * electrons)
    if noise:
        light = rng.poisson(light) + rng.normal(0, READ_NOISE_E, shape)
    data = np.clip(np.rint(light / electrons * white + BLACK), 0, white + BLACK).astype(np.uint16)
    return Frame(number, AT, AT, number, data, PixelFormat(PixelKind.MONO, BITS, black_level=BLACK), controls)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one twilight: shares in %, stops, counts."""

    off_half: float
    worst: float
    jumps: int
    developed_step: float  # the greatest change of the developed picture that the sky did not make


def twilight(rising: bool, lag: int, *, clouds: bool, seed: int = 1, forecast: Callable[[Sequence[float]], Forecast] | None = None) -> Figures:
    """One twilight. With `clouds` there is noise too. `forecast` makes another one than the controller's own, from the whole night."""
    rng = np.random.default_rng(seed)
    sky = sky_stops(rising, clouds, rng)
    controller = AutoExposure(dials_of(RANGES, Limits(target=TARGET)), TARGET, "tenth_db", forecast(sky) if forecast else None)
    controls = Controls(15.0, 300) if rising else Controls(0.001, 0)
    brightest, darkest = light_of(Controls(15.0, 300), "tenth_db"), light_of(Controls(32e-6, 0), "tenth_db")
    waiting: deque[tuple[Frame, float]] = deque()
    shown, developed, skies = list[float](), list[float](), list[float]()
    for number, now in enumerate(sky):
        frame = _take(now, controls, clouds, rng, number)
        waiting.append((frame, now))
        if len(waiting) <= lag:
            continue
        measured, then = waiting.popleft()
        level = level_of(measured) or 0.0
        correction = controller.measured(level, measured.applied)
        if darkest < math.log2(TARGET) - then < brightest:
            values = (measured.data.astype(np.float64) - BLACK) / ((1 << BITS) - 1 - BLACK)
            shown.append(math.log2(max(float(values.mean()), 0.1 / 255) / TARGET))
            developed.append(math.log2(max(float(evened(values, correction).mean()), 0.1 / 255)))
            skies.append(then)
        controls = controller.controls(Controls(), ahead=lag + 1)
    shown, developed, skies = shown[SETTLING:], developed[SETTLING:], skies[SETTLING:]
    steps = [_not_of_the_sky(b - a, to - fro) for (a, b), (fro, to) in zip(pairwise(developed), pairwise(skies), strict=True)]
    off = [abs(stops) for stops in shown]
    jumps = sum(abs(b - a) > 0.3 for a, b in pairwise(shown))
    return Figures(100 * sum(stops > 0.5 for stops in off) / len(off), max(off), jumps, max(steps))


def _not_of_the_sky(step: float, of_sky: float) -> float:
    """How far a change of the picture lies outside of what the sky's own explains."""
    return max(step - max(of_sky, 0.0), min(of_sky, 0.0) - step, 0.0)


class Hindsight(Forecast):
    """The controller's own forecast with the weights that fit the whole night best, known from the start: they are not learned."""

    def __init__(self, sky: Sequence[float]) -> None:
        super().__init__()
        changes = np.diff(sky)
        before = np.array([changes[at - ORDER : at][::-1] for at in range(ORDER, len(changes))])
        self._weights = [float(weight) for weight in np.linalg.lstsq(before, changes[ORDER:], rcond=None)[0]]

    def _learn(self, change: float) -> None:
        pass


def _both(lag: int, seeds: Sequence[int], *, clouds: bool, forecast: Callable[[Sequence[float]], Forecast] | None = None) -> list[Figures]:
    return [twilight(rising, lag, clouds=clouds, seed=seed, forecast=forecast) for seed in seeds for rising in (False, True)]


def clear(options: Options) -> Iterator[Result]:
    figures = [one for lag in (0, 1) for one in _both(lag, (1,), clouds=False)]
    note = "sunset and sunrise, measured at once and one picture late"
    yield median("twilight.clear.off_half", [one.off_half for one in figures], "%", 0.0, peer=(PEER, [9.0]), note=note)
    yield median("twilight.clear.jumps", [one.jumps for one in figures], "jumps", 0.0, peer=(PEER, [30.0]))
    yield median("twilight.clear.worst", [max(one.worst for one in figures)], "stops", 0.1, note="the worst of all pictures")


def clouds(options: Options) -> Iterator[Result]:
    """With noise. `hindsight`: what a forecast from the same past pictures misses even if it knew the night's statistics beforehand."""
    seeds = range(1, 3 if options.quick else 7)
    for lag, off, jumps in ((0, 0.3, 2.0), (1, 2.0, 25.0)):
        figures = _both(lag, seeds, clouds=True)
        peer = (PEER, [36.0]) if lag else None
        worst = f"worst picture {max(one.worst for one in figures):.2f} stops off"
        yield median(f"twilight.clouds.lag{lag}.off_half", [one.off_half for one in figures], "%", off, peer=peer, note=worst)
        yield median(f"twilight.clouds.lag{lag}.jumps", [one.jumps for one in figures], "jumps", jumps, peer=(PEER, [67.0]) if lag else None)
        known = _both(lag, seeds, clouds=True, forecast=Hindsight)
        note = "the part that no controller could know: weights fitted on the whole night beforehand"
        yield median(f"twilight.clouds.lag{lag}.hindsight.off_half", [one.off_half for one in known], "%", note=note)
        yield median(f"twilight.clouds.lag{lag}.hindsight.jumps", [one.jumps for one in known], "jumps", note=note)


def developed(options: Options) -> Iterator[Result]:
    """The same nights as developed: every picture evened out by its own correction."""
    seeds = range(1, 2 if options.quick else 4)
    for name, figures in (
        ("clear", [one for lag in (0, 1) for one in _both(lag, (1,), clouds=False)]),
        ("clouds", [one for lag in (0, 1) for one in _both(lag, seeds, clouds=True)]),
    ):
        note = "greatest step of brightness that the sky did not make, after evening out; each night's"
        yield median(f"twilight.developed.{name}.step", [max(one.developed_step for one in figures)], "stops", 0.1, note=note)


def run(options: Options) -> Iterator[Result]:
    yield from clear(options)
    yield from clouds(options)
    yield from developed(options)
