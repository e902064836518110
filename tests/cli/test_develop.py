"""`cupola develop` without a server, `cupola darks` with one, and previews through the API: as their user has them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import simplejpeg
from tests.darkroom.station import original
from tests.support.station import RunningStation, cupola, eventually, running_station

from cupola.darkroom.encode import note_of

SKY = "width: 320, height: 240, sky_time: night, readout_s: 0, hot_pixels: 0.002, temperature_c: 25"


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStation]:
    with running_station(tmp_path_factory.mktemp("station"), sky=SKY) as running:
        yield running


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a configuration of the camera that took `sky.fits.fz`, and no server."""
    (tmp_path / "home").mkdir()
    text = "cameras:\n- name: north\n  driver: simulator\n  develop:\n    flip: vertical\nstorage: {root: images}\n"
    (tmp_path / "cupola.yaml").write_text(text)
    (tmp_path / "sky.fits.fz").write_bytes(original(1))
    return tmp_path


def _picture(path: Path) -> npt.NDArray[np.uint8]:
    return simplejpeg.decode_jpeg(path.read_bytes())


def test_an_original_is_developed_without_a_server_and_stays_as_it_was(place: Path) -> None:
    before = hashlib.sha256((place / "sky.fits.fz").read_bytes()).hexdigest()
    done = cupola(place, "develop", "sky.fits.fz")
    assert done.returncode == 0, done.stderr
    assert "sky_developed.jpg: 320 x 240, recipe " in done.stdout
    turned = cupola(place, "develop", "sky.fits.fz", "-o", "turned.jpg", "--set", "rotate_deg=90", "--set", "flip=none", "--json")
    told = json.loads(turned.stdout)
    assert (told["width"], told["height"]) == (240, 320)
    assert note_of((place / "turned.jpg").read_bytes())["recipe"] == told["recipe"]
    assert told["recipe"] not in done.stdout, "another recipe has another digest"
    flipped, as_it_is = _picture(place / "sky_developed.jpg"), np.rot90(_picture(place / "turned.jpg"))
    assert np.abs(flipped[::-1].astype(int) - as_it_is).mean() < 4, "the camera's own recipe was used"
    assert hashlib.sha256((place / "sky.fits.fz").read_bytes()).hexdigest() == before


def test_16_bit_and_developed_pictures_are_taken_too(place: Path) -> None:
    assert cupola(place, "develop", "sky.fits.fz", "-o", "sky.png").returncode == 0
    deep = cv2.imread(str(place / "sky.png"), cv2.IMREAD_UNCHANGED)
    assert deep is not None
    assert (deep.dtype, deep.shape) == (np.dtype(np.uint16), (240, 320, 3))
    assert cupola(place, "develop", "sky.fits.fz", "-o", "a.jpg").returncode == 0
    again = cupola(place, "develop", "a.jpg", "-o", "b.jpg", "--camera", "north", "--set", "crop={width: 100, height: 50}")
    assert again.returncode == 0, again.stderr
    assert _picture(place / "b.jpg").shape == (50, 100, 3)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("sky.fits.fz", "--set", "stretch.methd=asinh"), 1, '--set: stretch.methd: unknown key; did you mean "method"?'),
        (("sky.fits.fz", "--set", "overlay.lines=['{tme}']"), 1, 'did you mean "time"?'),
        (("sky.fits.fz", "-o", "sky.fits.fz.gif"), 2, ".png, .jpg, .jpeg"),
        (("sky.fits.fz", "-o", "images/north/2026/11/21/jpg/x.jpg"), 1, "checksums are in the catalogue"),
        (("sky.fits.fz", "--camera", "south"), 2, "Configured: north"),
        (("none.fits.fz",), 2, "does not exist"),
        (("cut.fits.fz",), 1, "not a whole original"),
        (("text.jpg",), 1, "cannot be developed"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(place: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    (place / "cut.fits.fz").write_bytes((place / "sky.fits.fz").read_bytes()[:9000])
    (place / "text.jpg").write_text("no picture")
    done = cupola(place, "develop", *arguments)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_preview_shows_other_settings_and_stores_nothing(station: RunningStation) -> None:
    image = station.snap()
    stored = station.http.get(f"/api/captures/{image['id']}/image").content
    assert note_of(stored)["recipe"], "a stored picture says what it was made by"
    address = f"/api/captures/{image['id']}/preview"
    same = station.http.get(address)
    assert (same.status_code, same.headers["content-type"], same.headers["cache-control"]) == (200, "image/jpeg", "no-store")
    assert same.content == stored
    turned = station.http.get(address, params={"set": ["rotate_deg=90", "overlay.lines=['{time}']"], "width": 120})
    assert simplejpeg.decode_jpeg_header(turned.content)[:2] == (160, 120)
    deep = station.http.get(address, params={"format": "png16"})
    assert deep.content.startswith(b"\x89PNG")
    assert station.http.get(f"/api/captures/{image['id']}/image").content == stored
    for words, said in (
        ("stretch.methd=asinh", 'did you mean "method"'),
        ("flat=/etc/passwd", "in the configuration only"),
        ("x", "has no ="),
    ):
        refused = station.http.get(address, params={"set": words})
        assert (refused.status_code, refused.json()["field"]) == (400, "set")
        assert said in refused.json()["detail"]
    assert station.http.get("/api/captures/999999/preview").status_code == 404


def _master(station: RunningStation) -> list[dict[str, Any]]:
    return station.http.get("/api/cameras/sky/darks").json()["items"]


def test_dark_frames_are_taken_combined_and_used(station: RunningStation) -> None:
    station.open()
    empty = station.cupola("darks", "list", "sky")
    assert "cupola darks capture sky" in empty.stdout
    # The simulated lens has no lid: exposures too short for any light, and a sensor whose glow does not need long.
    made = station.json("darks", "capture", "sky", "-e", "0.01", "-g", "200", "--count", "6", "--yes", "--json")
    assert [(one["exposure_s"], one["gain"], one["frames"]) for one in made] == [(0.01, 200.0, 6)]
    assert _master(station) == made
    assert made[0]["name"] in station.cupola("darks", "list", "sky").stdout
    assert (station.images / ".cupola" / "darks" / "sky" / made[0]["name"]).is_file()
    answer = station.http.post("/api/cameras/sky/snap", json={"exposure_s": 0.01})
    number = answer.json()["id"]
    eventually(lambda: station.http.get(f"/api/captures/{number}").json()["developed"])
    assert note_of(station.http.get(f"/api/captures/{number}/image").content)["dark"] == made[0]["name"]


def test_a_series_that_is_no_series_of_darks_is_refused_in_words(station: RunningStation) -> None:
    station.open()
    refused = station.http.post("/api/cameras/sky/darks", json={"session": 4711})
    assert (refused.status_code, "Series 4711" in refused.json()["detail"]) == (409, True)
    session = station.http.post("/api/cameras/sky/start", json={"exposure_s": 0.01, "count": 2}).json()["session"]["id"]
    eventually(lambda: station.camera()["session"] is None)
    refused = station.http.post("/api/cameras/sky/darks", json={"session": session})
    assert (refused.status_code, "5 frames at least" in refused.json()["detail"]) == (409, True)
