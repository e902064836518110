"""The built page in Chromium, against a running station."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browser.conftest import claim, complaints_of, control, logged_in, pixels
from tests.support.station import RunningStation, running_station

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStation]:
    with running_station(tmp_path_factory.mktemp("station")) as station:
        claim(station)
        yield station


@pytest.fixture(scope="module")
def login(running: RunningStation, browser: Browser) -> Any:
    return logged_in(browser, running)


@pytest.fixture
def station(running: RunningStation) -> RunningStation:
    running.open()
    return running


@pytest.fixture
def page(station: RunningStation, browser: Browser, login: Any, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page, showing the live picture. A word on the console, a CSP violation or a failed request fails the test."""
    width, height = getattr(request, "param", (1280, 800))
    with browser.new_context(viewport={"width": width, "height": height}, storage_state=login) as context:
        page = context.new_page()
        complaints = complaints_of(page)
        page.goto(station.url)
        expect(page.locator(".chip.live")).to_be_visible(timeout=20_000)
        yield page
    assert complaints == []


def _canvas(page: Page) -> str:
    return page.evaluate("document.querySelector('canvas').toDataURL()")


def test_the_live_picture_moves_and_is_called_live(page: Page) -> None:
    first = _canvas(page)
    page.wait_for_function("(before) => document.querySelector('canvas').toDataURL() !== before", arg=first, timeout=15_000)
    assert page.evaluate("[document.querySelector('canvas').width, document.querySelector('canvas').height]") == [320, 240]
    expect(page.locator(".chip.live")).to_contain_text("ive")


def test_the_snap_button_brings_a_new_picture_which_opens_large(page: Page, station: RunningStation) -> None:
    before = station.camera()["images_today"]
    control(page).get_by_role("button").click()
    expect(control(page)).to_contain_text("You have control")
    page.get_by_role("button", name="Snap").click()
    image = station.until(lambda camera: camera["images_today"] == before + 1)["last_image"]
    thumb = page.get_by_role("group", name="Newest pictures").get_by_role("button").first
    expect(thumb).to_have_attribute("aria-label", re.compile(rf"^Picture {image['sequence']},"), timeout=15_000)
    expect(thumb.locator("img")).to_be_visible(timeout=15_000)
    control(page)  # wakes what lies over the picture, should the image have taken longer than it stays
    thumb.click()
    large = page.locator("dialog[open]").get_by_role("img", name=f"Picture {image['sequence']}")
    expect(large).to_be_visible()
    page.wait_for_function("document.querySelector('dialog[open] .picture img').naturalWidth === 320", timeout=15_000)
    box = large.bounding_box()
    assert box is not None and box["width"] > 640
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)


def test_a_picture_somebody_else_takes_appears_in_the_strip(page: Page, station: RunningStation) -> None:
    image = station.snap()
    expect(page.get_by_role("button", name=f"Picture {image['sequence']},").first).to_be_visible(timeout=15_000)


def test_red_mode_leaves_no_green_and_no_blue_on_the_screen(page: Page, station: RunningStation) -> None:
    station.snap()
    assert pixels(page)[..., 1:].max() > 60, "an ordinary page has other colours than red"
    page.get_by_role("button", name="Red night mode").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "red")
    page.wait_for_function("document.getAnimations().length === 0")
    seen = pixels(page)
    assert seen[..., 0].max() > 60
    assert seen[..., 1].max() <= 8 and seen[..., 2].max() <= 8


@pytest.mark.parametrize("page", [(360, 740)], indirect=True)
def test_on_a_phone_nothing_is_wider_than_the_screen(page: Page, station: RunningStation) -> None:
    for _ in range(6):
        image = station.snap()
    expect(page.get_by_role("button", name=f"Picture {image['sequence']},").first).to_be_visible(timeout=15_000)
    wide = "document.documentElement.scrollWidth <= 360 && document.body.scrollWidth <= 360"
    assert page.evaluate(wide)
    for button in page.locator("footer").get_by_role("group", name=re.compile("Actions|Control")).get_by_role("button").all():
        box = button.bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 360 and box["y"] + box["height"] <= 740
    for key in ("n", "c", "a", "v"):
        page.keyboard.press(key)
        assert page.evaluate(wide), key
        page.keyboard.press("Escape")


def test_the_sky_can_be_given_the_exposure_of_stills_and_taken_it_back(page: Page, station: RunningStation) -> None:
    control(page).get_by_role("button").click()
    expect(control(page)).to_contain_text("You have control")
    page.keyboard.press("n")
    panel = page.get_by_role("complementary", name="Session")
    typed = panel.get_by_role("textbox", name="exposure")
    expect(typed).to_have_value("0.05")
    panel.get_by_text("Auto exposure").click()
    expect(panel).to_contain_text("The sky chooses exposure and gain")
    expect(typed).to_have_count(0)
    assert station.camera()["settings"]["still"]["automatic"] == ["exposure_s", "gain"]
    station.snap()
    expect(panel).to_contain_text(re.compile(r"now .*gain \d"))
    panel.get_by_text("By hand").click()
    expect(panel).to_contain_text("Exposures stay as they are until you change them")
    expect(typed).not_to_have_value("")
    assert station.camera()["settings"]["still"]["automatic"] == []


def test_a_closed_camera_is_not_called_live(page: Page, station: RunningStation) -> None:
    station.http.post("/api/cameras/sky/disconnect")
    expect(page.locator(".chip.closed")).to_be_visible(timeout=15_000)
    expect(page.locator(".chip.live")).to_have_count(0)
    station.open()
    expect(page.locator(".chip.live")).to_be_visible(timeout=20_000)
