"""Memory of each process and of all together with one 1080p30 camera and five viewers, and whether it grows."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from bench.procstat import pss_by_role
from bench.results import Options, Result, median
from bench.station import Running, cupola, mjpeg_camera, network_driver
from bench.viewers import MjpegViewers, watch_ws

MJPEG, WS = 2, 3
SETTLE_S, EVERY_S, DEVELOPED_WITHIN_S = 20.0, 2.0, 60.0
SUM_TARGET, GROWTH_TARGET = 150.0, 1.0  # MiB; what the allocator's and the kernel's own movements stay below


SENSOR = {"driver": "simulator", "simulator": {"sky_time": "night"}, "live": {"exposure_s": 1 / 30}}


def _samples(running: Running, seconds: float) -> list[dict[str, float]]:
    """MiB of each process, every two seconds, once five viewers have settled."""
    samples: list[dict[str, float]] = []
    viewers = MjpegViewers(running.url("mjpeg"), MJPEG)
    failures: list[Exception] = []

    def sockets() -> None:
        try:
            watch_ws(running.url("ws"), WS, SETTLE_S + seconds, lambda: ())
        except Exception as error:
            failures.append(error)

    watching = threading.Thread(target=sockets)
    watching.start()
    try:
        viewers.watch(SETTLE_S)
        end = time.monotonic() + seconds
        while time.monotonic() < end and not failures:
            samples.append(pss_by_role(running.pid))
            viewers.watch(min(EVERY_S, max(0.1, end - time.monotonic())))
    finally:
        watching.join()
        viewers.close()
    if failures:
        raise failures[0]
    return samples


def _by_role(prefix: str, samples: list[dict[str, float]]) -> Iterator[Result]:
    for name in sorted({name for sample in samples for name in sample}):
        yield median(f"{prefix}.{name}", [sample[name] for sample in samples if name in sample], "MiB")


def encoded(options: Options) -> Iterator[Result]:
    with mjpeg_camera() as camera, cupola(options.folder, network_driver(camera["url"])) as running:
        running.ask("POST", "/api/cameras/bench/snap", {})
        samples = _samples(running, 60 * options.minutes)
    sums = [sum(sample.values()) for sample in samples]
    yield from _by_role("memory", samples)
    yield median("memory.sum", sums, "MiB", SUM_TARGET, note="one 1080p30 MJPEG camera, 5 viewers; PSS; its stills need no darkroom")
    third = max(1, len(sums) // 3)
    growth = [late - early for early, late in zip(sums[:third], sums[-third:], strict=True)]
    yield median("memory.growth", growth, "MiB", GROWTH_TARGET, note=f"the last third of {options.minutes:g} minutes against the first")


def sensor(options: Options) -> Iterator[Result]:
    """A raw camera: its process holds the simulated sky too, and the darkroom has developed a still."""
    with cupola(options.folder, SENSOR) as running:
        identity = running.ask("POST", "/api/cameras/bench/snap", {"exposure_s": 0.5})["id"]
        end = time.monotonic() + DEVELOPED_WITHIN_S
        while not running.ask("GET", f"/api/captures/{identity}")["developed"]:
            if time.monotonic() > end:
                raise RuntimeError(f"the still was not developed within {DEVELOPED_WITHIN_S:.0f} s")
            time.sleep(0.2)
        samples = _samples(running, EVERY_S * 5)
    yield from _by_role("memory.sensor", samples)
    yield median(
        "memory.sensor.sum", [sum(sample.values()) for sample in samples], "MiB", note="a simulated 1080p sensor, 5 viewers, darkroom at rest"
    )


def run(options: Options) -> Iterator[Result]:
    yield from encoded(options)
    yield from sensor(options)
