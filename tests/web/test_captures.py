"""Stored images through the API: the list and its pages, and the bytes of the files."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import simplejpeg
from tests.support.station import RunningStation

from cupola.web.routes.captures import media_type


@pytest.fixture(scope="module")
def images(whole_session: RunningStation) -> list[dict[str, Any]]:
    """Five developed images, newest first."""
    return [whole_session.snap() for _ in range(5)][::-1]


def _ids(answer: dict[str, Any]) -> list[int]:
    return [item["id"] for item in answer["items"]]


def test_pages_list_every_image_once_newest_first(station: RunningStation, images: list[dict[str, Any]]) -> None:
    whole = station.http.get("/api/captures", params={"limit": 500}).json()
    assert whole["next"] is None
    assert _ids(whole)[:5] == [image["id"] for image in images]
    paged, cursor = list[int](), None
    while True:
        page = station.http.get("/api/captures", params={"limit": 2, "camera": "sky", **({"after": cursor} if cursor else {})}).json()
        assert 1 <= len(page["items"]) <= 2
        paged += _ids(page)
        if (cursor := page["next"]) is None:
            break
    assert paged == _ids(whole)


def test_an_image_that_comes_meanwhile_does_not_shift_the_pages(station: RunningStation, images: list[dict[str, Any]]) -> None:
    expected = _ids(station.http.get("/api/captures", params={"limit": 4}).json())
    first = station.http.get("/api/captures", params={"limit": 2}).json()
    newcomer = station.snap()["id"]
    second = station.http.get("/api/captures", params={"limit": 2, "after": first["next"]}).json()
    assert _ids(first) + _ids(second) == expected
    assert newcomer not in expected


def test_from_and_to_cut_the_list_half_open(station: RunningStation, images: list[dict[str, Any]]) -> None:
    newer, older = images[1], images[3]
    found = station.http.get("/api/captures", params={"from": older["opened_at"], "to": newer["opened_at"]}).json()
    assert _ids(found) == [images[2]["id"], older["id"]]
    elsewhere = datetime.fromisoformat(older["opened_at"]).astimezone(tz=datetime.fromisoformat("2026-01-01T00:00+05:30").tzinfo)
    same = station.http.get("/api/captures", params={"from": elsewhere.isoformat(), "to": newer["opened_at"]}).json()
    assert _ids(same) == _ids(found)
    future = (datetime.fromisoformat(images[0]["opened_at"]) + timedelta(days=1)).isoformat()
    assert station.http.get("/api/captures", params={"from": future}).json() == {"items": [], "next": None}


@pytest.mark.parametrize("name", ["from", "to"])
@pytest.mark.parametrize(
    "moment", ["2026-11-21T23:15:00", "2026-11-21", "garbage", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1e99", "nan"]
)
def test_a_time_that_is_none_or_has_no_timezone_is_refused_by_name(station: RunningStation, name: str, moment: str) -> None:
    refused = station.http.get("/api/captures", params={name: moment})
    assert refused.status_code == 400, refused.text
    assert refused.json()["field"] == name


@pytest.mark.parametrize(("address", "kind"), [("image", "jpg"), ("raw", "raw")])
def test_files_arrive_byte_for_byte(station: RunningStation, images: list[dict[str, Any]], address: str, kind: str) -> None:
    image = images[0]
    (file,) = [file for file in image["files"] if file["kind"] == kind]
    answer = station.http.get(f"/api/captures/{image['id']}/{address}")
    assert answer.status_code == 200
    assert answer.content == (station.images / file["path"]).read_bytes()
    assert len(answer.content) == file["bytes"] and hashlib.sha256(answer.content).hexdigest() == file["sha256"]
    assert answer.headers["etag"] == f'"{file["sha256"]}"'
    assert answer.headers["content-type"] == {"jpg": "image/jpeg", "raw": "application/fits"}[kind]


def test_a_part_of_a_file_can_be_asked_for(station: RunningStation, images: list[dict[str, Any]]) -> None:
    address = f"/api/captures/{images[0]['id']}/raw"
    whole = station.http.get(address).content
    part = station.http.get(address, headers={"Range": "bytes=100-299"})
    assert part.status_code == 206
    assert part.content == whole[100:300]
    assert station.http.get(address, headers={"Range": f"bytes={len(whole) + 1}-"}).status_code == 416


def test_the_picture_is_the_size_of_the_sensor_and_the_thumbnail_no_larger(station: RunningStation, images: list[dict[str, Any]]) -> None:
    address = f"/api/captures/{images[0]['id']}"
    picture = simplejpeg.decode_jpeg(station.http.get(f"{address}/image").content)
    assert picture.shape == (240, 320, 3)
    thumb = station.http.get(f"{address}/thumb")
    height, width = (int(number) for number in simplejpeg.decode_jpeg_header(thumb.content)[:2])
    assert width <= 320 and abs(width / height - 4 / 3) < 0.02
    assert thumb.content == station.http.get(f"{address}/thumb").content


def test_latest_is_the_newest_developed_image(station: RunningStation) -> None:
    image = station.snap()
    latest = station.http.get("/api/cameras/sky/latest.jpg")
    assert latest.content == station.http.get(f"/api/captures/{image['id']}/image").content
    assert latest.headers["cache-control"] == "no-cache"


def test_an_image_whose_file_is_gone_says_so(station: RunningStation) -> None:
    image = station.snap()
    (file,) = [file for file in image["files"] if file["kind"] == "jpg"]
    (station.images / file["path"]).unlink()
    gone = station.http.get(f"/api/captures/{image['id']}/image")
    assert gone.status_code == 404
    assert file["path"] in gone.json()["detail"]
    assert station.http.get(f"/api/captures/{image['id']}/thumb").status_code in (404, 503)
    station.snap()  # the next one is served again
    assert station.http.get("/api/cameras/sky/latest.jpg").status_code == 200


@pytest.mark.parametrize(("address", "kind"), [("image", "jpg"), ("raw", "raw")])
def test_a_symlink_leads_nobody_out_of_the_images_folder(station: RunningStation, tmp_path: Path, address: str, kind: str) -> None:
    image = station.snap()
    (file,) = [file for file in image["files"] if file["kind"] == kind]
    path = station.images / file["path"]
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    answer = station.http.get(f"/api/captures/{image['id']}/{address}")
    (tmp_path / "elsewhere").replace(path)
    assert answer.status_code == 404 and "outside" in answer.json()["detail"], answer.text


@pytest.mark.parametrize(
    ("name", "kind"), [("x.jpg", "image/jpeg"), ("x.fits.fz", "application/fits"), ("x.nef", "application/octet-stream")], ids=["jpg", "fits", "nef"]
)
def test_no_file_is_called_what_it_is_not(name: str, kind: str) -> None:
    assert media_type(Path(name)) == kind


def test_what_one_login_has_seen_is_kept_for_no_other(station: RunningStation, images: list[dict[str, Any]]) -> None:
    number = images[0]["id"]
    for path in (f"captures/{number}/image", f"captures/{number}/thumb", f"captures/{number}/raw", "cameras/sky/latest.jpg"):
        answer = station.http.get(f"/api/{path}")
        assert answer.status_code == 200 and answer.headers["vary"] == "Cookie, Authorization", path


def test_one_image_has_what_was_measured_on_it(station: RunningStation, images: list[dict[str, Any]]) -> None:
    one = station.http.get(f"/api/captures/{images[0]['id']}").json()
    assert {name: one[name] for name in images[0]} == images[0]
    assert set(one["measured"]) == {"stars", "hfr", "sky", "sharpness", "streaks"}
    assert "measured" not in station.http.get("/api/captures", params={"limit": 1}).json()["items"][0]


def test_a_streak_nobody_saw_has_no_picture(station: RunningStation, images: list[dict[str, Any]]) -> None:
    answer = station.http.get(f"/api/captures/{images[0]['id']}/streaks/999")
    assert answer.status_code == 404
    assert "streak 999" in answer.json()["detail"]
