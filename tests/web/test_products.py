"""Keogram, startrails and video through the API: made again, looked at while they grow, and read in parts."""

from __future__ import annotations

import contextlib
import hashlib
import io
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
import simplejpeg
from tests.support.station import RunningStation, eventually, make_night, running_station


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStation]:
    with running_station(tmp_path_factory.mktemp("station")) as station:
        yield station


@pytest.fixture(scope="module")
def night(station: RunningStation) -> str:
    """The address of a night whose products were made by `render`."""
    date = make_night(station, [station.snap()["id"] for _ in range(4)])
    address = f"/api/nights/sky/{date}"
    begun = station.http.post(f"{address}/render", json={})
    assert begun.status_code == 202, begun.text
    assert {item["state"] for item in begun.json()["items"]} <= {"growing", "finished"}
    assert eventually(lambda: {item["state"] for item in _products(station, address)} == {"finished"}, 40)
    return address


def _products(station: RunningStation, address: str, kind: str = "night") -> list[dict[str, Any]]:
    return station.http.get(f"{address}/products", params={"kind": kind}).json()["items"]


def test_rendered_products_are_in_the_list_and_their_files_arrive_byte_for_byte(station: RunningStation, night: str) -> None:
    products = _products(station, night)
    assert [product["kind"] for product in products] == ["keogram", "startrails", "timelapse"]
    for product in products:
        assert product["images"] == 4 and product["message"] is None
        answer = station.http.get(f"{night}/{product['kind']}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == ("video/mp4" if product["kind"] == "timelapse" else "image/jpeg")
        assert hashlib.sha256(answer.content).hexdigest() == product["sha256"]
        assert answer.content == (station.images / product["path"]).read_bytes()
    assert simplejpeg.decode_jpeg(station.http.get(f"{night}/startrails").content).shape == (240, 320, 3)
    assert simplejpeg.decode_jpeg(station.http.get(f"{night}/keogram").content).shape[1] == 1440


def test_a_symlink_leads_nobody_out_of_the_images_folder(station: RunningStation, night: str, tmp_path: Path) -> None:
    path = station.images / _products(station, night)[0]["path"]
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    answer = station.http.get(f"{night}/keogram")
    (tmp_path / "elsewhere").replace(path)
    assert answer.status_code == 404 and "outside" in answer.json()["detail"], answer.text


def test_a_part_of_the_video_can_be_asked_for(station: RunningStation, night: str) -> None:
    whole = station.http.get(f"{night}/timelapse")
    assert whole.headers["accept-ranges"] == "bytes"
    part = station.http.get(f"{night}/timelapse", headers={"Range": "bytes=100-299"})
    assert part.status_code == 206
    assert part.headers["content-range"] == f"bytes 100-299/{len(whole.content)}"
    assert part.content == whole.content[100:300]
    with av.open(io.BytesIO(whole.content), "r") as movie:
        assert len(list(movie.decode(video=0))) == 4


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/api/nights/sky/2020-01-01/keogram", 404),
        ("/api/nights/nobody/2020-01-01/keogram", 404),
        ("/api/nights/sky/2020-01-01/products", 404),
        ("/api/nights/sky/yesterday/keogram", 400),
        ("/api/nights/sky/2020-01-01/passwords", 404),
        ("/api/nights/sky/2020-01-01/keogram?kind=week", 400),
        ("/api/nights/..%2f..%2fetc/2020-01-01/keogram", 404),
    ],
)
def test_what_there_is_not_is_said(station: RunningStation, address: str, status: int) -> None:
    answer = station.http.get(address)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith(("application/problem+json", "application/json"))


def test_a_night_that_has_no_images_cannot_be_rendered(station: RunningStation) -> None:
    assert station.http.post("/api/nights/sky/2020-01-01/render", json={}).status_code == 404
    assert station.http.post("/api/nights/sky/2020-01-01/render", json={"products": ["poem"]}).status_code == 400


def test_while_a_period_grows_there_is_a_preview_and_its_end_makes_the_files(station: RunningStation, night: str) -> None:
    date = make_night(station, [station.snap()["id"] for _ in range(3)], state="capturing", kind="day")
    address = f"/api/nights/sky/{date}"
    station.snap()  # wakes the darkroom
    eventually(lambda: [item["images"] for item in _products(station, address, "day")] == [3, 3, 3], 40)
    for kind in ("keogram", "startrails"):
        preview = station.http.get(f"{address}/{kind}?kind=day")
        assert preview.status_code == 200, preview.text
        assert preview.headers["cache-control"] == "no-store"
        assert simplejpeg.decode_jpeg(preview.content).shape[2] == 3
    with av.open(io.BytesIO(station.http.get(f"{address}/timelapse?kind=day").content), "r") as movie:
        assert len(list(movie.decode(video=0))) in (2, 3)
    refused = station.http.post(f"{address}/render?kind=day", json={})
    assert refused.status_code == 409 and "not over" in refused.json()["detail"]
    with contextlib.closing(sqlite3.connect(station.images / ".cupola" / "catalogue.sqlite", timeout=20)) as catalogue, catalogue:
        catalogue.execute("UPDATE period SET state = 'finished' WHERE kind = 'day'")
    station.snap()
    eventually(lambda: {item["state"] for item in _products(station, address, "day")} == {"finished"}, 40)
    items = _products(station, address, "day")
    folder = station.images / "sky" / date.replace("-", "/")
    assert [item["path"] for item in items] == [
        f"sky/{date.replace('-', '/')}/day-{name}" for name in ("keogram.jpg", "startrails.jpg", "timelapse.mp4")
    ]
    assert all((station.images / item["path"]).is_file() for item in items)
    assert (folder / "keogram.jpg").is_file(), "a day's products replaced the night's"


def test_render_by_command_uses_the_running_server(station: RunningStation, night: str) -> None:
    date = night.rsplit("/", 1)[1]
    before = {item["kind"]: item["sha256"] for item in _products(station, night)}
    made = station.json("render", date, "startrails", "keogram", "--json")
    assert {item["kind"]: item["sha256"] for item in made} == {kind: before[kind] for kind in ("startrails", "keogram")}
    shown = station.cupola("render", date)
    assert shown.returncode == 0, shown.stderr
    assert "timelapse.mp4  4 images" in shown.stdout
    missing = station.cupola("render", "2020-01-01")
    assert missing.returncode == 1 and "2020-01-01" in missing.stderr


def test_render_by_command_works_without_a_server_too_and_makes_the_same(station: RunningStation, night: str) -> None:
    """Last in this file: it ends the station."""
    date = night.rsplit("/", 1)[1]
    before = {item["kind"]: item["sha256"] for item in _products(station, night)}
    station.process.terminate()
    station.process.wait(20)
    made = station.json("render", date, "--config", "cupola.yaml", "--json")
    assert {item["kind"]: item["sha256"] for item in made} == before
    assert (station.images / f"sky/{date.replace('-', '/')}/timelapse.mp4").is_file()
    assert station.cupola("render", "2020-01-01", "--config", "cupola.yaml").returncode == 1
