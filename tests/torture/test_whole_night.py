"""A night from dusk to dawn in half a minute, by a wall clock that runs fast: the whole program, with a power cut and a hanging camera in the middle."""

from __future__ import annotations

import base64
import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.fast_clock import FastClock
from tests.support.sink import Sink
from tests.torture.station import CAMERA, DARKROOM, Station, sky, until

pytestmark = [pytest.mark.torture, pytest.mark.timeout(300)]

PLACE = {"latitude": 55.0, "longitude": 8.0, "timezone": "Europe/Berlin"}
SUNSET, SUNRISE = datetime(2026, 6, 21, 20, 8, tzinfo=UTC), datetime(2026, 6, 22, 2, 50, tzinfo=UTC)  # within minutes
RATE = 1500.0
INTERVAL_S = 0.4  # true seconds: what a camera does is not faster


def _seen(station: Station, states: list[str]) -> dict[str, Any]:
    status = station.get("/api/status")
    if states[-1:] != [status["state"]]:
        states.append(status["state"])
    return status


def _night(station: Station) -> dict[str, Any]:
    (night,) = station.get("/api/nights")["items"]
    return night


def _cut_power(station: Station) -> None:
    """Everything is gone at once; what was not durable is lost."""
    station.kill()
    for process in station.processes(CAMERA) + station.processes(DARKROOM):
        process.kill()


def _telling(owner: Sink) -> dict[str, Any]:
    return {"channels": [{"name": "owner", "webhook": owner.url, "loopback": True}], "daily_summary": True}


def _judge_told(owner: Sink, station: Station, summary: dict[str, Any]) -> None:
    """The owner got the summary, once, with the best picture; a camera that hung once is nothing to tell."""
    told = owner.wait_for(lambda one: one["kind"] == "night_finished")
    assert (told["level"], told["device_id"]) == ("INFO", "cupola")
    assert f"Photos: {summary['photos']} of {summary['expected']}" in told["message"] and "Video: " in told["message"]
    assert base64.b64decode(told["picture"]["base64"]) == (station.root / summary["best"]["path"]).read_bytes()
    assert [one["kind"] for one in owner.documents()] == ["night_finished"]


def test_a_night_is_captured_from_dusk_to_dawn_through_a_power_cut_and_a_hanging_camera(tmp_path: Path) -> None:
    clock = FastClock(tmp_path, SUNSET - timedelta(hours=1), rate=1.0)
    camera = sky(faults={"hang_on": [20]}) | {"night": {"window": "sunset..sunrise", "interval_s": INTERVAL_S}}
    camera["simulator"] = camera["simulator"] | {"sky_time": "now", "clouds": 0.3}
    states: list[str] = []
    with Sink() as owner, Station(tmp_path, camera, place=PLACE, environment=clock.environment, more={"notify": _telling(owner)}) as station:
        station.running()
        assert _seen(station, states)["state"] == "waiting"
        assert station.get("/api/nights")["items"] == []

        clock.set(SUNSET - timedelta(minutes=30), RATE)
        until(lambda: _seen(station, states)["state"] == "capturing", 40, "the window opens")
        until(lambda: len(station.captures()) >= 8, 40, "images of the evening")
        clock.set(clock.now, rate=1.0)  # a slow machine takes long to start
        before, cut_at = _night(station), clock.now
        _cut_power(station)
        station.start()
        until(lambda: station.camera()["restarts"] and station.camera()["state"] == "running", 60, "the camera hangs and comes back")
        until(lambda: len(station.captures()) >= before["photos"] + 22, 40, "images after the hang")
        after = _night(station)
        assert (after["id"], after["day"], after["state"]) == (before["id"], "2026-06-21", "capturing")

        clock.set(clock.now, RATE)
        until(lambda: _seen(station, states) and clock.now > SUNRISE - timedelta(minutes=60), 60, "the morning")
        clock.set(datetime.fromisoformat(after["ends_at"]) - timedelta(seconds=2), rate=1.0)
        until(lambda: _seen(station, states) and _night(station)["state"] == "finished", 60, "the night is finished")
        until(lambda: _seen(station, states)["state"] == "idle", 10, "the station rests")

        assert states == ["waiting", "capturing", "creating_video", "idle"], states
        night, whole = _night(station), station.get("/api/nights/north/2026-06-21")
        starts_at, ends_at = datetime.fromisoformat(night["starts_at"]), datetime.fromisoformat(night["ends_at"])
        assert abs(starts_at - SUNSET) < timedelta(minutes=5) and abs(ends_at - SUNRISE) < timedelta(minutes=5)
        images = station.captures()
        assert {image["period"] for image in images} == {night["id"]}
        assert {image["day"] for image in images} == {"2026-06-21"}
        assert all(path.startswith("north/2026/06/21/") for path in station.visible())
        taken = [datetime.fromisoformat(image["opened_at"]) for image in images]
        assert starts_at <= min(taken) and max(taken) < ends_at + timedelta(seconds=2)
        assert [image["sequence"] for image in images] == list(range(1, len(images) + 1))

        summary = whole["summary"]
        assert summary == json.loads((station.root / "north/2026/06/21/summary.json").read_text())
        assert summary["photos"] == summary["developed"] == night["photos"] == len(images)
        assert summary["expected"] == night["expected"] == math.ceil((ends_at - starts_at).total_seconds() / INTERVAL_S)
        gaps = [(datetime.fromisoformat(gap["from"]), datetime.fromisoformat(gap["to"])) for gap in summary["gaps"]]
        assert any(begin <= cut_at + timedelta(seconds=1) < end for begin, end in gaps), "the power cut left a gap that is not told"
        for product in summary["products"]:
            assert product["state"] == "finished" and (station.root / product["path"]).stat().st_size == product["bytes"], product
        station.verify_whole()
        _judge_told(owner, station, summary)


def test_a_clock_that_is_set_back_in_the_night_does_not_begin_it_again(tmp_path: Path) -> None:
    clock = FastClock(tmp_path, SUNSET + timedelta(hours=2), rate=1.0)
    camera = sky() | {"night": {"window": "sunset..sunrise", "interval_s": INTERVAL_S}}
    with Station(tmp_path, camera, place=PLACE, environment=clock.environment) as station:
        until(lambda: len(station.captures()) >= 3, 40, "images")
        clock.jump(-timedelta(hours=1))
        more = len(station.captures()) + 3
        until(lambda: len(station.captures()) >= more, 40, "images after the clock was set back")
        first = _night(station)

        clock.jump(-timedelta(hours=3))  # before the window: nothing is taken, and the night is not over
        until(lambda: station.get("/api/status")["state"] == "waiting", 10, "it waits for the window")
        assert _night(station)["state"] == "capturing"

        clock.set(SUNRISE + timedelta(hours=1))  # over: but somebody sets the clock right at once
        until(lambda: _night(station)["state"] != "capturing", 10, "the window is over")
        clock.set(SUNSET + timedelta(hours=3))
        more = len(station.captures()) + 3
        until(lambda: len(station.captures()) >= more, 40, "the night goes on")
        assert (_night(station)["id"], _night(station)["state"]) == (first["id"], "capturing")
        assert {image["period"] for image in station.captures()} == {first["id"]}
