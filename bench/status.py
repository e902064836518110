"""What it costs to be watched: writing the status file, answering a scrape, the status server's memory, and all of it together when nothing happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from bench.procstat import cpu_s
from bench.results import Options, Result, median, p99
from bench.station import ROOT, WITHIN_S, Running, command, cupola, stopped
from cupola.app import App
from cupola.config.load import load
from cupola.status import files

SKY = {"driver": "simulator", "simulator": {"width": 640, "height": 480, "sky_time": "night"}}
CLIENTS, WATCHED_S, SCRAPE_S = 8, 6.0, 15.0
PATHS = ("/status", "/metrics", "/latest/photo", "/logs?lines=200", "/health", "/config")
WRITE_TARGET_MS, METRICS_TARGET_MS, RSS_TARGET_MB, IDLE_TARGET_PERCENT = 1.0, 20.0, 20.0, 0.5


@contextlib.contextmanager
def _status_server(running: Running) -> Iterator[tuple[int, int]]:
    """Its pid and its port."""
    said = Path(running.environment["HOME"]) / "status-server"
    with said.open("wb") as output:
        process = subprocess.Popen(command("status-server", "--port", "0"), env=running.environment, stdout=output, stderr=output, cwd=ROOT)
    try:
        end = time.monotonic() + WITHIN_S
        while not (found := re.search(r"http://[^/]*:(\d+)/", said.read_text())):
            if time.monotonic() > end or process.poll() is not None:
                raise RuntimeError(f"the status server did not start: {said.read_text()}")
            time.sleep(0.05)
        yield process.pid, int(found[1])
    finally:
        stopped(process)


def _get(port: int, path: str, headers: dict[str, str]) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()


def _took_ms(port: int, path: str, headers: dict[str, str], times: int) -> list[float]:
    taken: list[float] = []
    for _ in range(times):
        begun = time.perf_counter()
        _get(port, path, headers)
        taken.append(1000 * (time.perf_counter() - begun))
    return taken


def _rss_mb(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def server(options: Options) -> Iterator[Result]:
    """A station that does nothing, its status server, and eight clients who ask without a pause."""
    with cupola(options.folder, SKY) as running, _status_server(running) as (pid, port):
        running.ask("POST", "/api/cameras/bench/snap", {"exposure_s": 0.1})
        at_rest = _rss_mb(pid)
        before, begun = cpu_s(pid), time.monotonic()
        time.sleep(options.seconds)
        waiting = 100 * (cpu_s(pid) - before) / (time.monotonic() - begun)
        yield median("status.server_idle_cpu", [waiting], "%", note="of a core, with nobody asking")
        yield median("status.server_answer", _took_ms(port, "/status", {}, 200), "ms", note="GET /status of the status server")
        ends = time.monotonic() + WATCHED_S
        sizes = [at_rest]

        def ask() -> None:
            while time.monotonic() < ends:
                for path in PATHS:
                    with contextlib.suppress(OSError):  # 503: four wait for the disk already; 404: not developed yet
                        _get(port, path, {})

        clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        while time.monotonic() < ends:
            sizes.append(_rss_mb(pid))
            time.sleep(0.1)
        for client in clients:
            client.join()
        yield Result("status.server_rss", round(max(sizes), 2), "MB", RSS_TARGET_MB, len(sizes), (round(min(sizes), 2), round(max(sizes), 2)), note="the greatest, with 8 clients")  # fmt: skip
        headers = running.owner()
        first = _took_ms(running.port, "/metrics", headers, 1)
        yield median("status.metrics_first", first, "ms", note="the first scrape, which loads the library")
        yield median("status.metrics", _took_ms(running.port, "/metrics", headers, 100), "ms", METRICS_TARGET_MS, note="of the main server")


def writing(options: Options) -> Iterator[Result]:
    """In this process, in a server put together and not started: one beat after the other, with its look at the clock and the machine."""
    home = options.folder / "status"
    home.mkdir(exist_ok=True)
    runtime = Path("/dev/shm") / f"cupola-bench-{os.getpid()}"
    (home / "cupola.yaml").write_text(
        "storage: {root: images}\nlogging: {folder: logs}\n"
        "cameras: [{name: north, driver: simulator, connect: false}, {name: south, driver: simulator, connect: false}]\n"
    )
    os.environ["CUPOLA_RUNTIME_DIR"] = str(runtime)
    try:
        settings = load(home / "cupola.yaml", {})
        with socket.create_server(("127.0.0.1", 0)) as sock:
            app = App(settings, sock, lambda link: None)
            beats, cpu_ms, scrape_ms = asyncio.run(_beats(app, 50 if options.quick else 500))
    finally:
        del os.environ["CUPOLA_RUNTIME_DIR"]
        for path in runtime.glob("*"):
            path.unlink()
        runtime.rmdir()
    yield median("status.write", beats, "ms", WRITE_TARGET_MS, note="two cameras; made, and both files replaced, on tmpfs")
    yield p99("status.write.p99", beats, "ms")
    percent = 100 * (cpu_ms / 1000 / files.HEARTBEAT_S + scrape_ms / 1000 / SCRAPE_S)
    yield median("status.idle_cpu", [percent], "%", IDLE_TARGET_PERCENT, note=f"of a core: {cpu_ms:.2f} ms each 5 s, and a scrape of {scrape_ms:.2f} ms each 15 s")  # fmt: skip


async def _beats(app: App, times: int) -> tuple[list[float], float, float]:
    from cupola.status import metrics
    from cupola.web.prometheus import exposition

    status = app.status
    await status.look()
    taken: list[float] = []
    before = time.process_time()
    for _ in range(times):
        begun = time.perf_counter()
        await status.write()
        taken.append(1000 * (time.perf_counter() - begun))
    cpu_ms = 1000 * (time.process_time() - before) / times
    before = time.process_time()
    for _ in range(times):
        exposition(metrics.families(await status.current(), 0.0, stale=False), "")
    scrape_ms = 1000 * (time.process_time() - before) / times
    await status.end()
    return taken, cpu_ms, scrape_ms


def run(options: Options) -> Iterator[Result]:
    yield from writing(options)
    yield from server(options)
