"""Time between exposures in which the sensor gathers no light, at 6 megapixels, with originals and developing on."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any

import aiohttp

from bench.results import Options, Result, p99
from bench.station import Running, cupola
from bench.viewers import with_token

READOUT_S = 0.2
SENSOR = {"width": 3096, "height": 2080, "readout_s": READOUT_S, "sky_time": "night"}
LIVE_S = 0.5
STILLS = 8


def _opened(picture: dict[str, Any], key: str = "opened_at") -> float:
    return datetime.fromisoformat(picture[key]).timestamp()


def _wait_for(running: Running, count: int, within_s: float) -> list[dict[str, Any]]:
    """All captures, oldest first, once there are so many and all are developed."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        rows = running.ask("GET", "/api/captures?limit=500")["items"]
        if len(rows) == count and all(row["developed"] for row in rows):
            return sorted(rows, key=lambda row: row["sequence"])
        time.sleep(0.5)
    raise RuntimeError(f"{len(rows)} of {count} exposures within {within_s:.0f} s, {sum(row['developed'] for row in rows)} developed")


def stills(options: Options) -> Iterator[Result]:
    exposure_s = 1.0 if options.quick else 5.0
    with cupola(options.folder, {"driver": "simulator", "simulator": SENSOR}) as running:
        running.ask("POST", "/api/cameras/bench/start", {"exposure_s": exposure_s, "count": STILLS + 1})
        rows = _wait_for(running, STILLS + 1, (exposure_s + 5) * (STILLS + 1))
    gaps = [1000 * (_opened(after) - _opened(before, "ended_at")) for before, after in pairwise(rows)]
    note = f"{exposure_s:g} s exposures, {1000 * READOUT_S:g} ms of it readout; every one stored and developed"
    yield p99("duty.gap.p99", gaps, "ms", 1000 * READOUT_S + 50, note=note)


def video(options: Options) -> Iterator[Result]:
    camera = {"driver": "simulator", "simulator": SENSOR, "live": {"exposure_s": LIVE_S}}
    with cupola(options.folder, camera) as running:
        heads = asyncio.run(_headers(running.url("ws"), 10 if options.quick else 30))
    gaps = [1000 * (_opened(after) - _opened(before) - LIVE_S) for before, after in pairwise(heads)]
    yield p99("duty.video.gap.p99", gaps, "ms", 20.0, note=f"live view, {LIVE_S:g} s exposures, 6 MP; a picture the viewer missed counts as a gap")


async def _headers(url: str, count: int) -> list[dict[str, Any]]:
    """Headers of so many live pictures, the first two left out: the stream was starting."""
    found: list[dict[str, Any]] = []
    url, headers = with_token(url)
    async with aiohttp.ClientSession(headers=headers) as session, session.ws_connect(url, max_msg_size=0, compress=0) as connection:
        while len(found) < count + 2:
            message = await connection.receive(30)
            if message.type == aiohttp.WSMsgType.BINARY:
                found.append(json.loads(message.data[2 : 2 + int.from_bytes(message.data[:2], "big")]))
    return found[2:]


def run(options: Options) -> Iterator[Result]:
    yield from stills(options)
    yield from video(options)
