"""Stars and streaks found in simulated skies, against what the simulator says is there, and what it costs.

The sky is drawn without waiting for its exposures: scene, sensor and truth file are the simulator's own, the detectors the darkroom's.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.results import Options, Result, median
from cupola.config.drivers import SimulatorOptions
from cupola.core.frame import Controls, PixelFormat, Station
from cupola.darkroom.field import Field
from cupola.darkroom.measure import find, measure
from cupola.darkroom.streaks import Previous, Streak
from cupola.drivers.sky.scene import Scene
from cupola.drivers.sky.sensor import Sensor
from cupola.drivers.sky.truth import TruthWriter

STATION = Station("bench", 50.0, 8.0)
EXPOSURE_S, GAIN = 15.0, 200.0
NIGHTS = ("2026-11-09T22:00:00Z", "2026-11-21T23:00:00Z", "2027-01-07T20:00:00Z")  # new moon, moonlight, new moon
STAR_SNR, NEAR_PX = 5.0, 2.5
STREAKS, LONG_PX, STREAK_SNR = 100, 40.0, 20.0
READ_NOISE_E = 2.5

Truth = dict[str, Any]


def frames(folder: Path, begins: str, count: int, **options: Any) -> Iterator[tuple[npt.NDArray[Any], PixelFormat, Truth]]:
    """So many exposures, one after the other: samples, their layout, and what is in them."""
    chosen = SimulatorOptions(**options).model_dump()
    begins_s = datetime.fromisoformat(begins).timestamp()
    scene, sensor = Scene(chosen, STATION, begins_s), Sensor(chosen)
    truth = TruthWriter(folder, scene)
    for number in range(1, count + 1):
        opens_s = begins_s + (number - 1) * (EXPOSURE_S + 0.2)
        picture, streaks = scene.render(opens_s, EXPOSURE_S, sensor.read_noise_e), scene.streaks(opens_s, EXPOSURE_S)
        for streak in streaks:
            np.add.at(picture.electrons.reshape(-1), streak.pixels, streak.electrons)
        sensor.collect(picture.electrons, EXPOSURE_S)
        pixels = sensor.read(picture.electrons, GAIN, np.random.default_rng([chosen["seed"], number]))
        at = datetime.fromtimestamp(opens_s, UTC)
        truth.write(number, at, opens_s, Controls(EXPOSURE_S, GAIN), picture, sensor.dark_e(EXPOSURE_S) + sensor.read_noise_e**2, streaks)
        path = folder / f"{at:%Y%m%dT%H%M%SZ}_{number:06d}.json"
        while not path.exists():
            time.sleep(0.001)
        yield pixels, sensor.format, json.loads(path.read_text())
        path.unlink()
    truth.close()


def stars(options: Options) -> Iterator[Result]:
    """Clear skies over a colour and a monochrome sensor, three nights."""
    found, false = list[float](), list[float]()
    for night in NIGHTS:
        for bayer in ("RGGB", None):
            sky = frames(options.folder, night, 2, bayer=bayer, satellites_per_hour=5, meteors_per_hour=10)
            previous = Previous()
            for pixels, layout, truth in sky:
                seen, _ = find(Field.of(pixels, layout), previous)
                there = np.array([(star["x"], star["y"], star["snr"]) for star in truth["stars"]])
                marks = np.stack([seen.x, seen.y], axis=1)
                wanted = there[there[:, 2] > STAR_SNR, :2]
                found.append(100 * float(np.mean(_nearest(wanted, marks) < NEAR_PX)))
                false.append(100 * float(np.mean(_nearest(marks, there[:, :2]) >= NEAR_PX)))
    note = f"worst of {len(found)} frames {{:.1f}} %; three clear nights, one with the moon, colour and mono, hot pixels in"
    yield median("develop.stars_found", found, "%", 90.0, note=note.format(min(found)), at_least=True)
    yield median("develop.stars_false", false, "%", 5.0, note=note.format(max(false)))


def _nearest(points: npt.NDArray[Any], others: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Distance of each of `points` (N, 2) from the nearest of `others`."""
    if not len(others):
        return np.full(len(points), np.inf)
    return np.concatenate(
        [np.hypot(*(part[:, None] - others[None]).transpose(2, 0, 1)).min(axis=1) for part in np.array_split(points, 16) if len(part)]
    )


def streaks(options: Options) -> Iterator[Result]:
    """Meteors and satellites under clear sky; then an hour without any, half of it under drifting clouds."""
    hits = list[bool]()
    there, wrong, wanted = 0, 0, 30 if options.quick else STREAKS
    previous = Previous()
    for pixels, layout, truth in frames(options.folder, NIGHTS[0], 2000, satellites_per_hour=30, meteors_per_hour=900):
        first = previous.residual is None
        _, seen = find(Field.of(pixels, layout), previous)
        if first:
            continue
        clear = [line for line in truth["streaks"] if _is_clear(line, truth)]
        hits += [any(_is_same(line, one) for one in seen) for line in clear]
        wrong += sum(not any(_is_same(line, one) for line in truth["streaks"]) for one in seen)
        there += 1
        if len(hits) >= wanted:
            break
    note = f"{len(hits)} in {there} frames of {EXPOSURE_S:g} s, at least {LONG_PX:g} px long and of signal to noise {STREAK_SNR:g}; {wrong} found where none is"
    share = 100 * float(np.mean(hits))
    yield median("develop.streaks_found", [share], "%", 95.0, note=note, at_least=True)
    hours = 0.1 if options.quick else 1.0
    false = 0
    for begins, clouds in ((NIGHTS[2], 0.0), (NIGHTS[1], 0.4)):
        previous = Previous()
        for pixels, layout, _ in frames(
            options.folder, begins, round(hours * 1800 / EXPOSURE_S), clouds=clouds, satellites_per_hour=0, meteors_per_hour=0
        ):
            false += len(find(Field.of(pixels, layout), previous)[1])
    note = f"{hours:g} h without meteors and satellites, half of it moonlit clouds; darkroom started twice"
    yield median("develop.streaks_false", [false / hours], "an hour", 1.0, note=note)


def _is_clear(line: Truth, truth: Truth) -> bool:
    """Whether a streak is long and bright enough to be asked for: its electrons against the noise of a strip of 4 pixels along it."""
    background = truth["sky_background_e"] + READ_NOISE_E**2
    length, flux = line["length_px"], line["flux_e"]
    return length >= LONG_PX and flux / math.sqrt(flux + 4 * length * background) >= STREAK_SNR


def _is_same(line: Truth, seen: Streak) -> bool:
    """Whether a found streak's middle lies on a true one, and its direction is right; paths are curved in a fisheye."""
    dx, dy, length = line["x1"] - line["x0"], line["y1"] - line["y0"], max(line["length_px"], 1.0)
    x, y = (seen.x0 + seen.x1) / 2 - line["x0"], (seen.y0 + seen.y1) / 2 - line["y0"]
    along, aside = (x * dx + y * dy) / length, abs(x * dy - y * dx) / length
    same_way = abs((seen.x1 - seen.x0) * dx + (seen.y1 - seen.y0) * dy) > 0.9 * length * seen.length
    return -10 < along < length + 10 and aside < 10 + 0.06 * length and same_way


def cost(options: Options) -> Iterator[Result]:
    """Processor time of everything that is measured on a frame of 6.4 megapixels, without the crops of streaks."""
    previous, taken = Previous(), list[float]()
    for pixels, layout, _ in frames(options.folder, NIGHTS[0], 2 if options.quick else 4, width=3096, height=2080):
        for _ in range(options.repeats):
            begun = time.process_time()
            measure(pixels, layout, EXPOSURE_S, previous, gain=GAIN, scale="tenth_db")
            taken.append(1000 * (time.process_time() - begun))
    yield median("develop.measure", taken[options.repeats :], "ms", 50.0, note="stars, streaks, sky and sharpness of 6.4 MP, processor time")


def run(options: Options) -> Iterator[Result]:
    yield from stars(options)
    yield from streaks(options)
    yield from cost(options)
