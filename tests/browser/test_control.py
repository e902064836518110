"""Control of a camera in the browsers of several people: taken, asked for, given, lost by sleeping."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import control, live, master, take
from tests.support.station import RunningStation, eventually

pytestmark = pytest.mark.browser


def test_who_waits_for_control_sees_who_has_it_asks_and_gets_it(station: RunningStation, enter: Callable[[str], Page]) -> None:
    holder, other = enter("admin"), enter("kim")
    expect(control(other)).to_contain_text("Nobody has control")
    snap = other.get_by_role("button", name="Snap")
    expect(snap).to_be_disabled()
    expect(snap).to_have_accessible_description("Take control first: nobody has it.")
    take(holder)
    expect(control(other)).to_contain_text("admin has control")
    expect(snap).to_have_accessible_description("admin has control.")
    control(other).get_by_role("button", name="Ask").click()
    request = holder.get_by_role("alert").filter(has_text="asks for control")
    expect(request).to_contain_text("kim asks for control of sky.")
    request.get_by_role("button", name="Give way").click()
    expect(control(other)).to_contain_text("You have control")
    expect(control(holder)).to_contain_text("kim has control")
    before = station.camera()["images_today"]
    snap.click()
    station.until(lambda camera: camera["images_today"] == before + 1)


def test_control_lasts_beyond_fifteen_seconds_and_a_page_loaded_anew_keeps_it(station: RunningStation, enter: Callable[[str], Page]) -> None:
    page = enter("kim")
    take(page)
    epoch = page.evaluate("sessionStorage.getItem('cupola.control.sky').split(' ')[0]")
    page.wait_for_timeout(17_000)
    assert master(station) == "kim"
    page.reload()
    live(page)
    expect(control(page)).to_contain_text("You have control")
    assert page.evaluate("sessionStorage.getItem('cupola.control.sky').split(' ')[0]") == epoch


def test_an_observer_sees_who_has_control_and_nothing_to_press(enter: Callable[[str], Page]) -> None:
    take(enter("kim"))
    page = enter("vera")
    expect(control(page)).to_contain_text("kim has control")
    expect(control(page).get_by_role("button")).to_have_count(0)
    expect(page.get_by_role("button", name="Snap")).to_have_count(0)
    page.keyboard.press("c")
    panel = page.get_by_role("complementary", name="Camera")
    expect(panel.get_by_text("In the picture", exact=True)).to_be_visible()
    expect(panel.get_by_role("button", name="Disconnect")).to_have_count(0)
    expect(panel.get_by_role("slider")).to_have_count(0)
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    panel = page.get_by_role("complementary", name="Account")
    expect(panel.get_by_text("My logins")).to_be_visible()
    expect(panel.get_by_text("People")).to_have_count(0)


def test_a_sleeping_phone_blocks_nobody_and_gets_its_view_back_by_itself(station: RunningStation, enter: Callable[[str], Page]) -> None:
    phone, other = enter("admin"), enter("kim")
    take(phone)
    viewers = station.http.get("/api/health").json()["viewers"]
    phone.evaluate("away(true)")
    eventually(lambda: master(station) is None, 25)
    take(other)
    eventually(lambda: station.http.get("/api/health").json()["viewers"] == viewers - 1, 40)
    phone.evaluate("away(false)")
    live(phone)
    expect(control(phone)).to_contain_text("kim has control")
    assert master(station) == "kim"


def test_a_phone_that_wakes_up_has_control_again_if_nobody_took_it(station: RunningStation, enter: Callable[[str], Page]) -> None:
    phone = enter("kim")
    take(phone)
    phone.evaluate("away(true)")
    eventually(lambda: master(station) is None, 25)
    phone.evaluate("away(false)")
    expect(control(phone)).to_contain_text("You have control")
    assert master(station) == "kim"


def test_an_admin_gives_control_to_somebody_who_looks(station: RunningStation, enter: Callable[[str], Page]) -> None:
    admin, kim = enter("admin"), enter("kim")
    admin.keyboard.press("a")
    panel = admin.get_by_role("complementary", name="Account")
    panel.get_by_text("Logins of everybody").click()
    give = panel.get_by_role("listitem").filter(has_text="kim").get_by_role("button", name="Give control")
    give.click()
    panel.get_by_role("listitem").filter(has_text="kim").get_by_role("button", name="Sure?").first.click()
    expect(control(kim)).to_contain_text("You have control")
    control(admin).get_by_role("button", name="Take over").click()
    control(admin).get_by_role("button", name="Sure?").click()
    expect(control(kim)).to_contain_text("admin has control")
    expect(kim.get_by_text("admin has control of sky now")).to_be_visible()
