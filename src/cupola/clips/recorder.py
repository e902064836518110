"""One clip while it is recorded: which packets belong to it, and the process that writes them.

Packets are kept until that process has them in the system's hands; when it dies another goes on where it stopped. What was asked
for, and how it ended, is told to `clips.clips`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from cupola.camera.messages import packet_head
from cupola.core.clock import monotonic_ns
from cupola.core.errors import CupolaError
from cupola.core.frame import Packet
from cupola.process.child import Child
from cupola.process.wire import Head

MODULE = "cupola.clips.process"
ATTEMPTS = 3
GRACE_S = 2.0  # a source that sends nothing at the end is waited for so long
LOOK_S = 1.0
WINDOW = 4 << 20  # bytes on their way to the process: the ring's hundreds of megabytes are not copied into a socket's buffer at once
LEEWAY_NS = 200_000_000  # a clip begins and ends so much further out: a network camera's picture has its time when it arrives, a trigger its own
STALL_S = 60.0  # without a sign of life of the writing process
AGAIN_S = 1.0
Log = Callable[..., None]


class ClipFailed(CupolaError):
    """A clip that could not be saved; `kind` of the cause, and whether its journal is of use still."""

    kind = "clip_failed"

    def __init__(self, message: str, *, full: bool = False) -> None:
        super().__init__(message)
        self.full = full


class Recorder:
    """`add` takes the camera's packets from the moment this is made; `written` writes them, and gives the record of the finished file."""

    def __init__(
        self, camera: str, label: str, trigger_ns: int, before_s: float, after_s: float, longest_s: float, beginning: list[Packet], log: Log
    ) -> None:
        self.camera, self.label = camera, label
        self.trigger_ns, self.before_s = trigger_ns, before_s
        self._last_ns = trigger_ns + round(longest_s * 1e9)
        self.end_ns = min(trigger_ns + round(after_s * 1e9), self._last_ns)
        self._log = log
        self._waiting: deque[tuple[int, Packet]] = deque()  # not known to be written,
        self._unsent: deque[tuple[int, Packet]] = deque()  # and of those, what the process there is was not given yet
        self._under_way = 0  # bytes it was given and has not written
        self._ready = False  # it has said where it goes on
        self._count = 0
        self._form: tuple[object, ...] | None = None
        self._whole = asyncio.Event()  # no further packet belongs to it
        self._moved = asyncio.Event()
        self._child: Child | None = None
        self._answer: Head | None = None
        self._alive = 0.0
        self._came_ns = 0  # when the newest packet did
        for packet in beginning:
            self.add(packet)

    @property
    def open(self) -> bool:
        """Whether another trigger may still make it longer."""
        return not self._whole.is_set()

    def extend(self, after_s: float, now_ns: int) -> float:
        """Go on until `after_s` from now, as far as its greatest length allows; seconds after the first trigger."""
        self.end_ns = max(self.end_ns, min(now_ns + round(after_s * 1e9), self._last_ns))
        return (self.end_ns - self.trigger_ns) / 1e9

    def add(self, packet: Packet) -> None:
        """The camera's next packet."""
        if self._whole.is_set():
            return
        form = (packet.codec, packet.width, packet.height)
        if self._form is None and not packet.keyframe:
            return
        self._form = self._form or form
        if form != self._form:
            self._whole.set()  # another stream: no file holds both
            return
        self._waiting.append((self._count, packet))
        self._unsent.append((self._count, packet))
        self._count += 1
        self._came_ns = monotonic_ns()
        self._moved.set()
        if packet.monotonic_ns >= self.end_ns + LEEWAY_NS:
            self._whole.set()

    @asynccontextmanager
    async def written(self, journal: Path, target: Path) -> AsyncGenerator[Head]:
        """The record of the file, when that is durable. Its process is ended on leaving: a clip is told of before that, which takes longer. Raises ClipFailed."""
        ending = asyncio.create_task(self._time_out())
        try:
            yield await self._tried(journal, target)
        finally:
            ending.cancel()
            if self._child is not None:
                await self._child.end(ask_s=0.5)

    async def _tried(self, journal: Path, target: Path) -> Head:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._write(journal, target)
            except OSError as error:
                self._log("ERROR", f"The process that writes a clip failed: {error}", event="clip", camera=self.camera)
                if attempt < ATTEMPTS:
                    await asyncio.sleep(AGAIN_S)
        raise ClipFailed(f"The process that writes the clip failed {ATTEMPTS} times; see the log. What was recorded is kept in {journal}.")

    async def _time_out(self) -> None:
        """A source that stalls does not hold up the clip's end."""
        while not self._whole.is_set():
            left_s = (max(self.end_ns, self._came_ns) - monotonic_ns()) / 1e9 + GRACE_S
            if left_s <= 0:
                self._whole.set()
                self._moved.set()
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(left_s):
                        await self._whole.wait()

    async def _write(self, journal: Path, target: Path) -> Head:
        loop = asyncio.get_running_loop()
        self._answer, self._ready, self._alive = None, False, loop.time()
        child = self._child = await Child.start(MODULE, name="clip", on_message=self._heard, on_stderr=self._said)
        clip = {"trigger_ns": self.trigger_ns, "before_s": self.before_s}
        seconds = self.before_s + (self.end_ns - self.trigger_ns) / 1e9
        child.send({"type": "start", "journal": str(journal), "target": str(target), "clip": clip, "seconds": seconds})
        lost = asyncio.create_task(child.link_lost())
        lost.add_done_callback(lambda _: self._moved.set())
        finishing = False
        try:
            while self._answer is None:
                self._moved.clear()
                self._send_on(child)
                if self._whole.is_set() and self._ready and not self._unsent and not finishing:
                    finishing = True
                    child.send({"type": "finish", "after_s": (self.end_ns - self.trigger_ns) / 1e9})
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._moved.wait()
                if self._answer is None and lost.done():
                    raise ChildProcessError(f"it died (exit code {await child.wait()})")
                if loop.time() - self._alive > STALL_S and (self._unsent or finishing):
                    await child.kill()
                    raise ChildProcessError(f"it did nothing for {STALL_S:.0f} s, and was killed")
        finally:
            lost.cancel()
        if self._answer["type"] == "failed":
            raise ClipFailed(self._answer["message"], full=self._answer["kind"] == "storage_full")
        return self._answer

    def _send_on(self, child: Child) -> None:
        while self._ready and self._unsent and self._under_way < WINDOW:
            number, packet = self._unsent.popleft()
            child.send({**packet_head(packet, "live"), "type": "packet", "n": number}, packet.data)
            self._under_way += len(packet.data)

    def _heard(self, head: Head, _: bytearray) -> None:
        self._alive = asyncio.get_running_loop().time()
        if head["type"] == "ready":
            self._count = max(self._count, head["upto"] + 1)  # a journal that an earlier server began
            self._written(head["upto"])
            self._unsent, self._under_way, self._ready = self._waiting.copy(), 0, True
        elif head["type"] == "written":
            self._under_way -= self._written(head["n"])
            if not self._unsent:
                return  # nothing to do
        elif head["type"] in ("saved", "failed"):
            self._answer = head
        self._moved.set()

    def _written(self, upto: int) -> int:
        """Let go of the packets up to this one; their bytes."""
        size = 0
        while self._waiting and self._waiting[0][0] <= upto:
            size += len(self._waiting.popleft()[1].data)
        return size

    def _said(self, line: str) -> None:
        self._log("ERROR", f"clip: {line}", event="clip", camera=self.camera)

    @classmethod
    def recovered(cls, camera: str, label: str, after_s: float, log: Log) -> Recorder:
        """Of a clip that an earlier server began: nothing more will come, its journal is finished."""
        recorder = cls(camera, label, 0, 0.0, after_s, after_s, [], log)
        recorder._whole.set()
        return recorder
