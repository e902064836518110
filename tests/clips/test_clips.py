"""Clips cut by a running station from real sources: every frame is there, or its absence is told."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.clips.cutting import FPS, FRAMES, Cutting, cutting, due, film, gaps, numbered
from tests.drivers.sources import rtsp_camera
from tests.support.station import as_owner, cupola, eventually

TRIGGERS = int(os.environ.pop("CUPOLA_CLIP_TRIGGERS", "5"))
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cutting, float]]:
    """A station on a JPEG camera, and when its frame 0 was due, by the monotonic clock."""
    with (
        numbered() as camera,
        cutting(tmp_path_factory.mktemp("gate"), camera["url"]) as station,
    ):
        station.until_ring_holds(12)
        yield station, float(camera["started"])


def test_a_ring_holds_what_was_asked_for_and_little_more(gate: tuple[Cutting, float]) -> None:
    ring = gate[0].ring()
    assert 12 <= ring["seconds"] <= 13 and ring["packets"] == pytest.approx(ring["seconds"] * FPS, rel=0.1) and not ring["cut_short"]
    assert ring["bytes"] > 100_000


def test_every_clip_has_every_frame_it_was_asked_for_and_its_record_agrees(gate: tuple[Cutting, float]) -> None:
    station, started = gate
    dice, asked = random.Random(7), list[tuple[dict[str, object], float, float, float, float]]()
    busy = threading.Event()
    load = threading.Thread(target=lambda: [sum(range(10_000)) for _ in iter(busy.is_set, True)], daemon=True)
    load.start()
    for number in range(TRIGGERS):
        before, after = round(dice.uniform(0, 10), 2), round(dice.uniform(0, 6), 2)
        begun = time.monotonic()
        clip = station.trigger(label=f"t{number}", before_s=before, after_s=after)
        asked.append((clip, before, after, begun, time.monotonic()))
        time.sleep(dice.uniform(0, 1.5))
    for clip, before, after, begun, answered in asked:
        done = station.finished(int(str(clip["id"])), 240)
        assert done["state"] == "saved", done["message"]
        found = station.frames(done["id"])
        assert gaps(found) == [] and done["missing"] == []
        assert found[0] is not None and found[-1] is not None
        assert due(started, found[0], begun - before) <= answered - before, "begins at or before what was asked for"
        assert due(started, found[-1], begun + after) >= begun + after - 0.2, "a frame is on its way for some milliseconds"
        assert done["frames"] == len(found)
        assert before <= done["before_got_s"] < before + 0.2 and after <= done["after_got_s"] < after + 0.2
        assert done["duration_s"] == pytest.approx(len(found) / FPS, abs=0.2)
    busy.set()


def test_another_trigger_of_the_same_label_makes_the_clip_longer_and_other_labels_overlap(gate: tuple[Cutting, float]) -> None:
    station, _ = gate
    first = station.trigger(label="door", before_s=1, after_s=2, payload={"fault": 7})
    time.sleep(1)
    other = station.trigger(label="window", before_s=2, after_s=1)
    again = station.trigger(label="door", after_s=3)
    assert again["id"] == first["id"] != other["id"]
    door, window = station.finished(first["id"]), station.finished(other["id"])
    assert 4 <= door["after_got_s"] < 5 and [trigger["payload"] for trigger in door["triggers"]] == [{"fault": 7}, None]
    assert gaps(station.frames(door["id"])) == gaps(station.frames(window["id"])) == []
    assert set(station.frames(window["id"])) & set(station.frames(door["id"]))


def test_one_command_and_one_request_trigger_all_cameras(gate: tuple[Cutting, float]) -> None:
    station, _ = gate
    said = cupola(station.folder, "trigger", "--label", "shell", "--before", "1", "--after", "0")
    assert said.returncode == 0 and said.stdout.startswith("gate: clip "), said.stderr
    answer = station.http.post("/trigger", json={"label": "all", "before_s": 1, "after_s": 0})
    assert answer.status_code == 202 and [clip["camera"] for clip in answer.json()["items"]] == ["gate"]
    listed = station.http.get("/api/clips", params={"limit": 1}).json()
    assert listed["items"][0]["id"] == answer.json()["items"][0]["id"] and listed["next"]
    assert station.finished(answer.json()["items"][0]["id"])["state"] == "saved"


def test_a_clip_is_served_in_parts_and_deleted(gate: tuple[Cutting, float]) -> None:
    station, _ = gate
    clip = station.finished(station.trigger(label="gone", before_s=1, after_s=0)["id"])
    url = f"/api/clips/{clip['id']}/video"
    part = station.http.get(url, headers={"Range": "bytes=4-7"})
    assert part.status_code == 206 and part.content == b"ftyp"
    whole = station.http.get(url).content
    assert len(whole) == clip["bytes"] and whole.index(b"moov") < whole.index(b"mdat")
    assert station.http.delete(f"/api/clips/{clip['id']}").status_code == 204
    assert station.http.get(url).status_code == 404
    assert not list((station.folder / "images").rglob("*_gone.mp4"))


def test_bad_triggers_are_refused_with_words(gate: tuple[Cutting, float]) -> None:
    http, nested = gate[0].http, json.loads("[" * 300 + "]" * 300)
    for body, said in (
        ({"label": "../x"}, "label"),
        ({"before_s": -1}, "before_s"),
        ({"later": 1}, "later"),
        ({"payload": "x" * 5000}, "payload"),
        ({"payload": nested}, "payload"),
    ):
        answer = http.post("/api/cameras/gate/trigger", json=body)
        assert answer.status_code == 400 and said in answer.json()["detail"], answer.text
    assert http.post("/api/cameras/nobody/trigger").status_code == 404


@pytest.mark.parametrize("payload", [r'"\ud800"', r'{"\udfff": 1}', "NaN", "[-Infinity]", "[" * 300 + "]" * 300, '{"a":' * 30 + "1" + "}" * 30])
def test_a_payload_that_could_not_be_told_again_is_refused_and_spoils_no_list(gate: tuple[Cutting, float], payload: str) -> None:
    http = gate[0].http
    answer = http.post("/api/cameras/gate/trigger", content=f'{{"payload": {payload}}}', headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and answer.json()["field"] == "payload", answer.text
    assert http.get("/api/clips").status_code == 200


def test_a_killed_writer_is_replaced_and_the_clip_is_whole(gate: tuple[Cutting, float]) -> None:
    station, _ = gate
    clip = station.trigger(label="killed", before_s=4, after_s=4)
    victim = eventually(lambda: station.child("cupola.clips.process"))
    time.sleep(1)
    assert victim is not None
    victim.kill()
    done = station.finished(clip["id"])
    assert done["state"] == "saved" and gaps(station.frames(clip["id"])) == [] and done["missing"] == []


def test_a_killed_camera_leaves_a_gap_that_is_told(gate: tuple[Cutting, float]) -> None:
    station, _ = gate
    clip = station.trigger(label="camera", before_s=2, after_s=6)
    time.sleep(1)
    victim = eventually(lambda: station.child("cupola.camera.process"))
    assert victim is not None
    victim.kill()
    done = station.finished(clip["id"])
    found = station.frames(clip["id"])
    [(last, next_)] = gaps(found)
    [gap] = done["missing"]
    assert last is not None and next_ is not None
    assert gap["seconds"] == pytest.approx(((next_ - last - 1) % FRAMES) / FPS, abs=0.3) and done["after_got_s"] >= 6
    assert done["frames"] == len(found)


def test_a_clip_outlives_the_server(gate: tuple[Cutting, float], tmp_path: Path) -> None:
    with numbered() as camera:
        with cutting(tmp_path, camera["url"]) as station:
            station.until_ring_holds(3)
            clip = station.trigger(label="crash", before_s=2, after_s=20)
            time.sleep(2.5)
            station.server.kill()
        with cutting(tmp_path, camera["url"]) as station:
            done = station.finished(clip["id"])
            found = station.frames(clip["id"])
            assert done["state"] == "saved" and gaps(found) == [] and len(found) == done["frames"]
            assert done["before_got_s"] >= 2 and 2 <= done["after_got_s"] < 6
            assert done["missing"][-1]["why"] == "the recording ended early"
            assert not list((tmp_path / "images" / ".cupola" / "clips").iterdir())


def test_h264_is_copied_from_the_keyframe_before(tmp_path: Path) -> None:
    with rtsp_camera("--file", str(film(tmp_path / "film.mp4", 40))) as camera, cutting(tmp_path, camera["/file"]) as station:
        station.until_ring_holds(5)
        clips = [station.trigger(label=f"n{number}", before_s=2.5, after_s=2) for number in range(2)]
        for clip in clips:
            done = station.finished(clip["id"])
            found = station.frames(clip["id"])
            assert done["state"] == "saved" and done["codec"] == "h264" and gaps(found) == [] and done["missing"] == []
            assert found[0] is not None and found[0] % FPS == 0, "a keyframe"
            assert 2.5 <= done["before_got_s"] < 3.6 and 2 <= done["after_got_s"] < 2.5
            assert done["duration_s"] == pytest.approx(len(found) / FPS, abs=0.1)


def test_a_source_that_stalls_ends_the_clip_with_what_came(tmp_path: Path) -> None:
    with numbered() as camera, cutting(tmp_path, camera["url"]) as station:
        station.until_ring_holds(3)
        sources = [process for process in psutil.Process().children() if "mjpeg_source.py" in " ".join(process.cmdline())]
        source = max(sources, key=lambda process: process.create_time())  # the module's own camera has an older one
        source.send_signal(signal.SIGSTOP)
        try:
            done = station.finished(station.trigger(label="stalled", before_s=2, after_s=2)["id"])
        finally:
            source.send_signal(signal.SIGCONT)
        assert done["state"] == "saved" and gaps(station.frames(done["id"])) == []
        assert done["after_got_s"] < 0.5 and done["missing"][-1]["why"] == "the recording ended early"


def test_a_camera_without_pre_roll_says_what_to_configure(tmp_path: Path) -> None:
    from tests.support.station import running_station

    with running_station(tmp_path) as station:
        answer = station.http.post("/api/cameras/sky/trigger", headers=as_owner(tmp_path))
        assert answer.status_code == 409 and "preroll" in answer.json()["detail"]
        assert station.http.post("/trigger").status_code == 409
