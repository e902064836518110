"""Nights from dusk to dawn by a wall clock that runs fast: the whole program, with a power cut, a killed darkroom and a hanging camera in the middle.

All of them, by hand, and what they made to look at: `CUPOLA_WHOLE_NIGHTS=all CUPOLA_WHOLE_NIGHTS_KEPT=FOLDER pytest tests/torture/test_whole_night.py`.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np
import pytest
import simplejpeg
from playwright.sync_api import sync_playwright
from tests.browser.conftest import CHROMIUM, FLAGS
from tests.support.fast_clock import FastClock
from tests.support.sink import Sink
from tests.torture.station import CAMERA, DARKROOM, Station, sky, until

from cupola.capture.summary import LATE, MOST_GAPS
from cupola.config.products import Startrails
from cupola.darkroom.encode import uncover
from cupola.darkroom.startrails import sky_of

pytestmark = [pytest.mark.torture, pytest.mark.timeout(900)]

PLACE = {"latitude": 55.0, "longitude": 8.0, "timezone": "Europe/Berlin"}
SUNSET, SUNRISE = datetime(2026, 6, 21, 20, 8, tzinfo=UTC), datetime(2026, 6, 22, 2, 50, tzinfo=UTC)  # within minutes
INTERVAL_S = 0.4  # true seconds: what a camera does is not faster
DARK_EXPOSURE_S, DELAY_S = 0.2, 0.3
MARGIN = Startrails().brightness_margin or 0.0
HANG_ON = 30  # exposures after the power cut


@dataclass(frozen=True, slots=True)
class Night:
    """`starts`, `ends`: of its window, within ten minutes; `rate`: how fast its clock runs."""

    name: str
    place: dict[str, Any]
    window: str
    starts: datetime
    ends: datetime
    rate: float

    @property
    def day(self) -> str:
        return f"{self.starts:%Y-%m-%d}"


NIGHTS = (
    Night("midsummer", PLACE, "sunset..sunrise", SUNSET, SUNRISE, 480.0),
    Night(  # the moon, seven tenths lit, rises two hours after sunset; 14 hours
        "moonrise",
        {"latitude": 47.37, "longitude": 8.54, "timezone": "Europe/Zurich"},
        "sunset..sunrise",
        datetime(2026, 10, 30, 16, 12, tzinfo=UTC),
        datetime(2026, 10, 31, 6, 3, tzinfo=UTC),
        400.0,
    ),
    Night(  # the sun stays below the horizon: from noon to noon of its own time
        "polar",
        {"latitude": 69.65, "longitude": 18.96, "timezone": "Europe/Oslo"},
        "sunset..sunrise",
        datetime(2026, 12, 20, 10, 42, tzinfo=UTC),
        datetime(2026, 12, 21, 10, 42, tzinfo=UTC),
        600.0,
    ),
    Night(  # at three in the morning it is two once more: 11 hours from eight to six
        "clocks",
        {"latitude": 52.5, "longitude": 13.4, "timezone": "Europe/Berlin"},
        "20:00..06:00",
        datetime(2026, 10, 24, 18, 0, tzinfo=UTC),
        datetime(2026, 10, 25, 5, 0, tzinfo=UTC),
        330.0,
    ),
)
_CHOSEN = NIGHTS if os.environ.get("CUPOLA_WHOLE_NIGHTS") == "all" else NIGHTS[:1]
_KEPT = os.environ.get("CUPOLA_WHOLE_NIGHTS_KEPT")


def _seen(station: Station, states: list[str]) -> dict[str, Any]:
    status = station.get("/api/status")
    if states[-1:] != [status["state"]]:
        states.append(status["state"])
    return status


def _night(station: Station) -> dict[str, Any]:
    (night,) = [night for night in station.get("/api/nights")["items"] if night["kind"] == "night"]
    return night


def _cut_power(station: Station) -> None:
    """Everything is gone at once; what was not durable is lost."""
    station.kill()
    for process in station.processes(CAMERA) + station.processes(DARKROOM):
        process.kill()


def _camera(night: Night) -> dict[str, Any]:
    camera = sky(faults={"hang_on": [HANG_ON]}, exposure_s=DARK_EXPOSURE_S, delay_s=DELAY_S) | {"night": {"window": night.window}}
    camera["simulator"] = camera["simulator"] | {"sky_time": "now", "clouds": 0.25, "f_number": 0.5, "meteors_per_hour": 10}
    camera["exposure"] = {"auto": {"on": True, "exposure_max_s": DARK_EXPOSURE_S}}
    camera["develop"] = {"overlay": {"lines": ["{time:%d.%m. %H:%M:%S}  {exposure}  gain {gain}  Sun {sun}  Moon {moon}"], "size_percent": 3}}
    return camera


@pytest.mark.parametrize("night", _CHOSEN, ids=lambda night: night.name)
def test_a_night_is_captured_from_dusk_to_dawn_through_a_power_cut_and_a_hanging_camera(night: Night, tmp_path: Path) -> None:
    clock = FastClock(tmp_path, night.starts - timedelta(hours=1), rate=1.0)
    states: list[str] = []
    with (
        Sink() as owner,
        Station(tmp_path, _camera(night), place=night.place, environment=clock.environment, more={"notify": _telling(owner)}) as station,
    ):
        station.running()
        polar = night.ends - night.starts > timedelta(hours=23)  # one night follows the other
        if not polar:
            assert _seen(station, states)["state"] == "waiting"
            assert station.get("/api/nights")["items"] == []
        clock.set(night.starts - timedelta(minutes=15), night.rate)

        def ours() -> dict[str, Any] | None:
            found = [one for one in station.get("/api/nights")["items"] if one["day"] == night.day]
            return found[0] if found else None

        until(ours, 60, "the window opens")
        until(lambda: (ours() or {})["photos"] >= 25 or clock.now > night.ends, 120, "images of the evening")
        before, cut_at = ours(), clock.now
        assert before is not None
        clock.set(cut_at, 1.0)  # a slow machine takes long to start
        _cut_power(station)
        station.start()
        station.running()
        clock.set(cut_at + timedelta(seconds=6 * night.rate), night.rate)  # as if the start had taken six seconds
        until(lambda: station.camera()["restarts"], 120, "the camera hangs")
        hung_at = clock.now
        until(lambda: station.camera()["state"] == "running", 150, "the camera comes back")
        station.one(DARKROOM).kill()
        until(lambda: clock.now > night.ends - timedelta(seconds=5 * night.rate), 400, "the morning")
        after = ours()
        assert after is not None and (after["id"], after["state"]) == (before["id"], "capturing")
        clock.set(datetime.fromisoformat(after["ends_at"]) - timedelta(seconds=2), rate=1.0)
        until(lambda: _seen(station, states) and (ours() or {})["state"] == "finished", 300, "the night is finished")
        if not polar:
            until(lambda: _seen(station, states)["state"] == "idle", 10, "the station rests")
            assert states == ["waiting", "capturing", "creating_video", "idle"], states
        if not polar:
            _judge_told(owner, station, night)
        _judge(station, night, cut_at, hung_at)


def _telling(owner: Sink) -> dict[str, Any]:
    return {"channels": [{"name": "owner", "webhook": owner.url, "loopback": True}], "daily_summary": True}


def _judge_told(owner: Sink, station: Station, night: Night) -> None:
    """The owner got the summary, once, with the best picture; a camera that hung once is nothing to tell."""
    summary = station.get(f"/api/nights/north/{night.day}")["summary"]
    told = owner.wait_for(lambda one: one["kind"] == "night_finished")
    assert (told["level"], told["device_id"]) == ("INFO", "cupola")
    assert f"Photos: {summary['photos']}" in told["message"] and "Video: " in told["message"]
    assert base64.b64decode(told["picture"]["base64"]) == (station.root / summary["best"]["path"]).read_bytes()
    assert [one["kind"] for one in owner.documents()] == ["night_finished"]


def _judge(station: Station, night: Night, cut_at: datetime, hung_at: datetime) -> None:
    """What came of the night, against the images that are there."""
    whole = station.get(f"/api/nights/north/{night.day}")
    starts_at, ends_at = datetime.fromisoformat(whole["starts_at"]), datetime.fromisoformat(whole["ends_at"])
    assert abs(starts_at - night.starts) < timedelta(minutes=10) and abs(ends_at - night.ends) < timedelta(minutes=10)
    images = [image for image in station.captures() if image["period"] == whole["id"]]
    assert {image["day"] for image in images} == {night.day}
    taken = [datetime.fromisoformat(image["opened_at"]) for image in images]
    assert starts_at <= min(taken) and max(taken) < ends_at + timedelta(seconds=2)
    assert [image["sequence"] for image in images] == list(range(images[0]["sequence"], images[0]["sequence"] + len(images)))
    folder = station.root.joinpath("north", *night.day.split("-"))

    summary = whole["summary"]
    assert summary == json.loads((folder / "summary.json").read_text())
    assert summary["photos"] == summary["developed"] == len(images)
    gaps = [(datetime.fromisoformat(gap["from"]), datetime.fromisoformat(gap["to"])) for gap in summary["gaps"]]
    pace = median((b - a).total_seconds() for a, b in pairwise(taken))
    near = timedelta(minutes=5, seconds=pace)
    for when, what in ((cut_at, "power cut"), (hung_at, "hang")):
        assert any(begin <= when + near and when - near < end for begin, end in gaps), f"no gap tells of the {what}"
    missed = [b for a, b in pairwise(taken) if (b - a).total_seconds() > LATE * pace + 3]
    assert len(missed) < MOST_GAPS and set(missed) <= {end for _, end in gaps}, "a gap is not told"
    for begin, end in gaps:
        assert not [at for at in taken if begin < at < end], "there are images in a gap that is told"

    grown = {name: (folder / name).read_bytes() for name in ("keogram.jpg", "startrails.jpg", "timelapse.mp4")}
    products = {product["kind"]: product for product in station.get(f"/api/nights/north/{night.day}/products")["items"]}
    for kind, product in products.items():
        assert (product["state"], product["images"], product["message"]) == ("finished", len(images), None), kind
    stored = [(station.root / file["path"]).read_bytes() for image in images for file in image["files"] if file["kind"] == "jpg"]
    pictures = [simplejpeg.decode_jpeg(content) for content in stored]
    _judge_video(grown["timelapse.mp4"], pictures)
    for picture, content in zip(pictures, stored, strict=True):
        uncover(picture, content)
    _judge_keogram(simplejpeg.decode_jpeg(grown["keogram.jpg"]), pictures, taken, pace, starts_at, ends_at)
    _judge_startrails(simplejpeg.decode_jpeg(grown["startrails.jpg"]), pictures)
    _plays(station, f"/api/nights/north/{night.day}/timelapse", len(images))
    if _KEPT:
        for name in grown:
            shutil.copy(folder / name, Path(_KEPT) / f"{night.name}-{name}")
    print(
        f"{night.name}: {len(images)} images, {len(gaps)} gaps, pace {pace:.0f} s, most stars {summary['stars_most']}, {summary['streaks']} streaks"
    )

    station.post(f"/api/nights/north/{night.day}/render")
    made_at = {product["kind"]: product["made_at"] for product in products.values()}

    def again() -> bool:
        now = station.get(f"/api/nights/north/{night.day}/products")["items"]
        return all(product["state"] == "finished" and product["made_at"] != made_at[product["kind"]] for product in now)

    until(again, 120, "everything made again")
    for name, content in grown.items():
        assert (folder / name).read_bytes() == content, f"{name} grew differently from how it is rendered"
    station.verify_whole()


def _judge_keogram(keogram: Any, pictures: list[Any], taken: list[datetime], pace: float, starts_at: datetime, ends_at: datetime) -> None:
    """Each image's middle column stands at its time, and nothing where there were no images."""
    height, width = pictures[0].shape[:2]
    lines = keogram[: height - 1]
    per_s = keogram.shape[1] / (ends_at - starts_at).total_seconds()
    apart = list[float]()
    for picture, at in zip(pictures, taken, strict=True):
        column = int((at - starts_at).total_seconds() * per_s)
        if 0 <= column < keogram.shape[1]:
            apart.append(float(np.abs(lines[:, column].astype(float) - picture[: height - 1, (width - 1) // 2 : width // 2 + 1].mean(axis=1)).mean()))
    assert float(np.median(apart)) < 10 and np.quantile(apart, 0.9) < 20, f"columns are not those of their images: {np.median(apart)}"
    for before, after in pairwise(taken):
        if (after - before).total_seconds() > 3 * pace:
            middle = int(((before + (after - before) * 0.8) - starts_at).total_seconds() * per_s)
            assert set(np.unique(lines[::7, middle] // 8)) <= set(range(8)), "a gap is not hatched"


def _judge_startrails(trails: Any, pictures: list[Any]) -> None:
    """Nowhere darker than the darkest image, and nowhere brighter than the dark ones together."""
    skies = [sky_of(picture) for picture in pictures]
    dark = [picture for picture, sky in zip(pictures, skies, strict=True) if sky <= min(skies) + MARGIN + 0.01]
    assert float(np.mean(trails.astype(int) - pictures[int(np.argmin(skies))] < -12)) < 0.02, "the darkest image is not in it"
    brighter = float(np.mean(trails.astype(int) - np.max(dark, axis=0) > 24))
    assert brighter < 0.05, f"twilight is in it: {100 * brighter:.1f} % is brighter than the {len(dark)} dark ones of {len(pictures)}"


def _judge_video(content: bytes, pictures: list[Any]) -> None:
    """A frame an image, in their order."""
    small = [picture[::4, ::4].mean(axis=2) for picture in pictures]
    with av.open(io.BytesIO(content)) as movie:
        frames = [frame.to_ndarray(format="rgb24")[::4, ::4].mean(axis=2) for frame in movie.decode(video=0)]  # pyright: ignore[reportAttributeAccessIssue]
    assert len(frames) == len(pictures)
    for place, frame in enumerate(frames):
        apart = [float(np.abs(frame - one).mean()) for one in small]
        assert apart[place] <= min(apart) + 1, f"frame {place} shows image {int(np.argmin(apart))}"  # a level: two of a cloudless hour are alike


def _plays(station: Station, address: str, images: int) -> None:
    """In Chromium, to its end."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_context(extra_http_headers=station.owner).new_page()
        page.goto(f"http://127.0.0.1:{station.port}{address}")
        script = """async () => {
            const video = document.querySelector("video");
            video.muted = true;
            video.playbackRate = 4;
            await video.play();
            await new Promise((done, failed) => { video.onended = done; video.onerror = () => failed(video.error.message); });
            return [video.duration, video.currentTime, video.videoWidth];
        }"""
        duration, end, width = page.evaluate(script)
        browser.close()
    assert duration == pytest.approx(images / 25, abs=0.1) and end == pytest.approx(duration, abs=0.1) and width == 640


def test_a_clock_that_is_set_back_in_the_night_does_not_begin_it_again(tmp_path: Path) -> None:
    clock = FastClock(tmp_path, SUNSET + timedelta(hours=2), rate=1.0)
    camera = sky() | {"night": {"window": "sunset..sunrise", "interval_s": INTERVAL_S}}
    with Station(tmp_path, camera, place=PLACE, environment=clock.environment) as station:
        until(lambda: len(station.captures()) >= 3, 40, "images")
        clock.jump(-timedelta(hours=1))
        more = len(station.captures()) + 3
        until(lambda: len(station.captures()) >= more, 40, "images after the clock was set back")
        first = _night(station)

        clock.jump(-timedelta(hours=3))  # before the window: nothing is taken, and the night is not over
        until(lambda: station.get("/api/status")["state"] == "waiting", 10, "it waits for the window")
        assert _night(station)["state"] == "capturing"

        clock.set(SUNRISE + timedelta(hours=1))  # over: but somebody sets the clock right at once
        until(lambda: _night(station)["state"] != "capturing", 10, "the window is over")
        clock.set(SUNSET + timedelta(hours=3))
        more = len(station.captures()) + 3
        until(lambda: len(station.captures()) >= more, 40, "the night goes on")
        assert (_night(station)["id"], _night(station)["state"]) == (first["id"], "capturing")
        assert {image["period"] for image in station.captures()} == {first["id"]}
