"""A camera's raw file with its JPEG: both on disk, or neither; alone, it is left to the darkroom."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import simplejpeg
from tests.drivers.gphoto_sources import night_jpeg

from cupola.camera.orders import Still
from cupola.camera.storer import Storer
from cupola.core.clock import utc_now
from cupola.core.frame import Native, Packet, Station
from cupola.core.rawfile import embedded_jpeg
from cupola.darkroom.job import Developer, Order
from cupola.storage.space import Thrift

JPEG = night_jpeg()
RAW = b"II*\0" + bytes(64) + night_jpeg(160, 120) + b"\xff\xd8\xff\xc3" + bytes(64) + JPEG + bytes(512)


def store(root: Path, native: Native, data: bytes = JPEG) -> dict[str, Any]:
    told: list[dict[str, Any]] = []
    storer = Storer(
        camera="roof",
        station=Station(),
        root=root,
        queue=root / "queue",
        keep_originals=False,
        thrift=Thrift(0, 0),
        next_sequence=7,
        tell=told.append,
        on_stored=lambda still, ok: None,
    )
    now = utc_now()
    storer.offer(Still(Packet(1, now, now, time.monotonic_ns(), "jpeg", data, 640, 480, native=native), None, None))
    storer.close()
    storer.run()
    return told[0]


def test_a_pair_is_two_files_of_one_image(tmp_path: Path) -> None:
    told = store(tmp_path, Native(".nef", RAW))
    assert (told["type"], told["sequence"]) == ("captured", 7)
    jpg, raw = Path(told["file"]["path"]), Path(told["native"]["path"])
    assert (jpg.parent.name, raw.parent.name) == ("jpg", "raw")
    assert (raw.stem, raw.suffix) == (jpg.stem, ".nef")
    assert (jpg.read_bytes(), raw.read_bytes()) == (JPEG, RAW)


def test_a_raw_file_alone_is_the_original_that_waits_for_the_darkroom(tmp_path: Path) -> None:
    told = store(tmp_path, Native(".cr3", RAW, paired=False))
    assert told["native"] is None
    assert told["file"]["kind"] == "raw" and told["file"]["path"].endswith("_000007.cr3")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [Path(told["file"]["path"]).name]


def test_a_raw_file_whose_jpeg_cannot_be_written_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    day = Path(store(tmp_path, Native(".nef", RAW))["file"]["path"]).parent
    for path in (*day.iterdir(), *(day.parent / "raw").iterdir()):
        path.unlink()
    day.rmdir()
    day.write_text("a file in the way")
    assert store(tmp_path, Native(".nef", RAW))["type"] == "failed"
    assert not list((day.parent / "raw").iterdir())


def test_a_damaged_jpeg_leaves_nothing_of_its_pair(tmp_path: Path) -> None:
    told = store(tmp_path, Native(".nef", RAW), JPEG[:2000] + JPEG[-2:])
    assert (told["type"], told["kind"]) == ("failed", "bad_image")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_largest_whole_picture_of_a_raw_file_is_found() -> None:
    assert embedded_jpeg(RAW) == JPEG
    assert embedded_jpeg(b"II*\0" + bytes(500)) is None
    assert embedded_jpeg(JPEG[:3000]) is None


def test_a_raw_file_that_libraw_does_not_know_is_developed_by_its_own_picture(tmp_path: Path) -> None:
    path = tmp_path / "20261121T231502Z_000342.nef"
    path.write_bytes(RAW)
    made = Developer().make(path, Order())
    assert (made.width, made.height) == (640, 480)
    assert simplejpeg.decode_jpeg(made.data, strict=True).shape == (480, 640, 3)
    assert made.data == JPEG, "the camera's own, byte for byte"
