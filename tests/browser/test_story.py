"""One evening with one camera and three people: control is taken, taken over, lost by sleeping, given, and logins outlive a restart.

With SCREENSHOTS=FOLDER a picture of each step is left there, of a desktop and of a phone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browser.conftest import SIGHT, control, live, log_in, passphrase, stir, take
from tests.support.station import as_owner, config, eventually, free_port, station_at

pytestmark = pytest.mark.browser
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}
LOST = "This page has it no longer."
STILL = "document.getAnimations().every((one) => one.playState !== 'running' || one.effect.getTiming().iterations === Infinity)"
PEOPLE = {"kim": "master", "vera": "observer"}


class Evening:
    """A station that can be started again, and everybody's page."""

    def __init__(self, folder: Path, browser: Browser, stack: ExitStack) -> None:
        self._folder, self._browser, self._stack, self._port = folder, browser, stack, free_port()
        self._shown = 0
        (folder / "home").mkdir()
        slow = config(self._port).replace("live: {exposure_s: 0.05,", "live: {exposure_s: 0.5,")  # three browsers that draw, and no graphics card
        assert slow != config(self._port)
        (folder / "cupola.yaml").write_text(slow)
        self.errors = list[str]()
        self._running = ExitStack()
        self.start()

    def start(self) -> None:
        self._running.enter_context(station_at(self._folder, "--config", "cupola.yaml"))

    def end(self) -> None:
        self._running.close()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """By the owner's shell."""
        answer = httpx.request(method, f"http://127.0.0.1:{self._port}{path}", headers=as_owner(self._folder), json=body, timeout=30, trust_env=False)
        return answer.raise_for_status().json()

    def master(self) -> str | None:
        return self.ask("GET", "/api/health")["master"]["sky"]

    def enter(self, user: str, machine: dict[str, Any]) -> Page:
        """Somebody logs in with a browser of their own."""
        page = self._stack.enter_context(self._browser.new_context(**machine)).new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.add_init_script(SIGHT)
        page.goto(f"http://127.0.0.1:{self._port}")
        expect(page.get_by_role("button", name="Log in")).to_be_visible()
        self.show(f"login-{user}", page)
        log_in(page, user, passphrase(user))
        live(page)
        return page

    def show(self, what: str, *pages: Page) -> None:
        """Leave a picture of each page, if they are wanted. Nothing on a page is wider than its screen."""
        self._shown += 1
        for page in pages:
            width: int = (page.viewport_size or {})["width"]
            assert page.evaluate("document.documentElement.scrollWidth") <= width, what
            if folder := os.environ.get("SCREENSHOTS"):
                Path(folder).mkdir(parents=True, exist_ok=True)
                stir(page)
                eventually(lambda page=page: page.evaluate(STILL))
                kind = "phone" if width < 600 else "desktop"
                page.screenshot(path=Path(folder) / f"{self._shown:02}-{what}-{kind}-{pages.index(page)}.png")


@pytest.fixture
def evening(tmp_path: Path, browser: Browser) -> Iterator[Evening]:
    with ExitStack() as stack:
        evening = Evening(tmp_path, browser, stack)
        try:
            evening.ask("POST", "/api/claim", {"user": "admin", "passphrase": passphrase("admin")})
            for name, role in PEOPLE.items():
                evening.ask("POST", "/api/users", {"name": name, "role": role, "passphrase": passphrase(name)})
            yield evening
        finally:
            evening.end()
    assert evening.errors == []


@pytest.mark.timeout(600)
def test_control_goes_from_hand_to_hand_and_logins_outlive_a_restart(evening: Evening) -> None:
    kim, vera = evening.enter("kim", DESKTOP), evening.enter("vera", PHONE)
    take(kim)
    expect(control(vera)).to_contain_text("kim has control")
    expect(vera.get_by_role("button", name="Snap")).to_have_count(0)
    evening.show("master-and-observer", kim, vera)

    admin = evening.enter("admin", PHONE)
    expect(control(admin)).to_contain_text("kim has control")
    control(admin).get_by_role("button", name="Take over").click()
    control(admin).get_by_role("button", name="Sure?").click()
    expect(control(admin)).to_contain_text("You have control")
    expect(control(kim)).to_contain_text("admin has control")
    expect(control(vera)).to_contain_text("admin has control")
    expect(kim.get_by_role("button", name="Snap")).to_be_disabled()
    expect(kim.get_by_text(LOST)).to_be_visible()
    evening.show("taken-over", kim, admin, vera)

    admin.evaluate("away(true)")
    eventually(lambda: evening.master() is None, 30)
    expect(control(kim)).to_contain_text("Nobody has control")
    take(kim)
    expect(kim.get_by_text(LOST)).to_have_count(0)
    evening.show("expired-by-a-sleeping-tab", kim)
    admin.evaluate("away(false)")
    live(admin)
    expect(control(admin)).to_contain_text("kim has control")
    evening.show("awake-again", admin)

    control(admin).get_by_role("button", name="Take over").click()
    control(admin).get_by_role("button", name="Sure?").click()
    expect(control(admin)).to_contain_text("You have control")
    admin.keyboard.press("a")
    panel = admin.get_by_role("complementary", name="Account")
    panel.get_by_text("Logins of everybody").click()
    kims = panel.get_by_role("listitem").filter(has_text="kim")
    kims.get_by_role("button", name="Give control").click()
    evening.show("give-control", admin)
    kims.get_by_role("button", name="Sure?").first.click()
    expect(control(kim)).to_contain_text("You have control")
    assert evening.master() == "kim"
    evening.show("forced-master", kim, admin)
    admin.keyboard.press("Escape")

    evening.end()
    for page in (kim, vera, admin):
        expect(page.get_by_text("No connection to the station since")).to_be_visible(timeout=20_000)
    evening.show("station-away", kim, vera)
    evening.start()
    for page in (kim, vera, admin):
        live(page)
        expect(page.get_by_role("button", name="Log in")).to_have_count(0)
    expect(control(kim)).to_contain_text("You have control", timeout=15_000)
    expect(control(vera)).to_contain_text("kim has control")
    evening.show("after-the-restart", kim, vera, admin)


def test_who_is_logged_out_sees_no_image_that_was_seen_before_in_the_same_browser(evening: Evening) -> None:
    eventually(lambda: evening.ask("GET", "/api/cameras/sky")["state"] == "running", 40)
    number = evening.ask("POST", "/api/cameras/sky/snap", {"exposure_s": 0.05})["id"]
    eventually(lambda: evening.ask("GET", f"/api/captures/{number}")["developed"], 60)
    page = evening.enter("vera", DESKTOP)
    fetched = f"fetch('/api/captures/{number}/image').then(async (answer) => [answer.status, (await answer.blob()).size])"
    assert page.evaluate(fetched)[0] == 200
    page.keyboard.press("a")
    page.get_by_role("button", name="Log out").first.click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    assert page.evaluate(fetched)[0] == 401
