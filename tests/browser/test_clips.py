"""Clips in Chromium, of simulated and of real RTSP cameras: they start at once, seek by ranges, and those of H.265 are played from a copy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browser.conftest import claim, complaints_of, logged_in
from tests.clips.cutting import film
from tests.drivers.sources import rtsp_camera
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


CAMERA = "  - {{name: {name}, driver: video, video: {{source: '{url}'}}, preroll: {{seconds: 3}}}}"


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStation]:
    """The simulated camera, and two that send H.264 and H.265 by RTSP: `gate` and `barn`."""
    folder = tmp_path_factory.mktemp("station")
    movies = {"gate": film(folder / "gate.mp4", 40, size=(320, 180)), "barn": film(folder / "barn.mp4", 25, "libx265", (320, 180))}
    with (
        rtsp_camera("--file", str(movies["gate"])) as gate,
        rtsp_camera("--file", str(movies["barn"]), "--codec", "h265") as barn,
    ):
        others = [CAMERA.format(name=name, url=said["/file"]) for name, said in (("gate", gate), ("barn", barn))]
        more = "\n".join(("preroll: {seconds: 4, before_s: 3, after_s: 1}", *others))
        with running_station(folder, more=more) as station:
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


def _saved(station: RunningStation, camera: str) -> dict[str, Any]:
    """A clip of this camera, two seconds before and one after."""
    eventually(lambda: (ring := station.http.get(f"/api/cameras/{camera}").json()["preroll"]) and ring["seconds"] >= 3, 40)
    clip = station.http.post(f"/api/cameras/{camera}/trigger", json={"label": f"of-{camera}", "before_s": 2, "after_s": 1}).raise_for_status().json()
    saved = eventually(lambda: (row := station.http.get(f"/api/clips/{clip['id']}").json())["state"] != "recording" and row, 40)
    assert saved["state"] == "saved", saved
    return saved


def _shown(page: Page, camera: str) -> Any:
    """The clip's place on the page, of another camera than the first."""
    page.get_by_role("button", name="choose another camera").click()
    page.get_by_role("menuitemradio", name=camera).click()
    figure = _figure(page, f"of-{camera}")
    expect(figure).to_be_visible(timeout=15_000)
    return figure


def test_a_clip_of_an_rtsp_camera_is_played_untouched_starts_at_once_and_seeks(page: Page, station: RunningStation) -> None:
    clip = _saved(station, "gate")
    assert clip["codec"] == "h264"
    video = _shown(page, "gate").locator("video")
    expect(video).to_be_visible(timeout=15_000)
    first_ms, duration, sought, width, error = video.evaluate(PLAY)
    assert error is None and width == 320 and first_ms < 3000
    assert duration == pytest.approx(clip["duration_s"], abs=0.1) and sought == pytest.approx(duration - 0.5, abs=0.1)


def test_a_clip_of_h265_is_played_from_a_copy_that_is_made_when_asked_for(page: Page, station: RunningStation) -> None:
    clip = _saved(station, "barn")
    figure = _shown(page, "barn")
    copied = figure.get_by_role("button", name="Make a copy")
    if copied.count():  # this Chromium cannot play H.265
        copied.click()
    else:
        station.http.post(f"/api/clips/{clip['id']}/h264").raise_for_status()
    eventually(lambda: station.http.get(f"/api/clips/{clip['id']}").json()["h264_copy"] == "ready", 40)
    video = figure.locator("video")
    expect(video).to_be_visible(timeout=15_000)
    _, duration, sought, width, error = video.evaluate(PLAY)
    assert error is None and width == 320 and duration == pytest.approx(clip["duration_s"], abs=0.1)
    assert sought == pytest.approx(duration - 0.5, abs=0.1)


def test_the_page_of_the_log_shows_what_was_and_what_comes(page: Page, station: RunningStation) -> None:
    page.goto(f"{station.url}/viewer")
    opened = page.locator("li").filter(has_text="is open").filter(has_text="sky")
    expect(page.locator("#state")).to_have_text("live", timeout=15_000)
    expect(opened.first).to_be_visible()
    station.http.post("/api/cameras/sky/trigger", json={"label": "logged", "before_s": 1, "after_s": 0})
    expect(page.locator("li").filter(has_text="_logged.mp4")).to_be_visible(timeout=30_000)
    page.get_by_label("Contains").fill("_logged")
    expect(opened).to_have_count(1)
    expect(opened).to_be_hidden()
    page.get_by_label("Contains").fill("")
    page.get_by_label("Level").select_option("error")
    expect(opened).to_have_count(0)
