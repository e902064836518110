"""Live pictures of stations, kept as files: one of each camera every so many seconds, or each that comes and stands by itself.

Nothing is promised of them: what the station left out, what was pushed out of Redis before it was read, and what came while the disk took nothing, is
missing; the sequence in the name of a file tells. They are on no list. Stills, clips and events, of which nothing is lost, are `consumer`'s.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cupola.core.errors import StorageFailed, StorageFull
from cupola.storage.files import image_stem
from cupola.stream.archive import Archives
from cupola.stream.format import FramePacket, Id, Malformed, frames_key, unpack_frame
from cupola.stream.intake import Tell
from cupola.stream.line import Line
from cupola.stream.link import Pause, Target, connect, failures
from cupola.stream.tally import Tally

if TYPE_CHECKING:
    from redis import Redis

AT_ONCE = 8  # packets in memory
LOOK_BACK = 256  # packets; for the newest keyframe of video
IDLE_S = 0.2  # before Redis is asked again, where all that comes is kept
REFUSED_S = 30.0  # before a camera is tried again whose pictures cannot be had, or stored
QUALITY = 90  # of a picture out of a video

_Entries = list[tuple[bytes, dict[bytes, bytes]]]


@dataclass(slots=True)
class _Camera:
    """`after`: id of the newest packet that was looked at."""

    station: str
    name: str
    key: str
    after: bytes = b"0-0"
    resume_at: float = 0.0
    told_at: float = 0.0
    problem: str | None = None


class Keeper:
    """Runs in a thread of its own. `every_s`: 0 for all that come."""

    def __init__(self, target: Target, line: Line, archives: Archives, tally: Tally, tell: Tell, *, name: str, every_s: float) -> None:
        self._target, self._line, self._archives, self._tally, self._tell = target, line, archives, tally, tell
        self._name, self._every_s = name, every_s
        self._cameras: dict[str, _Camera] = {}
        self.stop = threading.Event()

    def follow(self, station: str, camera: str) -> None:
        """From now on, also this one. Any thread."""
        key = frames_key(station, camera)
        if key not in self._cameras:
            self._cameras = self._cameras | {key: _Camera(station, camera, key)}

    def problems(self) -> dict[str, str]:
        """By station: why live pictures are not kept at the moment."""
        return {camera.station: camera.problem for camera in self._cameras.values() if camera.problem}

    def run(self) -> None:
        """Until `stop` is set."""
        pause = Pause()
        while not self.stop.is_set():
            client = connect(self._target, self._name)
            try:
                while not self.stop.is_set():
                    kept = [self._serve(client, camera) for camera in self._cameras.values() if camera.resume_at <= time.monotonic()]
                    if not kept:
                        client.ping()
                    self._line.works("frames")
                    pause.reset()
                    self.stop.wait(self._every_s or (0.0 if any(kept) else IDLE_S))
            except failures() as error:
                self._line.failed("frames", error)
                self.stop.wait(pause.next_s())
            finally:
                with suppress(*failures()):
                    client.close()

    def _serve(self, client: Redis, camera: _Camera) -> bool:
        """Keep what is to be kept of one camera now; whether there was anything. Raises what the client raises."""
        from redis import ResponseError

        try:
            entries = self._newest(client, camera) if self._every_s else self._following(client, camera)
            for id_, raw in entries:
                if self.stop.is_set():
                    break
                camera.after = id_
                if _stands_alone(raw):
                    self._keep(camera, id_, raw)
        except (StorageFull, StorageFailed) as error:
            self._trouble(camera, str(error), REFUSED_S)
            return False
        except ResponseError as error:  # it may not be read, or is no stream
            self._trouble(camera, self._line.words(error), REFUSED_S)
            return False
        return bool(entries)

    def _newest(self, client: Redis, camera: _Camera) -> _Entries:
        """The newest packet that stands by itself, if it is new. Of video, that may be some packets back."""
        upto, count = "+", 1
        for _ in range(LOOK_BACK // AT_ONCE):
            entries: Any = client.xrevrange(camera.key, max=upto, count=count)
            for entry in entries:
                if entry[0] == camera.after:
                    return []
                if _stands_alone(entry[1]):
                    return [entry]
            if len(entries) < count:
                break
            upto, count = f"({entries[-1][0].decode()}", AT_ONCE
        return []

    def _following(self, client: Redis, camera: _Camera) -> _Entries:
        """The next few."""
        entries: Any = client.xrange(camera.key, min=f"({camera.after.decode()}", count=AT_ONCE)
        if not entries and camera.after != b"0-0":
            newest: Any = client.xrevrange(camera.key, count=1)
            if newest and Id.parse(newest[0][0]) < Id.parse(camera.after):
                camera.after = b"0-0"  # the stream was deleted, and begun anew by a clock that is behind
        return entries

    def _keep(self, camera: _Camera, id_: bytes, raw: dict[bytes, bytes]) -> None:
        try:
            packet = unpack_frame(camera.key, id_.decode(), raw)
            data = _jpeg_of(camera.key, id_, packet)
        except Malformed as error:
            self._trouble(camera, str(error), 0.0)
            return
        # the day is UTC's: where the station is, and when its nights begin, is not told with live pictures
        name = f"{camera.name}/{packet.time:%Y/%m/%d}/frames/{image_stem(packet.time, packet.sequence)}.jpg"
        self._archives.of(camera.station).add_frame(name, data)
        self._tally.add(camera.station, frames=1, bytes=len(data))
        if camera.problem is not None and time.monotonic() >= camera.told_at + REFUSED_S:  # who sends good and bad ones is told of now and then
            self._tell("info", f"Live pictures of {camera.name} are kept again.", camera.station)
            camera.problem = None

    def _trouble(self, camera: _Camera, problem: str, pause_s: float) -> None:
        if camera.problem is None:
            camera.told_at = time.monotonic()
            self._tell("error", f"Live pictures of {camera.name} are not kept: {problem}", camera.station)
        camera.problem, camera.resume_at = problem, time.monotonic() + pause_s


def _stands_alone(raw: dict[bytes, bytes]) -> bool:
    return raw.get(b"codec") == b"jpeg" or raw.get(b"key") == b"1"


def _jpeg_of(key: str, id_: bytes, packet: FramePacket) -> bytes:
    """A JPEG as it came, the picture of a keyframe as one. Raises Malformed for what is damaged."""
    if packet.codec == "jpeg":
        from cupola.drivers.jpeg import BadJpeg, inspect

        try:
            inspect(packet.data)
        except BadJpeg as error:
            raise Malformed(key, id_.decode(), "data", f"is damaged: {error}") from None
        return packet.data
    from cupola.camera.render import encode_plain
    from cupola.core.frame import Packet
    from cupola.drivers.decode import Decoder, RgbPixels

    data = packet.config + packet.data
    frame = Decoder(packet.codec, RgbPixels()).still(
        Packet(packet.sequence, packet.time, packet.time, 0, packet.codec, data, packet.width, packet.height, True)
    )
    if frame is None:
        raise Malformed(key, id_.decode(), "data", "is no keyframe that can be decoded")
    return encode_plain(frame, QUALITY)
