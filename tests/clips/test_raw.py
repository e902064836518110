"""The pre-roll of a camera whose pictures come raw: the JPEGs of the live view, encoded once for everybody."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
from tests.support.station import RunningStation, as_owner, eventually, running_station


def _encoded(station: RunningStation) -> tuple[int, int]:
    """Pictures encoded by the camera's process, and the number of the newest one that went to ring and viewers."""
    with station.http.stream("GET", "/api/cameras/sky/live.mjpg") as answer:
        head = b""
        for piece in answer.iter_raw():
            head += piece
            if b"X-Opened-At" in head:
                break
    return station.camera()["live"]["encoded"], int(head.split(b"X-Sequence: ")[1].split(b"\r")[0])


def test_raw_pictures_are_encoded_once_for_ring_and_viewers_together(tmp_path: Path) -> None:
    with running_station(tmp_path, more="preroll: {seconds: 3, before_s: 2, after_s: 1}") as station:
        station.http.headers.update(as_owner(tmp_path))
        eventually(lambda: station.camera()["preroll"]["seconds"] >= 3)
        with station.http.stream("GET", "/api/cameras/sky/live.mjpg"), station.http.stream("GET", "/api/cameras/sky/live.mjpg"):
            before = _encoded(station)
            time.sleep(2)
            after = _encoded(station)
            ring: dict[str, Any] = station.camera()["preroll"]
        encoded, published = (now - then for then, now in zip(before, after, strict=True))
        # the process tells of its count each quarter of a second, with ring["fps"] pictures a second
        assert published > 10 and abs(encoded - published) <= 2 + ring["fps"] / 2, "three viewers and a ring"
        assert (ring["codec"], ring["width"], ring["height"]) == ("jpeg", 320, 240) and 5 < ring["fps"] < 40
        clip = station.http.post("/api/cameras/sky/trigger", json={}).json()
        done = eventually(lambda: (row := station.http.get(f"/api/clips/{clip['id']}").json())["state"] != "recording" and row, 40)
        assert done["state"] == "saved" and done["codec"] == "h264"
        assert {gap["why"] for gap in done["missing"]} <= {"left out"}, "of raw pictures, on a machine that is too busy to encode them all"
        path = tmp_path / "clip.mp4"
        path.write_bytes(station.http.get(f"/api/clips/{clip['id']}/video").content)
        with av.open(str(path)) as video:
            shown = [frame.pts for frame in video.decode(video=0)]
        assert len(shown) == done["frames"] and all(a is not None and b is not None and a < b for a, b in pairwise(shown))
