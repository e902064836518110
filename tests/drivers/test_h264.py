"""H.264 and H.265: what the drivers hand on, and the decoder for those who need pixels."""

import time
from pathlib import Path

import pytest

from cupola.core.frame import Capability, Frame, Packet, PixelKind, Stop
from cupola.drivers.abort import Abort
from cupola.drivers.av_source import AvSource
from cupola.drivers.decode import Decoder
from tests.drivers.sources import rtsp_camera, taken, video, write_video
from tests.support.mjpeg_source import read_barcode


def test_h264_over_rtsp_starts_with_a_keyframe_that_a_decoder_can_start_at() -> None:
    with rtsp_camera() as said:
        packets: list[Packet] = taken(video(said["/cam"]), 40)
    keyframes = [packet for packet in packets if packet.keyframe]
    assert packets[0].keyframe and 2 <= len(keyframes) <= 3
    assert all(_kinds(packet.data)[:2] == [7, 8] for packet in keyframes)
    assert not any(5 in _kinds(packet.data) for packet in packets if not packet.keyframe)
    decoder = Decoder("h264")
    frames = [decoder.decode(packet) for packet in packets]
    assert all(frame is not None and frame.data.shape == (360, 640) and frame.format.kind is PixelKind.YUV420 for frame in frames)
    assert frames[5] is not None and frames[5].monotonic_ns == packets[5].monotonic_ns


@pytest.mark.parametrize(("codec", "name", "first"), [("libx264", "a.mp4", [7, 8]), ("libx264", "a.mkv", [7, 8]), ("libx265", "a.mp4", [32, 33, 34])])
def test_files_come_as_annex_b_with_parameter_sets_at_each_keyframe(tmp_path: Path, codec: str, name: str, first: list[int]) -> None:
    write_video(tmp_path / name, codec, frames=25, options={"bf": "0"})
    packets: list[Packet] = taken(video(tmp_path / name), 30)
    keyframes = [packet for packet in packets if packet.keyframe]
    assert len(keyframes) >= 3
    for packet in keyframes:
        assert _kinds(packet.data, packet.codec)[: len(first)] == first
    assert [packet.pts_s for packet in packets] == sorted(packet.pts_s or 0 for packet in packets), "the clock went back when the file started again"
    decoder = Decoder(packets[0].codec)
    shown = [read_barcode(frame.data) for packet in packets[:25] if (frame := decoder.decode(packet))]
    assert shown == list(range(len(shown))) and len(shown) >= 20


def _kinds(data: bytes, codec: str = "h264") -> list[int]:
    kinds = [unit[0] & 0x1F if codec == "h264" else unit[0] >> 1 & 0x3F for unit in data.split(b"\0\0\1")[1:]]
    return [kind for kind in kinds if kind not in ((9, 6) if codec == "h264" else (35, 39))]


def test_reordered_pictures_keep_the_facts_of_their_own_packets(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames=30, options={"bf": "3", "b_strategy": "0"})
    packets: list[Packet] = taken(video(tmp_path / "a.mp4"), 25)
    assert [packet.pts_s for packet in packets] != sorted(packet.pts_s or 0 for packet in packets), "no picture is reordered"
    numbers = {packet.seq: round((packet.pts_s or 0) * 25) for packet in packets}
    decoder = Decoder("h264")
    shown = [frame for packet in packets if (frame := decoder.decode(packet))]
    assert len(shown) > 10
    offset = numbers[packets[0].seq]
    assert all(read_barcode(frame.data) == numbers[frame.seq] - offset for frame in shown)


def test_a_stream_that_tells_its_size_in_the_pictures_only_is_measured(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames=5)
    source = AvSource(str(tmp_path / "a.mp4"), {}, Abort())
    source.width = source.height = 0
    first = next(source.pictures())
    source.close()
    assert isinstance(first, Packet)
    assert (first.width, first.height) == (320, 240)


def test_a_decoder_starts_again_at_a_keyframe_after_rubbish(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames=30)
    packets: list[Packet] = taken(video(tmp_path / "a.mp4"), 25)
    decoder = Decoder("h264")
    middle = next(k for k, packet in enumerate(packets) if k and not packet.keyframe)
    assert decoder.decode(packets[middle]) is None, "it started without a keyframe"
    shown = [decoder.decode(packet) for packet in packets]
    assert any(isinstance(frame, Frame) for frame in shown)


def test_a_still_of_an_h264_camera_is_a_frame_and_new() -> None:
    with rtsp_camera() as said:
        camera = video(said["/mjpeg"], record=said["/cam"])
        assert Capability.NATIVE_JPEG in camera.open().capabilities
        try:
            asked_ns = time.monotonic_ns()
            still = camera.expose(Stop())
            assert isinstance(still, Frame) and still.chroma is not None
            assert still.monotonic_ns >= asked_ns
            packet = next(iter(camera.stream(Stop())))
            assert isinstance(packet, Packet) and packet.codec == "jpeg"
        finally:
            camera.close()
