"""Clips of a real RTSP camera that sends H.265: kept as they came, with an H.264 copy when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
import pytest
from tests.clips.cutting import FPS, Cutting, assert_grown, cutting, film, gaps, numbers
from tests.drivers.sources import rtsp_camera
from tests.support.station import eventually

VPS, SPS, PPS = 32, 33, 34  # parameter sets, by their numbers in ITU-T H.265, table 7-1


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cutting, dict[str, Any]]]:
    """A station on such a camera, and a clip of two seconds before and one after."""
    folder = tmp_path_factory.mktemp("barn")
    movie = film(folder / "film.mp4", 25, "libx265", (320, 180))
    with rtsp_camera("--file", str(movie), "--codec", "h265") as camera, cutting(folder, camera["/file"], seconds=3) as station:
        station.until_ring_holds(3)
        assert station.ring()["codec"] == "h265"
        yield station, station.finished(station.trigger(label="kept", before_s=2, after_s=1)["id"])


def _parameter_sets(configuration: bytes) -> set[int]:
    """The kinds that an HEVCDecoderConfigurationRecord (ISO/IEC 14496-15, 8.3.3.1) holds."""
    kinds, at = set[int](), 23
    for _ in range(configuration[22]):
        kinds.add(configuration[at] & 0x3F)
        count, at = int.from_bytes(configuration[at + 1 : at + 3], "big"), at + 3
        for _ in range(count):
            at += 2 + int.from_bytes(configuration[at : at + 2], "big")
    return kinds


def test_h265_is_kept_untouched_as_hvc1_with_every_frame(clip: tuple[Cutting, dict[str, Any]]) -> None:
    station, done = clip
    assert (done["state"], done["codec"], done["missing"]) == ("saved", "h265", [])
    assert 2 <= done["before_got_s"] < 3.8 and 1 <= done["after_got_s"] < 2
    path = station.video(done["id"])
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"hvc1") < content.index(b"mdat") and b"hev1" not in content
    assert_grown(content)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.width, context.height) == ("hevc", 320, 180)
        assert context.extradata and _parameter_sets(context.extradata) >= {VPS, SPS, PPS}, "hvc1: none of them lies in the pictures alone"
    found = numbers(path)
    assert gaps(found, turning=False) == [] and len(found) == done["frames"]
    assert found[0] is not None and found[0] % FPS == 0, "a keyframe"


def test_an_h264_copy_is_made_when_asked_for_and_has_the_same_frames(clip: tuple[Cutting, dict[str, Any]]) -> None:
    station, done = clip
    address = f"/api/clips/{done['id']}"
    found = station.frames(done["id"])
    assert done["h264_copy"] == "none" and station.http.get(f"{address}/video", params={"codec": "h264"}).status_code == 404
    assert station.http.post(f"{address}/h264").status_code == 202
    eventually(lambda: station.clip(done["id"])["h264_copy"] == "ready", 40)
    path = station.video(done["id"], codec="h264")
    assert numbers(path) == found
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat") and b"avc1" in content
    assert station.clip(done["id"])["codec"] == "h265", "the clip itself stays as it is"
    assert len(list((station.folder / "images").rglob("*_kept*.mp4"))) == 2
    assert station.http.delete(address).status_code == 204
    assert not list((station.folder / "images").rglob("*_kept*.mp4"))
