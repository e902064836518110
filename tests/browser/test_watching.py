"""Sensors, alarms and notifications on the page."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from tests.browser.conftest import claim, complaints_of, live, logged_in, stir
from tests.support.sink import Sink
from tests.support.station import running_station
from tests.watch.test_sensors import put

from cupola.storage.history import History, Reading
from cupola.storage.telemetry import Telemetry

pytestmark = pytest.mark.browser

GROUPS = """
sensors: [{{name: mast, source: w1, every_s: 0.5, silent_s: 3}}]
alarms: {{sysfs: {root}}}
notify: {{channels: [{{name: owner, webhook: "{url}/owner", loopback: true}}]}}
"""


def _read_before(path: Path) -> None:
    """Two hours of the thermometer, from before the start."""
    telemetry = Telemetry(path)
    history, now_ms = History(telemetry), int(time.time() * 1000)
    for minute in range(120):
        history.note(Reading("mast.28-1", "°C", now_ms - minute * 60_000, -4.5 + minute / 100))
    history.flush()
    telemetry.close()


def test_sensors_with_their_day_alarms_and_a_test_of_the_channels(browser: Browser, tmp_path: Path) -> None:
    thermometer = "bus/w1/devices/28-1/w1_slave"
    put(tmp_path / "sys", **{thermometer: "01 : crc=57 YES\n01 t=-4500\n"})
    _read_before(tmp_path / "images" / ".cupola" / "telemetry.sqlite")
    with Sink() as owner, running_station(tmp_path, after=GROUPS.format(root=tmp_path / "sys", url=owner.url)) as station:
        claim(station)
        with browser.new_context(viewport={"width": 1280, "height": 800}, storage_state=logged_in(browser, station)) as context:
            page = context.new_page()
            complaints = complaints_of(page)
            page.goto(station.url)
            live(page)
            stir(page)
            page.get_by_role("button", name="Nights").click()
            sensors = page.get_by_role("region", name="Sensors")
            mast = sensors.get_by_role("button", name="mast 28-1")
            expect(mast).to_contain_text("-4.5 °C")
            expect(sensors.get_by_role("button", name="host disk")).to_contain_text("%")
            mast.click()
            expect(sensors.get_by_role("img", name="The last day of mast.28-1")).to_be_visible()
            expect(sensors.get_by_text("The last day: -4.5 °C to -3.3 °C")).to_be_visible()
            page.screenshot(path=tmp_path / "curve.png")

            (tmp_path / "sys" / thermometer).unlink()
            alarm = page.locator(".notices").get_by_text("Sensor mast is silent")
            expect(alarm).to_be_visible(timeout=15_000)
            page.screenshot(path=tmp_path / "alarm.png")
            put(tmp_path / "sys", **{thermometer: "01 : crc=57 YES\n01 t=-5000\n"})
            expect(alarm).not_to_be_visible(timeout=15_000)

            page.get_by_role("button", name="Account").click()
            page.get_by_text("Notifications").click()
            page.get_by_role("button", name="Send a test").click()
            expect(page.get_by_text("It took the test.")).to_be_visible(timeout=15_000)
            page.screenshot(path=tmp_path / "test.png")
            assert [one["kind"] for one in owner.documents()].count("test") == 1
            assert complaints == []
