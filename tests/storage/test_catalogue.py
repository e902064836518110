"""The catalogue: what is committed stays, pages are stable, a damaged or newer file is dealt with."""

import asyncio
import sqlite3
import threading
from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support import ext4

from cupola.core.errors import InvalidSetting, StorageFailed, StorageFull
from cupola.storage import schema
from cupola.storage.catalogue import Catalogue
from cupola.storage.rows import FileKind, FileRow, ImageRow, NewImage

_AT = datetime(2026, 11, 21, 23, 0, 0, 250, tzinfo=UTC)


def _file(kind: FileKind, name: object, sha256: str = "ab" * 32) -> FileRow:
    return FileRow(kind, f"{kind}/{name}", 1000, sha256)


def _new(sequence: int, *kinds: FileKind, camera: str = "north", session: int | None = None) -> NewImage:
    kinds = kinds or ("raw",)
    found = tuple(_file(kind, f"{camera}{sequence}") for kind in kinds)
    return NewImage(camera, sequence, _AT + timedelta(seconds=sequence), "2026-11-21", found, exposure_s=30.0, gain=100.0, session=session)


@pytest.fixture
def catalogue(tmp_path: Path) -> Generator[Catalogue]:
    with Catalogue(tmp_path / "state" / "catalogue.sqlite") as opened:
        assert (opened.created, opened.problem) == (True, None)
        yield opened


def test_an_image_comes_back_as_it_was_added_also_after_a_restart(tmp_path: Path) -> None:
    new = replace(_new(1), ended_at=_AT + timedelta(seconds=31), f_number=1.8, temperature_c=-9.5, width=30, height=20, clock_synced=False)
    with Catalogue(tmp_path / "c.sqlite") as first:
        added = first.add_image(new)
    with Catalogue(tmp_path / "c.sqlite") as second:
        assert not second.created
        assert second.image(added.id) == added
    for name in NewImage.__dataclass_fields__:
        assert getattr(added, name) == getattr(new, name)
    assert (added.acknowledged, added.developed, added.failure, added.attempts) == (True, False, None, 0)


def test_the_same_image_twice_is_one_row(catalogue: Catalogue) -> None:
    assert catalogue.add_image(_new(1)) == catalogue.add_image(_new(1))
    assert len(catalogue.images()[0]) == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(_new(1), files=(_file("raw", "north1", "cd" * 32),)),
        replace(_new(1), files=(_file("raw", "elsewhere"),)),
        replace(_new(2), files=(_file("raw", "new"), _file("raw", "north1", "cd" * 32))),
        replace(_new(2), session=77),
    ],
    ids=["same path, other content", "same number", "second path taken", "no such session"],
)
def test_an_image_that_contradicts_another_is_refused_whole(catalogue: Catalogue, other: NewImage) -> None:
    catalogue.add_image(_new(1))
    with pytest.raises(StorageFailed):
        catalogue.add_image(other)
    assert [(image.sequence, len(image.files)) for image in catalogue.images()[0]] == [(1, 1)]
    assert catalogue.integrity_check() == []


def test_developing_adds_the_jpeg_and_ends_the_wait(catalogue: Catalogue) -> None:
    image = catalogue.add_image(_new(1))
    assert catalogue.undeveloped(10) == [image]
    developed = catalogue.add_file(image.id, _file("jpg", "north1"), width=300, height=200)
    assert (developed.developed, developed.width, developed.height) == (True, 300, 200)
    assert [file.kind for file in developed.files] == ["raw", "jpg"]
    assert catalogue.undeveloped_count() == 0
    again = catalogue.add_file(image.id, replace(_file("jpg", "north1"), sha256="ef" * 32))
    assert [file.sha256[:2] for file in again.files] == ["ab", "ef"]
    assert again.width == 300


def test_an_image_in_the_queue_is_listed_only_when_its_jpeg_is_safe(catalogue: Catalogue) -> None:
    image = catalogue.add_image(_new(1, "queue"))
    assert not image.acknowledged
    assert catalogue.images() == ([], None)
    assert (catalogue.latest("north"), catalogue.count_day("north", "2026-11-21")) == (None, 0)
    assert catalogue.last_sequence("north") == 1
    assert catalogue.undeveloped(10) == [image]
    developed = catalogue.add_file(image.id, _file("jpg", "north1"))
    assert [file.kind for file in developed.files] == ["jpg"]
    assert catalogue.images() == ([developed], None)
    assert catalogue.count_day("north", "2026-11-21") == 1


def test_a_source_that_sends_jpeg_needs_no_developing(catalogue: Catalogue) -> None:
    image = catalogue.add_image(_new(1, "jpg"))
    assert (image.developed, image.acknowledged) == (True, True)
    assert catalogue.undeveloped(10) == []


def test_failures_are_counted_until_the_final_one(catalogue: Catalogue) -> None:
    image = catalogue.add_image(_new(1))
    failed = catalogue.develop_failed(image.id, "no memory", final=False)
    assert (failed.failure, failed.attempts, failed.gave_up) == ("no memory", 1, False)
    assert catalogue.undeveloped_count("north") == 1
    assert catalogue.develop_failed(image.id, "damaged", final=True).attempts == 2
    assert catalogue.undeveloped_count("north") == 0
    developed = catalogue.add_file(image.id, _file("jpg", "north1"))
    assert (developed.failure, developed.gave_up) == (None, False)


def test_the_oldest_waiting_images_come_first_without_those_at_work_or_gone(catalogue: Catalogue) -> None:
    images = [catalogue.add_image(_new(n, camera=camera)) for n in (1, 2, 3) for camera in ("north", "south")]
    assert catalogue.flag_missing(images[0].files[0].path)
    assert not catalogue.flag_missing(images[0].files[0].path)
    assert not catalogue.flag_missing("raw/unknown")
    assert [i.id for i in catalogue.undeveloped(3, exclude=[images[2].id])] == [images[1].id, images[3].id, images[4].id]
    assert (catalogue.undeveloped_count(), catalogue.undeveloped_count("north")) == (5, 2)
    assert catalogue.flag_missing(images[0].files[0].path, False)
    assert catalogue.undeveloped_count("north") == 3


def test_newest_developed_and_newest_are_told_apart(catalogue: Catalogue) -> None:
    first, second = catalogue.add_image(_new(1)), catalogue.add_image(_new(2))
    first = catalogue.add_file(first.id, _file("jpg", "1"))
    assert catalogue.latest("north") == second
    assert catalogue.latest("north", developed=True) == first
    assert catalogue.latest("south") is None


def test_lists_are_filtered_by_camera_and_time(catalogue: Catalogue) -> None:
    for n in range(1, 6):
        catalogue.add_image(_new(n))
    catalogue.add_image(_new(3, camera="south"))

    def sequences(**filters: object) -> list[int]:
        return [image.sequence for image in catalogue.images(**filters)[0]]  # type: ignore[arg-type]

    assert sequences() == [5, 4, 3, 3, 2, 1]
    assert sequences(camera="north", from_=_AT + timedelta(seconds=2), to=_AT + timedelta(seconds=4)) == [3, 2]
    assert sequences(camera="nobody") == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(seconds=st.lists(st.integers(0, 5), min_size=1, max_size=25), limit=st.integers(1, 7), late=st.lists(st.integers(0, 5), max_size=5))
def test_paging_gives_every_image_once_also_while_others_are_added(
    tmp_path_factory: pytest.TempPathFactory, seconds: list[int], limit: int, late: list[int]
) -> None:
    with Catalogue(tmp_path_factory.mktemp("paging") / "c.sqlite") as catalogue:

        def add(sequence: int, second: int) -> ImageRow:
            return catalogue.add_image(replace(_new(sequence), opened_at=_AT + timedelta(seconds=second)))

        images = [add(n, second) for n, second in enumerate(seconds)]
        arriving, seen, cursor = iter(enumerate(late, 1000)), list[ImageRow](), None
        for _ in range(len(seconds) + len(late) + 1):
            page, cursor = catalogue.images(after=cursor, limit=limit)
            seen += page
            for arrival in [next(arriving, None)]:
                if arrival:
                    add(*arrival)
            if cursor is None:
                break
        assert cursor is None
        assert [i for i in seen if i.sequence < 1000] == sorted(images, key=lambda i: (i.opened_at, i.id), reverse=True)
        assert len({i.id for i in seen}) == len(seen)


@pytest.mark.parametrize(
    "cursor", ["", "x", "é", "W10", "bnVsbA", "WyIyMDI2IiwxXQ", "A" * 10_000, "WyIyMDI2LTExLTIxVDIzOjAwOjAwLjAwMDAwMFoiLCB0cnVlXQ"]
)
def test_a_cursor_that_is_not_ours_is_refused(catalogue: Catalogue, cursor: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        catalogue.images(after=cursor)
    assert refused.value.field == "after"


@given(st.text(max_size=60))
def test_no_text_as_a_cursor_breaks_anything(cursor: str) -> None:
    with Catalogue(Path(":memory:")) as catalogue, pytest.raises(InvalidSetting):
        catalogue.images(after=cursor)


@pytest.mark.parametrize(
    ("field", "bad"),
    [("limit", {"limit": 0}), ("limit", {"limit": 1001}), ("from", {"from_": datetime(1, 1, 1, tzinfo=UTC)}), ("to", {"to": datetime(2026, 1, 1)})],
)
def test_absurd_bounds_are_refused_by_name(catalogue: Catalogue, field: str, bad: dict[str, object]) -> None:
    with pytest.raises(InvalidSetting) as refused:
        catalogue.images(**bad)  # type: ignore[arg-type]
    assert refused.value.field == field


def test_a_session_counts_its_images_and_failures(catalogue: Catalogue) -> None:
    plan = {"exposure_s": 30.0, "count": 20}
    session = catalogue.open_session("north", plan)
    assert (session.plan, session.done, session.failed, session.state) == (plan, 0, 0, "running")
    catalogue.add_image(_new(1, session=session.id))
    catalogue.add_image(_new(2, "queue", session=session.id))
    catalogue.session_failed_once(session.id)
    running = catalogue.running_sessions()
    assert [(s.id, s.done, s.failed) for s in running] == [(session.id, 2, 1)]
    closed = catalogue.close_session(session.id, "finished")
    assert closed.state == "finished"
    assert closed.ended_at is not None
    assert catalogue.close_session(session.id, "stopped") == closed, "an end is final"
    assert catalogue.running_sessions() == []
    assert catalogue.session(session.id) == closed
    assert catalogue.session(99) is None


def test_small_values_are_remembered(catalogue: Catalogue) -> None:
    assert catalogue.get("wanted") is None
    catalogue.put("wanted", {"exposure_s": 1.5})
    catalogue.put("wanted", {"exposure_s": 2.5})
    assert catalogue.get("wanted") == {"exposure_s": 2.5}


def test_several_writes_happen_together_or_not_at_all(catalogue: Catalogue) -> None:
    def half() -> None:
        with catalogue.writing():
            catalogue.put("a", 1)
            catalogue.add_image(_new(1))
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert (catalogue.get("a"), catalogue.images()[0]) == (None, [])


def test_readers_see_only_whole_transactions_while_a_writer_works(catalogue: Catalogue) -> None:
    stop, torn = threading.Event(), list[object]()

    def read() -> None:
        while not stop.is_set():
            for image in catalogue.images(limit=50)[0]:
                if image.developed != (image.file("jpg") is not None) or image.file("raw") is None:
                    torn.append(image)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for n in range(60):
            image = catalogue.add_image(_new(n))
            catalogue.add_file(image.id, _file("jpg", n))
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert torn == []


async def test_a_write_that_waits_does_not_hold_up_the_loop_nor_readers(catalogue: Catalogue) -> None:
    await catalogue.run(catalogue.add_image, _new(1))
    other = sqlite3.connect(catalogue.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(catalogue.run(catalogue.add_image, _new(2)))
    assert [image.sequence for image in (await catalogue.run(catalogue.images, limit=5))[0]] == [1]
    assert not waiting.done()
    other.execute("ROLLBACK")
    other.close()
    assert (await waiting).sequence == 2


def test_every_commit_is_synced(catalogue: Catalogue) -> None:
    with catalogue.writing() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA foreign_keys").fetchone()[0] == 1


def test_a_newer_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    Catalogue(path).close()
    with sqlite3.connect(path) as other:
        other.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    other.close()
    before = path.read_bytes()
    with pytest.raises(StorageFailed, match="newer Cupola"):
        Catalogue(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["c.sqlite"]


def test_an_older_file_is_brought_up_to_date_step_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Catalogue(tmp_path / "c.sqlite") as old:
        image = old.add_image(_new(1))
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE later (x INTEGER) STRICT", "INSERT INTO later VALUES (1)")))
    for _ in range(2):
        with Catalogue(tmp_path / "c.sqlite") as new, new.writing() as connection:
            assert connection.execute("SELECT * FROM later").fetchall()[0][0] == 1
            assert new.image(image.id) == image
            assert not new.created


def test_a_migration_that_fails_leaves_the_version_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Catalogue(tmp_path / "c.sqlite").close()
    with monkeypatch.context() as patched:
        patched.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE later (x INTEGER)", "no sql")))
        with pytest.raises(StorageFailed):
            Catalogue(tmp_path / "c.sqlite")
    with Catalogue(tmp_path / "c.sqlite") as catalogue, catalogue.writing() as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'later'").fetchone()[0] == 0


def _overwritten(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * 4000)


@pytest.mark.parametrize("at", [0, 100, 4096])
def test_a_damaged_file_is_set_aside_and_a_new_one_made(tmp_path: Path, at: int) -> None:
    path = tmp_path / "c.sqlite"
    with Catalogue(path) as catalogue:
        for n in range(50):
            catalogue.add_image(_new(n))
    _overwritten(path, at)
    damaged = path.read_bytes()
    with Catalogue(path) as catalogue:
        assert catalogue.created
        assert catalogue.problem is not None
        assert "damaged" in catalogue.problem
        assert catalogue.images() == ([], None)
        catalogue.add_image(_new(1))
    [aside] = tmp_path.glob("c.sqlite.broken-*Z")
    assert aside.name in catalogue.problem
    assert aside.read_bytes() == damaged


def test_a_file_cut_to_nothing_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "c.sqlite").write_bytes(b"")
    with Catalogue(tmp_path / "c.sqlite") as catalogue:
        assert catalogue.created


def test_a_folder_in_the_place_of_the_file_is_an_error_not_damage(tmp_path: Path) -> None:
    (tmp_path / "c.sqlite").mkdir()
    with pytest.raises(StorageFailed, match="cannot be used"):
        Catalogue(tmp_path / "c.sqlite")
    assert (tmp_path / "c.sqlite").is_dir()


@pytest.mark.skipif(ext4.missing_feature() is not None, reason=ext4.missing_feature() or "")
def test_on_a_full_disk_a_write_is_refused_whole_and_works_again_when_there_is_room(tmp_path: Path) -> None:
    with ext4.Disk(tmp_path, 16).mounted() as folder, Catalogue(folder / "c.sqlite") as catalogue:
        catalogue.add_image(_new(1))
        filler, added = folder / "filler", 1

        def fill() -> None:
            with filler.open("wb", buffering=0) as file:
                while file.write(bytes(1 << 12)):
                    pass

        def add_many() -> None:
            nonlocal added
            for added in range(2, 5000):
                catalogue.add_image(_new(added))

        with pytest.raises(OSError, match="No space"):
            fill()
        with pytest.raises(StorageFull):
            add_many()
        assert [image.sequence for image in catalogue.images(limit=1)[0]] == [added - 1]
        filler.unlink()
        catalogue.add_image(_new(added))
        assert catalogue.last_sequence("north") == added
        assert catalogue.integrity_check() == []
