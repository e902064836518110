"""Claim, login, people and the ends of logins, in browsers of several people against a running station."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from tests.browser.conftest import claim, complaints_of, control, live, log_in, master, passphrase, pixels, take
from tests.support.station import RunningStation, config, cupola, eventually, free_port, running_station, station_at

pytestmark = pytest.mark.browser


@pytest.fixture
def new_station(tmp_path: Path) -> Iterator[RunningStation]:
    """Nobody has claimed it."""
    with running_station(tmp_path) as station:
        yield station


def _link(station: RunningStation) -> str:
    """What `cupola run` printed."""
    found = eventually(lambda: re.search(r"http\S+/#claim=\S+", (station.folder / "output").read_text()))
    assert found is not None
    return found[0]


def test_the_printed_link_claims_the_station(new_station: RunningStation, context: BrowserContext) -> None:
    page = context.new_page()
    complaints = complaints_of(page)
    page.goto(_link(new_station))
    expect(page.get_by_role("heading", name="Claim this station")).to_be_visible()
    assert page.url == f"{new_station.url}/", "the code is gone from the address bar"
    expect(page.get_by_label("Code")).to_have_count(0)
    page.get_by_label("Passphrase", exact=True).fill("too short")
    page.get_by_role("button", name="Claim it").click()
    expect(page.get_by_text("At least 12 characters; these are 9.")).to_be_visible()
    page.get_by_label("Passphrase", exact=True).fill(passphrase("admin"))
    page.get_by_role("button", name="Claim it").click()
    live(page)
    me = context.request.get(f"{new_station.url}/api/me").json()
    assert (me["claimed"], me["user"], me["role"]) == (True, "admin", "admin")
    assert complaints == []


def test_without_the_code_the_page_says_how_to_get_it_and_a_made_passphrase_is_shown_once(
    new_station: RunningStation, context: BrowserContext
) -> None:
    page = context.new_page()
    page.goto(new_station.url)
    expect(page.get_by_text("cupola claim")).to_be_visible()
    page.get_by_label("Code").fill("aaaa-aaaa")
    page.get_by_text("Make one for me").click()
    page.get_by_role("button", name="Claim it").click()
    expect(page.get_by_text(re.compile("This code is wrong.*cupola claim"))).to_be_visible()
    printed = new_station.cupola("claim").stdout
    found = re.search(r"#claim=(\S+)", printed)
    assert found, printed
    page.get_by_label("Code").fill(found[1])
    page.get_by_role("button", name="Claim it").click()
    made = page.get_by_label("Shown this once").input_value()
    page.get_by_role("button", name="I have kept it").click()
    live(page)
    assert made not in page.content()
    with context.browser.new_context() as elsewhere:  # type: ignore[union-attr]
        other = elsewhere.new_page()
        other.goto(new_station.url)
        log_in(other, "admin", made)
        live(other)


def test_a_login_that_ends_asks_for_the_passphrase_and_leads_back_to_where_one_was(station: RunningStation, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(station.url)
    log_in(page, "kim", "something else")
    expect(page.get_by_role("alert").filter(has_text="wrong")).to_contain_text("cupola passwd")
    log_in(page, "kim", passphrase("kim"))
    live(page)
    page.keyboard.press("c")
    expect(page.get_by_role("complementary", name="Camera")).to_be_visible()
    session = context.request.get(f"{station.url}/api/me").json()["session"]
    asked = list[str]()
    page.on("request", lambda request: asked.append(request.url))
    assert station.http.delete(f"/api/sessions/{session}").status_code == 204
    expect(page.get_by_text("You are logged out")).to_be_visible()
    settled = len(asked)
    page.wait_for_timeout(3000)
    assert len(asked) <= settled + 1, f"the page goes on asking: {asked[settled:]}"
    expect(page.get_by_label("User")).to_have_value("kim")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    log_in(page, "kim", passphrase("kim"))
    live(page)
    expect(page.get_by_role("complementary", name="Camera")).to_be_focused()


def test_too_many_wrong_passphrases_say_when_the_next_try_is_possible(new_station: RunningStation, context: BrowserContext) -> None:
    claim(new_station)
    page = context.new_page()
    page.goto(new_station.url)
    for number in range(6):
        with page.expect_response("**/api/login") as answer:
            log_in(page, "admin", f"wrong passphrase {number}")
        expect(page.get_by_role("button", name=re.compile("^Log in$"))).to_be_visible()
    assert answer.value.status == 429
    expect(page.get_by_role("alert")).to_contain_text(re.compile(r"Too many tries\. The next one is possible at \d\d:\d\d:\d\d UTC, in \d+ s\."))
    expect(page.get_by_role("button", name="Log in")).to_be_disabled()


def test_logging_out_closes_the_live_view_in_every_window_of_the_browser(station: RunningStation, enter: Callable[[str], Page]) -> None:
    page = enter("kim")
    second = page.context.new_page()
    second.goto(station.url)
    live(second)
    take(page)
    page.keyboard.press("a")
    page.get_by_role("button", name="Log out").first.click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    expect(page.locator("canvas")).to_have_count(0)
    expect(second.get_by_text("You are logged out")).to_be_visible()
    eventually(lambda: station.http.get("/api/health").json()["viewers"] == 0)
    assert master(station) is None


def test_a_new_passphrase_logs_out_other_devices_and_not_this_one(station: RunningStation, enter: Callable[[str], Page]) -> None:
    here, elsewhere = enter("kim"), enter("kim")
    here.keyboard.press("a")
    here.get_by_text("Change passphrase").click()
    here.get_by_label("Passphrase now", exact=True).fill("not this one")
    here.get_by_label("New passphrase", exact=True).fill(passphrase("kim") + "!")
    here.get_by_role("button", name="Change", exact=True).click()
    expect(here.get_by_text("This is not your passphrase.")).to_be_visible()
    here.get_by_label("Passphrase now", exact=True).fill(passphrase("kim"))
    here.get_by_role("button", name="Change", exact=True).click()
    expect(here.get_by_text("The passphrase is changed")).to_be_visible()
    expect(elsewhere.get_by_text("You are logged out")).to_be_visible()
    live(here)
    expect(here.get_by_role("button", name="Log in")).to_have_count(0)
    station.http.patch("/api/users/kim", json={"passphrase": passphrase("kim")}).raise_for_status()


def test_an_admin_lets_people_and_programs_in_and_out_again(station: RunningStation, browser: Browser, enter: Callable[[str], Page]) -> None:
    admin = enter("admin")
    admin.keyboard.press("a")
    panel = admin.get_by_role("complementary", name="Account")
    panel.get_by_text("People").click()
    panel.get_by_label("New person").fill("Zoe")
    panel.get_by_role("button", name="Add").click()
    words = panel.get_by_label("Shown this once").input_value()
    panel.get_by_role("button", name="Done").click()
    assert words not in admin.content()
    with browser.new_context() as context:
        zoe = context.new_page()
        zoe.goto(station.url)
        log_in(zoe, "zoe", words)
        live(zoe)
        panel.get_by_role("button", name="Change zoe").click()
        line = panel.get_by_role("listitem").filter(has_text="zoe")
        line.get_by_text("Observer").click()
        line.get_by_role("button", name="Make zoe observer").click()
        line.get_by_role("button", name="Sure?").click()
        expect(zoe.get_by_text("You are logged out")).to_be_visible()
        log_in(zoe, "zoe", words)
        live(zoe)
        expect(zoe.get_by_role("button", name="Snap")).to_have_count(0)
    panel.get_by_role("button", name="Change zoe").click()
    line.get_by_role("button", name="Remove").click()
    line.get_by_role("button", name="Sure?").click()
    expect(panel.get_by_role("listitem").filter(has_text="zoe")).to_have_count(0)
    panel.get_by_text("People").click()
    panel.get_by_text("Tokens for programs").click()
    panel.get_by_label("New token").fill("weather page")
    panel.get_by_role("button", name="Make a token").click()
    headers = {"Authorization": f"Bearer {panel.get_by_label('Shown this once').input_value()}"}
    assert station.http.get("/api/cameras", headers=headers).status_code == 200
    panel.get_by_role("button", name="Done").click()
    panel.get_by_role("listitem").get_by_role("button", name="Revoke").click()
    panel.get_by_role("listitem").get_by_role("button", name="Sure?").click()
    expect(panel.get_by_text("There are none.")).to_be_visible()
    assert station.http.get("/api/cameras", headers=headers).status_code == 401


@pytest.fixture
def claimed(tmp_path: Path) -> tuple[Path, int, str]:
    """A station that was claimed in the terminal and does not run: its folder, its port, the admin's passphrase."""
    port = free_port()
    (tmp_path / "home").mkdir()
    (tmp_path / "cupola.yaml").write_text(config(port))
    printed = cupola(tmp_path, "claim", "--terminal", "--generate", "--config", "cupola.yaml")
    made = re.search(r"shown this once: (\S+)", printed.stdout)
    assert made, printed
    return tmp_path, port, made[1]


def test_login_view_and_control_survive_a_restart_of_the_server(claimed: tuple[Path, int, str], context: BrowserContext) -> None:
    folder, port, words = claimed
    page = context.new_page()
    with station_at(folder, "--config", "cupola.yaml"):
        page.goto(f"http://127.0.0.1:{port}")
        log_in(page, "admin", words)
        live(page)
        take(page)
    expect(page.get_by_text("No connection to the station since")).to_be_visible(timeout=15_000)
    with station_at(folder, "--config", "cupola.yaml"):
        live(page)
        expect(page.get_by_role("button", name="Log in")).to_have_count(0)
        expect(control(page)).to_contain_text("You have control", timeout=10_000)


def _address() -> str:
    """One of this machine's that is not its loopback."""
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family == socket.AF_INET and not address.address.startswith("127."):
                return address.address
    pytest.skip("this machine has no network besides its loopback")


def test_without_encryption_the_page_says_what_that_means_until_it_is_dismissed(claimed: tuple[Path, int, str], context: BrowserContext) -> None:
    folder, port, words = claimed
    page = context.new_page()
    note = page.get_by_role("note", name="Not encrypted")
    with station_at(folder, "--config", "cupola.yaml", "--host", "0.0.0.0"):
        page.goto(f"http://127.0.0.1:{port}")
        expect(page.get_by_role("button", name="Log in")).to_be_visible()
        expect(note).to_have_count(0)
        page.goto(f"http://{_address()}:{port}")
        expect(note).to_contain_text("can read the passphrase")
        log_in(page, "admin", words)
        live(page)
        expect(note).to_be_visible()
        note.get_by_role("button").click()
        expect(note).to_have_count(0)
        page.reload()
        live(page)
        expect(note).to_have_count(0)


def test_claim_and_login_are_all_red_at_night_and_fit_a_phone(new_station: RunningStation, context: BrowserContext) -> None:
    page = context.new_page()
    page.set_viewport_size({"width": 360, "height": 740})

    def look() -> None:
        page.wait_for_function("document.getAnimations().length === 0")
        seen = pixels(page)
        assert seen[..., 0].max() > 60
        assert seen[..., 1].max() <= 8 and seen[..., 2].max() <= 8
        assert page.evaluate("document.documentElement.scrollWidth <= 360 && document.querySelector('dialog').scrollWidth <= 360")

    page.goto(new_station.url)
    page.get_by_role("button", name="Red night mode").click()
    expect(page.get_by_role("button", name="Claim it")).to_be_visible()
    look()
    claim(new_station)
    expect(page.get_by_role("button", name="Log in")).to_be_visible(timeout=10_000)
    page.get_by_label("Remember this device").check()
    look()
