"""Time between exposures in which the sensor gathers no light, at 6 megapixels, with originals and developing on."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any

import aiohttp
import simplejpeg
from tests.support.indi_server import CAMERA as INDI_CAMERA
from tests.support.indi_server import IndiServer, namespace_command
from tests.support.mjpeg_source import picture

from bench.results import Options, Result, p99
from bench.station import ROOT, Running, cupola
from bench.viewers import with_token
from cupola.core.frame import Station
from cupola.drivers.abort import Abort
from cupola.drivers.indi import Indi
from cupola.drivers.indi_client import IndiClient

READOUT_S = 0.2
SENSOR = {"width": 3096, "height": 2080, "readout_s": READOUT_S, "sky_time": "night"}
STILLS, PICTURES = 8, 12
INDI_SHOTS = 20  # its simulator's readout varies by 30 ms, so the slowest of ours is held against the slowest of those


def _exposure_s(options: Options) -> float:
    """Long enough for the simulator to draw a sky of 6 megapixels beside the exposure, on two cores."""
    return 2.0 if options.quick else 5.0


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
    exposure_s = _exposure_s(options)
    with cupola(options.folder, {"driver": "simulator", "simulator": SENSOR}) as running:
        running.ask("POST", "/api/cameras/bench/start", {"exposure_s": exposure_s, "count": STILLS + 1})
        rows = _wait_for(running, STILLS + 1, (exposure_s + 5) * (STILLS + 1))
    gaps = [1000 * (_opened(after) - _opened(before, "ended_at")) for before, after in pairwise(rows)]
    note = f"{exposure_s:g} s exposures, {1000 * READOUT_S:g} ms of it readout; every one stored and developed"
    yield p99("duty.gap.p99", gaps, "ms", 1000 * READOUT_S + 50, note=note)


def night(options: Options) -> Iterator[Result]:
    """A night by the schedule with everything on: auto exposure, originals, measuring, overlay, keogram, startrails and video growing, somebody looking on.

    Exposures are shorter than a night's 30 s, so that there is less time between two to catch up in: no figure gets better by it.
    """
    exposure_s, count = _exposure_s(options), 8 if options.quick else 14
    camera = {
        "driver": "simulator",
        "simulator": SENSOR,
        "exposure": {"exposure_s": exposure_s, "auto": {"on": True, "exposure_min_s": exposure_s, "exposure_max_s": exposure_s}},
        "night": {"window": "always"},
        "develop": {"overlay": {"lines": ["{time}  {exposure}  gain {gain}", "Sun {sun}  Moon {moon}"], "north_deg": 0}},
    }
    place = {"CUPOLA_STATION__LATITUDE": "47.0", "CUPOLA_STATION__LONGITUDE": "11.0", "CUPOLA_STORAGE__ORIGINALS": "keep"}
    with cupola(options.folder, camera, place) as running:
        asyncio.run(_headers(running.url("ws"), 2))
        end = time.monotonic() + (exposure_s + 5) * (count + 2)
        while len(rows := running.ask("GET", "/api/captures?limit=500")["items"]) < count + 2 and time.monotonic() < end:
            time.sleep(0.5)
    rows = sorted(rows, key=lambda row: row["sequence"])[2:]  # libraries are loaded at the first ones
    gaps = [1000 * (_opened(after) - _opened(before, "ended_at")) for before, after in pairwise(rows)]
    note = f"{len(gaps)} gaps between {exposure_s:g} s exposures of 6 MP, median {statistics.median(gaps):.0f} ms; {1000 * READOUT_S:g} ms of each is readout"
    yield p99("duty.night.gap.p99", gaps, "ms", 1000 * READOUT_S + 50, note=note)


def video(options: Options) -> Iterator[Result]:
    exposure_s = _exposure_s(options)
    camera = {"driver": "simulator", "simulator": SENSOR, "live": {"exposure_s": exposure_s}}
    with cupola(options.folder, camera) as running:
        heads = asyncio.run(_headers(running.url("ws"), PICTURES))
    gaps = [1000 * (_opened(after) - _opened(before) - exposure_s) for before, after in pairwise(heads)]
    yield p99("duty.video.gap.p99", gaps, "ms", 20.0, note=f"live view, {exposure_s:g} s exposures; a picture the viewer missed counts as a gap")


def zwo(options: Options) -> Iterator[Result]:
    """A ZWO camera of 6 MP by its stand-in library, in both of its ways of taking pictures; series of stills, stored and developed."""
    exposure_s = 1.0 if options.quick else 5.0
    library = options.folder / "libASICamera2.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(ROOT / "tests/support/fake_asi.c"), "-lm"], check=True)
    stand_in = {"FAKE_ASI_MODELS": "1", "FAKE_ASI_READOUT_MS": f"{1000 * READOUT_S:g}"}
    for mode, target in (("video", 20.0), ("snapshot", 1000 * READOUT_S + 50)):
        camera = {"driver": "zwo", "zwo": {"library": str(library), "mode": mode}}
        with cupola(options.folder, camera, stand_in) as running:
            running.ask("POST", "/api/cameras/bench/start", {"exposure_s": exposure_s, "count": STILLS + 1})
            rows = _wait_for(running, STILLS + 1, (exposure_s + 5) * (STILLS + 1))
        gaps = [1000 * (_opened(after) - _opened(before, "ended_at")) for before, after in pairwise(rows)]
        note = f"{exposure_s:g} s exposures of a stand-in library, {1000 * READOUT_S:g} ms readout"
        yield p99(f"duty.zwo.{mode}.gap", gaps, "ms", target, note=note)


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


def indi(options: Options) -> Iterator[Result]:
    """Through a real indiserver and its simulated camera; the readout is what a client sees that does nothing else."""
    exposure_s = 2.0
    if namespace_command() is None:
        return
    (home := options.folder / "indi").mkdir()
    with IndiServer(home) as server:
        readouts = _indi_readouts(server.port, exposure_s)
        camera = {"driver": "indi", "indi": {"host": "127.0.0.1", "port": server.port, "device": INDI_CAMERA}}
        with cupola(options.folder, camera) as running:
            running.ask("POST", "/api/cameras/bench/start", {"exposure_s": exposure_s, "count": INDI_SHOTS + 1})
            rows = _wait_for(running, INDI_SHOTS + 1, (exposure_s + 5) * (INDI_SHOTS + 1))
    slowest_ms = 1000 * max(readouts)
    gaps = [1000 * (_opened(after) - _opened(before, "ended_at")) for before, after in pairwise(rows)]
    note = f"INDI's simulator, 1.3 MP; its readout alone takes {1000 * min(readouts):.0f} to {slowest_ms:.0f} ms, median {1000 * statistics.median(readouts):.0f}"
    yield p99("duty.indi.gap", gaps, "ms", round(slowest_ms + 50), note=note)


def _indi_readouts(port: int, exposure_s: float) -> list[float]:
    """Seconds from the shutter's closing to the last byte, of a camera that has nothing else to do."""
    camera = Indi(
        {"host": "127.0.0.1", "port": port, "device": INDI_CAMERA, "binning": 1, "roi": None, "temperature_c": None, "timeout_s": 15}, Station()
    )
    try:
        camera.open()
    finally:
        camera.close()
    client, found = IndiClient("127.0.0.1", port), []
    try:
        client.connect(5, Abort())
        client.wait(lambda: client.vector(INDI_CAMERA, "CCD1"), 5, lambda: False)
        client.watch(INDI_CAMERA, "CCD1")
        for _ in range(INDI_SHOTS):
            shot = client.shoot(exposure_s)
            client.wait(lambda shot=shot: shot.data, exposure_s + 10, lambda: False)
            found.append((shot.arrived_ns - shot.requested_ns) / 1e9 - exposure_s)
    finally:
        client.close()
    return found


_BARE_GPHOTO = """
import json, sys, time
import gphoto2 as gp
camera = gp.Camera()
camera.init()
times = []
for _ in range(int(sys.argv[1])):
    begun = time.monotonic()
    place = camera.capture(gp.GP_CAPTURE_IMAGE)
    file = camera.file_get(place.folder, place.name, gp.GP_FILE_TYPE_NORMAL)
    bytes(file.get_data_and_size())
    camera.file_delete(place.folder, place.name)
    times.append(time.monotonic() - begun)
print(json.dumps(times))
"""


def gphoto(options: Options) -> Iterator[Result]:
    """libgphoto2's virtual Nikon, 6 MP: from one shutter to the next, less what the library alone needs for capture, download and deletion."""
    card = options.folder / "card"
    card.mkdir()
    sky = simplejpeg.encode_jpeg(picture(SENSOR["width"], SENSOR["height"], 0), quality=92)
    (card / "one.jpg").write_bytes(sky)
    environment = {"VCAMERADIR": str(card)}
    bare = subprocess.run(
        [sys.executable, "-c", _BARE_GPHOTO, str(PICTURES)], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    alone_ms = 1000 * statistics.median(json.loads(bare.stdout))
    exposure_s = 0.0001  # the virtual camera waits for no shutter
    camera = {"driver": "gphoto", "gphoto": {"serial": "0.1"}, "recovery": {"frozen_after_s": None}}
    with cupola(options.folder, camera, environment) as running:
        running.ask("POST", "/api/cameras/bench/start", {"exposure_s": exposure_s, "count": PICTURES + 1})
        rows = _wait_for(running, PICTURES + 1, 10 * (PICTURES + 1))
    gaps = [1000 * (_opened(after) - _opened(before) - exposure_s) - alone_ms for before, after in pairwise(rows)]
    note = f"libgphoto2's virtual Nikon, {len(sky) / 1e6:.1f} MB a picture; beyond the {alone_ms:.0f} ms that the library alone needs"
    yield p99("duty.gphoto.gap", gaps, "ms", None, note=note)


def run(options: Options) -> Iterator[Result]:
    yield from stills(options)
    yield from night(options)
    yield from video(options)
    yield from zwo(options)
    yield from indi(options)
    yield from gphoto(options)
