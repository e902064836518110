"""How long a 1080p30 picture takes from the camera to the last byte at a viewer.

Of a network camera the source's own clock counts: the moment a frame was due to be sent, so the link to
Cupola is included. Of a webcam it is the moment the camera process was handed the raw picture (`X-Opened-At`).
ustreamer tells its grab time in the same way, by the monotonic clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from zlib import crc32

import numpy as np
import simplejpeg
from tests.support.mjpeg_source import picture

from bench.results import Options, Result, median, p99, percentile
from bench.station import FPS, HEIGHT, PICTURES, QUALITY, WIDTH, Webcam, cupola, has_peer, mjpeg_camera, network_driver
from bench.viewers import pictures

SETTLE = 30  # pictures before it counts
BEYOND_MS = 2.0  # allowed in passthrough, and beyond the encoding
LIVE_QUALITY = 80  # live.quality, unless configured


def _watch(url: str, count: int, age_ms: Callable[[float, dict[str, str], bytes], float]) -> list[float]:
    """Ages in ms, at the last byte, of so many pictures."""
    return [age_ms(*one) for one in islice(pictures(url), SETTLE, SETTLE + count)]


def _since_opened(at: float, headers: dict[str, str], jpeg: bytes) -> float:
    return 1000 * (at - datetime.fromisoformat(headers["x-opened-at"]).timestamp())


def _since_grab(at: float, headers: dict[str, str], jpeg: bytes) -> float:
    """ustreamer's X-UStreamer-Grab-Begin-Time is of the monotonic clock."""
    wall_minus_monotonic = time.time() - time.monotonic()
    return 1000 * (at - wall_minus_monotonic - float(headers["x-ustreamer-grab-time"]))


def _count(options: Options) -> int:
    return 150 if options.quick else 900


def passthrough(options: Options) -> Iterator[Result]:
    number_of = {crc32(simplejpeg.encode_jpeg(picture(WIDTH, HEIGHT, number), quality=QUALITY)): number for number in range(PICTURES)}
    with mjpeg_camera() as camera, cupola(options.folder, network_driver(camera["url"])) as running:
        due_of_0 = float(camera["started"])

        def since_due(at: float, headers: dict[str, str], jpeg: bytes) -> float:
            """A picture is its source's byte for byte, which tells its number up to whole rounds of all pictures."""
            sent = at - (time.time() - time.monotonic()) - due_of_0
            return 1000 * ((sent - number_of[crc32(jpeg)] / FPS) % (PICTURES / FPS))

        at_source = _watch(camera["url"], _count(options), since_due)
        through = _watch(running.url("mjpeg"), _count(options), since_due)
        inside = _watch(running.url("mjpeg"), _count(options), _since_opened)
    direct = ("source read directly", percentile(at_source, 99))
    yield p99("latency.passthrough.p99", through, "ms", BEYOND_MS, peer=direct, note="from the moment the source was due to send")
    yield median("latency.passthrough.p50", through, "ms", peer=("source read directly", at_source))
    yield p99("latency.passthrough_inside.p99", inside, "ms", BEYOND_MS, note="from the picture's arrival in the camera process")
    yield median("latency.passthrough_inside.p50", inside, "ms")


def encoding(options: Options) -> Iterator[Result]:
    webcam = Webcam(options.folder)
    with cupola(options.folder, webcam.driver(), webcam.environment("YUYV")) as running:
        ages = _watch(running.url("mjpeg"), _count(options), _since_opened)
    peer: list[float] = []
    if has_peer():
        with webcam.ustreamer("YUYV") as (_, url):
            peer = _watch(f"{url}?extra_headers=1", _count(options), _since_grab)
    alone = _encode_ms(webcam, options)
    target = round(percentile(alone, 99) + BEYOND_MS, 1)
    yield median("latency.encode_alone.p50", alone, "ms", note="the same pictures encoded one by one, nothing else")
    yield p99("latency.encoding.p99", ages, "ms", target, peer=("ustreamer", percentile(peer, 99)) if peer else None)
    yield median("latency.encoding.p50", ages, "ms", peer=("ustreamer", peer))


def _encode_ms(webcam: Webcam, options: Options) -> list[float]:
    """Turning the webcam's pictures into JPEGs, at the camera's pace: what no program can do without."""
    taken: list[float] = []
    packed = [np.fromfile(file, np.uint8).reshape(HEIGHT, 2 * WIDTH) for file in sorted(webcam.folder.glob("*.yuyv"))]
    started = time.monotonic()
    for number in range(_count(options) // 3):
        time.sleep(max(0.0, started + number / FPS - time.monotonic()))
        before = time.monotonic()
        raw = packed[number % len(packed)]
        planes = [np.ascontiguousarray(raw[:, first::step]) for first, step in ((0, 2), (1, 4), (3, 4))]
        simplejpeg.encode_jpeg_yuv_planes(*planes, quality=LIVE_QUALITY, fastdct=True)
        taken.append(1000 * (time.monotonic() - before))
    return taken


def run(options: Options) -> Iterator[Result]:
    yield from passthrough(options)
    yield from encoding(options)
