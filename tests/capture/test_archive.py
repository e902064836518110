"""What is announced of files that an earlier server left: each image once, under the name of the file that was taken up."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from tests.darkroom.station import AT, STATION, Place, original

from cupola.capture.archive import Archive
from cupola.capture.session import Request, Sessions
from cupola.core.bus import Bus
from cupola.core.events import ImageCaptured, ImageDeveloped, StorageLow
from cupola.storage.files import jpg_path, queue_path, raw_path, relative_name, write_durable
from cupola.storage.space import Reserve


@pytest.fixture
def place(tmp_path: Path) -> Generator[Place]:
    made = Place(tmp_path / "images", tmp_path / "state")
    yield made
    made.catalogue.close()


async def _announced(place: Place) -> list[tuple[str, str]]:
    """(kind, path) of what is announced when the camera is prepared."""
    bus, found = Bus(), list[tuple[str, str]]()
    reserve = Reserve(place.queue.parent / "reserve", 1)
    archive = Archive(place.catalogue, Sessions(place.catalogue, bus), bus, STATION, place.root, place.queue, reserve, place.log)
    archive.check_all({"north"})
    with bus.subscribe() as events:
        await archive.prepare("north")
        bus.publish(StorageLow(free_bytes=0, free_percent=0))  # the end of what there is to read
        async for event in events:
            if not isinstance(event, ImageCaptured | ImageDeveloped):
                return found
            found.append((event.kind, event.path))
    raise AssertionError("unreachable")


def _original(place: Place, sequence: int, *, queued: bool = False) -> str:
    at = AT + timedelta(seconds=sequence)
    path = queue_path(place.queue, "north", at, sequence) if queued else raw_path(place.root, "north", at, sequence, STATION)
    write_durable(path, original(sequence))
    return relative_name(path, place.queue if queued else place.root)


def _jpeg(place: Place, sequence: int) -> str:
    path = jpg_path(place.root, "north", AT + timedelta(seconds=sequence), sequence, STATION)
    write_durable(path, simplejpeg.encode_jpeg(np.zeros((20, 30, 3), np.uint8)))
    return relative_name(path, place.root)


async def test_the_jpeg_of_an_image_that_was_announced_is_only_developed_news(place: Place) -> None:
    place.add(1, original(1))
    jpeg = _jpeg(place, 1)
    assert await _announced(place) == [("image_developed", jpeg)]
    assert f"Took up {jpeg}," in place.said("WARNING")
    assert ".fits" not in place.said("WARNING")
    assert await _announced(place) == []


async def test_an_image_whose_two_files_are_taken_up_is_announced_once(place: Place) -> None:
    raw, jpeg = _original(place, 1), _jpeg(place, 1)
    assert await _announced(place) == [("image_captured", raw), ("image_developed", jpeg)]
    assert place.said("WARNING").splitlines() == [f"Took up {path}, which was stored but not in the catalogue." for path in (raw, jpeg)]


async def test_an_image_out_of_the_queue_is_announced_with_its_jpeg(place: Place) -> None:
    place.add(1, original(1), queued=True)
    jpeg = _jpeg(place, 1)
    assert await _announced(place) == [("image_captured", jpeg), ("image_developed", jpeg)]


async def test_an_image_that_is_in_the_queue_only_is_not_announced_yet(place: Place) -> None:
    waiting = _original(place, 1, queued=True)
    assert await _announced(place) == []
    assert f"Took up {waiting}," in place.said("WARNING")


async def test_the_original_of_an_image_known_by_its_jpeg_is_no_news(place: Place) -> None:
    jpeg = _jpeg(place, 1)
    assert await _announced(place) == [("image_captured", jpeg)], "it was never anything but developed"
    raw = _original(place, 1)
    assert await _announced(place) == []
    assert f"Took up {raw}," in place.said("WARNING")


async def test_a_jpeg_that_the_darkroom_put_into_the_catalogue_meanwhile_is_no_conflict(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.add(1, original(1))
    jpeg = _jpeg(place, 1)
    known = place.catalogue.known_files("north")
    assert await _announced(place) == [("image_developed", jpeg)]
    now = place.catalogue.known_files
    answers = iter([known])
    monkeypatch.setattr(place.catalogue, "known_files", lambda *day: next(answers, None) or now(*day))  # what was read just before
    place.records.clear()
    assert await _announced(place) == []
    assert place.records == []


async def test_an_image_is_announced_although_the_end_of_its_series_cannot_be_written(place: Place) -> None:
    bus = Bus()
    sessions = Sessions(place.catalogue, bus)
    archive = Archive(place.catalogue, sessions, bus, STATION, place.root, place.queue, Reserve(place.queue.parent / "reserve", 1), place.log)
    series = await sessions.start("north", Request(1.0, None, None, None, None, 1))
    with closing(sqlite3.connect(place.catalogue.path)) as other:
        other.execute("CREATE TRIGGER broken BEFORE UPDATE ON session BEGIN SELECT RAISE(ABORT, 'no'); END")
    file = place.root / _original(place, 1)
    head = {
        "file": {"kind": "raw", "path": str(file), "bytes": file.stat().st_size, "sha256": "0" * 64},
        "native": None,
        "applied": {},
        "opened_at": AT.isoformat(),
        "ended_at": AT.isoformat(),
        "clock_synced": True,
        "sequence": 1,
        "temperature_c": None,
        "width": 30,
        "height": 20,
        "session": series.id,
        "day": "2026-11-21",
        "period": None,
        "correction": None,
        "took_s": 0.1,
    }
    with bus.subscribe() as events:
        assert await archive.captured("north", head) == 1
        assert (await anext(aiter(events))).kind == "image_captured"
    assert "end of the series" in place.said("ERROR") and sessions.of("north") is None
