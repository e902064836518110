"""The video of a night in Chromium."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from tests.browser.conftest import claim, logged_in
from tests.support.station import RunningStation, eventually, make_night, running_station

pytestmark = pytest.mark.browser
IMAGES = 12


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStation]:
    with running_station(tmp_path_factory.mktemp("station")) as station:
        claim(station)
        yield station


def test_the_video_plays_to_its_end_and_can_be_wound_back(browser: Browser, station: RunningStation) -> None:
    date = make_night(station, [station.snap()["id"] for _ in range(IMAGES)])
    address = f"/api/nights/sky/{date}"
    assert station.http.post(f"{address}/render", json={"products": ["timelapse"]}).status_code == 202
    eventually(lambda: [item["state"] for item in station.http.get(f"{address}/products").json()["items"]] == ["finished"], 40)
    with browser.new_context(storage_state=logged_in(browser, station)) as context:
        page = context.new_page()
        page.goto(f"{station.url}{address}/timelapse")
        played = page.evaluate(
            """async () => {
                const video = document.querySelector("video");
                video.muted = true;
                await video.play();
                await new Promise((done, failed) => { video.onended = done; video.onerror = () => failed(video.error.message); });
                const shown = video.getVideoPlaybackQuality().totalVideoFrames;
                const end = video.currentTime;
                const sought = new Promise((done) => (video.onseeked = done));
                video.currentTime = 0.2;
                await sought;
                return [video.videoWidth, video.videoHeight, video.duration, end, video.currentTime, shown];
            }"""
        )
    width, height, duration, end, wound, shown = played
    assert (width, height) == (320, 240)
    assert duration == pytest.approx(IMAGES / 25, abs=0.05)
    assert end == pytest.approx(duration, abs=0.05)
    assert wound == pytest.approx(0.2)
    assert shown >= IMAGES / 2
