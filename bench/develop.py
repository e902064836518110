"""What a 6.4 MP Bayer frame costs from its original to a JPEG with overlay, step by step, and the memory of a process that does nothing else."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from bench.results import Options, Result, median
from cupola.config.drivers import SimulatorOptions
from cupola.core.frame import CameraInfo, Controls, Frame, Station
from cupola.darkroom.calibrate import Calibrator
from cupola.darkroom.develop import develop as tones_and_debayering
from cupola.darkroom.encode import encode_jpeg
from cupola.darkroom.facts import Shot, lines_of
from cupola.darkroom.job import Developer, Measure, Order
from cupola.darkroom.measure import Measurer
from cupola.darkroom.overlay import draw, lay_out
from cupola.darkroom.recipe import Overlay, Recipe
from cupola.drivers.sky.scene import Scene
from cupola.drivers.sky.sensor import Sensor
from cupola.storage.originals import encode_original, read_original

WIDTH, HEIGHT = 3096, 2080
PEER, PEER_MS = "indi-allsky", 290.0
TARGET_MS = 120.0
STATION = Station("bench", 47.0, 11.0, 400.0, "Europe/Zurich")
AT = datetime(2026, 10, 10, 19, 30, tzinfo=UTC)
EXPOSURE_S, GAIN = 30.0, 100.0
OVERLAY = Overlay(lines=("{station}  {time}  {exposure}  gain {gain}", "{temperature}  Sun {sun}  Moon {moon}"), north_deg=0.0)
PICTURES, MANY = 3, 12  # after so many the memory is looked at


def _original(path: Path) -> None:
    """A clear night through a fisheye: stars, noise, hot pixels, 12 bit."""
    options = {**SimulatorOptions.model_validate({}).model_dump(), "width": WIDTH, "height": HEIGHT}
    sensor, scene = Sensor(options), Scene(options, STATION, AT.timestamp())
    light = scene.render(AT.timestamp(), EXPOSURE_S, sensor.read_noise_e).electrons
    sensor.collect(light, EXPOSURE_S)
    pixels = sensor.read(light, GAIN, np.random.default_rng(1))
    closed = AT + timedelta(seconds=EXPOSURE_S)
    frame = Frame(1, AT, closed, 1, pixels, sensor.format, Controls(EXPOSURE_S, GAIN), temperature_c=15.0)
    info = CameraInfo("simulator", "bench", WIDTH, HEIGHT, sensor.format, frozenset())
    path.write_bytes(encode_original(frame, camera="bench", sequence=1, station=STATION, info=info, software="bench"))


def _measure() -> Measure:
    """Star count, sky, sharpness and streaks, as the darkroom measures each frame of a camera."""
    measurer = Measurer()
    return lambda pixels, layout, exposure_s: measurer.measure(pixels, layout, camera="bench", exposure_s=exposure_s, gain=GAIN)


def _timed(function: Callable[[], Any], runs: int) -> tuple[list[float], list[float], Any]:
    """Milliseconds of processor and by the clock of each run after a first one."""
    result = function()
    cpu, clock = list[float](), list[float]()
    for _ in range(runs):
        cpu_s, clock_s = time.process_time(), time.perf_counter()
        result = function()
        cpu.append(1000 * (time.process_time() - cpu_s))
        clock.append(1000 * (time.perf_counter() - clock_s))
    return cpu, clock, result


def speed(options: Options) -> Iterator[Result]:
    path = options.folder / "develop.fits.fz"
    _original(path)
    runs = 3 if options.quick else 9
    measure, recipe = _measure(), Recipe(overlay=OVERLAY)
    developer, order = Developer(), Order(recipe, STATION)
    cpu, clock, _ = _timed(lambda: developer.make(path, order, measure), runs)
    read, _, original = _timed(lambda: read_original(path), runs)
    calibrator, facts = Calibrator(), original.facts
    calibrate, _, clean = _timed(lambda: calibrator.calibrate(original.data, facts, recipe, None), runs)
    stars, _, found = _timed(lambda: measure(clean.pixels, clean.layout, EXPOSURE_S), runs)
    tones, _, picture = _timed(lambda: tones_and_debayering(clean.pixels, clean.layout, recipe), runs)
    text, _, _ = _timed(lambda: draw(picture, lay_out(picture.shape, OVERLAY, lines_of(OVERLAY, Shot.of(facts), STATION), None)), runs)
    encode, _, jpeg = _timed(lambda: encode_jpeg(picture, 90), runs)
    others, halved = sum(statistics.median(step) for step in (read, tones, encode)), statistics.median(cpu) / 2
    yield median(
        "develop.elapsed",
        clock,
        "ms",
        TARGET_MS,
        peer=(PEER, [PEER_MS]),
        note=f"6.4 MP Bayer, Rice FITS to JPEG, with overlay, compass and star count; by the clock. Two processors always busy: {halved:.0f} ms",
    )
    yield median(
        "develop.cpu",
        cpu,
        "ms",
        note=f"the same, processor time of all threads; {others:.0f} ms of it astropy's, OpenCV's and libjpeg's C: read, tones, encode",
    )
    yield median("develop.step.read", read, "ms", note="Rice decoding, in astropy's C")
    yield median("develop.step.calibrate", calibrate, "ms", note=f"hot pixels: {clean.mended} mended, in a copy; no master dark")
    yield median("develop.step.measure", stars, "ms", note=f"{found.get('stars')} stars, sharpness, streaks against the frame before")
    yield median("develop.step.tones", tones, "ms", note="curves and debayering")
    yield median("develop.step.overlay", text, "ms", note="two lines and four marks")
    yield median("develop.step.encode", encode, "ms", note=f"JPEG of {len(jpeg) / 1e6:.1f} MB")


def memory(options: Options) -> Iterator[Result]:
    """Largest resident size of a process that develops one picture after the other."""
    path = options.folder / "develop.fits.fz"
    if not path.is_file():
        _original(path)
    done = subprocess.run([sys.executable, "-m", "bench.develop", str(path)], capture_output=True, text=True, check=True, timeout=300)
    few, many = json.loads(done.stdout)
    yield median("develop.memory", [many], "MiB", 300.0, note=f"after {MANY} pictures, libraries included")
    yield median("develop.memory.growth", [many - few], "MiB", 10.0, note=f"from the {PICTURES}rd to the {MANY}th")


def run(options: Options) -> Iterator[Result]:
    yield from speed(options)
    yield from memory(options)


def _peak_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def _child(path: Path) -> None:
    developer, measure, order, peaks = Developer(), _measure(), Order(Recipe(overlay=OVERLAY), STATION), list[float]()
    for number in range(1, MANY + 1):
        developer.make(path, order, measure)
        if number in (PICTURES, MANY):
            peaks.append(round(_peak_mib(), 1))
    print(json.dumps(peaks))


if __name__ == "__main__":
    _child(Path(sys.argv[1]))
