"""How fast the command line answers, and how soon after `cupola run` there is a picture."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator

from bench.results import Options, Result, median
from bench.station import ROOT, WITHIN_S, Running, command, cupola
from bench.viewers import pictures

RUNS = 5
SMALL = {"driver": "simulator", "simulator": {"width": 640, "height": 480, "sky_time": "night"}, "live": {"exposure_s": 0.05}}


def _timed(words: list[str], environment: dict[str, str]) -> float:
    before = time.monotonic()
    subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return time.monotonic() - before


def _first_picture(running: Running) -> float:
    """Seconds from the start of `cupola run` to the last byte of the first live picture, for a viewer who keeps trying."""
    while time.monotonic() < running.started + WITHIN_S:
        with contextlib.suppress(OSError, ValueError):
            next(pictures(running.url("mjpeg")))
            return time.monotonic() - running.started
        time.sleep(0.005)
    raise RuntimeError(f"no picture within {WITHIN_S:.0f} s")


def run(options: Options) -> Iterator[Result]:
    with cupola(options.folder, SMALL) as running:
        for name, words, target in (("help", ["--help"], 0.15), ("status", ["status"], 0.3)):
            _timed(command(*words), running.environment)  # compiled and cached
            yield median(f"startup.{name}", [_timed(command(*words), running.environment) for _ in range(RUNS)], "s", target)
    taken: list[float] = []
    for _ in range(RUNS):
        with cupola(options.folder, SMALL, wait=False) as running:
            taken.append(_first_picture(running))
    yield median("startup.first_frame", taken, "s", 2.0)
