"""Measuring as the server has it: a real catalogue, a real darkroom process; what is stored, announced and left alone."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from tests.darkroom.skies import BAYER, Sky, scattered
from tests.darkroom.station import STATION, Place, running, until

from cupola.core.clock import utc_now
from cupola.core.events import StreakFound
from cupola.core.frame import CameraInfo, Controls, Frame
from cupola.storage.files import day_of, jpg_path, relative_name, write_durable
from cupola.storage.measurements import Measurement, Measurements
from cupola.storage.originals import encode_original
from cupola.storage.rows import FileRow, ImageRow, NewImage

STARS = scattered(90, 4000.0)
CROSSING = (150.0, 120.0, 400.0, 200.0, 200.0)


@pytest.fixture
def place(tmp_path: Path) -> Generator[Place]:
    made = Place(tmp_path / "images", tmp_path / "state")
    yield made
    made.catalogue.close()


def _original(sequence: int, *, crossed: bool = False) -> bytes:
    sky = Sky().points(STARS)
    if crossed:
        sky.line(CROSSING)
    opened = utc_now()
    pixels = sky.samples(BAYER, sequence)
    frame = Frame(sequence, opened, opened + timedelta(seconds=10), 1, pixels, BAYER, Controls(10.0, 100.0))
    info = CameraInfo("simulator", "test", pixels.shape[1], pixels.shape[0], BAYER, frozenset())
    return encode_original(frame, camera="north", sequence=sequence, station=STATION, info=info, software="test")


def _jpeg(sequence: int, *, crossed: bool = False) -> bytes:
    sky = Sky(level=2500).points([(x, y, 10 * light) for x, y, light in STARS])
    if crossed:
        sky.line((*CROSSING[:4], 2000.0))
    light = np.clip((sky.samples(seed=sequence, noise=60.0).astype(np.float64) - 200) / 16183, 0, 1)
    grey = np.rint(255 * light ** (1 / 2.2)).astype(np.uint8)
    return simplejpeg.encode_jpeg(grey[:, :, np.newaxis], 95, "GRAY", "Gray")


def _came_as_jpeg(place: Place, sequence: int, content: bytes, age: timedelta = timedelta(0)) -> ImageRow:
    opened = utc_now() - age
    written = write_durable(jpg_path(place.root, "door", opened, sequence, STATION), content)
    file = FileRow("jpg", relative_name(written.path, place.root), written.bytes, written.sha256)
    return place.catalogue.add_image(NewImage("door", sequence, opened, day_of(opened, STATION), (file,), exposure_s=8.0))


def _numbers(place: Place, image: ImageRow) -> Measurement:
    found = Measurements(place.catalogue).of(image.id)
    assert found is not None
    return found


async def test_a_sensors_image_is_measured_while_it_is_developed_and_its_streak_announced(place: Place) -> None:
    first, second = place.add(1, _original(1)), place.add(2, _original(2, crossed=True))
    async with running(place):
        await until(lambda: "streak_found" in place.kinds(), within_s=60)
    assert place.kinds() == ["image_developed", "image_developed", "streak_found"]
    numbers = _numbers(place, first)
    assert numbers.stars == pytest.approx(90, abs=10)
    assert numbers.streaks == ()
    (streak,) = _numbers(place, second).streaks
    event = place.events[-1]
    assert isinstance(event, StreakFound)
    assert (event.id, event.sequence, event.camera, event.crop) == (second.id, 2, "north", streak["crop"])
    stem = place.jpeg_of(second).stem
    assert streak["crop"] == f"north/2026/11/21/streaks/{stem}_1.jpg"
    assert simplejpeg.decode_jpeg((place.root / streak["crop"]).read_bytes()).shape[1] > 250
    assert place.leftovers() == []


async def test_an_image_that_came_as_jpeg_is_measured_when_nothing_waits_to_be_developed(place: Place) -> None:
    plain, crossed = _came_as_jpeg(place, 1, _jpeg(1)), _came_as_jpeg(place, 2, _jpeg(2, crossed=True))
    waiting = place.add(3, _original(3))
    rows = Measurements(place.catalogue)
    async with running(place):
        await until(lambda: rows.of(crossed.id), within_s=60)
        late = _came_as_jpeg(place, 4, _jpeg(4))
        assert rows.of(late.id) is None
    assert place.kinds()[0] == "image_developed"
    assert place.row(waiting).developed
    numbers = _numbers(place, plain)
    assert numbers.stars == pytest.approx(90, abs=15)
    assert numbers.sky is not None
    assert len(_numbers(place, crossed).streaks) == 1
    assert place.said("ERROR") == ""
    async with running(place):  # the next start takes up what was left
        await until(lambda: rows.of(late.id), within_s=60)


async def test_a_jpeg_that_cannot_be_read_is_left_at_that_and_the_next_is_measured(place: Place) -> None:
    damaged, gone, whole = (_came_as_jpeg(place, n, content) for n, content in ((1, b"no picture"), (2, _jpeg(2)), (3, _jpeg(3))))
    (place.root / gone.files[0].path).unlink()
    async with running(place):
        await until(lambda: Measurements(place.catalogue).of(whole.id), within_s=60)
    assert _numbers(place, damaged) == _numbers(place, gone) == Measurement(None, None, None, None, ())
    assert _numbers(place, whole).stars
    assert "is not measured" in place.said("WARNING")


async def test_old_images_of_an_adopted_disk_are_left_alone(place: Place) -> None:
    old, new = _came_as_jpeg(place, 1, _jpeg(1), timedelta(days=3)), _came_as_jpeg(place, 2, _jpeg(2))
    async with running(place) as room:
        await until(lambda: Measurements(place.catalogue).of(new.id), within_s=60)
        await until(lambda: room.state == "idle")
    assert Measurements(place.catalogue).of(old.id) is None


async def test_an_image_too_small_to_be_measured_is_developed_without_numbers(place: Place) -> None:
    pixels = np.full((96, 128), 400, np.uint16)
    opened = utc_now()
    frame = Frame(1, opened, opened, 1, pixels, BAYER, Controls(1.0))
    info = CameraInfo("simulator", "test", 128, 96, BAYER, frozenset())
    image = place.add(1, encode_original(frame, camera="north", sequence=1, station=STATION, info=info, software="test"))
    async with running(place):
        await until(lambda: place.kinds() == ["image_developed"], within_s=60)
    assert _numbers(place, image) == Measurement(None, None, None, None, ())
    assert place.said("WARNING") == ""
