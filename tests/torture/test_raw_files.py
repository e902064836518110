"""A camera's raw files through the whole program: virtual camera, disk, catalogue, darkroom, live view and downloads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx
import pytest
import simplejpeg
from tests.drivers.gphoto_sources import night_jpeg, virtual_nikon
from tests.torture.station import Listener, Station, until

SUPPORT = Path(__file__).parents[1] / "support"
PREVIEW = night_jpeg(800, 600, seed=2)  # inside of the raw file; the virtual camera's JPEG is 640 wide
RAW = b"II*\0" + bytes(2000) + PREVIEW + bytes(3000)
pytestmark = pytest.mark.torture


def nikon(monkeypatch: pytest.MonkeyPatch, folder: Path, chosen: str) -> dict[str, Any]:
    """A camera for the configuration that writes `RAW` beside each JPEG, or in its place."""
    virtual_nikon(monkeypatch, folder)
    (folder / "a.nef").write_bytes(RAW)
    monkeypatch.setenv("RAW_FILE", str(folder / "a.nef"))
    monkeypatch.setenv("RAW_FORMAT", chosen)
    monkeypatch.setenv("PYTHONPATH", f"{SUPPORT / 'gphoto2_standin'}{os.pathsep}{os.environ['PYTHONPATH']}")
    return {"name": "north", "driver": "gphoto", "exposure": {"exposure_s": 0.0001}}


def content(station: Station, path: str) -> httpx.Response:
    answer = httpx.get(f"http://127.0.0.1:{station.port}{path}", headers=station.owner, timeout=20, trust_env=False)
    assert answer.is_success, answer.text
    return answer


def test_a_pair_is_one_image_and_viewers_see_its_jpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Station(tmp_path, nikon(monkeypatch, tmp_path, "NEF+Fine")) as station:
        station.running()
        with Listener(station, "/ws/live/north?accept=jpeg") as viewer:
            station.post("/api/cameras/north/snap")
            until(lambda: viewer.pictures, 20, "a picture at the viewer")
        live = content(station, "/api/cameras/north/live.jpg").content
        assert simplejpeg.decode_jpeg_header(live)[:2] == (480, 640)
        (row,) = station.verify_storage()
        assert sorted((file["kind"], Path(file["path"]).suffix) for file in row["files"]) == [("jpg", ".jpg"), ("raw", ".nef")]
        assert row["developed"]
        raw = content(station, f"/api/captures/{row['id']}/raw")
        assert raw.content == RAW and raw.headers["content-type"] == "application/octet-stream", "no FITS"
        assert content(station, f"/api/captures/{row['id']}/image").content == (tmp_path / "card" / "a.jpg").read_bytes()
        thumb = content(station, f"/api/captures/{row['id']}/thumb").content
        assert int(simplejpeg.decode_jpeg_header(thumb)[1]) < 640


def test_a_raw_file_alone_is_developed_by_the_darkroom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Station(tmp_path, nikon(monkeypatch, tmp_path, "NEF (Raw)")) as station:
        station.running()
        with Listener(station, "/ws/events") as events:
            station.post("/api/cameras/north/snap")
            until(lambda: events.events("image_developed"), 40, "a developed image")
        live = content(station, "/api/cameras/north/live.jpg").content
        assert live == PREVIEW
        (row,) = station.verify_storage()
        assert sorted((file["kind"], Path(file["path"]).suffix) for file in row["files"]) == [("jpg", ".jpg"), ("raw", ".nef")]
        assert content(station, f"/api/captures/{row['id']}/raw").content == RAW
        developed = content(station, f"/api/captures/{row['id']}/image").content
        assert simplejpeg.decode_jpeg(developed, strict=True).shape == (600, 800, 3)
        assert content(station, "/api/cameras/north/latest.jpg").content == developed
