"""What makes clips by itself, in a running station: a real broker, a robot's page, a simulated sky."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from tests.clips.night_sky import Observatory
from tests.support.mosquitto import Mosquitto
from tests.support.station import as_owner, cupola, eventually, free_port, station_at

pytestmark = pytest.mark.timeout(300)
CONFIG = """
mqtt: {{host: 127.0.0.1, port: {broker}}}
cameras:
  - name: sky
    driver: video
    video: {{source: "{camera}"}}
    preroll: {{seconds: 4, before_s: 1, after_s: 0.5}}
clips:
  at_once: 16
  triggers:
    - {{name: garage, mqtt: {{topic: garage/+}}, before_s: 2}}
    - {{name: strict, mqtt: {{topic: garage/gate/+, when: "fault.code > 3"}}}}
    - {{name: robot, label: agv, poll: {{url: "{robot}", when: "fault != 0", every_s: 0.2, loopback: true}}}}
    - {{name: elsewhere, poll: {{url: "http://this-machine-{alias}/status", when: "fault != 0", every_s: 0.2}}}}
    - {{name: meteor, motion: {{camera: sky}}, before_s: 2, after_s: 1}}
    - {{name: series, event: {{kind: capture_started, when: "count == 3"}}}}
storage: {{root: images, min_free_percent: 0, reserve_mb: 1}}
logging: {{folder: logs}}
web: {{port: {port}}}
"""


@dataclass
class Place:
    folder: Path
    http: httpx.Client
    broker: Mosquitto
    observatory: Observatory

    def told(self, name: str) -> dict[str, Any]:
        return next(one for one in self.http.get("/api/status").json()["triggers"] if one["name"] == name)

    def clips(self, label: str) -> list[dict[str, Any]]:
        """Oldest first."""
        found = self.http.get("/api/clips", params={"limit": 500}).raise_for_status().json()["items"]
        return [clip for clip in reversed(found) if clip["label"] == label]

    def saved(self, label: str, count: int) -> list[dict[str, Any]]:
        def done() -> list[dict[str, Any]] | None:
            clips = self.clips(label)
            return clips if len(clips) >= count and all(clip["state"] != "recording" for clip in clips) else None

        clips = eventually(done, 60)
        assert clips and len(clips) == count and all(clip["state"] == "saved" for clip in clips), clips
        return clips

    def publish(self, topic: str, payload: Any) -> None:
        publish(self.broker, topic, payload)


def publish(broker: Mosquitto, topic: str, payload: Any, *, retain: bool = False) -> None:
    from paho.mqtt.publish import single

    single(topic, payload if isinstance(payload, bytes | str) else json.dumps(payload), hostname="127.0.0.1", port=broker.port, retain=retain)


@contextmanager
def observed(folder: Path) -> Iterator[Place]:
    port = free_port()
    (folder / "home").mkdir()
    with Observatory() as observatory, Mosquitto(folder) as broker:
        text = CONFIG.format(camera=observatory.camera, robot=observatory.robot, broker=broker.port, port=port, alias="nowhere.invalid")
        (folder / "cupola.yaml").write_text(text)
        publish(broker, "garage/old", "kept", retain=True)  # is told to whoever comes, not because it happens now
        with (
            station_at(folder, "--config", "cupola.yaml"),
            httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=as_owner(folder), trust_env=False, timeout=30) as http,
        ):
            place = Place(folder, http, broker, observatory)
            eventually(lambda: http.get("/api/cameras/sky").json()["preroll"]["seconds"] >= 3, 60)
            eventually(lambda: place.told("garage")["state"] == "armed" and place.told("robot")["state"] == "armed", 20)
            yield place


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with observed(tmp_path_factory.mktemp("place")) as place:
        yield place


def test_a_message_makes_a_clip_and_another_one_makes_it_longer(place: Place) -> None:
    place.publish("garage/door", {"open": True})
    eventually(lambda: place.clips("garage"))
    place.publish("garage/light", "on")
    [clip] = place.saved("garage", 1)
    assert [(trigger["source"], trigger["payload"]) for trigger in clip["triggers"]] == [("mqtt", {"open": True}), ("mqtt", "on")]
    assert clip["before_s"] == 2 and clip["before_got_s"] >= 2 and clip["after_got_s"] >= clip["after_s"] >= 0.5 and clip["missing"] == []


def test_messages_that_are_garbage_huge_or_retained_harm_nothing(place: Place) -> None:
    count = len(place.clips("strict"))
    place.publish("garage/gate/a", bytes(range(256)))
    eventually(lambda: "no field fault" in str(place.told("strict")["problem"]))
    for payload in (b"x" * 3_000_000, b"[" * 60_000, b'{"fault": {"code": 1e999}}', b'{"fault": {"code": "7"}}', {"fault": {"code": 3}}):
        place.publish("garage/gate/b", payload)
    place.publish("garage/gate/c", {"fault": {"code": 4}, "deep": json.loads("[" * 50 + "]" * 50), "long": "y" * 9000})
    clip = place.saved("strict", count + 1)[-1]
    [trigger] = clip["triggers"]
    assert isinstance(trigger["payload"], str) and 2000 < len(trigger["payload"]) <= 4096 and trigger["payload"].startswith('{"fault"')
    assert place.told("strict")["problem"] is None and place.told("strict")["count"] == 1


def test_a_flood_of_messages_neither_blocks_the_station_nor_its_catalogue(place: Place) -> None:
    before = place.told("garage")
    for number in range(100):
        place.publish("garage/flood", str(number))
    begun = time.monotonic()
    assert place.http.get("/api/health").status_code == 200 and time.monotonic() - begun < 2
    eventually(lambda: place.told("garage")["count"] > before["count"])
    clip = eventually(
        lambda: next((clip for clip in place.clips("garage") if clip["triggers"][0]["payload"] == 0 and clip["state"] == "saved"), None), 60
    )
    assert clip and len(clip["triggers"]) <= 100


def test_an_answer_that_flaps_triggers_once_each_time_that_it_becomes_true(place: Place) -> None:
    robot = place.observatory
    for fault in (7, 8):
        robot.status = {"fault": fault}
        eventually(lambda: place.told("robot")["state"] == "active")
        count = place.told("robot")["count"]
        time.sleep(1.0)  # it is asked again four times or so, and goes on to be true
        assert place.told("robot")["count"] == count
        for broken, said in ((500, "HTTP 500"), (b"<html>", "no JSON"), ({}, "no field fault"), (b" " * 300_000, "more than")):
            robot.status = broken
            eventually(lambda said=said: said in str(place.told("robot")["problem"]))
            assert place.told("robot")["state"] == "unreachable"
        robot.status = {"fault": fault}
        eventually(lambda: place.told("robot")["state"] == "active")
        assert place.told("robot")["count"] == count, "it was true before it was away"
        robot.status = {"fault": 0}
        eventually(lambda: place.told("robot")["state"] == "armed")
        assert place.told("robot")["problem"] is None
    triggers = [trigger for clip in place.saved("agv", len(place.clips("agv"))) for trigger in clip["triggers"]]
    assert [trigger["payload"] for trigger in triggers] == [{"fault": 7}, {"fault": 8}] and {trigger["source"] for trigger in triggers} == {"poll"}


def test_an_address_that_cannot_be_asked_is_told_and_harms_nobody(place: Place) -> None:
    told = eventually(lambda: (one := place.told("elsewhere"))["state"] == "unreachable" and one)
    assert "has no address" in told["problem"] and told["count"] == 0


def test_a_streak_over_a_simulated_sky_makes_a_clip_that_shows_all_of_it(place: Place) -> None:
    assert place.clips("meteor") == [], "nothing moved until now"
    place.observatory.streak()
    clip = place.saved("meteor", 1)[0]
    assert {trigger["source"] for trigger in clip["triggers"]} == {"motion"} and len(clip["triggers"]) >= 2, "made longer while it went on"
    assert clip["triggers"][0]["payload"]["box"][0] < 0.3, "noticed while it was at the left"
    path = place.folder / "meteor.mp4"
    path.write_bytes(place.http.get(f"/api/clips/{clip['id']}/video").content)
    with av.open(str(path)) as container:
        bright = [int((frame.to_ndarray(format="gray")[60:200] > 180).sum()) for frame in container.decode(video=0)]
    quiet = min(bright)
    shown = [number for number, points in enumerate(bright) if points > quiet + 150]
    assert len(shown) >= 10 and shown == list(range(shown[0], shown[-1] + 1)), bright
    assert shown[0] >= 8, "the sky before it"
    assert shown[-1] < len(bright) - 3, "and after it"
    eventually(lambda: place.told("meteor")["state"] == "armed")


def test_an_event_of_cupola_makes_a_clip_where_its_condition_holds(place: Place) -> None:
    for count in (1, 3):
        place.http.post("/api/control/sky/acquire")
        assert place.http.post("/api/cameras/sky/start", json={"count": count, "interval_s": 0.3}).status_code in (200, 202)
        eventually(lambda: place.http.get("/api/cameras/sky").json()["session"] is None, 30)
    [clip] = place.saved("series", 1)
    assert clip["triggers"][0]["source"] == "event" and clip["triggers"][0]["payload"]["count"] == 3


def test_the_broker_may_go_and_come_back(place: Place) -> None:
    before = place.told("garage")["count"]
    place.broker.kill()
    told = eventually(lambda: (one := place.told("garage"))["state"] == "unreachable" and one)
    assert "MQTT broker 127.0.0.1" in told["problem"]
    place.broker.start()
    eventually(lambda: place.told("garage")["state"] == "armed", 40)
    place.publish("garage/new", "news")
    eventually(lambda: place.told("garage")["count"] == before + 1)


def test_the_command_tells_of_the_triggers(place: Place) -> None:
    said = cupola(place.folder, "status")
    assert said.returncode == 0 and "elsewhere" in said.stdout and "has no address" in " ".join(said.stdout.split()), said.stdout
