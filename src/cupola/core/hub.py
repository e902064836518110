"""Live packets of one camera, handed to any number of viewers without ever waiting for one.

A JPEG viewer has a box for one packet: the newest. An H.264 or H.265 viewer has a short queue, because
pictures build on each other; when it overflows, the viewer skips to the next keyframe. What a viewer
is sent is built once a packet, not once a viewer. Sockets belong to `web.live`. A tap (a pre-roll) gets every
packet in the camera's own codec, and makes the camera process leave none out; of a camera with a stream of its own for
recording it gets that one's.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from cupola.core.clock import iso_utc, monotonic_ns
from cupola.core.frame import Capability, Codec, Packet, native_of

_BOUNDARY = b"\r\n--frame\r\n"
FIRST_CHUNK = b"9\r\n--frame\r\n\r\n"  # what a multipart/x-mixed-replace answer begins with
GOP_QUEUE = 90  # packets: three seconds at 30 frames a second


def _frame_head(size: int) -> bytes:
    if size < 126:
        return bytes((0x82, size))
    return bytes((0x82, 126)) + size.to_bytes(2, "big") if size < 1 << 16 else bytes((0x82, 127)) + size.to_bytes(8, "big")


class LivePacket:
    """A packet on its way to viewers, with its wire forms made on first use and shared by all."""

    __slots__ = ("_chunk", "_frame", "age_ms", "packet", "seq")

    def __init__(self, packet: Packet, seq: int) -> None:
        self.packet = packet
        self.seq = seq
        self.age_ms = max(0.0, (monotonic_ns() - packet.monotonic_ns) / 1e6)
        self._frame: bytes | None = None
        self._chunk: bytes | None = None

    @property
    def frame(self) -> bytes:
        """The WebSocket message as one unmasked binary frame (RFC 6455, 5.2): uint16 header length, JSON header, payload."""
        if self._frame is None:
            packet = self.packet
            header = json.dumps(
                {
                    "seq": self.seq,
                    "opened_at": iso_utc(packet.opened_at),
                    "age_ms": round(self.age_ms, 1),
                    "width": packet.width,
                    "height": packet.height,
                    "codec": packet.codec,
                    "keyframe": packet.keyframe,
                    "generation": packet.generation,
                    "exposure_s": packet.applied.exposure_s,
                    "gain": packet.applied.gain,
                },
                separators=(",", ":"),
            ).encode()
            size = 2 + len(header) + len(packet.data)
            self._frame = b"".join((_frame_head(size), len(header).to_bytes(2, "big"), header, packet.data))
        return self._frame

    @property
    def chunk(self) -> bytes:
        """The part of a multipart/x-mixed-replace answer, with the boundary behind which the next one follows, as one HTTP chunk."""
        if self._chunk is None:
            packet = self.packet
            head = (
                f"Content-Type: image/jpeg\r\nContent-Length: {len(packet.data)}\r\n"
                f"X-Sequence: {self.seq}\r\nX-Opened-At: {iso_utc(packet.opened_at)}\r\n\r\n"
            ).encode()
            size = len(head) + len(packet.data) + len(_BOUNDARY)
            self._chunk = b"".join((b"%x\r\n" % size, head, packet.data, _BOUNDARY, b"\r\n"))
        return self._chunk


class Viewer:
    """One subscriber's end. `next` from one task; packets it had no time for are counted in `dropped`."""

    def __init__(self, codec: Codec) -> None:
        self.codec: Codec = codec
        self.dropped = 0
        self.sent = 0
        self._box: LivePacket | None = None
        self._queue: deque[LivePacket] = deque()
        self._texts: deque[str] = deque(maxlen=8)
        self.sending_since: float | None = None  # kept by the socket's task, to notice a stalled one
        self.hang_up: Callable[[], None] | None = None  # how to be rid of it then, where its task cannot do so itself
        self._needs_keyframe = True
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    def offer(self, live: LivePacket) -> None:
        """Called by the hub for each packet of the viewer's codec."""
        if self.codec == "jpeg":
            if self._box is not None:
                self.dropped += 1
            self._box = live
        elif not self._enqueue(live):
            return
        self._wake()

    def _enqueue(self, live: LivePacket) -> bool:
        if len(self._queue) >= GOP_QUEUE:
            self.dropped += len(self._queue)
            self._queue.clear()
            self._needs_keyframe = True
        if self._needs_keyframe and not live.packet.keyframe:
            self.dropped += 1
            return False
        self._needs_keyframe = False
        self._queue.append(live)
        return True

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def tell(self, text: str) -> None:
        """A text message, sent before any further packet."""
        self._texts.append(text)
        self._wake()

    async def next(self) -> LivePacket | str | None:
        """What to send next; None once the viewer was closed."""
        while not self._closed:
            if self._texts:
                return self._texts.popleft()
            live = self._box if self.codec == "jpeg" else (self._queue.popleft() if self._queue else None)
            if live is not None:
                self._box = None
                self.sent += 1
                return live
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return None

    def close(self) -> None:
        self._closed = True
        self._wake()


class FrameHub:
    """One camera's viewers. `on_demand` is told whenever the set of wanted codecs changes. `apart`: the camera has a second stream, for recording."""

    def __init__(self, on_demand: Callable[[frozenset[Codec]], None], *, apart: bool = False) -> None:
        self._on_demand, self._apart = on_demand, apart
        self._viewers: set[Viewer] = set()
        self._taps: list[Callable[[Packet], None]] = []
        self._lookers: list[Callable[[Packet], None]] = []
        self._native: Codec = "jpeg"
        self._demand: frozenset[Codec] = frozenset()
        self._seq = 0
        self._dropped = 0  # by viewers who have left
        self.newest: LivePacket | None = None

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    @property
    def dropped(self) -> int:
        """Packets that viewers had no time for."""
        return self._dropped + sum(viewer.dropped for viewer in self._viewers)

    @property
    def demand(self) -> frozenset[Codec]:
        return self._demand

    @property
    def whole(self) -> bool:
        """Whether somebody needs every packet, not just the newest."""
        return bool(self._taps)

    def tap(self, take: Callable[[Packet], None]) -> None:
        """Have `take` called with every packet of the camera's own codec, or of its stream for recording, from now on. It must not block."""
        self._taps.append(take)
        self._changed()

    def look(self, take: Callable[[Packet], None]) -> None:
        """Have `take` called with the live packets of the camera's own codec, as a viewer would get them. It must not block."""
        self._lookers.append(take)
        self._changed()

    def opened(self, capabilities: frozenset[Capability]) -> None:
        """The camera is open, and this is what it can do."""
        self._native = native_of(capabilities)
        self._changed()

    def publish(self, packet: Packet) -> None:
        """Hand a packet to everyone who takes its codec. Never blocks."""
        self._seq += 1
        live = self.newest = LivePacket(packet, self._seq)
        for viewer in self._viewers:
            if viewer.codec == packet.codec:
                viewer.offer(live)
        if packet.codec == self._native:
            for take in self._lookers:
                take(packet)
            if not self._apart:
                self.record(packet)

    def record(self, packet: Packet) -> None:
        """Hand a packet to the taps alone: one of the stream for recording."""
        for take in self._taps:
            take(packet)

    def tell(self, text: str) -> None:
        """A text message to every viewer."""
        for viewer in self._viewers:
            viewer.tell(text)

    def __iter__(self) -> Iterator[Viewer]:
        return iter(tuple(self._viewers))

    def join(self, codec: Codec) -> Viewer:
        viewer = Viewer(codec)
        self._viewers.add(viewer)
        self._changed()
        return viewer

    def leave(self, viewer: Viewer) -> None:
        viewer.close()
        if viewer in self._viewers:
            self._dropped += viewer.dropped
            self._viewers.discard(viewer)
        self._changed()

    def _changed(self) -> None:
        wanted: set[Codec] = {viewer.codec for viewer in self._viewers}
        if self._lookers or (self._taps and not self._apart):
            wanted.add(self._native)
        demand = frozenset(wanted)
        if demand != self._demand:
            self._demand = demand
            self._on_demand(demand)


def choose_codec(accepted: Iterable[str], native: Codec) -> Codec | None:
    """What a viewer gets: the camera's own codec if it takes it, else JPEG, else nothing fits."""
    accepted = tuple(accepted)
    if native in accepted:
        return native
    return "jpeg" if "jpeg" in accepted else None
