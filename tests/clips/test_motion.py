"""The process that looks for motion: a real one, given packets as a camera's hub gives them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from fractions import Fraction
from typing import Any

import av
import pytest
from tests.clips.night_sky import FPS, HEIGHT, WIDTH, jpeg, sky
from tests.support.mosquitto import until

from cupola.clips import motion as module
from cupola.clips.motion import Motion, Moved
from cupola.clips.motion_process import Eye
from cupola.config.triggers import OnMotion
from cupola.core.clock import utc_now
from cupola.core.frame import Capability, Codec, Packet
from cupola.core.hub import FrameHub

STEP_NS = round(1e9 / FPS)
CROSSING = range(30, 45)


def packets(codec: Codec) -> list[Packet]:
    """A quiet sky, then a streak crosses it in pictures 30 to 44, then it is quiet again."""
    pictures = [sky(n, (n - 29) / 15 if n in CROSSING else None) for n in range(60)]
    if codec == "jpeg":
        return [packet(codec, number, jpeg(picture), True) for number, picture in enumerate(pictures)]
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = WIDTH, HEIGHT, "yuv420p", Fraction(1, FPS)
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "g": "10", "threads": "1"}
    made: list[Packet] = []
    for number, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format="yuv420p")
        frame.pts = number
        made += [packet(codec, len(made), bytes(part), part.is_keyframe) for part in encoder.encode(frame)]
    return made


def packet(codec: Codec, number: int, data: bytes, keyframe: bool) -> Packet:
    opened = utc_now() + timedelta(seconds=number / FPS)
    return Packet(number, opened, opened, number * STEP_NS, codec, data, WIDTH, HEIGHT, keyframe)


class Watched:
    def __init__(self) -> None:
        self.hub = FrameHub(lambda _: None)
        self.moved: list[Moved] = []
        self.states: list[tuple[str, str | None]] = []
        self.motion = Motion("sky", self.hub, lambda *_, **__: None)
        self.motion.watch(OnMotion(camera="sky"), self.moved.append, lambda state, problem=None: self.states.append((state, problem)))

    async def show(self, pictures: list[Packet]) -> None:
        """Each as soon as the process has looked at the one before."""
        for picture in pictures:
            await until(lambda: self.motion._child is not None and self.motion._sent == self.motion._seen)
            self.hub.publish(picture)
        await until(lambda: self.motion._sent == self.motion._seen)


@asynccontextmanager
async def watching(codec: Codec) -> AsyncIterator[Watched]:
    watched = Watched()
    watched.hub.opened(frozenset({Capability.NATIVE_H264} if codec == "h264" else ()))
    task = asyncio.create_task(watched.motion.run())
    try:
        yield watched
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("codec", ["jpeg", "h264"])
async def test_a_streak_over_a_simulated_sky_is_told_with_its_moment(codec: Codec) -> None:
    async with watching(codec) as watched:
        await watched.show(packets(codec))
        first = watched.moved[0].at_ns / STEP_NS
        assert 30 <= first <= 32, "at its first picture that was looked at"
        assert all(moved.at_ns / STEP_NS < 46 for moved in watched.moved) and 2 <= len(watched.moved) <= 4, "twice a second while it goes on"
        assert [state for state, _ in watched.states][:2] == ["armed", "active"] and watched.states[-1] == ("armed", None)


async def test_a_process_that_dies_or_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES_S", (0.05, 0.05))
    monkeypatch.setattr(module, "SILENT_S", 1.0)
    pictures = packets("jpeg")
    async with watching("jpeg") as watched:
        for sign, words in ((signal.SIGKILL, "exit code -9"), (signal.SIGSTOP, "was killed")):
            await until(lambda: watched.motion._child is not None)
            child = watched.motion._child
            assert child is not None
            os.kill(child.pid, sign)
            watched.hub.publish(pictures[0])
            await until(lambda words=words: any(words in str(problem) for _, problem in watched.states), 20)
            await until(lambda child=child: watched.motion._child not in (None, child))
        await watched.show(pictures)
        assert watched.moved


def test_pictures_that_cannot_be_decoded_are_passed_over() -> None:
    eye = Eye()
    assert eye.grey(packet("jpeg", 0, b"\xff\xd8 no picture", True)) is None
    assert eye.grey(packet("h264", 1, b"\0\0\0\1\x65 no picture", True)) is None
    good = packets("h264")[:12]
    assert [eye.grey(one) is not None for one in good].count(True) >= 4


async def test_what_the_process_cannot_keep_up_with_is_left_out() -> None:
    pictures = packets("h264")
    async with watching("h264") as watched:
        await until(lambda: watched.motion._child is not None)
        for _ in range(20):  # 1200 pictures at once
            for picture in pictures:
                watched.hub.publish(picture)
        assert watched.motion._sent - watched.motion._seen <= module.BEHIND_MOST + 10
        await until(lambda: watched.motion._sent == watched.motion._seen, 20)
        await watched.show(pictures[:11])
