"""Keogram, startrails and video of whole nights, in a real darkroom that is killed, starved and given rubbish meanwhile."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import simplejpeg
from tests.darkroom.nights import DAY, RECIPE, Night, at_work, frames, jpeg, sky
from tests.darkroom.station import until
from tests.support import ext4

from cupola.darkroom.queue import Darkroom
from cupola.storage.files import sha256_of
from cupola.storage.products import PRODUCTS, ProductRow

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
needs_disk = pytest.mark.skipif(ext4.missing_feature() is not None, reason=ext4.missing_feature() or "")
WITHIN_S = 60.0
DEADLY = """
import os, simplejpeg
decode = simplejpeg.decode_jpeg
def deadly(content, *args, **options):
    if content.endswith(b"deadly"):
        os.abort()
    return decode(content, *args, **options)
simplejpeg.decode_jpeg = deadly
"""


@pytest.fixture
def night(tmp_path: Path) -> Generator[Night]:
    made = Night(tmp_path)
    yield made
    made.catalogue.close()


async def _finished(night: Night, growing) -> dict[str, ProductRow]:
    night.over()
    rows = await asyncio.wait_for(growing.finish(night.period), WITHIN_S)
    return {row.kind: row for row in rows}


def _files(night: Night, rows: dict[str, ProductRow]) -> dict[str, bytes]:
    """The files of finished products, after comparing them with what the catalogue says."""
    found = {}
    for kind, row in rows.items():
        assert row.state == "finished", row
        path = night.root / (row.path or "")
        assert (path.stat().st_size, sha256_of(path)) == (row.bytes, row.sha256)
        found[kind] = path.read_bytes()
    return found


async def test_what_grew_is_what_rendering_the_stored_images_makes(night: Night) -> None:
    async with at_work(night) as (_, growing):
        for number in range(1, 61):
            night.shoot(number)
            growing.wake()
            if number % 20 == 0:
                await until(lambda: growing.images.get(night.period, {}).get("timelapse") == number, WITHIN_S)  # noqa: B023
        rows = await _finished(night, growing)
        grown = _files(night, rows)
        assert set(grown) == set(PRODUCTS)
        assert all((row.images, row.message) == (60, None) for row in rows.values())
        assert not (night.state / "products" / str(night.period)).exists()
        for kind in PRODUCTS:
            night.product(rows[kind].path.rsplit("/")[-1]).unlink()  # pyright: ignore[reportOptionalMemberAccess]
        night.over("finished")
        await growing.again(night.period, PRODUCTS)
        rendered = _files(night, {row.kind: row for row in await asyncio.wait_for(growing.finish(night.period), WITHIN_S)})
    assert rendered == grown
    assert [night.product(name).is_file() for name in ("keogram.jpg", "startrails.jpg", "timelapse.mp4")] == [True] * 3
    assert night.kinds().count("product_finished") == 6
    assert "product_updated" in night.kinds()
    assert night.errors() == ""
    pictures = frames(night.product("timelapse.mp4"))
    assert len(pictures) == 60
    for number, picture in enumerate(pictures, 1):  # in order: none is nearer to the neighbour's image than to its own
        wanted = [simplejpeg.decode_jpeg(jpeg(sky(other)), "RGB").mean(axis=2) for other in (number - 1, number, number + 1)]
        assert np.argmin([np.abs(picture - one).mean() for one in wanted]) == 1, number


@needs_signals
async def test_a_darkroom_that_is_killed_again_and_again_grows_the_same(night: Night, tmp_path: Path) -> None:
    rng, kills = random.Random(5), 0

    async def kill(room: Darkroom) -> None:
        nonlocal kills
        await asyncio.sleep(rng.uniform(0.0, 0.1))  # somewhere in a job, or between two
        if (pid := room.worker_pid) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                kills += 1

    for number in range(1, 81):
        night.shoot(number)
    async with at_work(night) as (room, growing):
        reach = 0
        while (reach := reach + rng.randint(1, 20)) < 80:
            await until(lambda: growing.images.get(night.period, {}).get("timelapse", 0) >= reach, WITHIN_S)
            await kill(room)
        await until(lambda: growing.images.get(night.period, {}).get("timelapse") == 80, WITHIN_S)
        night.over()
        finishing = asyncio.create_task(growing.finish(night.period))
        await kill(room)
        rows = {row.kind: row for row in await asyncio.wait_for(finishing, WITHIN_S)}
        grown = _files(night, rows)
        assert all((row.images, row.message) == (80, None) for row in rows.values())
    assert kills >= 5
    assert "died (SIGKILL)" in night.errors()
    other = Night(tmp_path / "other")
    try:
        async with at_work(other) as (_, growing):
            for number in range(1, 81):
                other.shoot(number)
            straight = _files(other, await _finished(other, growing))
    finally:
        other.catalogue.close()
    assert straight == grown


async def test_the_exposure_under_way_when_the_window_ends_is_in_the_products(night: Night) -> None:
    async with at_work(night) as (_, growing):
        night.shoot(1)
        growing.wake()
        await until(lambda: growing.images.get(night.period, {}).get("keogram") == 1, WITHIN_S)
        night.over()
        span = growing.products.span(night.period)
        assert span is not None
        for kind in ("keogram", "startrails"):  # each goes through the darkroom, after which it looks for more to do
            assert await growing.preview(span, kind) is not None
        for _ in range(50):  # it is given the time that it would take
            assert {row.state for row in growing.products.of(night.period)} == {"growing"}
            await asyncio.sleep(0.01)
        night.shoot(2)
        rows = await _finished(night, growing)
    assert {(row.images, row.message) for row in rows.values()} == {(2, None)}


async def test_a_restart_of_the_server_goes_on_where_the_checkpoint_is(night: Night) -> None:
    async with at_work(night) as (_, growing):
        for number in range(1, 31):
            night.shoot(number)
        growing.wake()
        await until(lambda: growing.images.get(night.period, {}).get("keogram") == 30, WITHIN_S)
    stored = {row.kind: row for row in growing.products.of(night.period)}
    assert {(row.images, row.state) for row in stored.values()} == {(25, "growing")}
    for number in range(1, 26):  # what is in the checkpoint is not needed any more
        next(night.product("jpg").glob(f"*_{number:06d}.jpg")).unlink()
    async with at_work(night) as (_, growing):
        rows = await _finished(night, growing)
    assert {(row.images, row.message) for row in rows.values()} == {(30, None)}
    assert len(frames(night.product("timelapse.mp4"))) == 30


async def test_damaged_images_are_left_out_and_named(night: Night) -> None:
    async with at_work(night) as (_, growing):
        night.shoot(1)
        night.shoot(2, jpeg(sky(2))[:4000])
        night.shoot(3, jpeg(sky(3, (100, 120))))
        night.shoot(4, b"no picture")
        (night.root / night.shoot(5).files[0].path).unlink()
        night.shoot(6)
        rows = await _finished(night, growing)
    for row in rows.values():
        assert row.images == 2
        assert row.message is not None and row.message.startswith("Left out 4 of 6 images.")
        for number in (2, 3, 4, 5):
            assert f"_{number:06d}.jpg" in row.message
        assert "120 x 100 pixels" in row.message
    assert len(frames(night.product("timelapse.mp4"))) == 2
    assert night.said("WARNING").count("Left out 4") == 3


@needs_signals
async def test_an_image_with_which_the_process_dies_is_left_out_after_three_tries(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(DEADLY)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, sys.path)]))
    async with at_work(night) as (_, growing):
        for number in (1, 2, 3):
            night.shoot(number, jpeg(sky(number)) + (b"deadly" if number == 2 else b""))
        rows = await _finished(night, growing)
    for row in rows.values():
        assert row.images == 2
        assert "_000002.jpg: the darkroom failed with it three times" in (row.message or "")


async def test_a_lost_and_a_torn_fragment_are_made_again_from_their_images(night: Night) -> None:
    async with at_work(night) as (_, growing):
        for number in range(1, 81):
            night.shoot(number)
        growing.wake()
        await until(lambda: growing.images.get(night.period, {}).get("timelapse") == 80, WITHIN_S)
        folder = night.state / "products" / str(night.period)
        assert sorted(path.name for path in folder.glob("*.mp4")) == ["000000.mp4", "000001.mp4", "000002.mp4"]
        (folder / "000000.mp4").unlink()
        torn = folder / "000002.mp4"
        torn.write_bytes(torn.read_bytes()[:-500])
        grown = _files(night, await _finished(night, growing))
        await growing.again(night.period, ["timelapse"])
        rendered = _files(night, {row.kind: row for row in await asyncio.wait_for(growing.finish(night.period), WITHIN_S)})
    assert rendered == grown
    assert len(frames(night.product("timelapse.mp4"))) == 80


async def test_a_checkpoint_that_is_damaged_is_made_again_from_the_images(night: Night) -> None:
    async with at_work(night) as (_, growing):
        for number in range(1, 31):
            night.shoot(number)
        growing.wake()
        await until(lambda: growing.images.get(night.period, {}).get("keogram") == 30, WITHIN_S)
    folder = night.state / "products" / str(night.period)
    (pixels,) = folder.glob("startrails-*.raw")
    pixels.write_bytes(pixels.read_bytes()[:-1] + b"\x99")
    (folder / "keogram.json").write_bytes(b"{")
    async with at_work(night) as (_, growing):
        rows = await _finished(night, growing)
        grown = _files(night, rows)
        assert {row.images for row in rows.values()} == {30}
        await growing.again(night.period, PRODUCTS)
        rendered = _files(night, {row.kind: row for row in await asyncio.wait_for(growing.finish(night.period), WITHIN_S)})
    assert rendered == grown


async def test_other_settings_in_the_middle_of_a_night_begin_that_product_anew(night: Night) -> None:
    async with at_work(night) as (_, growing):
        for number in range(1, 31):
            night.shoot(number)
        growing.wake()
        await until(lambda: growing.images.get(night.period, {}).get("keogram") == 30, WITHIN_S)
    turned = {**RECIPE, "keogram": {**RECIPE["keogram"], "angle_deg": 90.0}}
    async with at_work(night, turned) as (_, growing):
        rows = await _finished(night, growing)
    assert {row.images for row in rows.values()} == {30}
    picture = simplejpeg.decode_jpeg(night.product("keogram.jpg").read_bytes())
    assert picture.shape[0] - 26 == sky(1).shape[1]


async def test_growing_waits_for_an_image_that_is_not_developed_and_passes_one_that_never_will_be(night: Night) -> None:
    from tests.darkroom.station import original

    async with at_work(night) as (room, growing):
        night.shoot(1)
        image = night.add(2, original(2, (160, 240)))
        broken = night.add(3, b"rubbish")
        with night.catalogue.writing() as connection:
            connection.execute("UPDATE image SET period = ? WHERE id IN (?, ?)", (night.period, image.id, broken.id))
        night.shoot(4)
        room.wake()
        rows = await _finished(night, growing)
    assert {row.images for row in rows.values() if row.kind == "timelapse"} == {3}
    assert "it could not be developed" in (rows["timelapse"].message or "")
    updates = [event.kind for event in night.events]
    assert updates.index("image_developed") < updates.index("product_finished")


async def test_a_preview_shows_the_night_so_far(night: Night) -> None:
    async with at_work(night) as (_, growing):
        span = growing.products.span(night.period)
        assert span is not None
        assert await growing.preview(span, "keogram") is None
        night.shoot(1)
        growing.wake()
        await until(lambda: growing.images.get(night.period, {}).get("keogram") == 1, WITHIN_S)
        assert await growing.preview(span, "keogram") is not None
        for number in range(2, 31):
            night.shoot(number)
        growing.wake()
        await until(lambda: growing.images.get(night.period, {}).get("keogram") == 30, WITHIN_S)
        for kind in PRODUCTS:
            path = await growing.preview(span, kind)
            assert path is not None
            again = path.stat().st_mtime_ns
            assert await growing.preview(span, kind) == path
            assert path.stat().st_mtime_ns == again, "made again though nothing came"
            if kind == "timelapse":
                assert len(frames(path)) in (29, 30)
            else:
                assert simplejpeg.decode_jpeg(path.read_bytes()).shape[2] == 3
        night.shoot(31)
        growing.wake()
        await until(lambda: growing.images.get(night.period, {}).get("keogram") == 31, WITHIN_S)
        path = await growing.preview(span, "timelapse")
        assert path is not None and len(frames(path)) in (30, 31)
        rows = await _finished(night, growing)
    assert {row.images for row in rows.values()} == {31}


@needs_signals
async def test_memory_does_not_grow_with_the_night(night: Night) -> None:
    """Measured where as many frames wait for their fragment's end: 30, 55 and 80 images."""
    large = [jpeg(sky(number, (750, 1000))) for number in range(5)]
    sizes: list[float] = []
    async with at_work(night) as (room, growing):
        for number in range(1, 81):
            night.shoot(number, large[number % 5])
            if number in (30, 55, 80):
                growing.wake()
                await until(lambda: growing.images.get(night.period, {}).get("timelapse") == number, WITHIN_S)  # noqa: B023
                sizes.append(psutil.Process(room.worker_pid).memory_info().rss / 1e6)
        rows = await _finished(night, growing)
        assert {row.images for row in rows.values()} == {80}
    assert max(sizes) - sizes[0] < 12, f"{sizes} MB"  # the allocator's own movements; one image is 2.3 MB, its packet 0.1


async def test_a_night_without_a_usable_image_says_why_there_is_nothing(night: Night) -> None:
    async with at_work(night) as (_, growing):
        night.shoot(1, b"no picture")
        rows = await _finished(night, growing)
    assert {row.state for row in rows.values()} == {"failed"}
    assert all("_000001.jpg" in (row.message or "") for row in rows.values())
    assert night.kinds().count("product_failed") == 3


async def test_a_night_without_images_ends_without_products(night: Night) -> None:
    async with at_work(night) as (_, growing):
        assert await _finished(night, growing) == {}


async def test_images_of_no_night_can_be_rendered_afterwards_without_dark_frames(night: Night) -> None:
    for number in range(1, 4):
        night.shoot(number, period=False)
    dark = night.shoot(4, period=False)
    series = night.catalogue.open_session("north", {"darks": True})
    with night.catalogue.writing() as connection:
        connection.execute("UPDATE image SET session = ? WHERE id = ?", (series.id, dark.id))
    with night.catalogue.writing() as connection:
        connection.execute("DELETE FROM period")
    async with at_work(night) as (_, growing):
        span = await growing.span("north", DAY, "night")
        assert span is not None
        await growing.again(span.id, ["startrails"])
        rows = await asyncio.wait_for(growing.finish(span.id), WITHIN_S)
        assert [(row.kind, row.images) for row in rows] == [("startrails", 3)]
        assert await growing.span("north", "2026-03-13", "night") is None


def _fill(filler: Path) -> None:
    for block in (65536, 512):
        with filler.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(block))


@needs_disk
async def test_on_a_full_disk_growing_waits_and_nothing_is_lost(tmp_path: Path) -> None:
    """Once with a checkpoint due, once with the files of the end; the catalogue is elsewhere, or nothing could be asked of it."""
    with ext4.Disk(tmp_path, 32).mounted() as disk:
        night = Night(tmp_path / "own")
        night.root = disk / "images"
        (tmp_path / "own" / "state").joinpath("products").symlink_to(disk, target_is_directory=True)
        for number in range(1, 41):
            night.shoot(number)
        filler = disk / "filler"
        _fill(filler)
        async with at_work(night) as (room, growing):
            await until(lambda: night.errors().count("disk is full") >= 2, WITHIN_S)
            assert growing.images[night.period]["timelapse"] == 24
            assert room.state == "waiting" and "disk is full" in str(room.problem)
            filler.unlink()
            await until(lambda: growing.images[night.period]["timelapse"] == 40, WITHIN_S)
            before = night.errors().count("disk is full")
            _fill(filler)
            night.over()
            finishing = asyncio.create_task(growing.finish(night.period))
            room.wake()
            await until(lambda: night.errors().count("disk is full") >= before + 2, WITHIN_S)
            assert not night.product("timelapse.mp4").exists()
            filler.unlink()
            rows = {row.kind: row for row in await asyncio.wait_for(finishing, WITHIN_S)}
            _files(night, rows)
            assert {(row.images, row.message) for row in rows.values()} == {(40, None)}
            assert len(frames(night.product("timelapse.mp4"))) == 40
        night.catalogue.close()
