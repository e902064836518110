"""The darkroom as the server has it: a real catalogue, real files, a real process that is killed, frozen and starved."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import simplejpeg
from tests.darkroom.station import BIG, Place, original, running, signal_at_work, until
from tests.support import ext4

from cupola.core.errors import NotAllowed, StorageFailed
from cupola.darkroom.queue import DarkroomUnavailable
from cupola.storage.files import relative_name
from cupola.storage.rows import FileRow, ImageRow

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP and SIGKILL")
needs_disk = pytest.mark.skipif(ext4.missing_feature() is not None, reason=ext4.missing_feature() or "")


@pytest.fixture
def place(tmp_path: Path) -> Generator[Place]:
    made = Place(tmp_path / "images", tmp_path / "state")
    yield made
    made.catalogue.close()


async def test_waiting_images_are_developed_oldest_first_and_announced(place: Place) -> None:
    images = [place.add(n, original(n)) for n in (1, 2, 3)]
    async with running(place) as room:
        await until(lambda: len(place.events) == 3)
        late = place.add(4, original(4))
        room.wake()
        await until(lambda: len(place.events) == 4)
        await until(lambda: room.state == "idle")
        assert (room.pending, room.problem, room.retry_in_s) == (0, None, None)
    assert [event.model_dump()["sequence"] for event in place.events] == [1, 2, 3, 4]
    assert set(place.kinds()) == {"image_developed"}
    for image in (*images, late):
        picture = simplejpeg.decode_jpeg(place.jpeg_of(image).read_bytes())
        row = place.row(image)
        assert picture.shape == (row.height, row.width, 3) == (240, 320, 3)
    assert place.jpeg_of(images[0]) == place.root / "north/2026/11/21/jpg/20261121T230001Z_000001.jpg"
    assert place.leftovers() == []


async def test_without_work_there_is_no_process(place: Place) -> None:
    async with running(place) as room:
        await until(lambda: room.state == "idle")
        assert room.worker_pid is None


async def test_an_idle_process_gives_its_memory_back_and_work_starts_another(place: Place) -> None:
    place.add(1, original(1))
    async with running(place, idle_s=0.2) as room:
        await until(lambda: len(place.events) == 1)
        await until(lambda: room.worker_pid is None)
        place.add(2, original(2))
        room.wake()
        await until(lambda: len(place.events) == 2)
    assert place.said("ERROR") == ""


async def test_an_original_that_is_not_kept_is_announced_with_its_jpeg_and_deleted(place: Place) -> None:
    image = place.add(1, original(1), queued=True)
    waiting = place.queue / image.files[0].path
    assert waiting.is_file()
    assert not image.acknowledged
    async with running(place):
        await until(lambda: not waiting.exists())
    assert place.kinds() == ["image_captured", "image_developed"]
    assert [file.kind for file in place.row(image).files] == ["jpg"]
    assert place.row(image).acknowledged
    assert place.jpeg_of(image).is_file()


@needs_signals
async def test_an_image_that_was_taken_up_from_the_disk_meanwhile_is_not_announced_again(place: Place) -> None:
    image = place.add(1, original(1, BIG), queued=True)
    async with running(place) as room:
        pid = await signal_at_work(room, signal.SIGSTOP)
        path = place.root / "north/2026/11/21/jpg/20261121T230001Z_000001.jpg"
        place.catalogue.add_file(image.id, FileRow("jpg", relative_name(path, place.root), 1, "00" * 32))
        os.kill(pid, signal.SIGCONT)
        await until(lambda: place.kinds())
        await until(lambda: room.state == "idle")
    assert place.kinds() == ["image_developed"], "who took it up has announced it"
    assert place.jpeg_of(image) == path


@needs_signals
async def test_a_process_killed_at_work_costs_nothing_but_time(place: Place) -> None:
    big = original(1, BIG)
    images = [place.add(n, big) for n in range(1, 7)]
    async with running(place) as room:
        for done in (1, 3):
            await until(lambda done=done: len(place.events) >= done)
            await signal_at_work(room, signal.SIGKILL)
            await until(lambda: room.state == "waiting")
        await until(lambda: len(place.events) == len(images))
        assert room.pending == 0
    for image in images:
        assert place.jpeg_of(image).is_file()
    assert "SIGKILL" in place.said("ERROR")
    assert sorted(event.model_dump()["sequence"] for event in place.events) == [1, 2, 3, 4, 5, 6]
    assert place.leftovers() == []


@needs_signals
async def test_a_process_killed_while_idle_is_replaced_and_no_image_is_blamed(place: Place) -> None:
    place.add(1, original(1))
    async with running(place) as room:
        await until(lambda: len(place.events) == 1 and room.state == "idle")
        pid = room.worker_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        second = place.add(2, original(2))
        room.wake()
        await until(lambda: len(place.events) == 2)
    assert place.row(second).attempts == 0


@needs_signals
async def test_a_frozen_process_is_killed_at_its_deadline_and_the_work_goes_on(place: Place) -> None:
    images = [place.add(n, original(n, BIG)) for n in (1, 2, 3)]
    async with running(place, deadline_s=8.0) as room:
        await until(lambda: len(place.events) == 1, within_s=60)
        frozen = await signal_at_work(room, signal.SIGSTOP)
        await until(lambda: len(place.events) == 3, within_s=60)
        assert room.worker_pid not in (None, frozen)
        with pytest.raises(ProcessLookupError):
            os.kill(frozen, 0)
    assert "did not finish within 8 s" in place.said("ERROR")
    for image in images:
        assert place.jpeg_of(image).is_file()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
async def test_an_original_that_hangs_its_reader_is_given_up_after_three_times(place: Place) -> None:
    first, stuck, last = (place.add(n, original(n)) for n in (1, 2, 3))
    path = place.root / stuck.files[0].path
    path.unlink()
    os.mkfifo(path)
    async with running(place, deadline_s=5.0) as room:
        await until(lambda: len(place.events) == 3, within_s=100)
        await until(lambda: room.state == "idle")
        assert room.pending == 0
    assert sorted(place.kinds()) == ["develop_failed", "image_developed", "image_developed"]
    row = place.row(stuck)
    assert (row.developed, row.gave_up, row.attempts) == (False, True, 3)
    for image in (first, last):
        assert place.jpeg_of(image).is_file()


async def test_a_corrupt_original_is_given_up_with_words_and_the_others_are_developed(place: Place) -> None:
    whole = original(1)
    corrupt, cut, good = place.add(1, whole[:9000] + b"x" * 400 + whole[9400:]), place.add(2, whole[: len(whole) // 2]), place.add(3, original(3))
    async with running(place) as room:
        await until(lambda: len(place.events) == 3)
        assert room.worker_pid is not None
    assert sorted(place.kinds()) == ["develop_failed", "develop_failed", "image_developed"]
    assert place.jpeg_of(good).is_file()
    for image in (corrupt, cut):
        row = place.row(image)
        assert (row.gave_up, row.attempts) == (True, 3)
        assert Path(image.files[0].path).name in str(row.failure)
        assert (place.root / image.files[0].path).is_file(), "the original is left to its owner"
        assert row.failure is not None
        assert row.failure in place.said("ERROR")


async def test_a_pause_that_ends_while_the_catalogue_is_read_is_not_missed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else wakes the darkroom at the end of a night: the last image would wait for the next one."""
    undeveloped = place.catalogue.undeveloped

    def slow(*arguments: Any) -> list[ImageRow]:
        time.sleep(0.15)  # in the catalogue's thread: a card that stalls
        return undeveloped(*arguments)

    monkeypatch.setattr(place.catalogue, "undeveloped", slow)
    corrupt = place.add(1, b"no FITS")
    async with running(place, pause_s=(0.1, 0.1)):
        await until(lambda: place.row(corrupt).gave_up)
    assert place.row(corrupt).attempts == 3


async def test_a_missing_original_fails_like_a_corrupt_one(place: Place) -> None:
    gone = place.add(1, original(1))
    (place.root / gone.files[0].path).unlink()
    async with running(place):
        await until(lambda: place.kinds() == ["develop_failed"])
    assert place.row(gone).gave_up


async def test_attempts_outlive_the_server(place: Place) -> None:
    corrupt = place.add(1, b"no FITS")
    async with running(place, pause_s=(60.0, 60.0)):
        await until(lambda: place.row(corrupt).attempts == 1)
    async with running(place, pause_s=(60.0, 60.0)):
        await until(lambda: place.row(corrupt).attempts == 2)
    assert not place.row(corrupt).gave_up


async def test_a_jpeg_left_by_an_attempt_before_is_replaced(place: Place) -> None:
    image = place.add(1, original(1))
    left = place.root / "north/2026/11/21/jpg/20261121T230001Z_000001.jpg"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of a server that died before its commit")
    left.with_name(left.name + ".tmp").write_bytes(b"half")
    async with running(place):
        await until(lambda: len(place.events) == 1)
    assert simplejpeg.decode_jpeg(place.jpeg_of(image).read_bytes()).shape == (240, 320, 3)
    assert place.jpeg_of(image) == left
    assert place.leftovers() == []


@needs_disk
async def test_on_a_full_disk_images_wait_and_are_not_blamed(tmp_path: Path) -> None:
    with ext4.Disk(tmp_path, 16).mounted() as disk:
        place = Place(disk / "images", tmp_path / "state")
        images = [place.add(n, original(n)) for n in (1, 2)]
        filler = disk / "filler"
        for block in (65536, 512):
            with filler.open("ab", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(bytes(block))
        async with running(place) as room:
            await until(lambda: room.state == "waiting")
            assert "disk is full" in str(room.problem)
            assert room.retry_in_s is not None
            await until(lambda: place.said("ERROR").count("disk is full") >= 4)
            assert room.pending == 2
            assert all(place.row(image).attempts == 0 for image in images)
            assert place.leftovers() == []
            filler.unlink()
            await until(lambda: len(place.events) == 2)
            await until(lambda: room.state == "idle")
            assert room.problem is None
        for image in images:
            assert place.jpeg_of(image).is_file()
        place.catalogue.close()


async def test_a_folder_that_cannot_be_written_holds_up_its_camera_only(place: Place) -> None:
    (place.root / "south/2026/11/21").mkdir(parents=True)
    (place.root / "south/2026/11/21/jpg").write_text("in the way")
    south, north = place.add(1, original(1), camera="south"), place.add(2, original(2))
    async with running(place):
        await until(lambda: place.row(north).developed)
        assert place.row(south).attempts == 0
        (place.root / "south/2026/11/21/jpg").unlink()
        await until(lambda: place.row(south).developed)


async def test_a_broken_installation_blames_no_image_and_heals(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(broken), os.environ["PYTHONPATH"])))
    image = place.add(1, original(1))
    async with running(place) as room:
        await until(lambda: place.said("ERROR").count("libGL.so.1") >= 4)
        assert "libGL.so.1" in str(room.problem)
        assert (place.row(image).attempts, room.pending) == (0, 1)
        (broken / "cv2.py").unlink()
        await until(lambda: len(place.events) == 1)
    assert place.jpeg_of(image).is_file()


async def test_a_process_that_crashes_at_its_start_blames_no_image(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "cv2.py").write_text("import os; os.abort()")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(broken), os.environ["PYTHONPATH"])))
    image = place.add(1, original(1))
    async with running(place):
        await until(lambda: place.said("ERROR").count("SIGABRT") >= 4)
        assert place.row(image).attempts == 0
        (broken / "cv2.py").unlink()
        await until(lambda: len(place.events) == 1)


async def test_a_thumbnail_is_made_once_however_many_ask(place: Place) -> None:
    image = place.add(1, original(1, (960, 1280)))
    async with running(place) as room:
        with pytest.raises(NotAllowed, match="not developed"):
            await room.thumb(image)
        await until(lambda: len(place.events) == 1)
        developed = place.row(image)
        several = await asyncio.gather(*(room.thumb(developed) for _ in range(20)))
        assert simplejpeg.decode_jpeg(several[0]).shape == (240, 320, 3)
        assert all(jpeg is several[0] for jpeg in several)
        place.jpeg_of(image).unlink()
        assert await room.thumb(developed) is several[0], "kept"
    assert await room.thumb(developed) is several[0]


async def test_a_thumbnail_is_made_by_a_darkroom_that_rests_without_a_process(place: Place) -> None:
    image = place.add(1, original(1))
    async with running(place):
        await until(lambda: len(place.events) == 1)
    async with running(place) as room:
        await until(lambda: room.pending == 0)
        await asyncio.sleep(0.1)  # until it rests, which cannot be seen from outside
        assert room.worker_pid is None
        assert simplejpeg.decode_jpeg_header(await room.thumb(place.row(image)))[:2] == (240, 320)


async def test_thumbnails_go_before_waiting_images(place: Place) -> None:
    first = place.add(1, original(1))
    async with running(place) as room:
        await until(lambda: len(place.events) == 1)
        developed = place.row(first)
        for n in range(2, 8):
            place.add(n, original(n, BIG))
        room.wake()
        await until(lambda: room.state == "developing")
        await room.thumb(developed)
        assert len(place.events) <= 2
        await until(lambda: len(place.events) == 7)


async def test_the_cache_forgets_the_oldest_thumbnails(place: Place) -> None:
    images = [place.add(n, original(n)) for n in (1, 2, 3)]
    async with running(place, cache_bytes=1) as room:
        await until(lambda: len(place.events) == 3)
        rows = [place.row(image) for image in images]
        once = [await room.thumb(row) for row in rows]
        twice = [await room.thumb(row) for row in rows]
        assert all(a == b and a is not b for a, b in zip(once, twice, strict=True))


async def test_a_picture_that_is_gone_or_damaged_has_no_thumbnail_and_says_why(place: Place) -> None:
    images = [place.add(n, original(n)) for n in (1, 2)]
    async with running(place) as room:
        await until(lambda: len(place.events) == 2)
        rows = [place.row(image) for image in images]
        place.jpeg_of(images[0]).unlink()
        place.jpeg_of(images[1]).write_bytes(b"rubbish")
        for row in rows:
            with pytest.raises(StorageFailed, match="cannot be shown small"):
                await room.thumb(row)
        assert room.state == "idle"
    with pytest.raises(DarkroomUnavailable, match="closed"):
        await room.thumb(rows[0])


@needs_signals
async def test_stopping_finishes_the_image_at_hand_and_leaves_the_rest_for_the_next_start(place: Place) -> None:
    big = original(1, BIG)
    images = [place.add(n, big) for n in range(1, 8)]
    async with running(place) as room:
        await until(lambda: len(place.events) == 2 and room.state == "developing")
    assert len(place.events) == 3
    assert [place.row(image).developed for image in images] == [True] * 3 + [False] * 4
    assert place.said("ERROR") == ""
    async with running(place):
        await until(lambda: len(place.events) == 7)


@needs_signals
async def test_stopping_does_not_wait_for_a_frozen_process(place: Place) -> None:
    big = original(1, BIG)
    images = [place.add(n, big) for n in range(1, 4)]
    async with running(place) as room:
        await until(lambda: len(place.events) == 1)
        frozen = await signal_at_work(room, signal.SIGSTOP)
        await asyncio.wait_for(room.stop(1.5), 4.0)
        with pytest.raises(ProcessLookupError):
            os.kill(frozen, 0)
    assert sum(place.row(image).attempts for image in images) == 0, "the end of the server is not an image's fault"
    assert len(place.catalogue.undeveloped(10)) == 2
