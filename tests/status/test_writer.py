"""What the server writes of itself, in a server put together and not started."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.watch.test_sensors import put

from cupola.app import App
from cupola.config.load import load
from cupola.core.errors import StorageFailed
from cupola.status import files
from cupola.status.host import processor_sensor, temperature_c
from cupola.status.metrics import families, text
from cupola.status.writer import StatusWriter


@pytest.fixture
async def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> AsyncIterator[App]:
    monkeypatch.setenv("CUPOLA_RUNTIME_DIR", str(tmp_path / "runtime"))
    (tmp_path / "cupola.yaml").write_text(
        "storage: {root: images, reserve_mb: 1}\nlogging: {folder: logs}\nstation: {name: roof}\n"
        f"cameras: [{{name: sky, driver: simulator, connect: false, {getattr(request, 'param', '')}}}]\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as sock:
        made = App(load(tmp_path / "cupola.yaml", {}), sock, lambda link: None)
        yield made
        for listening in made._sockets:
            listening.close()
        made.desk.close()
        made.catalogue.close()


def told(name: str = files.DOCUMENT) -> dict[str, Any]:
    return json.loads((files.runtime_folder() / name).read_text())


async def test_a_failing_disk_does_not_silence_the_status(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    await app.status.write()
    before = told(files.PRIVATE)["tokens"]

    def fails() -> dict[str, Any]:
        raise StorageFailed("the disk is gone")

    monkeypatch.setattr(app.status, "_tokens", fails)
    monkeypatch.setattr(app.status.document, "_look", lambda *_: fails())
    said: list[str] = []
    monkeypatch.setattr(app.status, "_log", lambda level, text, **_: said.append(text))
    for _ in range(3):
        await app.status.look()
        await app.status.write()
    assert len(said) == 2  # each once
    assert told()["sequence"] == 4 and told(files.PRIVATE)["tokens"] == before
    await app.status.end()


async def test_a_mistake_in_what_is_told_does_not_end_the_server(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is told itself, once, until it is over."""
    said: list[str] = []
    monkeypatch.setattr(app.status, "_log", lambda level, text, **_: said.append(text))
    monkeypatch.setattr("cupola.status.writer.GAP_S", 0.01)
    monkeypatch.setattr("cupola.status.files.HEARTBEAT_S", 0.02)
    make = app.status.document.make
    monkeypatch.setattr(app.status.document, "make", lambda **_: 1 / 0)
    running = asyncio.create_task(app.status.run())
    await asyncio.sleep(0.3)
    assert len(said) == 1 and "ZeroDivisionError" in said[0] and not running.done()
    monkeypatch.setattr(app.status.document, "make", make)
    async with asyncio.timeout(10):
        while not (files.runtime_folder() / files.DOCUMENT).exists():
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await app.status.end()
    assert told()["running"] is False


async def test_the_count_goes_on_after_a_restart_of_the_server(app: App) -> None:
    await app.status.write()
    again = StatusWriter(app.status.document, app.settings, app.bus, files.runtime_folder(), dict, print)
    await again.write()
    assert told()["sequence"] == 2
    for writer in (again, app.status):
        await writer.end()


NOW = datetime.now(UTC)
COMING = f"day: {{window: '{NOW + timedelta(hours=2):%H:%M}..{NOW + timedelta(hours=3):%H:%M}', interval_s: 60}}"


@pytest.mark.parametrize("app", [COMING], indirect=True)
async def test_before_a_window_opens_today_is_the_one_that_comes(app: App) -> None:
    await app.scheduler.resume()
    await app.status.look()
    await app.status.write()
    today = told()["today"]
    opens = NOW + timedelta(hours=2)
    assert today["start_time"].startswith(f"{opens:%Y-%m-%dT%H:%M}") and today["date"] == f"{opens:%Y-%m-%d}"
    assert (today["expected_photos"], today["photos_captured"], today["interval_seconds"]) == (60, 0, 60)
    await app.status.end()


async def test_without_a_folder_to_write_it_is_said_once(app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(app.status, "_log", lambda level, text, **_: said.append(text))
    (tmp_path / "a file").touch()
    monkeypatch.setattr(app.status, "_folder", tmp_path / "a file" / "below")
    for _ in range(3):
        await app.status.write()
    assert len(said) == 1 and "cannot be written" in said[0]
    monkeypatch.setattr(app.status, "_folder", tmp_path / "runtime")
    await app.status.end()
    assert os.listdir(tmp_path / "runtime") and not list((tmp_path / "runtime").glob("*.tmp"))


async def test_troubles_are_errors_from_when_they_began_until_they_are_over(app: App) -> None:
    """And a full disk is one that keeps pictures from being taken."""
    document = app.status.document
    document.sensors = lambda: {"roof.temperature": -3.5}
    document.troubles = lambda: {"cpu": "The processor is busy", "supply": "The supply is too weak"}
    first = document.make()
    assert [(error["kind"], error["camera"], error["message"]) for error in first["errors"]] == [
        ("host_alarm", None, "The processor is busy"),
        ("host_alarm", None, "The supply is too weak"),
    ]
    assert first["status"] == "idle" and document.make()["errors"] == first["errors"]
    app.keeping.state = replace(app.keeping.state, low=True, rung="none")
    assert [error["kind"] for error in document.make()["errors"]][-1] == "storage_full" and document.make()["status"] == "error"
    document.troubles = dict
    said = text(families(document.make(), 0.0, stale=False))
    assert 'cupola_errors_current{device="roof"} 1\n' in said
    assert 'cupola_sensor_temperature_celsius{device="roof",sensor="roof.temperature"} -3.5\n' in said


def test_the_processor_is_found_among_the_zones_and_chips_of_a_machine(tmp_path: Path) -> None:
    assert processor_sensor(tmp_path) is None and temperature_c(None) is None
    for number, kind in enumerate(("acpitz", "wifi", "x86_pkg_temp")):
        put(
            tmp_path,
            **{f"class/thermal/thermal_zone{number}/type": f"{kind}\n", f"class/thermal/thermal_zone{number}/temp": f"{40_000 + number * 1000}\n"},
        )
    assert temperature_c(processor_sensor(tmp_path)) == 42.0
    put(tmp_path, **{"class/thermal/thermal_zone2/temp": "none\n"})
    assert temperature_c(processor_sensor(tmp_path)) is None
    put(tmp_path, **{"class/hwmon/hwmon0/name": "nvme\n", "class/hwmon/hwmon0/temp1_input": "35000\n"})
    put(tmp_path, **{"class/hwmon/hwmon1/name": "k10temp\n", "class/hwmon/hwmon1/temp1_input": "61850\n"})
    assert temperature_c(processor_sensor(tmp_path)) == 61.9
