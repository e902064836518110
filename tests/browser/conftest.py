"""One Chromium for the browser tests of a file, and people who are logged in with it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from tests.support.station import RunningStation
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
