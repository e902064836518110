"""Memory of each process and of all together with one 1080p30 camera and five viewers, and whether it grows."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from bench.procstat import pss_by_role
from bench.results import Options, Result, median
from bench.station import cupola, mjpeg_camera, network_driver
from bench.viewers import MjpegViewers, watch_ws

MJPEG, WS = 2, 3
SETTLE_S, EVERY_S = 20.0, 2.0
SUM_TARGET, GROWTH_TARGET = 150.0, 1.0  # MiB; what the allocator's and the kernel's own movements stay below


def run(options: Options) -> Iterator[Result]:
    seconds = 60 * options.minutes
    samples: list[dict[str, float]] = []
    with mjpeg_camera() as camera, cupola(options.folder, network_driver(camera["url"])) as running:
        running.ask("POST", "/api/cameras/bench/snap", {})  # the darkroom has worked once: what it loads counts
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
    sums = [sum(sample.values()) for sample in samples]
    for name in sorted({name for sample in samples for name in sample}):
        yield median(f"memory.{name}", [sample[name] for sample in samples if name in sample], "MiB")
    yield median("memory.sum", sums, "MiB", SUM_TARGET, note="one 1080p30 MJPEG camera, 5 viewers; PSS")
    third = max(1, len(sums) // 3)
    growth = [late - early for early, late in zip(sums[:third], sums[-third:], strict=True)]
    yield median("memory.growth", growth, "MiB", GROWTH_TARGET, note=f"the last third of {options.minutes:g} minutes against the first")
