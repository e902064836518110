"""Looking for motion in one camera's live view: which packets the looking process is given, and what becomes of what it finds.

Decoding and arithmetic are `motion_process`'s. The process is given no more than it keeps up with: of JPEGs five a second, of video all
in order, or else from the next keyframe on. When it dies or hangs another one is started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cupola.camera.messages import packet_head
from cupola.config.triggers import OnMotion
from cupola.core.frame import Packet
from cupola.core.hub import FrameHub
from cupola.process.child import Child
from cupola.process.wire import Head

MODULE = "cupola.clips.motion_process"
PERIOD_NS = 200_000_000  # between two JPEGs
BEHIND_MOST = 60  # packets of video that were given and not looked at
SILENT_S = 15.0
AGAIN_NS = 500_000_000  # motion that goes on triggers again after this, and so makes the clip longer
PAUSES_S = (1.0, 5.0, 20.0)


@dataclass(frozen=True, slots=True)
class Moved:
    """When the shutter of the picture opened (monotonic clock), how much of the region changed, and around what: see `change.Change`."""

    at_ns: int
    share: float
    box: list[float]


@dataclass(slots=True)
class _Watched:
    wanted: OnMotion
    moved: Callable[[Moved], None]
    be: Callable[..., None]
    fired_ns: int = -AGAIN_NS


class Motion:
    """One camera's. `watch` before `run`."""

    def __init__(self, camera: str, hub: FrameHub, log: Callable[..., None]) -> None:
        self._camera, self._log = camera, log
        self._watched: list[_Watched] = []
        self._child: Child | None = None
        self._sent = self._seen = 0
        self._due_ns = 0
        self._skip = True
        self._alive = 0.0
        hub.look(self._take)

    def watch(self, wanted: OnMotion, moved: Callable[[Moved], None], be: Callable[..., None]) -> None:
        """Call `moved` for what moves there, and `be` with state and problem."""
        self._watched.append(_Watched(wanted, moved, be))

    def _take(self, packet: Packet) -> None:
        child, behind = self._child, self._sent - self._seen
        if child is None:
            return
        if packet.codec == "jpeg":
            if behind or packet.monotonic_ns < self._due_ns:
                return
            self._due_ns = max(self._due_ns + PERIOD_NS, packet.monotonic_ns - PERIOD_NS // 2)
        else:
            self._skip = (self._skip or behind > BEHIND_MOST) and not (packet.keyframe and behind <= BEHIND_MOST // 2)
            if self._skip:
                return
        if not behind:
            self._alive = asyncio.get_running_loop().time()
        self._sent += 1
        child.send({**packet_head(packet, "live"), "type": "picture", "n": self._sent}, packet.data)

    async def run(self) -> None:
        attempt = 0
        while True:
            begun = asyncio.get_running_loop().time()
            problem = await self._look()
            attempt = 0 if asyncio.get_running_loop().time() - begun > 60 else min(attempt + 1, len(PAUSES_S) - 1)
            for watched in self._watched:
                watched.be("unreachable", f"The process that looks for motion {problem}. Another one is started in {PAUSES_S[attempt]:.0f} s.")
            await asyncio.sleep(PAUSES_S[attempt])

    async def _look(self) -> str:
        """With one process, until it ends; why."""
        loop = asyncio.get_running_loop()
        try:
            child = await Child.start(MODULE, name=f"motion {self._camera}", on_message=self._heard, on_stderr=self._said)
        except OSError as error:
            return f"cannot be started ({error.strerror})"
        child.send({"type": "watch", "watched": [_orders(watched.wanted) for watched in self._watched]})
        self._sent = self._seen = self._due_ns = 0
        self._skip, self._alive, self._child = True, loop.time(), child
        for watched in self._watched:
            watched.be("armed")
        lost = asyncio.create_task(child.link_lost())
        try:
            while not lost.done():
                await asyncio.wait({lost}, timeout=1.0)
                if self._sent > self._seen and loop.time() - self._alive > SILENT_S:
                    return f"did nothing for {SILENT_S:.0f} s, and was killed"
            return f"died (exit code {await child.wait()})"
        finally:
            lost.cancel()
            self._child = None
            await child.end()

    def _heard(self, head: Head, _: bytearray) -> None:
        if head["type"] == "seen":
            self._seen, self._alive = head["n"], asyncio.get_running_loop().time()
        elif head["type"] == "moved":
            self._moved(self._watched[head["which"]], head)

    def _moved(self, watched: _Watched, head: Head) -> None:
        watched.be("armed" if head["share"] is None else "active")
        if head["share"] is not None and head["at_ns"] - watched.fired_ns >= AGAIN_NS:
            watched.fired_ns = head["at_ns"]
            watched.moved(Moved(head["at_ns"], head["share"], head["box"]))

    def _said(self, line: str) -> None:
        self._log("WARNING", f"The process that looks for motion said: {line}", event="clip", camera=self._camera)


def _orders(wanted: OnMotion) -> dict[str, Any]:
    return {
        "sensitivity": wanted.sensitivity,
        "region": None if wanted.region is None else wanted.region.model_dump(),
        "mask": [part.model_dump() for part in wanted.mask],
    }
