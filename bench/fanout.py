"""What viewers cost: CPU of the server, and of all processes, at 1, 5 and 20 viewers of 1080p30; the peer sees the same frames."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.procstat import cpu_s
from bench.results import Options, Result, median
from bench.station import FPS, Running, Webcam, cupola, has_peer, mjpeg_camera, network_driver
from bench.viewers import Load, watch_mjpeg, watch_ws

COUNTS = (1, 5, 20)
PASSTHROUGH_TARGET, ENCODING_TARGET = 7.0, 20.0
WATCH = {"mjpeg": watch_mjpeg, "ws": watch_ws}


def _ours(running: Running, transport: str, count: int, options: Options) -> Load:
    return WATCH[transport](running.url(transport), count, options.seconds, lambda: (cpu_s(running.pid), cpu_s(running.pid, whole_tree=True)))


def _peer(webcam: Webcam, form: str, count: int, options: Options) -> Load | None:
    if not has_peer():
        return None
    with webcam.ustreamer(form) as (pid, url):
        return watch_mjpeg(url, count, options.seconds, lambda: (cpu_s(pid),))


def _both(running: Running, webcam: Webcam, form: str, count: int, options: Options) -> tuple[dict[str, list[Load]], list[Load]]:
    """Ours by each transport and the peer's, taking turns, so that a busy machine is unfair to none."""
    ours: dict[str, list[Load]] = {transport: [] for transport in WATCH}
    theirs: list[Load] = []
    for _ in range(options.repeats):
        for transport, loads in ours.items():
            loads.append(_ours(running, transport, count, options))
        if (load := _peer(webcam, form, count, options)) is not None:
            theirs.append(load)
    return ours, theirs


def _results(kind: str, count: int, ours: dict[str, list[Load]], theirs: list[Load], targets: tuple[float | None, float | None]) -> Iterator[Result]:
    peer = ("ustreamer", [load.cpu_percent[0] for load in theirs])
    for transport, loads in ours.items():
        slowest = min(load.fps_least for load in loads)
        note = f"slowest viewer {slowest:.1f} fps" if slowest < FPS - 1 else ""
        for index, part in enumerate(("", "_tree")):
            target = targets[index] if count == COUNTS[-1] else None
            yield median(f"fanout.{kind}{part}.{transport}.{count}", [load.cpu_percent[index] for load in loads], "%", target, peer=peer, note=note)


def passthrough(options: Options) -> Iterator[Result]:
    webcam = Webcam(options.folder)
    with mjpeg_camera() as camera, cupola(options.folder, network_driver(camera["url"])) as running:
        for count in COUNTS:
            yield from _results("passthrough", count, *_both(running, webcam, "MJPEG", count, options), (PASSTHROUGH_TARGET, None))


def encoding(options: Options) -> Iterator[Result]:
    webcam = Webcam(options.folder)
    with cupola(options.folder, webcam.driver(), webcam.environment("YUYV")) as running:
        yield from _nobody(running, webcam, options)
        for count in COUNTS:
            yield from _results("encoding", count, *_both(running, webcam, "YUYV", count, options), (None, ENCODING_TARGET))
        yield from _nobody(running, webcam, options, "after")


def _nobody(running: Running, webcam: Webcam, options: Options, suffix: str = "before") -> Iterator[Result]:
    """Nothing is encoded, and little is spent, with nobody watching; before anybody watched, and after all have left."""
    time.sleep(1.0)  # the last beat with the viewers' pictures is in

    def encoded() -> int:
        return int(running.ask("GET", "/api/cameras/bench")["live"]["encoded"])

    before, spent, started = encoded(), cpu_s(running.pid, whole_tree=True), time.monotonic()
    time.sleep(options.seconds)
    percent = 100 * (cpu_s(running.pid, whole_tree=True) - spent) / (time.monotonic() - started)
    peer: list[float] = []
    if has_peer() and suffix == "before":
        with webcam.ustreamer("YUYV") as (pid, _):
            time.sleep(1.0)
            theirs, started = cpu_s(pid), time.monotonic()
            time.sleep(options.seconds)
            peer.append(100 * (cpu_s(pid) - theirs) / (time.monotonic() - started))
    yield median(f"fanout.encoding.0.encoded.{suffix}", [encoded() - before], "pictures", 0)
    yield median(f"fanout.encoding_tree.0.{suffix}", [percent], "%", None, peer=("ustreamer", peer))


def run(options: Options) -> Iterator[Result]:
    yield from passthrough(options)
    yield from encoding(options)
