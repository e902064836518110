"""What was measured on images, kept in the catalogue."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cupola.storage.catalogue import Catalogue
from cupola.storage.measurements import Measurement, Measurements
from cupola.storage.rows import FileRow, ImageRow, NewImage

AT = datetime(2026, 11, 21, 23, 0, tzinfo=UTC)
STREAK = {"x0": 1.0, "y0": 2.0, "x1": 50.5, "y1": 60.0, "crop": "north/2026/11/21/streaks/a_1.jpg"}
NUMBERS = {"stars": 812, "hfr": 1.21, "sky": 9.43, "sharpness": 0.2, "streaks": [STREAK]}


@pytest.fixture
def catalogue(tmp_path: Path) -> Generator[Catalogue]:
    with Catalogue(tmp_path / "catalogue.sqlite") as made:
        yield made


def _image(catalogue: Catalogue, sequence: int, kind: str = "jpg", camera: str = "north") -> ImageRow:
    file = FileRow(kind, f"{camera}/{sequence}.{kind}", 10, f"{sequence:064x}")  # pyright: ignore[reportArgumentType]
    return catalogue.add_image(NewImage(camera, sequence, AT + timedelta(minutes=sequence), "2026-11-21", (file,)))


def test_numbers_come_back_as_they_were_put(catalogue: Catalogue) -> None:
    rows, image = Measurements(catalogue), _image(catalogue, 1)
    assert rows.of(image.id) is None
    rows.put(image.id, NUMBERS)
    assert rows.of(image.id) == Measurement(812, 1.21, 9.43, 0.2, (STREAK,))
    rows.put(image.id, {})
    assert rows.of(image.id) == Measurement(None, None, None, None, ())


def test_a_jpeg_and_its_numbers_are_committed_together(catalogue: Catalogue) -> None:
    rows, image = Measurements(catalogue), _image(catalogue, 1, "raw")
    was, now = rows.developed(image.id, FileRow("jpg", "north/1.jpg", 5, "b" * 64), NUMBERS, width=64, height=48)
    assert (was.developed, now.developed, now.width) == (False, True, 64)
    assert rows.of(image.id) == Measurement(812, 1.21, 9.43, 0.2, (STREAK,))
    other = _image(catalogue, 2, "raw")
    with pytest.raises(TypeError):
        rows.developed(other.id, FileRow("jpg", "north/2.jpg", 5, "c" * 64), {"stars": 1, "streaks": object()})
    row = catalogue.image(other.id)
    assert row is not None
    assert not row.developed


def test_an_image_that_is_gone_gets_no_numbers(catalogue: Catalogue) -> None:
    Measurements(catalogue).put(77, NUMBERS)
    assert Measurements(catalogue).of(77) is None


def test_unmeasured_are_developed_images_without_a_row_in_order(catalogue: Catalogue) -> None:
    rows = Measurements(catalogue)
    images = [_image(catalogue, 1), _image(catalogue, 2, "raw"), _image(catalogue, 3), _image(catalogue, 4)]
    rows.put(images[0].id, NUMBERS)
    found = rows.unmeasured(0, AT)
    assert found is not None
    assert found.id == images[2].id
    later = rows.unmeasured(found.id, AT)
    assert later is not None
    assert later.id == images[3].id
    assert rows.unmeasured(0, AT + timedelta(minutes=4, seconds=1)) is None


def test_history_is_means_over_equal_parts_of_the_time(catalogue: Catalogue) -> None:
    rows = Measurements(catalogue)
    for sequence in range(60):
        rows.put(_image(catalogue, sequence + 1).id, {"stars": 100 + sequence, "sky": None})
    rows.put(_image(catalogue, 1, camera="south").id, {"stars": 5})
    first, until = AT + timedelta(minutes=1), AT + timedelta(minutes=61)
    assert [value for _, value in rows.history("north", "stars", first, until, points=6)] == [104.5, 114.5, 124.5, 134.5, 144.5, 154.5]
    assert len(rows.history("north", "stars", first, until)) == 60
    assert rows.history("north", "stars", first, until, points=6)[1][0] == AT + timedelta(minutes=11)
    assert rows.history("north", "sky", first, until) == []
    with pytest.raises(ValueError, match="there are stars"):
        rows.history("north", "path", first, until)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="points"):
        rows.history("north", "stars", first, first)
