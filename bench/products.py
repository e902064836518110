"""What a night's keogram, startrails and video cost: CPU an image, time after the last one, peak memory. A real darkroom process over a real catalogue.

The peer makes all three at dawn; its figures are of the same 200 images, on a quiet machine.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.procstat import cpu_s
from bench.results import Options, Result, median
from cupola.config.products import Products
from cupola.core.clock import iso_utc
from cupola.core.frame import Station
from cupola.darkroom.growing import Growing
from cupola.darkroom.queue import Darkroom
from cupola.darkroom.timelapse import Encoder, Settings
from cupola.storage.catalogue import Catalogue
from cupola.storage.files import image_stem, relative_name, write_durable
from cupola.storage.rows import FileRow, NewImage

PEER = "indi-allsky"
PEER_CPU_MS, PEER_FINISH_S, PEER_PEAK_MB = 327.0, 40.0, 1300.0
CPU_MS, FINISH_S, PEAK_MB = 100.0, 5.0, 300.0
SIZE = (2080, 3096)
STARS, BACKGROUND, NOISE, EVERY_S = 1500, 35, 6, 15
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Cost:
    cpu_ms: float
    finish_s: float
    peak_mb: float


def _pictures(count: int) -> Iterator[bytes]:
    """JPEGs of stars that turn about the middle, over noise."""
    import cv2

    rng = np.random.default_rng(1)
    height, width = SIZE
    distances, angles = rng.uniform(0, 1, STARS) ** 0.5 * height * 0.48, rng.uniform(0, 2 * np.pi, STARS)
    lights, radii = rng.uniform(60, 255, STARS), rng.integers(1, 4, STARS)
    skies = [rng.normal(BACKGROUND, NOISE, (*SIZE, 3)).clip(0, 255).astype(np.uint8) for _ in range(4)]
    for number in range(count):
        picture, turned = skies[number % 4].copy(), angles + number * 2 * np.pi * EVERY_S / 86400
        for x, y, light, radius in zip(width / 2 + distances * np.cos(turned), height / 2 + distances * np.sin(turned), lights, radii, strict=True):
            cv2.circle(picture, (int(x), int(y)), int(radius), (int(light),) * 3, -1, cv2.LINE_AA)
        yield cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def _night(catalogue: Catalogue, root: Path, count: int) -> int:
    """A night with its images on disk and in the catalogue; its number."""
    with catalogue.writing() as connection:
        period = connection.execute(
            "INSERT INTO period (camera, kind, day, starts_at, ends_at, interval_s, state) VALUES ('north', 'night', '2026-01-01', ?, ?, ?, 'capturing')",
            (iso_utc(BEGUN), iso_utc(BEGUN + timedelta(seconds=EVERY_S * count)), EVERY_S),
        ).lastrowid
    assert period is not None
    for number, content in enumerate(_pictures(count)):
        opened = BEGUN + timedelta(seconds=EVERY_S * number)
        path = root / "north/2026/01/01/jpg" / f"{image_stem(opened, number)}.jpg"
        written = write_durable(path, content)
        file = FileRow("jpg", relative_name(path, root), written.bytes, written.sha256)
        catalogue.add_image(NewImage("north", number, opened, "2026-01-01", (file,), exposure_s=14.0, period=period))
    return period


def _floor(count: int) -> list[float]:
    """Milliseconds of processor for what is done by others' code in C: a JPEG decoded, its colours turned into a video's, and x264."""
    import simplejpeg

    settings, costs = Settings(**Products().model_dump()["timelapse"]), list[float]()
    encoder = Encoder((SIZE[1], SIZE[0]), settings, settings.crf)
    for content in _pictures(count):
        begun = time.process_time()
        encoder.add(simplejpeg.decode_jpeg(content, "RGB"), Path())
        costs.append(1000 * (time.process_time() - begun))
    encoder.close()
    return costs


async def _grow(folder: Path, count: int) -> Cost:
    root, state, troubles = folder / "images", folder / "state", list[str]()
    with Catalogue(state / "catalogue.sqlite") as catalogue:
        period = _night(catalogue, root, count)

        def log(level: str, message: str, **_: object) -> None:
            if level != "INFO":
                troubles.append(message)

        growing = Growing(
            catalogue, lambda _: None, root, state / "products", recipe_of=lambda _: Products().model_dump(), station=Station("bench", 0, 0), log=log
        )
        room = Darkroom(
            catalogue, lambda _: None, root, state / "queue", state / "darkroom.lock", jpeg_quality_of=lambda _: 90, log=log, growing=growing
        )
        running = asyncio.create_task(room.run())
        try:
            while growing.images.get(period, {}).get("timelapse") != count:
                assert not running.done() and not troubles, troubles
                await asyncio.sleep(0.02)
            begun = time.monotonic()
            with catalogue.writing() as connection:
                connection.execute("UPDATE period SET state = 'finishing' WHERE id = ?", (period,))
            rows = await growing.finish(period)
            took_s = time.monotonic() - begun
            assert [row.state for row in rows] == ["finished"] * 3, rows
            assert room.worker_pid is not None
            cpu = cpu_s(room.worker_pid)
            peak = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{room.worker_pid}/status").read_text())
            assert peak is not None
        finally:
            await room.stop(10.0)
            await running
    return Cost(1000 * cpu / count, took_s, int(peak[1]) * 1024 / 1e6)


def run(options: Options) -> Iterator[Result]:
    count = 40 if options.quick else 200
    with TemporaryDirectory(dir=options.folder) as folder:
        cost = asyncio.run(_grow(Path(folder), count))
    floor = median(
        "products.floor", _floor(10), "ms an image", note="one JPEG decoded and given to x264, in this run: what no code of ours can shorten"
    )
    note = f"{count} images of 6.4 MP; keogram, startrails and video together; {floor.value:.0f} ms of it are decoding and x264"
    yield median("products.cpu", [cost.cpu_ms], "ms an image", CPU_MS, peer=(PEER, [PEER_CPU_MS]), note=note)
    yield floor
    yield median("products.finished_after_last", [cost.finish_s], "s", FINISH_S, peer=(PEER, [PEER_FINISH_S]), note="the peer begins at dawn")
    yield median("products.peak", [cost.peak_mb], "MB", PEAK_MB, peer=(PEER, [PEER_PEAK_MB]), note="VmHWM of the darkroom's process")
