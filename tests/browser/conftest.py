"""One Chromium for the browser tests of a file, and people who are logged in with it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright
from tests.support.station import RunningStation, running_station
from tools.build_ui import build

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-proxy-server",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


PEOPLE = {"kim": "master", "vera": "observer"}
# Chromium without a screen cannot hide a page: this says to the page what a phone that goes to sleep says
SIGHT = """
let away = false;
Object.defineProperty(document, "hidden", { get: () => away });
window.away = (value) => { away = value; document.dispatchEvent(new Event("visibilitychange")); };
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    build()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def passphrase(user: str) -> str:
    return f"three words for {user}"


def claim(station: RunningStation, **people: str) -> None:
    """By the owner's shell; `people` are users and their roles."""
    station.http.post("/api/claim", json={"user": "admin", "passphrase": passphrase("admin")}).raise_for_status()
    for name, role in people.items():
        station.http.post("/api/users", json={"name": name, "role": role, "passphrase": passphrase(name)}).raise_for_status()


def logged_in(browser: Browser, station: RunningStation, user: str = "admin") -> Any:
    """What a browser keeps of a login, for `storage_state` of a context."""
    with browser.new_context() as context:
        answer = context.request.post(f"{station.url}/api/login", data={"user": user, "passphrase": passphrase(user)})
        assert answer.ok, answer.text()
        return context.storage_state()


def complaints_of(page: Page) -> list[str]:
    """Filled with what the browser complains about from now on."""
    complaints = list[str]()
    page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("response", lambda answer: complaints.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
    page.add_init_script("document.addEventListener('securitypolicyviolation', (e) => console.error('CSP', e.violatedDirective, e.blockedURI))")
    return complaints


def pixels(page: Page) -> np.ndarray:
    """The screen, (H, W, 3) uint8."""
    with av.open(io.BytesIO(page.screenshot(type="png")), format="png_pipe") as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")  # pyright: ignore[reportAttributeAccessIssue]


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStation]:
    with running_station(tmp_path_factory.mktemp("station")) as station:
        claim(station, **PEOPLE)
        yield station


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context() as context:
        yield context


@pytest.fixture
def enter(browser: Browser, station: RunningStation) -> Iterator[Callable[[str], Page]]:
    """Opens the page as this person, in a browser of their own. An exception in a page fails the test."""
    contexts = list[BrowserContext]()
    errors = list[str]()

    def open_page(user: str) -> Page:
        context = browser.new_context(storage_state=logged_in(browser, station, user))
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.add_init_script(SIGHT)
        page.goto(station.url)
        live(page)
        return page

    yield open_page
    for context in contexts:
        context.request.post(f"{station.url}/api/logout")
        context.close()
    assert errors == []


def live(page: Page) -> None:
    expect(page.locator(".chip.live")).to_be_visible(timeout=20_000)


def log_in(page: Page, user: str, words: str) -> None:
    page.get_by_label("User").fill(user)
    page.get_by_label("Passphrase", exact=True).fill(words)
    page.get_by_role("button", name="Log in").click()


def stir(page: Page) -> None:
    """What lies over the picture is in sight for a while."""
    half: int = (page.viewport_size or {"width": 1280})["width"] // 2
    page.mouse.move(half, 300)
    page.mouse.move(half + 10, 310)


def control(page: Page) -> Locator:
    """The line that says who has control; a touch keeps what lies over the picture in sight."""
    stir(page)
    return page.locator("footer").get_by_role("group", name="Control")


def take(page: Page) -> None:
    control(page).get_by_role("button", name="Take control").click()
    expect(control(page)).to_contain_text("You have control")


def master(station: RunningStation) -> str | None:
    return station.http.get("/api/health").json()["master"]["sky"]
