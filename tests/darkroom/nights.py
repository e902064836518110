"""Nights for the products: pictures of turning stars as stored JPEGs, their rows, and a station that grows something of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from tests.darkroom.station import STATION, Place

from cupola.config.products import Products
from cupola.core.clock import iso_utc
from cupola.darkroom.growing import Growing
from cupola.darkroom.queue import Darkroom
from cupola.storage.files import image_stem, relative_name, write_durable
from cupola.storage.rows import FileRow, ImageRow, NewImage

START, END = datetime(2026, 3, 14, 18, 0, tzinfo=UTC), datetime(2026, 3, 15, 6, 0, tzinfo=UTC)
DAY = "2026-03-14"
SIZE = (160, 240)  # rows, columns
RECIPE: dict[str, Any] = Products().model_dump()


def sky(number: int, size: tuple[int, int] = SIZE, background: float = 35.0) -> np.ndarray:
    """Stars that turn about the middle, over a noisy sky, (H, W, 3) uint8: another picture for each number."""
    rng = np.random.default_rng(7)
    distance, angle = 0.48 * size[0] * rng.uniform(0.1, 1, 40) ** 0.5, rng.uniform(0, 2 * np.pi, 40) + 0.03 * number
    picture = np.random.default_rng(number).normal(background, 3, (*size, 3))
    for row, column, light in zip(
        size[0] / 2 + distance * np.sin(angle), size[1] / 2 + distance * np.cos(angle), rng.uniform(120, 220, 40), strict=True
    ):
        picture[int(row) - 1 : int(row) + 1, int(column) - 1 : int(column) + 1] += light
    return picture.clip(0, 255).astype(np.uint8)


def jpeg(picture: np.ndarray) -> bytes:
    return simplejpeg.encode_jpeg(np.ascontiguousarray(picture), 90, "RGB", "420")


class Night(Place):
    """A place with one night of the camera `north` in its catalogue, from START to END."""

    def __init__(self, folder: Path, kind: str = "night", interval_s: float | None = 240.0) -> None:
        super().__init__(folder / "images", folder / "state")
        self.state = folder / "state"
        with self.catalogue.writing() as connection:
            self.period: int = (
                connection.execute(
                    "INSERT INTO period (camera, kind, day, starts_at, ends_at, interval_s, state) VALUES ('north', ?, ?, ?, ?, ?, 'capturing')",
                    (kind, DAY, iso_utc(START), iso_utc(END), interval_s),
                ).lastrowid
                or 0
            )

    def over(self, state: str = "finishing") -> None:
        with self.catalogue.writing() as connection:
            connection.execute("UPDATE period SET state = ? WHERE id = ?", (state, self.period))

    def shoot(self, number: int, content: bytes | None = None, *, period: bool = True) -> ImageRow:
        """A developed image of the night, every four minutes one."""
        opened = START + timedelta(minutes=4 * number)
        path = self.root / "north/2026/03/14/jpg" / f"{image_stem(opened, number)}.jpg"
        written = write_durable(path, content if content is not None else jpeg(sky(number)))
        file = FileRow("jpg", relative_name(path, self.root), written.bytes, written.sha256)
        return self.catalogue.add_image(NewImage("north", number, opened, DAY, (file,), exposure_s=200.0, period=self.period if period else None))

    def growing(self, recipe: dict[str, Any] | None = None) -> Growing:
        return Growing(
            self.catalogue,
            self.events.append,
            self.root,
            self.state / "products",
            recipe_of=lambda _: recipe or RECIPE,
            station=STATION,
            log=self.log,
        )

    def product(self, name: str) -> Path:
        return self.root / "north/2026/03/14" / name

    def errors(self) -> str:
        return self.said("ERROR")


@asynccontextmanager
async def at_work(night: Night, recipe: dict[str, Any] | None = None, **options: Any) -> AsyncGenerator[tuple[Darkroom, Growing]]:
    """A darkroom that grows what the night brings; ended at the end."""
    growing = night.growing(recipe)
    options = {"pause_s": (0.05, 0.2), **options}
    room = Darkroom(
        night.catalogue,
        night.events.append,
        night.root,
        night.queue,
        night.lock,
        jpeg_quality_of=lambda _: 90,
        log=night.log,
        growing=growing,
        **options,
    )
    task = asyncio.create_task(room.run())
    try:
        yield room, growing
    finally:
        await room.stop(10.0)
        await asyncio.wait_for(task, 20.0)


def frames(path: Path) -> list[np.ndarray]:
    """Every frame of a video, (H, W) luma."""
    import av

    with av.open(str(path)) as movie:
        return [frame.to_ndarray(format="gray") for frame in movie.decode(video=0)]
