"""Live packets as a station publishes them, each with a colour that tells its number."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import av
import numpy as np
import numpy.typing as npt
import simplejpeg

from cupola.stream.format import Codec, FramePacket, frames_key, pack_frame
from tests.support.redis_server import RedisServer

KEY = frames_key("roof", "sky")
BEGAN = datetime(2026, 11, 21, 23, 15, 2, 250_000, tzinfo=UTC)


def picture(number: int) -> npt.NDArray[np.uint8]:
    """(48, 64, 3) RGB, one colour that tells the number."""
    array = np.empty((48, 64, 3), np.uint8)
    array[:] = ((number * 37) % 200 + 20, (number * 61) % 200 + 20, (number * 83) % 200 + 20)
    return array


def shows(array: npt.NDArray[np.uint8], number: int) -> bool:
    return bool(np.abs(array.astype(int) - picture(number)).max() <= 8)


def packet(number: int, data: bytes, codec: Codec = "jpeg", key: bool = True, dropped: int = 0, incarnation: int = 1) -> FramePacket:
    at = BEGAN + timedelta(milliseconds=100 * number)
    return FramePacket(number, incarnation, "1700000000.3", at, codec, key, 64, 48, dropped, data)


def jpegs(numbers: Iterable[int]) -> list[FramePacket]:
    return [packet(number, simplejpeg.encode_jpeg(picture(number), quality=95, colorsubsampling="444")) for number in numbers]


def h264(count: int, every: int) -> list[FramePacket]:
    """Annex B with a keyframe of its own parameter sets every so many."""
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt, context.framerate = 64, 48, "yuv444p", 25  # type: ignore[attr-defined]
    context.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "crf": "5",
        "x264-params": f"keyint={every}:min-keyint={every}:scenecut=0:repeat-headers=1",
    }
    made: list[FramePacket] = []
    for number in range(1, count + 1):
        frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
        frame.pts = number
        made += [packet(number, bytes(one), "h264", one.is_keyframe) for one in context.encode(frame)]  # type: ignore[attr-defined]
    return made


def publish(redis: RedisServer, packets: list[FramePacket], key: str = KEY) -> None:
    client = redis.client()
    for one in packets:
        client.xadd(key, pack_frame(one), maxlen=1000)


@contextmanager
def again_and_again(publish_one: Callable[[], object]) -> Iterator[None]:
    """So that a viewer who begins at any moment gets one."""
    over = threading.Event()

    def shoot() -> None:
        while not over.wait(0.05):
            publish_one()

    shooting = threading.Thread(target=shoot)
    shooting.start()
    try:
        yield
    finally:
        over.set()
        shooting.join(10)
