"""What goes first, what never goes, and that catalogue and disk agree afterwards."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Generator, Sequence
from datetime import UTC, timedelta
from pathlib import Path

import pytest
from tests.storage.filled import CAMERA, FIRST_NIGHT, STATION, Filled, run

from cupola.core.errors import StorageFailed
from cupola.storage import retention as module
from cupola.storage.files import relative_name, sync_folder, write_durable
from cupola.storage.kinds import Item, Kind
from cupola.storage.measurements import Measurements
from cupola.storage.reconcile import Report, reconcile
from cupola.storage.retention import doomed

Make = Callable[[int], Filled]


@pytest.fixture(autouse=True)
def _short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few files are several steps."""
    monkeypatch.setattr(module, "STEP_ITEMS", 8)
    monkeypatch.setattr(module, "FRUITLESS_STEPS", 3)


@pytest.fixture
def make() -> Generator[Make]:
    made: list[Filled] = []
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # nothing here is about the disk's speed
    with tempfile.TemporaryDirectory(dir=memory) as folder:

        def fill(disk_bytes: int) -> Filled:
            made.append(Filled(Path(folder), disk_bytes))
            return made[-1]

        yield fill
        for one in made:
            one.catalogue.close()


def test_nothing_is_deleted_while_there_is_room(make: Make) -> None:
    filled = make(1_000_000)
    images = filled.night(0, 5)
    assert filled.retention(keep=5).plan().deleted == []
    assert run(filled.retention(keep=5)) == []
    assert filled.kinds_of(images) == ["raw jpg"] * 5


def test_originals_go_first_and_the_oldest_of_them(make: Make) -> None:
    filled = make(100_000)
    old, new = filled.night(0, 10), filled.night(1, 8)  # 90,000 bytes
    assert run(filled.retention(keep=20)) == [("originals", "space", 3)]  # 22 % are wanted: a little more than 20
    assert filled.kinds_of(old) == ["jpg"] * 3 + ["raw jpg"] * 7
    assert filled.kinds_of(new) == ["raw jpg"] * 8
    filled.agrees()


def test_when_all_originals_are_gone_the_oldest_images_follow_but_never_the_newest(make: Make) -> None:
    filled = make(30_000)
    images = filled.night(0, 3) + filled.night(1, 2)
    assert run(filled.retention(keep=95)) == [("originals", "space", 5), ("jpg", "space", 4)]
    assert filled.kinds_of(images) == ["", "", "", "", "jpg"]
    assert not (filled.root / CAMERA / "2026" / "11" / "01").exists(), "a folder that is empty goes too"
    assert (filled.root / CAMERA / "2026" / "11" / "02" / "jpg").is_dir()
    assert filled.catalogue.image(images[0].id) is not None, "what is known of an image stays"
    assert filled.catalogue.last_sequence(CAMERA) == 5
    filled.agrees()


def test_the_crops_of_an_images_streaks_go_with_it(make: Make) -> None:
    filled = make(30_000)
    images = filled.night(0, 3)
    crops = [filled.root / f"{CAMERA}/2026/11/01/streaks/{image.sequence}_{number}.jpg" for image in images[1:] for number in (1, 2)]
    for crop in crops:
        write_durable(crop, b"small")
    for image, mine in zip(images[1:], (crops[:2], crops[2:]), strict=True):
        streaks = [{"x0": 1.0, "crop": relative_name(crop, filled.root)} for crop in mine] + [{"x0": 2.0, "crop": None}]
        Measurements(filled.catalogue).put(image.id, {"stars": 7, "streaks": streaks})
    run(filled.retention(keep=95))
    assert filled.kinds_of(images) == ["", "", "jpg"]
    assert [crop.exists() for crop in crops] == [False, False, True, True]
    filled.agrees()


def test_the_products_of_a_night_outlive_its_images(make: Make) -> None:
    filled = make(60_000)
    nights = [filled.period(number) for number in range(3)]
    images = [filled.night(number, 4, period=period) for number, period in enumerate(nights)]
    products = [filled.products(period, number) for number, period in enumerate(nights)]  # 61,500 bytes in all
    run(filled.retention(keep=90))
    assert filled.kinds_of(images[0] + images[1]) == [""] * 8
    assert all(path.is_file() for night in products for path in night)
    run(filled.retention(keep=95))
    assert not any(path.exists() for path in products[0])
    assert filled.catalogue.read("SELECT period FROM product GROUP BY period") != []
    filled.agrees()


def test_images_of_last_night_outlive_the_products_of_long_ago(make: Make) -> None:
    filled = make(20_000)
    filled.jpg_bytes = 2000
    old = filled.period(0)
    products = filled.products(old, 0, size=4000)
    images = [filled.image(FIRST_NIGHT + timedelta(days=100, minutes=minute), original=False) for minute in range(3)]
    assert run(filled.retention(keep=50)) == [("products", "space", 3)]
    assert not any(path.exists() for path in products)
    assert not products[0].parent.exists()
    assert filled.kinds_of(images) == ["jpg"] * 3


def test_what_waits_for_the_darkroom_or_belongs_to_a_growing_night_is_never_deleted(make: Make) -> None:
    filled = make(50_000)
    waiting = filled.image(FIRST_NIGHT, developed=False)
    growing = filled.night(1, 3, period=filled.period(1, state="capturing"))
    finishing = filled.night(2, 3, period=filled.period(2, state="finishing"))
    filled.image(FIRST_NIGHT + timedelta(days=3))
    wanted = filled.retention(keep=95, days={"jpg": 1, "originals": 1}, now=FIRST_NIGHT + timedelta(days=1000))
    run(wanted)
    assert filled.kinds_of([waiting, *growing, *finishing]) == ["raw"] + ["jpg"] * 6
    with filled.catalogue.writing() as writer:
        writer.execute("UPDATE period SET state = 'finished'")
    run(wanted)
    assert filled.kinds_of([waiting, *growing, *finishing]) == ["raw"] + [""] * 6
    filled.agrees()


def test_an_image_that_could_not_be_developed_goes_with_the_images_not_with_the_originals(make: Make) -> None:
    filled = make(20_000)
    failed = filled.image(FIRST_NIGHT, developed=False)
    filled.catalogue.develop_failed(failed.id, "no picture in it", final=True)
    good = filled.night(1, 2)
    assert run(filled.retention(keep=60)) == [("originals", "space", 2)]
    assert filled.kinds_of([failed, *good]) == ["raw", "jpg", "jpg"]
    assert run(filled.retention(keep=80)) == [("jpg", "space", 1)]
    assert filled.kinds_of([failed, *good]) == ["", "jpg", "jpg"]
    filled.agrees()


def test_images_stay_while_developing_what_waits_makes_room_enough_in_time(make: Make) -> None:
    filled = make(100_000)
    filled.raw_bytes = 8000
    images = [filled.image(FIRST_NIGHT + timedelta(minutes=minute), original=False) for minute in range(4)]
    waiting = [filled.image(FIRST_NIGHT + timedelta(hours=1), developed=False) for _ in range(10)]  # 84,000 bytes in all
    work = filled.retention(keep=20, least=2).begin()
    assert not work.step() and not work.short
    assert filled.kinds_of(images) == ["jpg"] * 4
    for image in waiting[:2]:
        filled.catalogue.add_file(image.id, filled.put("jpg", image.sequence, image.opened_at, 1000), width=32, height=16)
    assert run(filled.retention(keep=20, least=2)) == [("originals", "space", 1)], "16,000 bytes and 8,000 are more than 22,000"
    assert filled.kinds_of(images) == ["jpg"] * 4
    assert run(filled.retention(keep=60, least=2))[1] == ("jpg", "space", 5), "22,000 bytes are less than halfway from 2 to 60 %"
    filled.agrees()


def test_each_kind_goes_by_its_own_age_on_an_empty_disk(make: Make) -> None:
    filled = make(10_000_000)
    nights = [filled.night(number, 2) for number in range(10)]
    log, old_log = filled.logs / "cupola.log", filled.logs / "cupola.2026-11-01.log.gz"
    for path in (log, old_log):
        path.write_bytes(b"x" * 10)
        os.utime(path, (FIRST_NIGHT.timestamp(), FIRST_NIGHT.timestamp()))
    now = FIRST_NIGHT + timedelta(days=9, hours=2)
    days = {"originals": 3.0, "jpg": 6.0, "logs": 5.0, "products": None}
    assert run(filled.retention(days=days, now=now)) == [("originals", "age", 14), ("jpg", "age", 8), ("logs", "age", 1)]
    assert [filled.kinds_of(night)[0] for night in nights] == [""] * 4 + ["jpg"] * 3 + ["raw jpg"] * 3
    assert log.exists() and not old_log.exists()
    assert run(filled.retention(days=days, now=now)) == []
    filled.agrees()


def test_nothing_goes_by_age_while_the_clock_is_not_right_but_room_is_made(make: Make) -> None:
    filled = make(100_000)
    images = filled.night(0, 10)
    days = {"originals": 1.0, "jpg": 1.0}
    assert run(filled.retention(days=days, now=None)) == []
    assert run(filled.retention(keep=55, days=days, now=None)) == [("originals", "space", 3)]
    assert run(filled.retention(days=days, now=FIRST_NIGHT + timedelta(days=30))) == [("originals", "age", 7), ("jpg", "age", 9)]
    assert filled.kinds_of(images)[-1] == "jpg"


def test_an_image_of_a_wrong_clock_is_as_old_as_its_neighbours(make: Make) -> None:
    filled = make(10_000_000)
    before = filled.image(FIRST_NIGHT)
    wrong = filled.image(FIRST_NIGHT.replace(year=1990), synced=False)
    after = filled.image(FIRST_NIGHT + timedelta(days=5))
    last = filled.image(FIRST_NIGHT.replace(year=1990), synced=False)
    days = {"originals": 10.0}
    run(filled.retention(days=days, now=FIRST_NIGHT + timedelta(days=12)))
    assert filled.kinds_of([before, wrong, after, last]) == ["jpg", "raw jpg", "raw jpg", "raw jpg"]
    run(filled.retention(days=days, now=FIRST_NIGHT + timedelta(days=16)))
    assert filled.kinds_of([before, wrong, after, last]) == ["jpg", "jpg", "jpg", "raw jpg"]


def test_a_dry_run_tells_what_a_run_does_and_changes_nothing(make: Make) -> None:
    filled = make(120_000)
    for number in range(4):
        filled.night(number, 5)
        filled.products(filled.period(number), number)
    for keep, days in ((60, {}), (85, {"jpg": 2.0, "originals": 1.0}), (97, {})):
        wanted = filled.retention(keep=keep, days=days, now=FIRST_NIGHT + timedelta(days=4))
        before = filled.there()
        planned = wanted.plan()
        assert filled.there() == before
        work = wanted.begin()
        while work.step():
            pass
        assert planned == work.report
        assert work.report.files > 0


def test_a_step_deletes_a_bounded_number_of_files(make: Make) -> None:
    filled = make(10_000_000)
    filled.raw_bytes = filled.jpg_bytes = 100
    filled.night(0, module.STEP_ITEMS + 4)
    work = filled.retention(days={"originals": 1.0}, now=FIRST_NIGHT + timedelta(days=9)).begin()
    assert work.step()
    assert work.report.files == module.STEP_ITEMS
    assert work.step()
    assert work.report.files == module.STEP_ITEMS + 4
    assert not work.step()


def test_files_that_somebody_deleted_are_flagged_and_do_not_count(make: Make) -> None:
    filled = make(100_000)
    images = filled.night(0, 10)
    for image in images[:2]:
        (filled.root / image.files[0].path).unlink()
    work = filled.retention(days={"originals": 1.0}, now=FIRST_NIGHT + timedelta(days=9)).begin()
    while work.step():
        pass
    assert (work.report.files, work.report.gone) == (8, 2)
    row = filled.catalogue.image(images[0].id)
    assert row is not None and row.files[0].missing


def test_a_disk_that_is_not_mounted_costs_no_rows(make: Make) -> None:
    filled = make(10_000_000)
    filled.raw_bytes = filled.jpg_bytes = 100
    images = filled.night(0, module.STEP_ITEMS + 10)
    filled.root.rename(filled.folder / "unmounted")
    filled.root.mkdir()
    with pytest.raises(StorageFailed, match="mounted"):
        filled.retention(days={"jpg": 1.0}, now=FIRST_NIGHT + timedelta(days=9)).begin().step()
    filled.root.rmdir()
    (filled.folder / "unmounted").rename(filled.root)
    reconcile(filled.catalogue, filled.root, CAMERA, STATION, full=True)
    assert filled.kinds_of(images) == ["raw jpg"] * len(images)


def test_deleting_stops_when_it_makes_no_room(make: Make) -> None:
    filled = make(10_000_000)
    filled.raw_bytes = filled.jpg_bytes = 40
    filled.night(0, module.STEP_ITEMS * module.FRUITLESS_STEPS + 1)
    full = filled.free()
    filled.free = lambda: full  # type: ignore[method-assign]  # a snapshot holds what is deleted
    work = filled.retention(keep=100).begin()
    for _ in range(module.FRUITLESS_STEPS):
        assert work.step()
    with pytest.raises(StorageFailed, match="made no room"):
        work.step()
    assert work.report.files == module.STEP_ITEMS * module.FRUITLESS_STEPS


def test_a_folder_that_was_removed_is_made_again_by_the_next_writer(make: Make) -> None:
    filled = make(50_000)
    filled.night(0, 2)
    filled.image(FIRST_NIGHT + timedelta(days=1))
    run(filled.retention(days={"jpg": 0.5}, now=FIRST_NIGHT + timedelta(days=1)))
    assert not (filled.root / CAMERA / "2026" / "11" / "01").exists()
    image = filled.image(FIRST_NIGHT + timedelta(hours=1))
    assert filled.kinds_of([image]) == ["raw jpg"]
    filled.agrees()


def test_a_power_cut_after_unlinking_brings_no_file_back(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The note of the doomed files goes only after their folders are synced."""
    filled = make(100_000)
    filled.night(0, 4)
    order: list[object] = []
    put = filled.catalogue.put
    monkeypatch.setattr(module, "sync_folder", lambda folder: (order.append(folder.name), sync_folder(folder))[1])
    monkeypatch.setattr(filled.catalogue, "put", lambda key, value: (order.append(len(value)), put(key, value)))
    run(filled.retention(days={"originals": 1.0}, now=FIRST_NIGHT + timedelta(days=9)))
    assert order == [4, "raw", "raw", 0], "noted, synced, synced once more by the end of the run, forgotten"


def test_a_doomed_file_is_neither_taken_up_nor_missed_and_goes_at_the_next_run(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    filled = make(100_000)
    images = filled.night(0, 4)
    wanted = filled.retention(days={"originals": 1.0}, now=FIRST_NIGHT + timedelta(days=9))

    def killed(self: Path, missing_ok: bool = False) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            wanted.begin().step()
    assert len(doomed(filled.catalogue)) == 4
    assert sum("/raw/" in name for name in filled.there()) == 4
    report = reconcile(filled.catalogue, filled.root, CAMERA, STATION, full=True, queue=filled.queue)
    assert (report.adopted, report.flagged_missing, report.problems) == ([], [], [])
    assert filled.kinds_of(images) == ["jpg"] * 4
    assert wanted.finish() == 4
    assert not any("/raw/" in name for name in filled.there())
    filled.agrees()


class Clips:
    """A kind of its own, as clips will be: files below the camera's folder that no table knows."""

    name, tier, worth = "clips", 2, 1.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def oldest(self, limit: int, after: int = 0) -> list[Item]:
        found = sorted((int(path.stem), path) for path in self.folder.glob("*.mp4"))
        items: list[Item] = []
        for number, path in found:
            at = FIRST_NIGHT + timedelta(days=number)
            if number > after:
                items.append(Item(self.name, number, at.astimezone(UTC).date().isoformat(), at, (path,), path.stat().st_size))
        return items[:limit]

    def forget(self, writer: sqlite3.Connection, items: Sequence[Item]) -> None:
        pass

    def held(self) -> tuple[int, int]:
        return len(list(self.folder.glob("*.mp4"))), 0


def test_a_further_kind_joins_by_its_age(make: Make) -> None:
    filled = make(10_000)
    folder = filled.root / CAMERA / "clips"
    folder.mkdir(parents=True)
    for number in (1, 3, 5):
        (folder / f"{number}.mp4").write_bytes(bytes(1000))
    images = [filled.image(FIRST_NIGHT + timedelta(days=number), original=False) for number in (2, 4, 6)]
    clips: Kind = Clips(folder)
    assert sorted(run(filled.retention(keep=77, more=(clips,)))) == [("clips", "space", 2), ("jpg", "space", 2)]
    assert [path.stem for path in folder.iterdir()] == ["5"]
    assert filled.kinds_of(images) == ["", "", "jpg"]
    assert run(filled.retention(days={"clips": 2.0}, now=FIRST_NIGHT + timedelta(days=9), more=(clips,))) == [("clips", "age", 1)]
    assert not folder.exists()


def test_reconciling_meanwhile_takes_nothing_up_and_misses_nothing(make: Make) -> None:
    filled = make(10_000_000)
    filled.raw_bytes = filled.jpg_bytes = 100
    filled.night(0, 120)
    filled.image(FIRST_NIGHT + timedelta(days=1))
    reports: list[Report] = []
    over = threading.Event()

    def again_and_again() -> None:
        while not over.is_set():
            reports.append(reconcile(filled.catalogue, filled.root, CAMERA, STATION, full=True, queue=filled.queue))

    thread = threading.Thread(target=again_and_again)
    thread.start()
    try:
        gone = run(filled.retention(days={"originals": 1.0, "jpg": 1.0}, now=FIRST_NIGHT + timedelta(days=1, hours=23)))
    finally:
        over.set()
        thread.join()
    assert gone == [("originals", "age", 120), ("jpg", "age", 120)]
    assert len(reports) > 3 and all(report == Report() for report in reports)
    filled.agrees()


def test_a_file_that_a_link_leads_elsewhere_stays_and_everything_else_goes(make: Make) -> None:
    filled = make(30_000)
    images = filled.night(0, 3) + filled.night(1, 2)
    row = filled.catalogue.image(images[1].id)
    assert row is not None
    linked, elsewhere = filled.root / row.files[0].path, filled.folder / "elsewhere"
    linked.rename(elsewhere)
    linked.symlink_to(elsewhere)
    retention = filled.retention(keep=95)
    assert retention.plan().astray == {row.files[0].path}
    work = retention.begin()
    while work.step():
        pass
    assert [(one.kind, one.files) for one in work.report.deleted] == [("originals", 4), ("jpg", 3)]
    assert (work.report.astray, work.short) == ({row.files[0].path}, True)
    assert filled.kinds_of(images) == ["", "raw jpg", "", "", "jpg"], "neither the linked original nor its image"
    assert linked.is_symlink() and elsewhere.is_file()


def test_a_camera_whose_folder_is_a_link_is_passed_over_in_bounded_steps(make: Make) -> None:
    filled = make(100_000)
    filled.raw_bytes = filled.jpg_bytes
    filled.night(0, 30)
    folder, elsewhere = filled.root / CAMERA, filled.folder / "elsewhere"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    write_durable(filled.logs / "cupola.2026-11-01.log.gz", bytes(20_000))
    assert run(filled.retention(keep=95)) == [("logs", "space", 1)]
    assert len(list(elsewhere.rglob("*.*"))) == 60


def test_a_doomed_file_that_became_a_link_is_left_alone(make: Make) -> None:
    filled = make(30_000)
    victim = filled.folder / "victim"
    victim.write_bytes(b"not ours")
    (filled.root / "x.jpg").symlink_to(victim)
    filled.catalogue.put(module.DOOMED, ["x.jpg"])
    assert filled.retention(keep=5).finish() == 1
    assert victim.is_file() and doomed(filled.catalogue) == frozenset()
