"""The schedule and its nights as the page and the commands see them, on a station whose night is always."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.support.station import RunningStation, eventually, running_station

RULES = "night: {window: always, interval_s: 0.3}"


@pytest.fixture(scope="module")
def scheduled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStation]:
    with running_station(tmp_path_factory.mktemp("scheduled"), more=RULES) as station:
        yield station


@pytest.fixture
def night(scheduled: RunningStation) -> dict[str, Any]:
    """The night that is open, once it has three images."""
    scheduled.until(lambda camera: camera["night"]["photos"] >= 3, 40)
    return scheduled.http.get("/api/nights").json()["items"][0]


def test_the_schedule_lists_each_night_from_the_open_one_on(scheduled: RunningStation, night: dict[str, Any]) -> None:
    answer = scheduled.http.get("/api/schedule", params={"days": 3}).json()
    (camera,) = answer["items"]
    assert (camera["camera"], camera["state"], answer["next"]) == ("sky", "capturing", None)
    windows = camera["windows"]
    assert windows[0]["day"] == night["day"] and len(windows) == 4
    assert all(window["parts"] == [{"starts_at": window["starts_at"], "ends_at": window["ends_at"]}] for window in windows)
    assert windows[0]["expected"] == night["expected"] == pytest.approx(86400 / 0.3, rel=0.01)
    assert scheduled.http.get("/api/schedule", params={"days": 0}).status_code == 400


def test_the_command_says_the_same_as_the_api_also_without_a_server(scheduled: RunningStation, night: dict[str, Any]) -> None:
    told = scheduled.json("schedule", "--days", "2", "--json")
    listed = scheduled.http.get("/api/schedule", params={"days": 2}).json()["items"][0]["windows"]
    assert [(one["day"], datetime.fromisoformat(one["starts_at"])) for one in told] == [
        (one["day"], datetime.fromisoformat(one["starts_at"])) for one in listed
    ]
    table = scheduled.cupola("schedule").stdout
    assert night["day"] in table and "always" not in table


def test_a_night_that_goes_on_has_a_summary_as_of_now(scheduled: RunningStation, night: dict[str, Any]) -> None:
    whole = scheduled.http.get(f"/api/nights/sky/{night['day']}").json()
    assert (whole["id"], whole["state"], whole["finished_at"]) == (night["id"], "capturing", None)
    assert 3 <= whole["summary"]["photos"] <= whole["photos"] + 3
    images = scheduled.http.get("/api/captures").json()["items"]
    assert {(image["period"], image["day"]) for image in images} == {(night["id"], night["day"])}


def test_the_status_names_the_night_and_counts_by_it(scheduled: RunningStation, night: dict[str, Any]) -> None:
    status = scheduled.http.get("/api/status").json()
    (camera,) = status["cameras"]
    assert status["state"] == camera["night"]["state"] == "capturing"
    assert camera["night"]["day"] == night["day"] and f"night of {night['day']} until " in camera["night"]["words"]
    assert camera["images_today"] >= camera["night"]["photos"] - 2


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("/api/nights/sky/1999-01-01", 404, "The newest is that of "),
        ("/api/nights/sky/2026-11-21?kind=day", 404, "There is none yet"),
        ("/api/nights/moon/2026-11-21", 404, 'There is no camera "moon"'),
        ("/api/nights/sky/yesterday", 400, "date"),
        ("/api/nights?after=nonsense", 400, "not a cursor"),
        ("/api/nights?camera=moon", 404, 'There is no camera "moon"'),
    ],
)
def test_what_is_not_there_is_said(scheduled: RunningStation, path: str, code: int, words: str) -> None:
    answer = scheduled.http.get(path)
    assert (answer.status_code, words in answer.json()["detail"]) == (code, True), answer.text


def test_stopped_by_hand_it_rests_and_told_to_it_goes_on(scheduled: RunningStation, night: dict[str, Any]) -> None:
    assert scheduled.cupola("stop", "sky").returncode == 0
    stopped = scheduled.until(lambda camera: camera["night"]["state"] == "stopped")
    assert stopped["session"] is None and stopped["night"]["words"].endswith(", stopped by hand")
    assert scheduled.cupola("start", "--scheduled", "--count", "3").returncode == 2
    assert scheduled.cupola("start", "sky", "--scheduled").returncode == 0
    goes_on = scheduled.until(lambda camera: camera["night"]["state"] == "capturing" and camera["night"]["photos"] > stopped["night"]["photos"])
    assert goes_on["session"]["interval_s"] == 0.3
    assert [one["id"] for one in scheduled.http.get("/api/nights").json()["items"]] == [night["id"]]


def test_pages_of_nights_list_each_once(scheduled: RunningStation, night: dict[str, Any]) -> None:
    page = scheduled.http.get("/api/nights", params={"limit": 1, "camera": "sky"}).json()
    assert [one["id"] for one in page["items"]] == [night["id"]]
    assert page["next"] is None
    assert datetime.fromisoformat(night["ends_at"]) - datetime.fromisoformat(night["starts_at"]) < timedelta(hours=25)


def test_where_no_window_is_open_going_on_is_refused_with_the_reason(station: RunningStation) -> None:
    answer = station.http.post("/api/cameras/sky/resume")
    assert (answer.status_code, "No window of camera" in answer.json()["detail"]) == (409, True)
    assert station.camera()["night"] is None
    assert station.http.get("/api/status").json()["state"] == "idle"
    eventually(lambda: station.cupola("schedule", "--config", "cupola.yaml").stdout.startswith("Nothing is scheduled."))
