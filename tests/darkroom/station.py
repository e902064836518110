"""A station's folders and catalogue with sky originals in them, a real darkroom over it, and waiting with a limit."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from cupola.core.events import Event
from cupola.core.frame import CameraInfo, Controls, Frame, PixelFormat, PixelKind, Station
from cupola.darkroom.queue import Darkroom
from cupola.storage.catalogue import Catalogue
from cupola.storage.files import WrittenFile, day_of, queue_path, raw_path, relative_name, sha256_of, write_durable
from cupola.storage.originals import encode_original
from cupola.storage.rows import FileRow, ImageRow, NewImage

STATION = Station("test", 50.0, 8.0)
AT = datetime(2026, 11, 21, 23, 0, 0, tzinfo=UTC)
LAYOUT = PixelFormat(PixelKind.BAYER, bits=12, bayer="RGGB", black_level=64)
BIG = (2080, 3096)


def original(sequence: int, shape: tuple[int, int] = (240, 320)) -> bytes:
    sky = np.random.default_rng(sequence).normal(300, 8, shape)
    opened = AT + timedelta(seconds=sequence)
    pixels = np.clip(sky, 0, 4095).astype(np.uint16)
    frame = Frame(sequence, opened, opened + timedelta(seconds=1), 1, pixels, LAYOUT, Controls(1.0, 100.0))
    info = CameraInfo("simulator", "test", shape[1], shape[0], LAYOUT, frozenset())
    return encode_original(frame, camera="north", sequence=sequence, station=STATION, info=info, software="test")


class Place:
    """`root`, `queue` and the catalogue; what the darkroom published and logged."""

    def __init__(self, root: Path, state: Path) -> None:
        self.root, self.queue, self.lock = root, state / "queue", state / "darkroom.lock"
        self.catalogue = Catalogue(state / "catalogue.sqlite")
        self.events: list[Event] = []
        self.records: list[tuple[str, str]] = []

    def add(self, sequence: int, content: bytes, *, queued: bool = False, camera: str = "north") -> ImageRow:
        """An original, stored durably as a camera process does, and its row."""
        opened = AT + timedelta(seconds=sequence)
        base = self.queue if queued else self.root
        path = queue_path(base, camera, opened, sequence) if queued else raw_path(base, camera, opened, sequence, STATION)
        written: WrittenFile = write_durable(path, content)
        file = FileRow("queue" if queued else "raw", relative_name(path, base), written.bytes, written.sha256)
        return self.catalogue.add_image(NewImage(camera, sequence, opened, day_of(opened, STATION), (file,)))

    def row(self, image: ImageRow) -> ImageRow:
        found = self.catalogue.image(image.id)
        assert found is not None
        return found

    def jpeg_of(self, image: ImageRow) -> Path:
        """The developed file, after comparing it with what the catalogue says of it."""
        row = self.row(image)
        file = row.file("jpg")
        assert row.developed
        assert file is not None
        path = self.root / file.path
        assert (path.stat().st_size, sha256_of(path)) == (file.bytes, file.sha256)
        return path

    def log(self, level: str, message: str, **_: Any) -> None:
        self.records.append((level, message))

    def said(self, level: str) -> str:
        return "\n".join(message for found, message in self.records if found == level)

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def leftovers(self) -> list[Path]:
        return list(self.root.rglob("*.tmp"))


@asynccontextmanager
async def running(place: Place, **options: Any) -> AsyncGenerator[Darkroom]:
    """A darkroom at work; ended, and shown to leave no process, at the end."""
    options = {"pause_s": (0.2, 1.0), **options}
    room = Darkroom(place.catalogue, place.events.append, place.root, place.queue, place.lock, jpeg_quality_of=lambda _: 90, log=place.log, **options)
    task = asyncio.create_task(room.run())
    try:
        yield room
    finally:
        await room.stop(5.0)
        await asyncio.wait_for(task, 10.0)
    assert room.state == "stopped"
    assert room.worker_pid is None


async def until(condition: Callable[[], object], within_s: float = 30.0) -> None:
    """Return as soon as the condition holds; fail after `within_s`."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the awaited state did not come"
        await asyncio.sleep(0.002)


async def signal_at_work(room: Darkroom, number: signal.Signals) -> int:
    """Send a signal to the darkroom's process while it has a job; its pid."""
    await until(lambda: room.state == "developing" and room.worker_pid)
    pid = room.worker_pid
    assert pid is not None
    os.kill(pid, number)
    return pid
