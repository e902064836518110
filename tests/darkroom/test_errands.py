"""What the darkroom is asked for beside its images: few at a time, between them, and never at their cost."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import simplejpeg
from tests.darkroom.station import BIG, Place, original, running, signal_at_work, until

from cupola.core.errors import NotAllowed
from cupola.darkroom.encode import note_of
from cupola.darkroom.queue import Darkroom, DarkroomUnavailable
from cupola.darkroom.recipe import Recipe
from cupola.storage.rows import ImageRow


@pytest.fixture
def place(tmp_path: Path) -> Generator[Place]:
    made = Place(tmp_path / "images", tmp_path / "state")
    yield made
    made.catalogue.close()


def _preview(room: Darkroom, image: ImageRow, **recipe: Any) -> dict[str, Any]:
    return {**room.orders.of(image), "type": "preview", "original": str(room.orders.original(image)), "recipe": recipe, "format": "jpeg"}


async def test_a_preview_is_made_by_another_recipe_and_leaves_no_file(place: Place) -> None:
    image = place.add(1, original(1))
    async with running(place) as room:
        await until(lambda: len(place.events) == 1)
        before = sorted(path.name for path in place.root.rglob("*"))
        head, payload = await room.errand(_preview(room, image, rotate_deg=90))
        assert (head["width"], head["height"]) == (240, 320)
        assert simplejpeg.decode_jpeg_header(bytes(payload))[:2] == (320, 240)
        assert note_of(bytes(payload))["recipe"] == Recipe(rotate_deg=90).digest()
        assert sorted(path.name for path in place.root.rglob("*")) == before


async def test_images_that_wait_go_on_between_previews_and_no_more_than_four_wait(place: Place) -> None:
    images = [place.add(n, original(n)) for n in range(1, 9)]
    async with running(place) as room:
        await until(lambda: room.state == "developing")
        asked = [asyncio.create_task(room.errand(_preview(room, images[0]))) for _ in range(6)]
        done = await asyncio.gather(*asked, return_exceptions=True)
        refused = [one for one in done if isinstance(one, DarkroomUnavailable)]
        assert len(refused) == 2
        assert "try again" in str(refused[0])
        assert len(place.events) >= 3, "an image between two previews"
        await until(lambda: len(place.events) == 8)
        await room.errand(_preview(room, images[0]))
    with pytest.raises(DarkroomUnavailable, match="closed"):
        await room.errand(_preview(room, images[0]))


async def test_what_cannot_be_previewed_is_said_and_blames_no_image(place: Place) -> None:
    image = place.add(1, original(1))
    async with running(place) as room:
        await until(lambda: len(place.events) == 1)
        job = _preview(room, image)
        room.orders.original(image).write_bytes(b"no FITS")
        with pytest.raises(NotAllowed, match="not a whole original"):
            await room.errand(job)
        assert place.row(image).attempts == 0
        assert room.state == "idle"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
async def test_a_process_that_dies_with_a_preview_costs_that_preview_only(place: Place) -> None:
    image = place.add(1, original(1, BIG))
    async with running(place) as room:
        await until(lambda: place.row(image).developed)
        pid = room.worker_pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)  # so that it has the preview, and is not done with it
        asked = asyncio.create_task(room.errand(_preview(room, image)))
        await until(lambda: room._worker._answer is not None)  # pyright: ignore[reportPrivateUsage]
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(DarkroomUnavailable, match="SIGKILL"):
            await asked
        second = place.add(2, original(2))
        room.wake()
        await until(lambda: place.row(second).developed)
        assert place.row(image).attempts == place.row(second).attempts == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP")
async def test_who_went_away_is_not_worked_for(place: Place) -> None:
    images = [place.add(n, original(n, BIG)) for n in (1, 2)]
    async with running(place) as room:
        pid = await signal_at_work(room, signal.SIGSTOP)
        gone = asyncio.create_task(room.errand(_preview(room, images[0])))
        await asyncio.sleep(0)
        gone.cancel()
        os.kill(pid, signal.SIGCONT)
        await until(lambda: len(place.events) == 2)
        stays = await room.errand(_preview(room, images[1]))
        assert stays[0]["type"] == "preview"


async def test_an_order_tells_the_facts_of_the_picture(place: Place) -> None:
    image = place.add(1, original(1))
    async with running(place, order_of=lambda camera: {"recipe": {"rotate_deg": 180.0}, "station": {"name": camera}}) as room:
        await until(lambda: len(place.events) == 1)
        assert room.orders.of(image)["shot"]["opened_at"] == "2026-11-21T23:00:01.000000Z"
        assert note_of(place.jpeg_of(image).read_bytes())["recipe"] == Recipe(rotate_deg=180.0).digest()
