"""Live frames of a station as numpy arrays, for programs that process them elsewhere.

    from cupola.stream import frames

    for frame in frames("redis://viewer:secret@hub:6379", station="roof", camera="sky"):
        print(frame.time, frame.array.mean(), frame.missing)

Needs redis, numpy, and what decodes: simplejpeg for JPEG, PyAV for H.264 and H.265; each is loaded when it is needed, and nothing of the server is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cupola.stream.format import FramePacket, Id, Malformed, frames_key, unpack_frame
from cupola.stream.line import target_of
from cupola.stream.link import Pause, connect, failures, words_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from redis import Redis

AT_ONCE = 8  # packets in memory
BLOCK_MS = 1000
LONGEST_S = 1.0  # without a frame for whoever wants the newest, and whose decoder never catches up
_log = logging.getLogger("cupola.stream")


@dataclass(frozen=True, slots=True)
class Frame:
    """One live picture.

    `array`: (H, W, 3) uint8, RGB, read-only. `time`: UTC of the opening of the shutter; of a source that does not tell, of the picture's arrival.
    `sequence` counts all the camera made in this `incarnation` of the station, whether they came here or not; `missing` is how many of them lie
    between the frame yielded before and this one: left out by the station, pushed out of Redis, skipped here, or damaged. `dropped` is the station's own count
    of what it left out, of this incarnation. `generation`: which settings it was taken with.
    """

    array: npt.NDArray[np.uint8]
    time: datetime
    sequence: int
    incarnation: int
    missing: int
    dropped: int
    generation: str


def frames(url: str, *, station: str, camera: str, newest: bool = False) -> Generator[Frame, None, None]:
    """Frames from now on, in order, for ever; waits while there are none, also for a Redis, a station or a camera that is away.

    With `newest`, whoever is slower than the camera gets the newest frame each time, and what came in between counts as missing. Otherwise
    frames wait in Redis while the caller is busy, as long as the stream's cap allows. At most 8 packets are held here. H.264 and H.265 begin at a keyframe, and
    again after a gap. Trouble is told through `logging`. Raises ConfigError for a URL that is none, ValueError for a name that is none.
    """
    target, key = target_of(url), frames_key(station, camera)
    reader, pause = _Reader(key, newest), Pause()
    trouble = ""
    while True:
        client = connect(target, "cupola-frames")
        try:
            while True:
                ready = reader.read(client)
                pause.reset()
                if trouble:
                    _log.info("Redis at %s answers again", target.words)
                    trouble = ""
                yield from ready
        except failures() as error:
            said = words_of(error, target)
            if said != trouble:
                _log.warning("%s It is tried again until it works.", said)
                trouble = said
        finally:
            client.close()
        time.sleep(pause.next_s())


class _Reader:
    """Where one camera's stream was read to, and its decoder; lives on over lost connections."""

    def __init__(self, key: str, newest: bool) -> None:
        self._key, self._newest = key, newest
        self._after: bytes | None = None  # None: nothing was looked at yet
        self._decoder: _Decoding | None = None
        self._yielded: tuple[int, int] | None = None  # incarnation, sequence
        self._yielded_at = time.monotonic()

    def read(self, client: Redis) -> Generator[Frame, None, None]:
        """What there is next, after waiting a little for it."""
        if self._after is None:
            self._after = self._last(client) or b"0-0"
        answer: Any = client.xread({self._key: self._after}, count=AT_ONCE, block=BLOCK_MS)
        entries: list[tuple[bytes, dict[bytes, bytes]]] = answer[0][1] if answer else []
        if not entries:
            last = self._last(client)
            if last is not None and Id.parse(last) < Id.parse(self._after):
                self._after = b"0-0"  # the stream was deleted, and begun anew by a clock that is behind
            return _none()
        behind = self._newest and len(entries) == AT_ONCE
        if behind and entries[-1][1].get(b"codec") == b"jpeg":
            newest: Any = client.xrevrange(self._key, count=1)
            entries, behind = newest or entries[-1:], False
        self._after = entries[-1][0]
        return self._frames(entries, behind)

    def _last(self, client: Redis) -> bytes | None:
        answer: Any = client.xrevrange(self._key, count=1)
        return answer[0][0] if answer else None

    def _frames(self, entries: list[tuple[bytes, dict[bytes, bytes]]], behind: bool) -> Generator[Frame, None, None]:
        """With `newest` the last one alone, and none while more are waiting: those are decoded to get there, where that is needed."""
        packets: list[FramePacket] = []
        for id_, raw in entries:
            try:
                packets.append(unpack_frame(self._key, id_.decode(), raw))
            except Malformed as error:
                _log.warning("left out: %s", error)
        if self._newest and packets:
            start = max((index for index, packet in enumerate(packets) if packet.key or packet.codec == "jpeg"), default=0)
            packets = packets[start:]
        last: Frame | None = None
        for packet in packets:
            frame = self._frame(packet)
            if frame is None:
                continue
            if self._newest:
                last = frame
            else:
                yield self._counted(frame)
        if last is not None and (not behind or time.monotonic() - self._yielded_at > LONGEST_S):
            yield self._counted(last)

    def _frame(self, packet: FramePacket) -> Frame | None:
        if self._decoder is None or not self._decoder.goes_on(packet):
            self._decoder = _Decoding(packet)
        shown = self._decoder.decode(packet)
        if shown is None:
            return None
        array, of = shown
        return Frame(array, of.time, of.sequence, of.incarnation, 0, of.dropped, of.generation)

    def _counted(self, frame: Frame) -> Frame:
        before, self._yielded = self._yielded, (frame.incarnation, frame.sequence)
        self._yielded_at = time.monotonic()
        if before is None or before[0] != frame.incarnation or before[1] >= frame.sequence:
            return frame
        missing = frame.sequence - before[1] - 1
        return Frame(frame.array, frame.time, frame.sequence, frame.incarnation, missing, frame.dropped, frame.generation)


class _Decoding:
    """Packets of one codec that follow each other without a gap, as far as their codec needs that."""

    def __init__(self, first: FramePacket) -> None:
        self._codec, self._incarnation, self._next = first.codec, first.incarnation, first.sequence
        self._decoder: Any = None
        self._packets: dict[int, FramePacket] = {}

    def goes_on(self, packet: FramePacket) -> bool:
        """Whether it can be decoded behind the ones before; a keyframe begins anew without a decoder's being made for it."""
        same = packet.codec == self._codec and packet.incarnation == self._incarnation
        return same and (packet.codec == "jpeg" or packet.key or packet.sequence == self._next)

    def decode(self, packet: FramePacket) -> tuple[npt.NDArray[np.uint8], FramePacket] | None:
        """The picture that comes out, and the packet it came in by; None while there is none, or for one that is damaged."""
        self._next = packet.sequence + 1
        if packet.codec == "jpeg":
            return _jpeg(packet)
        from cupola.core.frame import Packet
        from cupola.drivers.decode import Decoder, RgbPixels

        if self._decoder is None:
            self._decoder = Decoder(packet.codec, RgbPixels())
        data = packet.config + packet.data if packet.key else packet.data
        frame = self._decoder.decode(
            Packet(packet.sequence, packet.time, packet.time, 0, packet.codec, data, packet.width, packet.height, packet.key)
        )
        if frame is None:
            self._packets[packet.sequence] = packet
        else:
            packet = self._packets.pop(frame.seq, packet)
        while len(self._packets) > 32:  # as many as a decoder may hold back, and damaged ones
            del self._packets[min(self._packets)]
        return None if frame is None else (frame.data, packet)


def _jpeg(packet: FramePacket) -> tuple[npt.NDArray[np.uint8], FramePacket] | None:
    import simplejpeg

    from cupola.drivers.jpeg import BadJpeg, inspect

    try:
        inspect(packet.data)
        array = simplejpeg.decode_jpeg(packet.data, colorspace="RGB")
    except (BadJpeg, ValueError) as error:
        _log.warning("frame %d is damaged: %s", packet.sequence, error)
        return None
    array.flags.writeable = False
    return array, packet


def _none() -> Generator[Frame, None, None]:
    yield from ()
