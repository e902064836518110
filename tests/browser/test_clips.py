"""Clips in Chromium: they start at once, seek by ranges, and those of H.265 are played from a copy."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browser.conftest import claim, complaints_of, logged_in
from tests.clips.cutting import FPS, film
from tests.support.station import RunningStation, eventually, running_station

pytestmark = pytest.mark.browser
PLAY = """async (video) => {
    const begun = performance.now();
    video.currentTime = 0;
    await video.play();
    await new Promise((shown) => video.requestVideoFrameCallback(shown));
    const first_ms = performance.now() - begun;
    video.pause();
    const sought = new Promise((done) => (video.onseeked = done));
    video.currentTime = video.duration - 0.5;
    await sought;
    return [first_ms, video.duration, video.currentTime, video.videoWidth, video.error];
}"""


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStation]:
    with running_station(tmp_path_factory.mktemp("station"), more="preroll: {seconds: 4, before_s: 3, after_s: 1}") as station:
        claim(station)
        yield station


@pytest.fixture
def page(browser: Browser, station: RunningStation) -> Iterator[Page]:
    """The page with its panel of nights and clips open."""
    with browser.new_context(viewport={"width": 1280, "height": 900}, storage_state=logged_in(browser, station)) as context:
        page = context.new_page()
        complaints = complaints_of(page)
        page.goto(station.url)
        expect(page.locator(".chip.live")).to_be_visible(timeout=20_000)
        page.keyboard.press("g")
        yield page
    assert complaints == []


def _figure(page: Page, label: str) -> Any:
    return page.locator("figure").filter(has_text=label)


def test_a_clip_is_made_on_the_page_and_starts_at_once_and_seeks(page: Page, station: RunningStation) -> None:
    eventually(lambda: station.camera()["preroll"]["seconds"] >= 4)
    page.get_by_role("button", name="Keep the last seconds").click()
    ranges = list[str]()
    page.on("response", lambda answer: ranges.append(f"{answer.status} {answer.headers.get('content-range')}") if "/video" in answer.url else None)
    video = _figure(page, "page").locator("video")
    expect(video).to_be_visible(timeout=30_000)
    first_ms, duration, sought, width, error = video.evaluate(PLAY)
    assert error is None and width == 320 and first_ms < 3000
    assert 4 <= duration < 5.5 and sought == pytest.approx(duration - 0.5, abs=0.1)
    assert ranges and all(answer.startswith("206 bytes ") for answer in ranges)


def _h265_clip(station: RunningStation) -> int:
    """A clip as a camera of H.265 would leave it, written behind the running server's back."""
    path = station.images / "sky" / "2026" / "11" / "21" / "clips" / "20261121T120000Z_000900_hevc.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    film(path, 2, "libx265")
    with contextlib.closing(sqlite3.connect(station.images / ".cupola" / "catalogue.sqlite", timeout=20)) as catalogue, catalogue:
        catalogue.execute(
            "INSERT INTO clip (id, camera, label, state, triggered_at, triggers, before_s, after_s, before_got_s, after_got_s, frames, duration_s, codec, width, "
            "height, path, bytes, sha256) VALUES (900, 'sky', 'hevc', 'saved', ?, ?, 1, 1, 1, 1, ?, 2, 'h265', 640, 360, ?, ?, 'x')",
            (datetime.now(UTC).isoformat(), json.dumps([]), 2 * FPS, str(path.relative_to(station.images)), path.stat().st_size),
        )
    return 900


def test_a_clip_of_h265_is_played_from_a_copy_that_is_made_when_asked_for(page: Page, station: RunningStation) -> None:
    number = _h265_clip(station)
    page.reload()
    expect(page.locator(".chip.live")).to_be_visible(timeout=20_000)
    page.keyboard.press("g")
    figure = _figure(page, "hevc")
    expect(figure).to_be_visible(timeout=15_000)
    copied = figure.get_by_role("button", name="Make a copy")
    if copied.count():  # this Chromium cannot play H.265
        copied.click()
    else:
        station.http.post(f"/api/clips/{number}/h264").raise_for_status()
    eventually(lambda: station.http.get(f"/api/clips/{number}").json()["h264_copy"] == "ready", 40)
    video = figure.locator("video")
    expect(video).to_be_visible(timeout=15_000)
    _, duration, sought, width, error = video.evaluate(PLAY)
    assert error is None and width == 640 and duration == pytest.approx(2, abs=0.1) and sought == pytest.approx(duration - 0.5, abs=0.1)
    [copy] = (station.images / "sky").rglob("*.h264.mp4")
    assert station.http.delete(f"/api/clips/{number}").status_code == 204
    assert not copy.exists(), "it goes with its clip"


def test_the_page_of_the_log_shows_what_was_and_what_comes(page: Page, station: RunningStation) -> None:
    page.goto(f"{station.url}/viewer")
    expect(page.locator("#state")).to_have_text("live", timeout=15_000)
    expect(page.locator("li").filter(has_text="is open").first).to_be_visible()
    station.http.post("/api/cameras/sky/trigger", json={"label": "logged", "before_s": 1, "after_s": 0})
    expect(page.locator("li").filter(has_text="_logged.mp4")).to_be_visible(timeout=30_000)
    page.get_by_label("Contains").fill("_logged")
    expect(page.locator("li").filter(has_text="is open")).to_have_count(1)
    expect(page.locator("li").filter(has_text="is open")).to_be_hidden()
    page.get_by_label("Contains").fill("")
    page.get_by_label("Level").select_option("error")
    expect(page.locator("li").filter(has_text="is open")).to_have_count(0)
