"""After a crash catalogue and disk agree again, and nothing that could be a picture was deleted."""

import os
import sys
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from cupola.core.clock import utc_now
from cupola.core.frame import CameraInfo, Controls, Frame, PixelFormat, PixelKind, Station
from cupola.storage import files
from cupola.storage.catalogue import Catalogue
from cupola.storage.originals import encode_original
from cupola.storage.periods import Periods
from cupola.storage.reconcile import LOST_IN_QUEUE, Report, reconcile
from cupola.storage.rows import FileRow, ImageRow, NewImage

_STATION = Station("test", 49.0, 11.0, 500.0, "Europe/Berlin")
_NIGHT = datetime(2026, 11, 21, 23, 15, 2, 123456, tzinfo=UTC)
_JPEG: bytes = simplejpeg.encode_jpeg(np.zeros((20, 30, 3), np.uint8))


@dataclass
class Place:
    """A root, a queue and a catalogue, as a camera's writers and the server leave them."""

    folder: Path
    catalogue: Catalogue

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def queue(self) -> Path:
        return self.folder / "queue"

    def original(
        self,
        sequence: int,
        at: datetime = _NIGHT,
        *,
        session: int | None = None,
        queued: bool = False,
        camera: str = "north",
        correction: float | None = None,
    ) -> Path:
        form = PixelFormat(PixelKind.BAYER, 12, "RGGB", 4, 60)
        frame = Frame(
            1, at, at + timedelta(seconds=30), 1, np.full((16, 24), sequence << 4, np.uint16), form, Controls(30.0, 100.0), temperature_c=-5.0
        )
        info = CameraInfo("simulator", "Sim", 24, 16, form, frozenset())
        data = encode_original(
            frame, camera=camera, sequence=sequence, station=_STATION, info=info, software="test", session=session, correction=correction
        )
        path = files.queue_path(self.queue, "north", at, sequence) if queued else files.raw_path(self.root, "north", at, sequence, _STATION)
        return files.write_durable(path, data).path

    def jpeg(self, sequence: int, at: datetime = _NIGHT) -> Path:
        return files.write_durable(files.jpg_path(self.root, "north", at, sequence, _STATION), _JPEG).path

    def row(self, path: Path, sequence: int, at: datetime = _NIGHT) -> ImageRow:
        kind, base = ("queue", self.queue) if path.is_relative_to(self.queue) else ("jpg" if path.suffix == ".jpg" else "raw", self.root)
        file = FileRow(kind, files.relative_name(path, base), path.stat().st_size, files.sha256_of(path))  # type: ignore[arg-type]
        return self.catalogue.add_image(NewImage("north", sequence, at, files.day_of(at, _STATION), (file,)))

    def reconcile(self, *, full: bool = True, darkroom_busy: bool = False) -> Report:
        return reconcile(self.catalogue, self.root, "north", _STATION, full=full, queue=self.queue, darkroom_busy=darkroom_busy)


@pytest.fixture
def place(tmp_path: Path) -> Generator[Place]:
    with Catalogue(tmp_path / "c.sqlite") as catalogue:
        yield Place(tmp_path, catalogue)


def test_nothing_to_do_is_an_empty_report(place: Place) -> None:
    assert place.reconcile() == Report()
    place.row(place.original(1), 1)
    assert place.reconcile(full=False) == Report()


def test_half_written_files_are_deleted_but_not_those_of_another_camera(place: Place) -> None:
    mine = [path.with_name(path.name + ".tmp") for path in (place.original(1), place.jpeg(1), place.original(2, queued=True))]
    other = files.raw_path(place.root, "south", _NIGHT, 1, _STATION).with_suffix(".tmp")
    other.parent.mkdir(parents=True)
    for path in [*mine, other]:
        path.write_bytes(b"half")
    assert sorted(place.reconcile().deleted_tmp) == sorted(files.relative_name(p, place.queue if "queue" in p.parts else place.root) for p in mine)
    assert not any(path.exists() for path in mine)
    assert other.exists()


def test_an_original_without_a_row_is_adopted_with_the_facts_of_its_header(place: Place) -> None:
    session = place.catalogue.open_session("north", {})
    at = session.started_at + timedelta(seconds=5)
    path = place.original(7, at, session=session.id)
    [image] = [adopted.image for adopted in place.reconcile().adopted]
    assert (image.sequence, image.opened_at, image.ended_at, image.session) == (7, at, at + timedelta(seconds=30), session.id)
    assert (image.exposure_s, image.gain, image.temperature_c, image.width, image.height) == (30.0, 100.0, -5.0, 24, 16)
    assert (image.acknowledged, image.developed, image.day) == (True, False, files.day_of(at, _STATION))
    assert image.files == (FileRow("raw", files.relative_name(path, place.root), path.stat().st_size, files.sha256_of(path)),)
    assert place.catalogue.undeveloped(5) == [image]
    assert place.catalogue.last_sequence("north") == 7
    assert place.reconcile() == Report()


def test_a_session_number_of_a_lost_catalogue_is_not_believed(place: Place) -> None:
    session = place.catalogue.open_session("north", {})
    assert session.id == 1
    place.original(7, session.started_at - timedelta(hours=1), session=1)
    [image] = [adopted.image for adopted in place.reconcile().adopted]
    assert image.session is None


def test_a_jpeg_beside_its_original_makes_it_developed(place: Place) -> None:
    place.original(1)
    place.jpeg(1)
    before = place.row(place.original(2), 2)
    place.jpeg(2)
    report = place.reconcile(full=False)
    assert (len(report.adopted), report.problems) == (3, [])
    images = {image.sequence: image for image in place.catalogue.images()[0]}
    assert {n: (image.developed, [f.kind for f in image.files]) for n, image in images.items()} == dict.fromkeys((1, 2), (True, ["raw", "jpg"]))
    assert images[2].id == before.id


def test_a_jpeg_alone_is_an_image_named_by_its_file(place: Place) -> None:
    place.jpeg(9)
    [image] = [adopted.image for adopted in place.reconcile().adopted]
    assert (image.sequence, image.opened_at, image.developed, image.width, image.height) == (9, _NIGHT.replace(microsecond=0), True, 30, 20)


def test_an_adopted_original_keeps_the_correction_of_auto_exposure(place: Place) -> None:
    place.original(1, correction=-0.25)
    place.original(2, _NIGHT + timedelta(seconds=30))
    assert [adopted.image.correction for adopted in place.reconcile().adopted] == [-0.25, None]


def test_a_camera_s_own_raw_file_is_adopted_by_its_name(place: Place) -> None:
    files.write_durable(files.raw_path(place.root, "north", _NIGHT, 4, _STATION, ".nef"), b"NEF")
    [image] = [adopted.image for adopted in place.reconcile().adopted]
    assert (image.sequence, image.exposure_s, image.acknowledged) == (4, None, True)


def test_damaged_and_foreign_files_are_reported_and_left(place: Place) -> None:
    cut = place.original(1)
    cut.write_bytes(cut.read_bytes()[:-3000])
    cut_jpeg = place.jpeg(2)
    cut_jpeg.write_bytes(_JPEG[:-5])
    empty = files.write_durable(files.raw_path(place.root, "north", _NIGHT, 3, _STATION, ".nef"), b"").path
    foreign = files.write_durable(cut.with_name("holiday.jpg"), _JPEG).path
    moved = place.original(5, camera="south")
    renamed = place.original(6)
    renamed = renamed.rename(renamed.with_name(renamed.name.replace("_000006", "_000008")))
    report = place.reconcile()
    assert report.adopted == []
    assert len(report.problems) == 6
    for path in (cut, cut_jpeg, empty, foreign, moved, renamed):
        assert path.exists()
        assert any(str(path) in problem for problem in report.problems)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' file names are text")
def test_a_name_that_is_no_text_harms_nobody(place: Place) -> None:
    whole = place.jpeg(1)
    for name in (b"20261121T231502Z_000002.jpg.\xff", b"\xff\xfe.tmp"):
        Path(os.fsdecode(os.fsencode(whole.parent) + b"/" + name)).write_bytes(_JPEG)
    report = place.reconcile()
    assert [adopted.file.path for adopted in report.adopted] == [files.relative_name(whole, place.root)]
    assert report.problems == [] and report.deleted_tmp == []


def test_two_files_with_one_number_are_reported_and_both_left(place: Place) -> None:
    place.row(place.original(1), 1)
    second = place.original(1, _NIGHT + timedelta(minutes=5))
    copy = place.original(1).with_name(place.original(1).name.replace(".fits.fz", ".nef"))
    copy.write_bytes(b"NEF")
    report = place.reconcile()
    assert len(report.problems) == 2
    assert second.exists()
    assert copy.exists()
    assert len(place.catalogue.images()[0]) == 1


def test_a_file_that_is_gone_is_flagged_and_found_again(place: Place) -> None:
    path = place.original(1)
    image = place.row(path, 1)
    content = path.read_bytes()
    name = image.files[0].path
    path.unlink()
    assert place.reconcile(full=False).flagged_missing == [name]
    assert place.catalogue.image(image.id).files[0].missing  # type: ignore[union-attr]
    assert place.catalogue.undeveloped(5) == []
    assert place.reconcile() == Report()
    path.write_bytes(content)
    assert place.reconcile().found_again == [name]
    assert place.catalogue.undeveloped_count() == 1


def test_a_file_that_shrank_is_flagged_and_told(place: Place) -> None:
    path = place.original(1)
    place.row(path, 1)
    path.write_bytes(path.read_bytes()[:100])
    report = place.reconcile()
    assert (len(report.flagged_missing), len(report.problems)) == (1, 1)
    assert "100 bytes" in report.problems[0]


def test_the_quick_look_begins_the_day_before_the_newest_image(place: Place) -> None:
    place.row(place.original(50), 50)
    old, recent = place.original(1, _NIGHT - timedelta(days=5)), place.original(2, _NIGHT - timedelta(days=1))
    later = place.original(51, _NIGHT + timedelta(days=2))
    assert [adopted.image.sequence for adopted in place.reconcile(full=False).adopted] == [2, 51]
    assert [adopted.image.sequence for adopted in place.reconcile(full=True).adopted] == [1]
    assert all(path.exists() for path in (old, recent, later))


def test_the_quick_look_follows_a_clock_that_was_set_back(place: Place) -> None:
    place.row(place.original(1, _NIGHT + timedelta(days=300)), 1, _NIGHT + timedelta(days=300))
    place.row(place.original(2), 2)
    place.original(3)
    assert [adopted.image.sequence for adopted in place.reconcile(full=False).adopted] == [3]


def test_an_image_in_the_queue_is_adopted_unacknowledged(place: Place) -> None:
    place.original(1, queued=True)
    [image] = [adopted.image for adopted in place.reconcile().adopted]
    assert (image.acknowledged, image.files[0].kind, image.day) == (False, "queue", "2026-11-21")
    assert place.catalogue.undeveloped(5) == [image]


def test_a_developed_image_leaves_the_queue(place: Place) -> None:
    path = place.original(1, queued=True)
    image = place.row(path, 1)
    place.jpeg(1)
    report = place.reconcile(full=False)
    assert ([adopted.image.id for adopted in report.adopted], report.deleted_queue) == ([image.id], [files.relative_name(path, place.queue)])
    assert not path.exists()
    assert place.reconcile() == Report()


def test_an_image_lost_from_the_queue_is_told_and_not_waited_for(place: Place) -> None:
    path = place.original(1, queued=True)
    image = place.row(path, 1)
    path.unlink()
    assert place.reconcile(full=False).flagged_missing == [files.relative_name(path, place.queue)]
    lost = place.catalogue.image(image.id)
    assert lost is not None
    assert (lost.failure, lost.gave_up, lost.acknowledged) == (LOST_IN_QUEUE, True, False)


def test_a_jpeg_that_the_darkroom_is_writing_is_left_to_it(place: Place) -> None:
    place.row(place.original(1), 1)
    working = files.jpg_path(place.root, "north", _NIGHT, 1, _STATION).with_suffix(".jpg.tmp")
    dead = files.jpg_path(place.root, "north", _NIGHT, 2, _STATION).with_suffix(".jpg.tmp")
    working.parent.mkdir(parents=True)
    working.write_bytes(b"half")
    dead.write_bytes(b"half")
    assert place.reconcile(darkroom_busy=True).deleted_tmp == [files.relative_name(dead, place.root)]
    assert place.reconcile().deleted_tmp == [files.relative_name(working, place.root)]


def test_after_a_damaged_catalogue_everything_is_adopted_again(tmp_path: Path) -> None:
    with Catalogue(tmp_path / "c.sqlite") as catalogue:
        place = Place(tmp_path, catalogue)
        for n in range(1, 6):
            at = _NIGHT + timedelta(days=n)
            image = place.row(place.original(n, at), n, at)
            if n < 5:
                jpeg = place.jpeg(n, at)
                catalogue.add_file(
                    image.id, FileRow("jpg", files.relative_name(jpeg, place.root), len(_JPEG), files.sha256_of(jpeg)), width=30, height=20
                )
        before = {(i.sequence, i.opened_at, i.day, i.developed, i.files) for i in catalogue.images()[0]}
    (tmp_path / "c.sqlite").write_bytes(b"rubbish" * 1000)
    with Catalogue(tmp_path / "c.sqlite") as catalogue:
        assert catalogue.problem is not None
        report = Place(tmp_path, catalogue).reconcile()
        assert report.problems == []
        assert {(i.sequence, i.opened_at, i.day, i.developed, i.files) for i in catalogue.images()[0]} == before


def test_links_in_the_folders_are_not_followed(place: Place) -> None:
    folder = place.original(1).parent
    secret = place.folder / "secret"
    secret.write_bytes(_JPEG)
    (folder / "20261121T231502Z_000077.jpg").symlink_to(secret)
    assert [adopted.image.sequence for adopted in place.reconcile().adopted] == [1]


def test_what_is_taken_up_belongs_to_the_night_it_was_taken_in_unless_it_was_a_single_still(place: Place) -> None:
    periods = Periods(place.catalogue)
    night, _ = periods.open("north", "night", files.day_of(_NIGHT, _STATION), _NIGHT - timedelta(hours=1), _NIGHT + timedelta(hours=1), 30.0, 240)
    session = place.catalogue.open_session("north", {}).id
    at = utc_now()  # a series is not older than its row
    ours, _ = periods.open("north", "night", "2031-01-01", at - timedelta(hours=1), at + timedelta(hours=1), 30.0, 240)
    place.jpeg(1)
    place.original(2)  # its header names no series
    place.original(3, at=at, session=session, queued=True)
    place.original(4, at=_NIGHT + timedelta(hours=2), session=session)
    adopted = {one.image.sequence: one.image for one in place.reconcile().adopted}
    assert {sequence: image.period for sequence, image in adopted.items()} == {1: night.id, 2: None, 3: ours.id, 4: None}
    assert adopted[3].day == "2031-01-01"
