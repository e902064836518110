"""When room is made, what is said of it, and three nights on a disk of 300 MB."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.storage.filled import CAMERA, FIRST_NIGHT, STATION, Filled
from tests.support import ext4

from cupola.capture import keeping as module
from cupola.capture.archive import Archive
from cupola.capture.keeping import Keeping
from cupola.capture.session import Sessions
from cupola.core.bus import Bus, Subscription
from cupola.core.clock import iso_utc
from cupola.core.errors import StorageFull
from cupola.core.events import StorageLow
from cupola.storage.files import day_of, inside
from cupola.storage.forecast import Nights
from cupola.storage.retention import Retention
from cupola.storage.space import Reserve, Thrift, free_space

MIN, KEEP = 2.0, 10.0


@dataclass
class Kept:
    keeping: Keeping
    filled: Filled
    bus: Bus
    heard: Subscription
    reserve: Reserve
    records: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    async def until(self, condition: Callable[[], Any], seconds: float = 40) -> None:
        self.keeping.wake()
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)

    def said(self, level: str) -> list[str]:
        return [text for found, text in self.records if found == level]

    def low(self) -> list[StorageLow]:
        return [event for event in self.heard._waiting if isinstance(event, StorageLow)]


@asynccontextmanager
async def kept(filled: Filled, retention: Retention, *, keep: float = KEEP, reserve_bytes: int = 1000) -> AsyncGenerator[Kept]:
    """Keeping at work, looking often."""
    bus, records = Bus(), list[tuple[str, str]]()
    reserve = Reserve(filled.folder / "state" / "reserve", reserve_bytes)
    with bus.subscribe() as heard:
        keeping = Keeping(
            filled.catalogue,
            retention,
            Nights(filled.catalogue, [CAMERA]),
            Thrift(MIN, keep),
            reserve,
            bus,
            lambda level, text, **_: records.append((level, text)),
        )
        task = asyncio.create_task(keeping.run())
        try:
            yield Kept(keeping, filled, bus, heard, reserve, records)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.2)
    monkeypatch.setattr(module, "GAP_S", 0.02)
    monkeypatch.setattr(module, "PAUSE_S", 0.001)


async def test_room_is_made_as_soon_as_images_need_it_and_said_once_a_run(tmp_path: Path) -> None:
    filled = Filled(tmp_path, 100_000)
    with closing(filled.catalogue):
        filled.night(0, 10)
        async with kept(filled, filled.retention(keep=KEEP)) as it:
            await it.until(lambda: it.reserve.held)
            assert it.records == []
            assert it.keeping.state.forecast.words == "full within a night"
            filled.night(1, 9)
            await it.until(lambda: it.said("INFO"))
            await it.until(lambda: it.keeping.state.free.percent >= KEEP)
            assert it.said("INFO") == ["Old files were deleted: 2 of originals (0.0 MB, 2026-11-01) to make room."]
            assert (it.keeping.state.low, it.low(), it.said("WARNING"), it.said("ERROR")) == (False, [], [], [])
        filled.agrees()


async def test_when_nothing_may_go_it_is_said_once_and_taken_back_when_there_is_room(tmp_path: Path) -> None:
    filled = Filled(tmp_path, 100_000)
    with closing(filled.catalogue):
        period = filled.period(0, state="capturing")
        filled.raw_bytes = filled.jpg_bytes
        filled.night(0, 30, period=period)
        filler = filled.root / "other"
        filler.write_bytes(bytes(64_500))  # 5.5 % are left once the originals are gone: between every 2nd and every 4th
        async with kept(filled, filled.retention(keep=KEEP)) as it:
            await it.until(lambda: it.low())
            for _ in range(3):
                it.keeping.wake()
                await asyncio.sleep(0.1)
            assert len(it.low()) == 1 and it.low()[0].message == "every 2nd image is stored, without its original"
            assert len(it.said("WARNING")) == 1 and "every 2nd image is stored" in it.said("WARNING")[0]
            assert (it.keeping.state.low, it.keeping.state.rung) == (True, "every_2nd")
            filler.unlink()
            await it.until(lambda: not it.keeping.state.low)
            assert it.said("INFO")[-1].endswith("everything is stored.")


async def test_a_disk_too_full_to_delete_gets_its_reserve_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled = Filled(tmp_path, 100_000)
    with closing(filled.catalogue):
        filled.night(0, 19)
        retention = filled.retention(keep=KEEP)
        reserve = Reserve(tmp_path / "state" / "reserve", 1000)
        reserve.restore()
        delete = retention.delete

        def full_while_reserved(items: Any) -> Any:  # what SQLite does on a disk without a free block
            if reserve.held:
                raise StorageFull("no room for the log")
            return delete(items)

        monkeypatch.setattr(retention, "delete", full_while_reserved)
        async with kept(filled, retention) as it:
            await it.until(lambda: it.said("INFO"))
            await it.until(lambda: it.reserve.held)
            assert it.said("ERROR") == []
        filled.agrees()


async def test_a_run_that_fails_is_told_once_and_tried_again_later(tmp_path: Path) -> None:
    filled = Filled(tmp_path, 1_000_000)
    with closing(filled.catalogue):
        rows = filled.night(0, 70)
        filled.root.rename(tmp_path / "unmounted")
        filled.root.mkdir()
        async with kept(filled, filled.retention(days={"originals": 1.0}, now=FIRST_NIGHT + timedelta(days=9))) as it:
            await it.until(lambda: it.said("ERROR"))
            for _ in range(3):
                it.keeping.wake()
                await asyncio.sleep(0.1)
            assert len(it.said("ERROR")) == 1 and "mounted" in it.said("ERROR")[0]
            assert it.keeping.state.problem == it.said("ERROR")[0]
        assert len(filled.listed()) == len(rows)


async def test_a_linked_file_is_told_once_and_until_it_is_back(tmp_path: Path) -> None:
    filled = Filled(tmp_path, 100_000)
    with closing(filled.catalogue):
        rows = filled.night(0, 19)
        name = rows[0].files[0].path
        linked, elsewhere = filled.root / name, tmp_path / "elsewhere"
        linked.rename(elsewhere)
        linked.symlink_to(elsewhere)
        async with kept(filled, filled.retention(keep=KEEP)) as it:
            await it.until(lambda: it.said("INFO"))
            await it.until(lambda: it.keeping.state.problem)
            for _ in range(3):
                it.keeping.wake()
                await asyncio.sleep(0.1)
            assert len(it.said("WARNING")) == 1 and name in it.said("WARNING")[0]
            assert (it.keeping.state.problem, it.said("ERROR")) == (it.said("WARNING")[0], [])
            linked.unlink()
            elsewhere.rename(linked)
            await it.until(lambda: it.keeping.state.problem is None)


IMAGES = 30  # a night, of 3.7 MB each


@pytest.mark.timeout(400)
@pytest.mark.skipif(ext4.missing_feature() is not None, reason=ext4.missing_feature() or "")
async def test_three_nights_on_300_mb_leave_the_images_and_products_and_the_newest_originals(tmp_path: Path) -> None:
    """Files written durably, rows by the archive; only the sky and its hours are made up."""
    disk = ext4.Disk(tmp_path, 300)
    with disk.mounted() as folder:
        filled = Filled(folder, raw_bytes=3_200_000, jpg_bytes=500_000)
        with closing(filled.catalogue):
            least = 100.0
            async with kept(filled, filled.retention(keep=KEEP), reserve_bytes=4_000_000) as it:
                archive = _archive(it)
                nights: list[list[int]] = []
                for number in range(3):
                    period, ids = filled.period(number, state="capturing"), list[int]()
                    nights.append(ids)
                    for minute in range(IMAGES):
                        ids.append(await _capture(archive, filled, FIRST_NIGHT + timedelta(days=number, minutes=10 * minute), period))
                        least = min(least, free_space(folder).percent)
                    filled.products(period, number, size=2_000_000)
                    with filled.catalogue.writing() as writer:
                        writer.execute("UPDATE period SET state = 'finished' WHERE id = ?", (period,))
                await it.until(lambda: free_space(folder).percent >= KEEP)
                # 3 × 30 × 0.5 MB of images and 12 MB of products stay; of the originals as many as fit into 300 MB less 10 %
                rows = {row.id: row for row in filled.listed()}
                kept_raw = [number for ids in nights for number in ids if rows[number].file("raw")]
                assert len(rows) == 3 * IMAGES
                assert kept_raw == [number for ids in nights for number in ids][-len(kept_raw) :], "the newest of them"
                assert 50 <= len(kept_raw) <= 66
                assert least > MIN, "the disk was never full"
                assert it.said("ERROR") == [] and it.low() == []

                # then somebody else takes 200 MB: the originals go, then the oldest images; products and the last night stay
                await asyncio.to_thread(_take, folder / "other", 200_000_000)
                await it.until(lambda: free_space(folder).percent >= KEEP)
                left = {row.id for row in filled.listed()}
                gone = [number for ids in nights for number in ids if number not in left]
                assert gone == [number for ids in nights for number in ids][: len(gone)] and len(gone) > 5
                assert left >= set(nights[2])
                assert not any(row.file("raw") for row in filled.listed())
                assert all(inside(filled.root, row["path"]).is_file() for row in filled.catalogue.read("SELECT path FROM product"))
                assert len(filled.catalogue.read("SELECT path FROM product")) == 6
                assert it.said("ERROR") == []
                assert await archive.prepare(CAMERA) == 3 * IMAGES + 1
                assert it.said("ERROR") == [], "nothing is missed"
            filled.agrees()
    os.unlink(disk.image)


def _archive(it: Kept) -> Archive:
    filled = it.filled
    log = lambda level, text, **_: it.records.append((level, text)) if level != "INFO" else None  # noqa: E731
    archive = Archive(filled.catalogue, Sessions(filled.catalogue, it.bus), it.bus, STATION, filled.root, filled.queue, it.reserve, log)
    archive.stored = it.keeping.wake
    return archive


async def _capture(archive: Archive, filled: Filled, at: Any, period: int) -> int:
    """A still as the camera process tells of it, then its JPEG as the darkroom does."""
    sequence = filled.catalogue.last_sequence(CAMERA) + 1
    raw = await asyncio.to_thread(filled.put, "raw", sequence, at, filled.raw_bytes)
    head = {
        "file": {"kind": "raw", "path": str(filled.root / raw.path), "bytes": raw.bytes, "sha256": raw.sha256},
        "native": None,
        "sequence": sequence,
        "opened_at": iso_utc(at),
        "ended_at": iso_utc(at),
        "clock_synced": True,
        "applied": {"exposure_s": 30.0, "gain": None, "f_number": None},
        "temperature_c": None,
        "width": 32,
        "height": 16,
        "session": None,
        "day": day_of(at, STATION),
        "period": period,
        "correction": None,
        "took_s": 0.1,
    }
    image = await archive.captured(CAMERA, head)
    jpg = await asyncio.to_thread(filled.put, "jpg", sequence, at, filled.jpg_bytes)
    await filled.catalogue.run(filled.catalogue.extend, image, jpg)
    archive.stored()
    return image


def _take(path: Path, size: int) -> None:
    """A file of another program's, as large as the disk lets it at once; retention frees what it needs meanwhile."""
    with path.open("wb") as file:
        for _ in range(size // 5_000_000):
            for _ in range(2000):
                if free_space(path.parent).bytes > 12_000_000:
                    break
                time.sleep(0.02)
            file.write(bytes(5_000_000))
            file.flush()
            os.fsync(file.fileno())
