"""The MP4 that is written while its packets come, of a journal that is written beside it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import av
import pytest
from tests.clips.cutting import FPS, film

from cupola.camera.messages import packet_head
from cupola.clips.growing import Growing
from cupola.clips.journal import Journal
from cupola.core.clock import utc_now
from cupola.core.frame import Packet
from cupola.process.wire import Head


def grown(folder: Path, pts_s: list[float]) -> Head | None:
    """What is made of as many packets as there are times, which the camera gave them."""
    with av.open(str(film(folder / "film.mp4", 1, size=(320, 180)))) as container:
        stream = container.streams.video[0]
        annex_b = av.BitStreamFilterContext("h264_mp4toannexb", stream)
        packets: list[Any] = [whole for packet in container.demux(stream) for whole in annex_b.filter(packet if packet.size else None)]
    opened, target = utc_now(), folder / "clip.mp4"
    growing = Growing(folder / "1.journal", target, 1.0, lambda _: None)
    with Journal(folder / "1.journal") as pages:
        pages.append({"type": "clip", "n": -1, "trigger_ns": 0, "before_s": 0.0}, b"")
        for number, (packet, at_s) in enumerate(zip(packets, pts_s, strict=False)):
            at = opened + timedelta(seconds=number / FPS)
            made = Packet(number, at, at, round(number * 1e9 / FPS), "h264", bytes(packet), 320, 180, packet.is_keyframe, at_s)
            pages.append({**packet_head(made, "live"), "type": "packet", "n": number}, made.data)
    growing.start()
    growing.grown()
    answer = growing.finish(len(pts_s) / FPS)
    assert target.exists() == (answer is not None) and not list(folder.glob("*.tmp"))
    return answer


def test_a_picture_that_comes_in_two_packets_of_one_time_does_not_make_the_clip_late(tmp_path: Path) -> None:
    made = grown(tmp_path, [0.0, 0.04, 0.08, 0.08, 0.12, 0.16])
    assert made is not None and made["frames"] == 6 and made["bytes"] == (tmp_path / "clip.mp4").stat().st_size
    with av.open(str(tmp_path / "clip.mp4")) as container:
        shown = [packet.pts or 0 for packet in container.demux(video=0) if packet.size]
    assert len(shown) == 6 and shown == sorted(set(shown)), "each has a time of its own"
    assert made["duration_s"] == pytest.approx(0.2, abs=0.01)


def test_pictures_in_another_order_than_they_are_shown_are_left_to_the_journal(tmp_path: Path) -> None:
    assert grown(tmp_path, [0.0, 0.12, 0.04, 0.08]) is None
