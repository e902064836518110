"""Focusing in the page, against a running station."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Request, expect
from tests.browser.conftest import PEOPLE, claim, control, master, take
from tests.support.station import RunningStation, eventually, running_station

pytestmark = pytest.mark.browser

# Orion, high enough and in a lens narrow enough for several stars at 0.2 s; none in the middle of the top right quarter
SKY = (
    "width: 640, height: 480, bayer: null, sky_time: '2026-11-21T23:15:00Z', azimuth_deg: 150, altitude_deg: 40, field_of_view_deg: 40, "
    "hot_pixels: 0, meteors_per_hour: 0, satellites_per_hour: 0, readout_s: 0"
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStation]:
    with running_station(tmp_path_factory.mktemp("station"), sky=SKY) as station:
        claim(station, **PEOPLE)
        yield station


@pytest.fixture
def station(running: RunningStation) -> RunningStation:
    """With an exposure that shows stars, and nothing that runs."""
    running.open()
    assert running.http.patch("/api/cameras/sky/settings", json={"mode": "live", "exposure_s": 0.2}).status_code == 202
    return running


def _open(page: Page) -> Locator:
    take(page)
    control(page)
    page.get_by_role("button", name="Focus").click()
    return page.get_by_role("complementary", name="Focus")


def _measured(panel: Locator) -> None:
    """So often that there is a trend."""
    expect(panel.get_by_role("status")).to_have_text(re.compile("sharper|steady|softer"), timeout=30_000)


def _streams(page: Page) -> list[Request]:
    """Filled with the requests for measurements from now on."""
    asked = list[Request]()
    page.on("request", lambda request: asked.append(request) if "/focus?" in request.url else None)
    return asked


def _goes_on(page: Page, panel: Locator) -> None:
    """Until the region's picture is another one."""
    before = panel.locator("canvas").evaluate("(canvas) => canvas.toDataURL()")
    page.wait_for_function("(before) => document.querySelector('aside canvas').toDataURL() !== before", arg=before, timeout=15_000)


def _first(station: RunningStation, query: str) -> dict[str, Any]:
    """The first measurement of somebody else who looks at this region."""
    with station.http.stream("GET", f"/api/cameras/sky/focus?{query}") as answer:
        return json.loads(next(answer.iter_lines()))


def _nobody_measures(station: RunningStation, query: str) -> None:
    """As long as somebody looks at a region its best stays; with nobody there it is forgotten, and the next one's first is their best."""
    eventually(lambda: (first := _first(station, query))["best_hfr_px"] == first["hfr_px"] and first["trend"] is None)


def test_the_numbers_appear_and_go_on_until_the_panel_is_closed(station: RunningStation, enter: Callable[[str], Page]) -> None:
    page = enter("admin")
    asked = _streams(page)
    panel = _open(page)
    expect(panel.locator(".number")).to_have_text(re.compile(r"^\d+\.\d+$"), timeout=20_000)
    expect(panel.get_by_role("definition").nth(2)).to_have_text(re.compile(r"^\d"))
    _goes_on(page, panel)
    _measured(panel)
    expect(panel.locator("polyline").first).to_have_attribute("points", re.compile(r"^\S+ \S+ \S+"))
    assert panel.locator("canvas").evaluate("(canvas) => [canvas.width, canvas.clientWidth]") == [320, 320]
    assert _first(station, "size=320")["trend"] is not None
    panel.get_by_role("button", name="Close").click()
    _nobody_measures(station, "size=320")
    assert len(asked) == 1


def test_a_click_on_the_live_picture_moves_the_region(station: RunningStation, enter: Callable[[str], Page]) -> None:
    page = enter("admin")
    asked = _streams(page)
    panel = _open(page)
    expect(panel.locator("canvas")).to_be_visible(timeout=20_000)
    region, picture = page.locator("main .region"), page.locator("main canvas").bounding_box()
    assert picture
    page.mouse.click(picture["x"] + 0.75 * picture["width"], picture["y"] + 0.25 * picture["height"])
    expect(region).to_have_attribute("style", re.compile(r"left: 50%; top: 0%; width: 50%; height: 66\.6"))
    place = re.search(r"x=(\d+)&y=(\d+)", asked[-1].url)
    assert place and abs(int(place[1]) - 480) <= 1 and abs(int(place[2]) - 120) <= 1
    _goes_on(page, panel)
    expect(panel).to_contain_text("No star found: tap a star in the picture, or expose longer.")
    assert len(asked) == 2


def test_who_loses_control_measures_nothing_more_and_has_it_back_with_one_press(station: RunningStation, enter: Callable[[str], Page]) -> None:
    page = enter("kim")
    asked = _streams(page)
    panel = _open(page)
    _measured(panel)
    control(page).get_by_role("button", name="Give back").click()
    expect(panel).to_contain_text("Nobody has control")
    _nobody_measures(station, "size=320")
    panel.get_by_role("button", name="Take control").click()
    _goes_on(page, panel)
    assert master(station) == "kim"
    assert len(asked) == 2


def test_a_page_out_of_sight_measures_nothing(station: RunningStation, enter: Callable[[str], Page]) -> None:
    page = enter("kim")
    asked = _streams(page)
    panel = _open(page)
    _measured(panel)
    page.evaluate("away(true)")
    _nobody_measures(station, "size=320")
    page.evaluate("away(false)")
    _goes_on(page, panel)
    assert len(asked) == 2


def test_without_control_the_button_says_why_and_an_observer_has_none(station: RunningStation, enter: Callable[[str], Page]) -> None:
    page = enter("kim")
    control(page)
    button = page.get_by_role("button", name="Focus")
    expect(button).to_be_disabled()
    expect(button).to_have_accessible_description("Take control first: nobody has it.")
    observer = enter("vera")
    control(observer)
    expect(observer.get_by_role("button", name="Focus")).to_have_count(0)
    observer.keyboard.press("o")
    expect(observer.get_by_role("complementary")).to_have_count(0)
