"""The whole program tells: real events, its own processes that send, a real HTTP server that receives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.sink import Sink
from tests.support.station import eventually
from tests.torture.station import Station, sky

SECRET = "s3cr3t-key"


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


def webhook(sink: Sink, name: str = "hook", **more: Any) -> dict[str, Any]:
    return {"name": name, "webhook": f"{sink.url}/{name}/{SECRET}", "loopback": True, **more}


def test_the_test_says_of_each_channel_what_became_of_it_and_no_secret(tmp_path: Path, sink: Sink) -> None:
    by_apprise = {"name": "apprise", "url": f"{sink.url.replace('http', 'json')}/apprise/{SECRET}", "loopback": True}
    nobody = {"name": "nobody", "url": f"json://127.0.0.1:9/{SECRET}", "loopback": True}
    unknown = {"name": "unknown", "url": f"nosuchservice://{SECRET}"}
    forbidden = {"name": "forbidden", "url": f"json://169.254.169.254/{SECRET}"}
    inside = {"name": "inside", "webhook": f"{sink.url}/inside"}
    channels = [webhook(sink, "direct"), by_apprise, nobody, unknown, forbidden, inside]
    with Station(tmp_path, sky(), more={"notify": {"channels": channels}}) as station:
        answer = station.post("/api/notify/test")
        assert [one["name"] for one in answer["items"] if one["ok"]] == ["direct", "apprise"]
        errors = {one["name"]: one["error"] for one in answer["items"]}
        assert "link-local" in errors["forbidden"] and "loopback: true" in errors["inside"] and not sink.documents("/inside")
        assert SECRET not in json.dumps(answer) + json.dumps(station.get("/api/notify"))
        assert all(one["error"] for one in answer["items"] if not one["ok"])
        (direct,), (through,) = sink.documents(f"/direct/{SECRET}"), sink.documents(f"/apprise/{SECRET}")
        assert direct["kind"] == "test" and "test" in through["message"]


def test_a_channel_that_hangs_or_is_down_holds_up_no_other_and_gets_everything_after_its_outage(tmp_path: Path) -> None:
    with Sink() as well, Sink() as silent:
        silent.answer = 0
        with Sink() as down:
            port = down.port  # and now it is free, and nobody answers there
        channels = [webhook(silent, "silent"), {"name": "down", "webhook": f"http://127.0.0.1:{port}/down", "loopback": True}, webhook(well, "well")]
        camera = sky(faults={"unplug_after_frames": 2, "replug_after_s": 12}, autostart=True)
        with Station(tmp_path, camera, more={"notify": {"channels": channels}}) as station:
            told = well.wait_for(lambda one: one["kind"] == "camera_lost", 60)
            assert told["level"] == "ERROR" and told["device_id"] == "cupola" and "north" in told["message"]

            def settled() -> bool:
                lines = {one["name"]: one for one in station.get("/api/notify")["channels"]}
                return lines["down"]["problem"] and lines["down"]["waiting"] == 1 and lines["well"]["waiting"] == 0

            eventually(settled)
            station.kill()  # what was not delivered is on disk
            with Sink(port) as up:
                station.start()
                up.wait_for(lambda one: one["kind"] == "camera_lost", 30)
                up.wait_for(lambda one: one["kind"] == "recovered", 60)
                well.wait_for(lambda one: one["kind"] == "recovered", 30)
                assert [one["kind"] for one in up.documents("/down")] == ["camera_lost", "recovered"]
                assert [one["kind"] for one in well.documents()] == ["camera_lost", "recovered"]
        assert not [path for path in (tmp_path / "logs").iterdir() if SECRET in path.read_text()]
