"""Live packets into their capped streams: the newest there is, never a queue, and every one that is left out is counted.

A packet is delivered or dropped, nothing else: where an answer got lost, the stream itself is asked what it has. Taken in the server's loop, sent in a
thread of their own, so that neither a backlog of stills nor a slow network holds up a camera.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from cupola.core.clock import utc_now
from cupola.core.frame import Packet
from cupola.stream.format import FramePacket, Malformed, frames_key, key, pack_frame, unpack_frame

if TYPE_CHECKING:
    from redis import Redis

WAITING_BYTES = 8_000_000  # of one camera; more than a second of most
WAITING_PACKETS = 30
BATCH = 16

# KEYS: the stream, the station's status. ARGV: who may add, how many stay, fields. An order of a connection that was given up, and that Redis
# comes to only later, is refused: it was counted as dropped. Live packets stay out of the append-only file and off replicas (REPL_NONE): else each would
# wait for a disk's sync, and wear it, though nobody wants it a second later.
ADD = """
redis.set_repl(redis.REPL_NONE)
if redis.call('HGET', KEYS[2], 'live') ~= ARGV[1] then return false end
return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', unpack(ARGV, 3))
"""


class Superseded(Exception):
    """Redis has forgotten who may add, or somebody else may."""


@dataclass(slots=True)
class _Camera:
    name: str
    key: str
    produced: int = 0
    delivered: int = 0
    newest_age_s: float | None = None  # of the packet that Redis took last, when it had it
    waiting: deque[tuple[int, Packet]] = field(default_factory=lambda: deque[tuple[int, Packet]]())
    bytes: int = 0
    needs_key: bool = True  # pictures build on each other: after a gap the next is a key packet
    flying: list[int] = field(default_factory=list[int])  # sequences sent, of which no answer came

    @property
    def dropped(self) -> int:
        return self.produced - self.delivered - len(self.waiting) - len(self.flying)


class Live:
    """`cameras` are those that are streamed. `keep`: so many packets stay in a stream."""

    def __init__(self, station: str, cameras: list[str], keep: int) -> None:
        self.incarnation = int(time.time() * 1000)  # each start of the program counts its packets anew
        self._keep, self._status = keep, key(station, "status")
        self._connections, self._script = 0, ""
        self._cameras = {name: _Camera(name, frames_key(station, name)) for name in cameras}
        self._mutex = threading.Lock()
        self.arrived = threading.Event()
        self._connected = False

    @property
    def counts(self) -> Mapping[str, dict[str, Any]]:
        """By camera, since the start."""
        with self._mutex:
            return {
                name: {"produced": one.produced, "delivered": one.delivered, "dropped": one.dropped, "age_seconds": one.newest_age_s}
                for name, one in self._cameras.items()
            }

    def taker(self, name: str) -> Callable[[Packet], None]:
        """What a camera's hub calls with each live packet."""
        camera = self._cameras[name]

        def take(packet: Packet) -> None:
            with self._mutex:
                camera.produced += 1
                if self._connected:
                    self._queue(camera, packet)
            self.arrived.set()

        return take

    @staticmethod
    def _queue(camera: _Camera, packet: Packet) -> None:
        """The newest; older ones make way. Of video that builds on what came before, all go until the next key packet."""
        if packet.codec == "jpeg":
            while camera.waiting and (len(camera.waiting) >= WAITING_PACKETS or camera.bytes + len(packet.data) > WAITING_BYTES):
                camera.bytes -= len(camera.waiting.popleft()[1].data)
        else:
            if len(camera.waiting) >= 10 * WAITING_PACKETS or (camera.waiting and camera.bytes + len(packet.data) > WAITING_BYTES):
                camera.waiting.clear()
                camera.bytes, camera.needs_key = 0, True
            if camera.needs_key and not packet.keyframe:
                return
            camera.needs_key = False
        camera.waiting.append((camera.produced, packet))
        camera.bytes += len(packet.data)

    # ── in the thread ──────────────────────────────────────────────────────

    def resume(self, client: Redis) -> None:
        """Ask what became of packets without an answer, and begin to take new ones."""
        self._connections += 1
        self._script = cast(str, client.script_load(ADD))
        client.hset(self._status, "live", self._who)
        for camera in self._cameras.values():
            newest = self._newest(client, camera)
            with self._mutex:
                camera.delivered += sum(sequence <= newest for sequence in camera.flying)
                camera.flying = []
        with self._mutex:
            self._connected = True

    @property
    def _who(self) -> str:
        return f"{self.incarnation}.{self._connections}"

    def _newest(self, client: Redis, camera: _Camera) -> int:
        """The sequence of the newest packet there is of this start; 0 without one."""
        found = cast("list[tuple[bytes, dict[bytes, bytes]]]", client.xrevrange(camera.key, count=1))
        try:
            frame = unpack_frame(camera.key, found[0][0].decode(), found[0][1]) if found else None
        except Malformed:
            return 0
        return frame.sequence if frame is not None and frame.incarnation == self.incarnation else 0

    def lost(self) -> None:
        """No connection any more: what waits is dropped, for it is old by the time there is one."""
        with self._mutex:
            self._connected = False
            for camera in self._cameras.values():
                camera.waiting.clear()
                camera.bytes, camera.needs_key = 0, True

    def send(self, client: Redis) -> bool:
        """What waits, of all cameras; False when nothing did. What the client raises leaves packets without an answer: call `lost`, and `resume` next time."""
        self.arrived.clear()
        pipeline, sent = client.pipeline(transaction=False), list[tuple[_Camera, int, Packet]]()
        with self._mutex:
            for camera in self._cameras.values():
                taken = [camera.waiting.popleft() for _ in range(min(BATCH, len(camera.waiting)))]
                camera.bytes -= sum(len(packet.data) for _, packet in taken)
                for sequence, packet in taken:
                    dropped = sequence - 1 - camera.delivered - len(camera.flying)
                    fields = pack_frame(_frame(packet, sequence, self.incarnation, dropped))
                    words = [word for pair in fields.items() for word in pair]
                    pipeline.evalsha(self._script, 2, camera.key, self._status, self._who, self._keep, *cast("list[Any]", words))
                    camera.flying.append(sequence)
                    sent.append((camera, sequence, packet))
        if not sent:
            return False
        answers = cast("list[Any]", pipeline.execute(raise_on_error=False))
        problem: Exception | None = None
        now = utc_now()
        with self._mutex:
            for (camera, sequence, packet), answer in zip(sent, answers, strict=True):
                camera.flying.remove(sequence)
                if isinstance(answer, Exception):
                    problem = answer  # Redis said no: it does not have this one
                elif answer is None:
                    problem = Superseded("Another program sends live pictures under this station's name, or the keys in Redis were deleted.")
                else:
                    camera.delivered += 1
                    camera.newest_age_s = round(max(0.0, (now - packet.opened_at).total_seconds()), 3)
        if problem is not None:
            raise problem
        return True


def _frame(packet: Packet, sequence: int, incarnation: int, dropped: int) -> FramePacket:
    return FramePacket(
        sequence=sequence,
        incarnation=incarnation,
        generation=f"{packet.generation.epoch}.{packet.generation.n}",
        time=packet.opened_at,
        codec=packet.codec,
        key=packet.keyframe,
        width=packet.width,
        height=packet.height,
        dropped=dropped,
        data=packet.data,
    )
