"""The live worker: pictures from the driver thread become packets for viewers, once a frame, while someone watches.

An encoded picture is passed through untouched when a viewer takes its codec. When the worker is slower
than the camera it takes the newest picture; of a stream whose pictures build on each other it never
drops single ones, but skips to the next keyframe. For a pre-roll (`whole`) every picture waits for its turn; one that
has to be left out all the same is counted in the packet after it. A stream for recording has a worker of its own.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from cupola.camera.messages import Stream, facts_of, packet_head
from cupola.core.errors import CupolaError
from cupola.core.frame import Codec, Frame, Packet
from cupola.process.wire import Head, Payload

if TYPE_CHECKING:
    from cupola.camera.focus import FocusView

BACKLOG = 120  # packets of an inter-coded stream, or encoded pictures that are all wanted
BACKLOG_RAW = 4  # pictures that are all wanted and still have to be encoded
TOLD_AGAIN_S = 60.0
STILL_WIDTH = 1920  # a still of 24 megapixels is shown at this width, unless the configuration says less


class _ServerGone(Exception):
    """Nobody takes what is sent."""


class LiveWorker(threading.Thread):
    """`offer` and `set_codecs` from any thread; they never wait for encoding or sending."""

    def __init__(
        self,
        send: Callable[[Head, Payload], None],
        log: Callable[[str, str, str], None],
        *,
        quality: int,
        fps_max: float,
        width_max: int | None,
    ) -> None:
        super().__init__(name="live", daemon=True)
        self._send, self._log = send, log
        self._quality, self._width_max = quality, width_max
        self._period_s = 1.0 / fps_max
        self._changed = threading.Condition()
        self._codecs: frozenset[Codec] = frozenset()
        self._focus: FocusView | None = None
        self._waiting: deque[tuple[Frame | Packet, Stream]] = deque()
        self._skip_to_keyframe = self._whole = False
        self._left_out = 0  # pictures since the last one that was taken, while all are wanted
        self._next_due = 0.0
        self._closed = False
        self.dropped = 0
        self.encoded = 0
        self._told: type[Exception] | None = None
        self._told_at = 0.0
        self._renderer = None
        self._decoder = None
        self.of_exposures = False  # the camera makes no video: its live pictures are test shots, as large as stills

    def set_codecs(self, codecs: frozenset[Codec], *, whole: bool = False) -> None:
        """What viewers take; `whole`: somebody needs every picture."""
        with self._changed:
            self._codecs, self._whole, self._left_out = codecs, whole, 0
            if not codecs and self._focus is None:
                self._waiting.clear()
                self._skip_to_keyframe = True

    def set_focus(self, focus: FocusView | None) -> None:
        """Measure live pictures too, or no longer."""
        with self._changed:
            self._focus = focus

    def offer(self, picture: Frame | Packet, mode: Stream) -> None:
        """Take the newest picture; the driver thread goes on at once."""
        inter = isinstance(picture, Packet) and picture.codec != "jpeg"
        with self._changed:
            if not self._codecs and self._focus is None:
                return
            if inter:
                if len(self._waiting) >= BACKLOG:
                    self._leave_out(len(self._waiting))
                    self._skip_to_keyframe = True
                if self._skip_to_keyframe and isinstance(picture, Packet) and not picture.keyframe:
                    self._leave_out(1)
                    return
                self._skip_to_keyframe = False
            elif self._whole:
                if isinstance(picture, Frame) and not self._due():
                    return
                if len(self._waiting) >= (BACKLOG_RAW if isinstance(picture, Frame) else BACKLOG):
                    self._leave_out(1)
            else:
                if not self._due():
                    return
                self._leave_out(len(self._waiting))
            if self._whole and self._left_out:
                picture, self._left_out = replace(picture, dropped_before=picture.dropped_before + self._left_out), 0
            self._waiting.append((picture, mode))
            self._changed.notify()

    def _leave_out(self, count: int) -> None:
        """The oldest that wait, or the one at hand where none does; lock held."""
        self.dropped += count
        self._left_out += count
        for _ in range(min(count, len(self._waiting))):
            self._waiting.popleft()

    def _due(self) -> bool:
        """Hold the rate to `live.fps_max`, evenly; lock held."""
        now = time.monotonic()
        if now < self._next_due - 0.3 * self._period_s:
            return False
        self._next_due = max(self._next_due + self._period_s, now)
        return True

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()

    def run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                picture, mode = self._waiting.popleft()
                codecs, focus = self._codecs, self._focus
            try:
                self._publish(picture, mode, codecs, focus)
            except _ServerGone:  # the main thread notices too, and closes
                self.set_focus(None)
                self.set_codecs(frozenset())
            except Exception as error:  # no picture may end the live view of all later ones
                self.dropped += 1
                self._could_not(error)

    def _could_not(self, error: Exception) -> None:
        """Of one kind, told once a minute: the log has room for the rest of the night."""
        now = time.monotonic()
        if type(error) is not self._told or now > self._told_at + TOLD_AGAIN_S:
            self._told, self._told_at = type(error), now
            expected = isinstance(error, CupolaError | ValueError | MemoryError)
            words = str(error) if expected else repr(error)
            self._log("WARNING" if expected else "ERROR", "capture", f"A live picture could not be encoded: {words}")

    def _deliver(self, head: Head, data: Payload) -> None:
        try:
            self._send(head, data)
        except OSError as error:
            raise _ServerGone from error

    def _publish(self, picture: Frame | Packet, mode: Stream, codecs: frozenset[Codec], focus: FocusView | None) -> None:
        due = focus is not None and focus.due(time.monotonic())
        inter = isinstance(picture, Packet) and picture.codec != "jpeg"
        pixels = due or (inter and focus is not None)  # pictures that build on each other are all decoded, or none
        frame = picture if isinstance(picture, Frame) else self._pass_through(picture, mode, codecs, pixels)
        if frame is None:
            return
        if focus is not None and due:
            head, jpeg = focus.look(frame)
            self._deliver({"type": "focus", **facts_of(frame), **head}, jpeg)
        if "jpeg" in codecs and (isinstance(picture, Frame) or (inter and self._due())):
            packet = self._encode(frame)
            self._deliver(packet_head(packet, mode), packet.data)

    def _pass_through(self, packet: Packet, mode: Stream, codecs: frozenset[Codec], pixels: bool) -> Frame | None:
        """Send a packet to those who take it as it is; its pixels if there is somebody else, or `pixels` are needed."""
        if packet.codec in codecs:
            sent = self._shrunk(packet) if packet.codec == "jpeg" and (mode == "still" or self.of_exposures) else packet
            self._deliver(packet_head(sent, mode), sent.data)
        if packet.codec == "jpeg":
            return self._decode(packet) if pixels else None
        if pixels or "jpeg" in codecs:
            return self._decode(packet)
        self._decoder = None  # it has missed this one: the next who needs pixels begins at a keyframe
        return None

    def _shrunk(self, still: Packet) -> Packet:
        """An exposure's full-size JPEG as one that a phone can take; small ones stay untouched."""
        width_max = self._width_max or STILL_WIDTH
        if still.width <= width_max:
            return still
        from cupola.camera.render import shrink_jpeg

        data, width, height = shrink_jpeg(still.data, width_max, self._quality)
        self.encoded += 1
        return replace(still, data=data, width=width, height=height)

    def _encode(self, frame: Frame) -> Packet:
        if self._renderer is None:
            from cupola.camera.render import LiveRenderer

            self._renderer = LiveRenderer(quality=self._quality, width_max=self._width_max)
        data, width, height = self._renderer.jpeg(frame)
        self.encoded += 1
        return Packet(
            seq=frame.seq,
            opened_at=frame.opened_at,
            ended_at=frame.ended_at,
            monotonic_ns=frame.monotonic_ns,
            clock_synced=frame.clock_synced,
            applied=frame.applied,
            generation=frame.generation,
            codec="jpeg",
            data=data,
            width=width,
            height=height,
            dropped_before=frame.dropped_before,
        )

    def _decode(self, packet: Packet) -> Frame | None:
        """Only where a viewer cannot take the camera's own codec. Every packet is needed, shown or not."""
        if self._decoder is None:
            from cupola.drivers.decode import Decoder

            self._decoder = Decoder(packet.codec)
        return self._decoder.decode(packet)
