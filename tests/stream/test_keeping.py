"""Live pictures that a receiver keeps as files: which ones, where, and what happens when it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
import simplejpeg
from tests.support.live_packets import h264, jpegs, packet, publish, shows
from tests.support.receiving import SOON_S, Stored, receiving
from tests.support.redis_server import RedisServer
from tests.support.redis_station import PublishedStation
from tests.support.station import eventually

from cupola.stream.format import frames_key

YARD = frames_key("roof", "yard")


def kept(into: Path, camera: str = "sky") -> dict[int, bytes]:
    """By number."""
    return {int(path.stem.partition("_")[2]): path.read_bytes() for path in (into / "roof" / camera).rglob("frames/*.jpg")}


def test_all_that_come_and_stand_by_themselves_are_kept_as_they_came(redis: RedisServer, into: Path) -> None:
    made, video = jpegs(range(1, 31)), h264(20, 5)  # keyframes 1, 6, 11, 16
    publish(redis, made[:10])
    with receiving(redis.url, into, frames_every_s=0.0) as work:
        work.until(frames=10)
        publish(redis, made[10:])
        publish(redis, video, YARD)
        work.until(frames=34)
        eventually(lambda: len(kept(into, "yard")) == 4, SOON_S)
        redis.client().delete("cupola:{roof}:sky:frames")
        publish(redis, jpegs([31]))
        work.until(frames=35)
    assert kept(into) == {one.sequence: one.data for one in made} | {31: jpegs([31])[0].data}
    assert (into / "roof/sky/2026/11/21/frames/20261121T231502Z_000001.jpg").exists()
    assert {number: shows(simplejpeg.decode_jpeg(data), number) for number, data in kept(into, "yard").items()} == dict.fromkeys((1, 6, 11, 16), True)
    assert Stored(into / "roof").listed == {} and Stored(into / "roof").arriving == []


def test_the_newest_of_each_camera_is_kept_now_and_then(redis: RedisServer, into: Path) -> None:
    publish(redis, jpegs(range(1, 11)))
    publish(redis, h264(14, 5), YARD)
    with receiving(redis.url, into / "often", frames_every_s=0.2) as work:
        work.until(frames=2)
        publish(redis, jpegs([11, 12]))
        eventually(lambda: 12 in kept(into / "often"), SOON_S)
    assert set(kept(into / "often")) <= {10, 11, 12} and set(kept(into / "often", "yard")) == {11}
    with receiving(redis.url, into / "one", stations=["roof"], cameras=["yard"], frames_every_s=0.2) as work:
        work.until(frames=1)
    assert not (into / "one" / "roof" / "sky").exists()
    with receiving(redis.url, into / "none", stations=["dome"], frames_every_s=0.2):
        looks = lambda: redis.client().info("commandstats")["cmdstat_scan"]["calls"]  # noqa: E731
        before = looks()
        eventually(lambda: looks() >= before + 2, SOON_S)
    assert not (into / "none" / "roof").exists()


def test_what_cannot_be_kept_is_told_once_and_holds_nothing_else_up(redis: RedisServer, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cupola.stream.keeping.REFUSED_S", 0.3)
    client = redis.client()
    client.set(YARD, "no stream")
    publish(redis, [packet(1, b"\xff\xd8 no picture")])
    (into / "dome").mkdir(parents=True)
    (into / "dome" / "sky").write_text("in the way of live pictures")
    publish(redis, jpegs([1]), frames_key("dome", "sky"))
    roof = PublishedStation("roof")
    roof.still(b"a picture")
    roof.event()
    roof.send(client)
    with receiving(redis.url, into, frames_every_s=0.0) as work:
        work.until(stills=1, events=1)
        eventually(lambda: len([1 for level, message, _ in work.told if level == "error" and "are not kept: " in message]) == 3, SOON_S)
        assert work.receiver.problems().keys() == {"roof", "dome"} and work.total["frames"] == 0
        client.delete(YARD)
        (into / "dome" / "sky").unlink()
        for key in (YARD, frames_key("dome", "sky")):
            publish(redis, jpegs([2]), key)
        publish(redis, jpegs([2]))
        work.until(frames=3)
        work.until_told("Live pictures of yard are kept again", "info")
    assert work.heard("Live pictures of sky are not kept: cupola:{roof}:sky:frames") and work.heard("field data is damaged")
    assert Stored(into / "roof").listed == roof.files
