"""Clips cut by a running station from real sources: every frame is there, or its absence is told."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import av
import psutil
import pytest
from tests.clips.cutting import FPS, FRAMES, Cutting, assert_grown, busy_machine, cutting, due, film, gaps, moment, numbered
from tests.drivers.sources import rtsp_camera
from tests.support import ext4
from tests.support.station import as_owner, cupola, eventually

TRIGGERS = int(os.environ.pop("CUPOLA_CLIP_TRIGGERS", "5"))  # 100 and more: seconds before and after of up to 15
LONGEST_S = 15 if TRIGGERS >= 100 else 5
SMALL = (320, 180)  # of films, which have to be encoded first
pytestmark = pytest.mark.timeout(600 if TRIGGERS < 100 else 1800)


@pytest.fixture(scope="module")
def camera() -> Iterator[dict[str, str]]:
    """A JPEG camera for all stations of this file."""
    with numbered() as camera:
        yield camera


@pytest.fixture(scope="module")
def gate(camera: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cutting, float]]:
    """A station on the JPEG camera, and when that one's frame 0 was due, by the monotonic clock."""
    with cutting(tmp_path_factory.mktemp("gate"), camera["url"], seconds=LONGEST_S) as station:
        station.until_ring_holds(LONGEST_S)
        yield station, float(camera["started"])


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cutting]:
    """A station on a camera that sends H.264 by RTSP."""
    folder = tmp_path_factory.mktemp("yard")
    movie = film(folder / "film.mp4", 80 if TRIGGERS < 100 else 300, size=SMALL)
    with rtsp_camera("--file", str(movie)) as camera, cutting(folder, camera["/file"], seconds=LONGEST_S) as station:
        station.until_ring_holds(LONGEST_S)
        yield station


def test_a_ring_holds_what_was_asked_for_and_little_more(gate: tuple[Cutting, float]) -> None:
    ring = gate[0].ring()
    assert LONGEST_S <= ring["seconds"] <= LONGEST_S + 1 and not ring["cut_short"]
    assert ring["packets"] == pytest.approx(ring["seconds"] * FPS, rel=0.1) and ring["fps"] == pytest.approx(FPS, rel=0.1)
    assert (ring["codec"], ring["width"], ring["height"]) == ("jpeg", 640, 360)
    assert ring["bytes"] > 100_000


def asked_of(station: Cutting, dice: random.Random) -> Iterator[tuple[dict[str, Any], float, float, float]]:
    """Triggers at random times of a busy machine: the finished clip, what was asked before and after, and when, by the monotonic clock."""
    asked = list[tuple[dict[str, Any], float, float, float]]()
    with busy_machine():
        for number in range(TRIGGERS):
            before, after = round(dice.uniform(0, LONGEST_S), 2), round(dice.uniform(0, LONGEST_S), 2)
            while station.recording() > 28:  # at once: 32
                time.sleep(1)
            begun = time.monotonic()
            asked.append((station.trigger(label=f"t{number}", before_s=before, after_s=after), before, after, begun))
            time.sleep(dice.uniform(0, LONGEST_S / 5))
        last = max(begun + after for _, _, after, begun in asked)
        time.sleep(max(0.0, last + 1 - time.monotonic()))  # all pictures of all of them have come then
    for clip, before, after, begun in asked:
        done = station.finished(clip["id"], 600)
        assert done["state"] == "saved", done["message"]
        yield done, before, after, begun


def test_every_clip_has_every_frame_it_was_asked_for_and_its_record_agrees(gate: tuple[Cutting, float]) -> None:
    station, started = gate
    for done, before, after, begun in asked_of(station, random.Random(7)):
        found = station.frames(done["id"])
        assert gaps(found) == [] and done["missing"] == []
        assert found[0] is not None and found[-1] is not None
        first, last, triggered = due(started, found[0], begun - before), due(started, found[-1], begun + after), moment(done)
        assert first <= begun - before, "begins at or before what was asked for"
        assert last >= begun + after, "ends at or after what was asked for"
        assert done["frames"] == len(found)
        assert before <= done["before_got_s"] < before + 1 and after <= done["after_got_s"] < after + 1
        assert (done["before_got_s"], done["after_got_s"]) == (pytest.approx(triggered - first, abs=0.25), pytest.approx(last - triggered, abs=0.25))
        assert done["duration_s"] == pytest.approx(len(found) / FPS, abs=0.3)


def test_h264_begins_at_the_keyframe_before_and_has_every_frame(yard: Cutting) -> None:
    begun_at = list[float]()
    for done, before, after, _ in asked_of(yard, random.Random(8)):
        found = yard.frames(done["id"])
        assert_grown((yard.folder / "clip.mp4").read_bytes())
        assert done["codec"] == "h264" and gaps(found, turning=False) == [] and done["missing"] == [] and done["frames"] == len(found)
        assert found[0] is not None and found[0] % FPS == 0, "a keyframe"
        assert before <= done["before_got_s"] < before + 1.8 and after <= done["after_got_s"] < after + 1
        assert done["duration_s"] == pytest.approx(len(found) / FPS, abs=0.1)
        begun_at.append(moment(done) - done["before_got_s"] - found[0] / FPS)
    assert max(begun_at) - min(begun_at) < 0.4, "by each clip's record, the film began at the same moment"


def test_an_h264_clip_whose_writer_was_killed_is_whole(yard: Cutting) -> None:
    clip = yard.trigger(label="killed", before_s=2, after_s=3)
    victim = eventually(lambda: yard.child("cupola.clips.process"))
    eventually(lambda: list((yard.folder / "images").rglob("*_killed.mp4.tmp")))
    assert victim is not None
    victim.kill()
    done = yard.finished(clip["id"])
    assert done["state"] == "saved" and gaps(yard.frames(clip["id"]), turning=False) == [] and done["missing"] == []
    assert not list((yard.folder / "images").rglob("*.tmp"))


def test_an_h264_clip_of_a_killed_camera_goes_on_at_a_keyframe_and_tells_of_the_gap(yard: Cutting) -> None:
    clip = yard.trigger(label="camera", before_s=2, after_s=6)
    time.sleep(1)
    victim = eventually(lambda: yard.child("cupola.camera.process"))
    assert victim is not None
    victim.kill()
    done = yard.finished(clip["id"])
    found = yard.frames(clip["id"])
    [(last, next_)] = gaps(found, turning=False)
    gap = max(done["missing"], key=lambda gap: gap["seconds"])
    assert last is not None and next_ is not None and next_ % FPS == 0
    assert gap["why"] == "nothing came" and gap["seconds"] > 0.5 and done["after_got_s"] >= 6 and done["frames"] == len(found)
    assert done["duration_s"] == pytest.approx(done["before_got_s"] + done["after_got_s"], abs=0.2), "the picture stands still meanwhile"


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
    checksum = eventually(lambda: station.clip(clip["id"])["sha256"])
    assert checksum == hashlib.sha256(whole).hexdigest() and len(whole) == clip["bytes"] and whole.index(b"moov") < whole.index(b"mdat")
    assert station.http.delete(f"/api/clips/{clip['id']}").status_code == 204
    assert station.http.get(url).status_code == 404
    assert not list((station.folder / "images").rglob("*_gone.mp4"))


def test_a_symlink_leads_nobody_out_of_the_images_folder(gate: tuple[Cutting, float], tmp_path: Path) -> None:
    station, _ = gate
    clip = station.finished(station.trigger(label="linked", before_s=1, after_s=0)["id"])
    (path,) = (station.folder / "images").rglob("*_linked.mp4")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    answer = station.http.get(f"/api/clips/{clip['id']}/video")
    assert answer.status_code == 404 and "outside" in answer.json()["detail"], answer.text
    assert station.http.get("/api/clips").status_code == 200


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
    gap = max(done["missing"], key=lambda gap: gap["seconds"])
    assert last is not None and next_ is not None
    assert gap["seconds"] == pytest.approx(((next_ - last - 1) % FRAMES) / FPS, abs=0.3) and done["after_got_s"] >= 6
    assert done["frames"] == len(found)


@pytest.fixture(params=["jpeg", "h264"])
def source(request: pytest.FixtureRequest, camera: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The address of a camera that sends this."""
    if request.param == "jpeg":
        yield camera["url"]
    else:
        with rtsp_camera("--file", str(film(tmp_path / "film.mp4", 40, size=SMALL))) as said:
            yield said["/file"]


def test_a_clip_outlives_the_server(source: str, tmp_path: Path) -> None:
    with cutting(tmp_path, source) as station:
        station.until_ring_holds(1.5)
        clip = station.trigger(label="crash", before_s=1, after_s=20)
        time.sleep(2.5)
        station.server.kill()
    with cutting(tmp_path, source) as station:
        done = station.finished(clip["id"])
        found = station.frames(clip["id"])
        assert done["state"] == "saved" and gaps(found) == [] and len(found) == done["frames"]
        assert done["before_got_s"] >= 1 and 2 <= done["after_got_s"] < 6
        assert done["missing"][-1]["why"] == "the recording ended early"
        assert not list((tmp_path / "images" / ".cupola" / "clips").iterdir()) and not list((tmp_path / "images").rglob("*.tmp"))


def test_clips_are_made_of_the_stream_for_recording_where_there_is_one(camera: dict[str, str], tmp_path: Path) -> None:
    with numbered("--size", "320x180", "--frames", "50") as small, cutting(tmp_path, small["url"], record=camera["url"]) as station:
        station.until_ring_holds(1.5)
        ring, live = station.ring(), station.http.get("/api/cameras/gate").json()["live"]
        assert (ring["width"], ring["height"]) == (640, 360) and ring["fps"] == pytest.approx(FPS, rel=0.1)
        clip = station.trigger(label="main", before_s=1, after_s=1)
        still = station.http.get("/api/cameras/gate/live.jpg").content
        assert still[:2] == b"\xff\xd8" and av.open(io.BytesIO(still), format="jpeg_pipe").streams.video[0].width == 320
        done = station.finished(clip["id"])
        found = station.frames(clip["id"])
        assert (done["width"], done["height"]) == (640, 360) and gaps(found) == [] and done["missing"] == [] and done["frames"] == len(found)
        assert live["fps"] == pytest.approx(FPS, rel=0.2), "of the live picture alone"


def test_a_source_that_stalls_leaves_a_gap_that_is_told(gate: tuple[Cutting, float]) -> None:
    station, _ = gate
    clip = station.trigger(label="stalled", before_s=2, after_s=8)
    with halted_source():
        time.sleep(5)
    done = station.finished(clip["id"])
    found = station.frames(clip["id"])
    assert done["state"] == "saved" and done["frames"] == len(found) and gaps(found) == [], "it sends all it has later"
    gap = max(done["missing"], key=lambda gap: gap["seconds"])
    assert (gap["why"], gap["frames"]) == ("came late", 0) and gap["seconds"] == pytest.approx(5, abs=0.5) and done["after_got_s"] >= 8
    assert done["duration_s"] == pytest.approx(done["before_got_s"] + done["after_got_s"], abs=0.2), "the picture stands still meanwhile"


def test_a_source_that_stalls_ends_the_clip_with_what_came(gate: tuple[Cutting, float]) -> None:
    station, _ = gate
    with halted_source():
        done = station.finished(station.trigger(label="ended", before_s=2, after_s=2)["id"])
    assert done["state"] == "saved" and gaps(station.frames(done["id"])) == []
    assert done["after_got_s"] < 0.5 and done["missing"][-1]["why"] == "the recording ended early"


@contextmanager
def halted_source() -> Iterator[None]:
    """The JPEG camera does nothing for a while."""
    [source] = [process for process in psutil.Process().children() if "mjpeg_source.py" in " ".join(process.cmdline())]
    source.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        source.send_signal(signal.SIGCONT)


@pytest.mark.skipif(ext4.missing_feature() is not None, reason=ext4.missing_feature() or "")
def test_a_clip_waits_for_a_full_disk_and_is_whole(camera: dict[str, str], tmp_path: Path) -> None:
    disk = ext4.Disk(tmp_path, 60)
    with disk.mounted() as mount, cutting(tmp_path, camera["url"], root=str(mount / "images")) as station:
        station.until_ring_holds(1.5)
        clip = station.trigger(label="full", before_s=1, after_s=3)
        with (mount / "other").open("wb") as other, suppress(OSError):
            while True:
                other.write(bytes(100_000))
                other.flush()
        eventually(lambda: "waits" in (station.folder / "logs" / "cupola.log").read_text(), 30)
        assert station.clip(clip["id"])["state"] == "recording"
        (mount / "other").unlink()
        done = station.finished(clip["id"])
        found = station.frames(clip["id"])
        assert done["state"] == "saved" and gaps(found) == [] and done["missing"] == [] and done["frames"] == len(found)


def test_a_camera_without_pre_roll_says_what_to_configure(tmp_path: Path) -> None:
    from tests.support.station import running_station

    with running_station(tmp_path) as station:
        answer = station.http.post("/api/cameras/sky/trigger", headers=as_owner(tmp_path))
        assert answer.status_code == 409 and "preroll" in answer.json()["detail"]
        assert station.http.post("/trigger").status_code == 409
