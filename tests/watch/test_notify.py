"""The whole program tells: real events, its own processes that send, a real HTTP server that receives."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from tests.support.sink import Sink
from tests.support.station import eventually
from tests.torture.station import Station, sky

from cupola.config.notify import Channel, Notify
from cupola.core.bus import Bus
from cupola.core.events import HostAlarm
from cupola.storage.telemetry import Telemetry
from cupola.watch.channels import Sender
from cupola.watch.notices import Notice
from cupola.watch.notify import Notifier

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
    heartbeat = {"url": f"{sink.url}/alive", "loopback": True}
    with Station(tmp_path, sky(), more={"notify": {"channels": channels, "heartbeat": heartbeat}}) as station:
        answer = station.post("/api/notify/test")
        assert [one["name"] for one in answer["items"] if one["ok"]] == ["direct", "apprise"]
        errors = {one["name"]: one["error"] for one in answer["items"]}
        assert "link-local" in errors["forbidden"] and "loopback: true" in errors["inside"] and not sink.documents("/inside")
        assert SECRET not in json.dumps(answer) + json.dumps(station.get("/api/notify"))
        assert all(one["error"] for one in answer["items"] if not one["ok"])
        (direct,), (through,) = sink.documents(f"/direct/{SECRET}"), sink.documents(f"/apprise/{SECRET}")
        eventually(lambda: sink.documents("/alive"))
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


async def test_pictures_go_along_by_webhook_and_through_apprise(tmp_path: Path, sink: Sink) -> None:
    picture = b"\xff\xd8 as good as a JPEG"
    (tmp_path / "best.jpg").write_bytes(picture)
    sender = Sender("cupola", UTC, tmp_path)
    notice = Notice("night_finished", "INFO", "INFO", time.time(), "The night", "It is over.", "best.jpg")
    for name, channel in (("hook", {"webhook": f"{sink.url}/pictures"}), ("chat", {"url": sink.url.replace("http", "json") + "/chat"})):
        outcome = await sender.send(Channel.model_validate({"name": name, "loopback": True, **channel}), notice)
        assert outcome.error is None
    (posted,), (by_apprise,) = sink.documents("/pictures"), sink.documents("/chat")
    assert base64.b64decode(posted["picture"]["base64"]) == picture and posted["picture"]["type"] == "image/jpeg"
    assert base64.b64decode(by_apprise["attachments"][0]["base64"]) == picture


async def test_a_message_that_is_refused_is_dropped_and_the_next_one_is_delivered(tmp_path: Path) -> None:
    with Sink() as sink:
        sink.answer = 400
        notify = Notify.model_validate({"channels": [webhook(sink)]})
        telemetry, bus, said = Telemetry(tmp_path / "telemetry.sqlite"), Bus(), list[str]()
        notifier = Notifier(notify, Sender("cupola", UTC, tmp_path), telemetry, bus, lambda level, words, **_: said.append(words), str)
        await notifier.take_up()
        running = asyncio.create_task(notifier.run())
        try:
            async with asyncio.timeout(20):
                while notifier.lines[0].delivered_at is None:
                    bus.publish(HostAlarm(what="disk", level="WARNING", active=True, message="The disk fills up"))
                    await asyncio.sleep(0.1)
                assert any("refuses a message, which is dropped" in words for words in said) and not sink.got
                sink.answer = 200
                bus.publish(HostAlarm(what="disk", level="WARNING", active=False, message="The disk has room again"))
                while not sink.got:
                    await asyncio.sleep(0.05)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            telemetry.close()
        assert [one["kind"] for one in sink.documents()] == ["recovered"]
