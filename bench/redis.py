"""Streaming over a local Redis that syncs each record: how old live pictures are at a consumer, how fast a backlog drains, and what fifty stations cost.

Stations are processes of `tests.support.light_station`: the program's own catalogue, spool and publisher, without a camera.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.light_station import CAMERA
from tests.support.redis_server import RedisServer

from bench.procstat import cpu_s, pss_mib
from bench.results import Options, Result, median, p99
from bench.station import ROOT, stopped
from cupola.stream.format import frames_key, key, parts_of, unpack_frame

HD = (100.0, 150_000)  # 720p JPEG: pictures a second, bytes
FULL_HD = (30.0, 300_000)
AGE_MS, CPU_PERCENT = 20.0, 15.0
STILL_BYTES, STILLS = 2_000_000, 120  # an hour of 30 s stills
DRAIN_MB_S, DRAIN_LIMIT_S, LIVE_AGE_MS = 50.0, 100.0, 200.0
FLEETS = (10, 25, 50)
LIVE_STATIONS = 5


@contextlib.contextmanager
def _ended(process: subprocess.Popen[Any]) -> Iterator[subprocess.Popen[Any]]:
    try:
        yield process
    finally:
        stopped(process)


@contextlib.contextmanager
def _station(folder: Path, url: str, name: str, *more: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.support.light_station", str(folder), url, "--name", name, *more]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    with _ended(process):
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        yield process


def _ages_ms(server: RedisServer, name: str, seconds: float) -> list[float]:
    """Of the live pictures that come in this time, each as soon as the consumer has it."""
    client, last, ages = server.client(), "$", list[float]()
    stream, end = frames_key(name, CAMERA), time.monotonic() + seconds
    while time.monotonic() < end:
        answer: Any = client.xread({stream: last}, block=1000, count=10)
        now = time.time()
        for _, entries in answer or []:
            for id_, raw in entries:
                last = id_
                ages.append(1000 * (now - unpack_frame(stream, id_.decode(), raw).time.timestamp()))
    return ages


def live(options: Options) -> Iterator[Result]:
    for name, (fps, size) in (("720p100", HD), ("1080p30", FULL_HD)):
        folder = options.folder / name
        more = ("--live-fps", str(fps), "--live-bytes", str(size), "--events-per-s", "1", "--stills-per-s", "0")
        with RedisServer(folder / "redis") as server, _station(folder / "station", server.url, "bench", *more) as process:
            _ages_ms(server, "bench", 2.0)
            cpu_before, began = cpu_s(process.pid), time.monotonic()
            ages = _ages_ms(server, "bench", 2 * options.seconds)
            cpu = 100 * (cpu_s(process.pid) - cpu_before) / (time.monotonic() - began)
        rate = len(ages) / (2 * options.seconds)
        yield p99(
            f"redis.live.{name}.p99", ages, "ms", AGE_MS, note=f"from the publisher's hub to a consumer, {rate:.0f} fps of {size // 1000} kB arrived"
        )
        yield median(f"redis.live.{name}.cpu", [cpu], "%", CPU_PERCENT if fps == 30.0 else None, note="of a core, of the station's process")


def drain(options: Options) -> Iterator[Result]:
    folder = options.folder / "drain"
    server = RedisServer(folder / "redis", ["maxmemory 0"])
    count, wanted = 0, STILLS // 4 if options.quick else STILLS
    spooling = ("--events-per-s", "1", "--stills-per-s", "1000", "--still-bytes", str(STILL_BYTES), "--spool-mb", "2000")
    with _station(folder / "station", server.url, "bench", *spooling) as process:
        assert process.stdout is not None
        while count < wanted:
            count += process.stdout.readline().startswith("still ")
    with server:
        images, records = key("bench", "images"), count * parts_of(STILL_BYTES)
        client = server.client()
        live_too = ("--live-fps", "5", "--live-bytes", str(FULL_HD[1]), "--events-per-s", "1", "--stills-per-s", "0", "--spool-mb", "2000")
        with _station(folder / "station", server.url, "bench", *live_too):
            while not client.xlen(images):
                time.sleep(0.005)
            began, before, ages = time.monotonic(), client.xlen(images), list[float]()
            while client.xlen(images) < records:
                ages += _ages_ms(server, "bench", 0.3)
                if time.monotonic() - began > DRAIN_LIMIT_S:
                    raise RuntimeError(f"{client.xlen(images)} of {records} records after {DRAIN_LIMIT_S:.0f} s")
            took = time.monotonic() - began
    rate = (records - before) / parts_of(STILL_BYTES) * STILL_BYTES / 1e6 / took
    yield median("redis.drain", [rate], "MB/s", DRAIN_MB_S, at_least=True, note=f"{count} stills of {STILL_BYTES / 1e6:.0f} MB, each record synced")
    yield p99("redis.drain.live.p99", ages or [float("nan")], "ms", LIVE_AGE_MS, note="live pictures at 5 fps meanwhile")


def fleet(options: Options) -> Iterator[Result]:
    for stations in FLEETS[:1] if options.quick else FLEETS:
        folder = options.folder / f"fleet{stations}"
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(RedisServer(folder / "redis"))
            command = [sys.executable, "-m", "cupola", "receive", "--redis", server.url, "--into", str(folder / "archive"), "--json"]
            receiver = stack.enter_context(_ended(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)))
            for number in range(stations):
                fps = "5" if number < LIVE_STATIONS else "0"
                rates = ("--events-per-s", "1", "--stills-per-s", "1", "--still-bytes", "100000", "--live-fps", fps)
                stack.enter_context(_station(folder / f"station{number}", server.url, f"s{number}", *rates))
            time.sleep(options.seconds)
            client = server.client()
            redis_pid = int(client.info("server")["process_id"])
            before, began, stored = (cpu_s(redis_pid), cpu_s(receiver.pid)), time.monotonic(), _stored(folder / "archive")
            time.sleep(4 * options.seconds)
            took = time.monotonic() - began
            redis_cpu, receiver_cpu = (100 * (now - then) / took for now, then in zip((cpu_s(redis_pid), cpu_s(receiver.pid)), before, strict=True))
            rate = (_stored(folder / "archive") - stored) / took
            memory = {"redis": pss_mib(redis_pid), "receiver": pss_mib(receiver.pid)}
        note = f"{stations} stations, each a still (100 kB) and an event a second, {min(stations, LIVE_STATIONS)} live at 5 fps; {rate:.1f} stills/s stored"
        yield median(f"redis.fleet{stations}.redis.cpu", [redis_cpu], "%", note=note)
        yield median(f"redis.fleet{stations}.redis.memory", [memory["redis"]], "MiB")
        yield median(f"redis.fleet{stations}.receiver.cpu", [receiver_cpu], "%", note="of a core")
        yield median(f"redis.fleet{stations}.receiver.memory", [memory["receiver"]], "MiB")


def _stored(archive: Path) -> int:
    return sum(1 for _ in archive.glob("*/**/*.jpg"))


def run(options: Options) -> Iterator[Result]:
    yield from live(options)
    yield from drain(options)
    yield from fleet(options)
