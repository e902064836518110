"""What a pre-roll costs beside Debian's motion, how soon a clip is there, and how soon a trigger is answered."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import multiprocessing
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import aiohttp
import av
from tests.support.mjpeg_source import picture

from bench.procstat import cpu_s, pss_mib
from bench.results import Options, Result, median, p99
from bench.station import FPS, HEIGHT, PICTURES, SUPPORT, WIDTH, Running, cupola, mjpeg_camera, network_driver, stopped
from bench.viewers import WARM_UP_S, MjpegViewers

PREROLL_S = 10
SMALL = ("1280x720", 25)  # what motion is compared on
HALF_OF_MOTION = 5.4  # % of a core
OVERHEAD = 1.1
CLIP_S, VIEWERS = 20.0, 5
COPIED_MS, ANSWER_MS = 100.0, 20.0
TRIGGERS = 200
MOTION = """\
daemon off
target_dir {folder}
netcam_url {url}
width {width}
height {height}
framerate {fps}
threshold 2000000
lightswitch_percent 0
noise_tune off
pre_capture {packets}
text_left
text_right
movie_output on
movie_codec mp4
picture_output off
stream_port 0
webcontrol_port 0
"""


def _preroll(url: str, seconds: float, max_mb: int = 512) -> dict[str, Any]:
    return {**network_driver(url), "preroll": {"seconds": seconds, "max_mb": max_mb, "before_s": seconds, "after_s": CLIP_S - PREROLL_S}}


def _until_full(running: Running, seconds: float) -> dict[str, Any]:
    end = time.monotonic() + seconds + 30
    while (ring := running.ask("GET", "/api/cameras/bench")["preroll"])["seconds"] < seconds:
        if time.monotonic() > end:
            raise RuntimeError(f"the ring holds {ring['seconds']} s only")
        time.sleep(0.2)
    return ring


def _load(pid: int, seconds: float) -> float:
    """Percent of a core, of the process and its children."""
    spent, started = cpu_s(pid, whole_tree=True), time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu_s(pid, whole_tree=True) - spent) / (time.monotonic() - started)


@contextlib.contextmanager
def _motion(folder: Path, url: str) -> Iterator[int | None]:
    """Debian's motion on the same pictures; its pid, or None where it is not installed."""
    if shutil.which("motion") is None:
        yield None
        return
    (width, height), fps = SMALL[0].split("x"), SMALL[1]
    config = folder / "motion.conf"
    config.write_text(MOTION.format(folder=folder / "motion", url=url, width=width, height=height, fps=fps, packets=PREROLL_S * fps))
    process = subprocess.Popen(["motion", "-n", "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        stopped(process)


def preroll(options: Options) -> Iterator[Result]:
    """CPU with nobody watching, and the memory that ten seconds more take."""
    ours, theirs, theirs_mib = list[float](), list[float](), list[float]()
    with mjpeg_camera(*SMALL) as camera:
        with cupola(options.folder, _preroll(camera["url"], 1)) as running:
            _until_full(running, 1)
            time.sleep(3)
            small, least = running.ask("GET", "/api/cameras/bench")["preroll"], pss_mib(running.pid)
        with cupola(options.folder, _preroll(camera["url"], PREROLL_S)) as running, _motion(options.folder, camera["url"]) as peer:
            _until_full(running, PREROLL_S)
            for _ in range(options.repeats):
                ours.append(_load(running.pid, options.seconds))
                if peer is not None:
                    theirs.append(_load(peer, options.seconds))
                    theirs_mib.append(pss_mib(peer))
            ring, most = running.ask("GET", "/api/cameras/bench")["preroll"], pss_mib(running.pid)
    mib = (ring["bytes"] - small["bytes"]) / 2**20
    note = f"{ring['bytes'] / 2**20:.1f} MiB of packets, {ring['seconds']:.1f} s at {ring['fps']:g} fps"
    yield median("clips.preroll.cpu", ours, "%", HALF_OF_MOTION, peer=("motion", theirs), note="target: half of 10.8")
    yield median("clips.preroll.memory_per_byte", [(most - least) / mib], "×", OVERHEAD, note=note)
    yield median("clips.preroll.memory", [most], "MiB", peer=("motion", theirs_mib), note="all of the server")


def _film(path: Path, seconds: int) -> Path:
    """H.264 at 6 Mbit/s, a keyframe each second."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", 6_000_000
        # one slice a picture: GStreamer's payloader puts parameter sets before each slice of a keyframe, which makes two pictures of it
        stream.options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(FPS), "sc_threshold": "0", "x264-params": "sliced-threads=0"}
        drawn = [av.VideoFrame.from_ndarray(picture(WIDTH, HEIGHT, number), format="rgb24").reformat(format="yuv420p") for number in range(PICTURES)]
        for number in range(seconds * FPS):
            frame = drawn[number % PICTURES]
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@contextlib.contextmanager
def _rtsp(film: Path) -> Iterator[str]:
    source = subprocess.Popen(
        ["/usr/bin/python3", str(SUPPORT / "rtsp_server.py"), "--file", str(film)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert source.stdin and source.stdout
    try:
        yield json.loads(source.stdout.readline())["/file"]
    finally:
        source.kill()
        source.wait()
        source.stdin.close()
        source.stdout.close()


async def _announced(running: Running, label: str) -> tuple[float, int]:
    """Trigger a clip; when its end was announced (time.time()), and its number. Nothing is asked meanwhile, which would have the server busy."""
    url = f"http://127.0.0.1:{running.port}/ws/events"
    async with aiohttp.ClientSession(headers=running.owner()) as session, session.ws_connect(url, compress=0) as events:
        clip = await asyncio.to_thread(running.ask, "POST", "/api/cameras/bench/trigger", {"label": label})
        async with asyncio.timeout(4 * CLIP_S):
            async for message in events:
                event = json.loads(message.data)
                if event["kind"] in ("clip_saved", "clip_failed") and event["id"] == clip["id"]:
                    return time.time(), clip["id"]
    raise RuntimeError("the server closed its events")


def _finished_s(running: Running, label: str) -> tuple[float, dict[str, Any]]:
    """From a clip's last picture until everybody was told that it is saved."""
    at, number = asyncio.run(_announced(running, label))
    clip = running.ask("GET", f"/api/clips/{number}")
    if clip["state"] != "saved" or clip["missing"]:
        raise RuntimeError(f"the clip is {clip['state']}: {clip['message'] or clip['missing']}")
    return at - datetime.fromisoformat(clip["triggered_at"]).timestamp() - clip["after_got_s"], clip


def finishing(options: Options) -> Iterator[Result]:
    """20 s of 1080p30: H.264 as it came, and JPEGs that have to be encoded, while somebody watches."""
    with _rtsp(_film(options.folder / "film.mp4", 30 + 15 * options.repeats)) as url, cupola(options.folder, _preroll(url, PREROLL_S)) as running:
        _until_full(running, PREROLL_S)
        copied = [1000 * _finished_s(running, f"copied{number}")[0] for number in range(options.repeats)]
    yield median("clips.finish.h264", copied, "ms", COPIED_MS, note="of 20 s of 1080p30, after its last picture")
    with mjpeg_camera() as camera, cupola(options.folder, _preroll(camera["url"], PREROLL_S)) as running:
        _until_full(running, PREROLL_S)
        with _viewers(running, 1) as fps:
            encoded_s, clip = _finished_s(running, "encoded")
        yield median("clips.finish.jpeg", [encoded_s], "s", clip["duration_s"], note=f"{clip['frames']} JPEGs encoded, after the last")
        note = f"of a viewer until then; {min(fps):.1f} in the slowest second"
        yield median("clips.finish.jpeg.live", [statistics.mean(fps)], "fps", FPS - 1, note=note, at_least=True)


def _watch(url: str, count: int, over: Any, queue: Any) -> None:
    viewers, fps = MjpegViewers(url, count), list[float]()
    viewers.watch(WARM_UP_S)
    queue.put(None)
    while not over.is_set():
        began = time.monotonic()
        least = min(viewers.watch(1.0))
        fps.append(least / (time.monotonic() - began))
    queue.put(fps)
    viewers.close()


@contextlib.contextmanager
def _viewers(running: Running, count: int) -> Iterator[list[float]]:
    """Viewers in a process of their own, for as long as the block lasts; at its end, the rate of the slowest in each second of that."""
    processes = multiprocessing.get_context("spawn")
    over, queue, fps = processes.Event(), processes.Queue(), list[float]()
    watching = processes.Process(target=_watch, args=(running.url("mjpeg"), count, over, queue))
    watching.start()
    try:
        queue.get(timeout=30)  # they are there
        yield fps
        over.set()
        fps += queue.get(timeout=30)
    finally:
        watching.kill()
        watching.join()


def trigger(options: Options) -> Iterator[Result]:
    """The answer to a trigger while viewers watch; every fortieth begins a clip, the others make it longer."""
    count = TRIGGERS // 4 if options.quick else TRIGGERS
    with mjpeg_camera(*SMALL) as camera, cupola(options.folder, _preroll(camera["url"], 5)) as running, _viewers(running, VIEWERS):
        _until_full(running, 5)
        headers = {"Content-Type": "application/json", **running.owner()}
        connection, times = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30), list[float]()
        for number in range(count):
            body = json.dumps({"label": f"t{number // 40}", "before_s": 2, "after_s": 1})
            begun = time.perf_counter()
            connection.request("POST", "/api/cameras/bench/trigger", body, headers)
            answer = connection.getresponse()
            answer.read()
            times.append(1000 * (time.perf_counter() - begun))
            if answer.status != 202:
                raise RuntimeError(f"a trigger was answered with {answer.status}")
            time.sleep(0.05)
        connection.close()
    yield p99("clips.trigger.p99", times, "ms", ANSWER_MS, note=f"{VIEWERS} viewers of 720p25")


def run(options: Options) -> Iterator[Result]:
    yield from preroll(options)
    yield from finishing(options)
    yield from trigger(options)
