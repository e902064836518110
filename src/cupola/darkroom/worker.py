"""The server's handle on the darkroom process: started when there is work, one job at a time, killed when it hangs.

What to ask of it, when to ask again and what is told to the owner is decided by `darkroom.queue`.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

from cupola.core.errors import CupolaError
from cupola.process.child import Child
from cupola.process.predecessor import Predecessor
from cupola.process.wire import Head

MODULE = "cupola.darkroom.process"
PATIENCE_S = 5.0  # for an orphan to finish its image; one that is cut off is only done again
Log = Callable[..., None]  # (level, message, *, event=…, camera=…)
Answer = tuple[Head, bytearray]


class WorkerDied(CupolaError):
    """The process ended, hung or would not start. `began`: it had loaded its libraries and taken up the job."""

    kind = "darkroom_died"

    def __init__(self, message: str, began: bool) -> None:
        super().__init__(message)
        self.began = began


class DarkroomUnavailable(CupolaError):
    """Nobody develops or makes pictures now: try again after `retry_in_s`."""

    kind = "darkroom_unavailable"

    def __init__(self, message: str, retry_in_s: float | None) -> None:
        super().__init__(message)
        self.retry_in_s = retry_in_s


class Worker:
    """At most one process and one job. Not started by the constructor.

    `lock_file` is held by the process, so none is started beside one that an earlier server left or that cannot be
    killed. `wanted` says whether it is still worth waiting for such a one.
    """

    def __init__(self, log: Log, lock_file: Path, *, wanted: Callable[[], bool], module: str = MODULE) -> None:
        self._log, self._module = log, module
        self._lock_file, self._wanted = lock_file, wanted
        self._predecessor = Predecessor(
            lock_file, module, name="the darkroom", work="an image", patience_s=PATIENCE_S, say=lambda level, text: log(level, text, event="capture")
        )
        self._refused: str | None = None
        self._child: Child | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._job, self._began = 0, False

    @property
    def pid(self) -> int | None:
        """Of the process, when there is one."""
        return self._child.pid if self._child is not None and self._child.running else None

    async def request(self, head: Head, deadline_s: float) -> Answer:
        """Have one job done. Starts the process if there is none; raises WorkerDied, and then there is none any more."""
        self._job += 1
        self._began = False
        self._answer = asyncio.get_running_loop().create_future()
        try:
            child = await self._ready()
            lost = asyncio.create_task(child.link_lost())
            try:
                child.send({**head, "job": self._job})
                await asyncio.wait({self._answer, lost}, timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                lost.cancel()
            if self._answer.done():
                return self._answer.result()
            raise WorkerDied(await self._dead(child, f"it did not finish within {deadline_s:g} s"), self._began)
        finally:
            self._answer = None

    async def _ready(self) -> Child:
        if self._child is not None and self._child.running:
            return self._child
        await self.kill()
        try:
            held = await self._predecessor.gone(self._wanted)
        except CupolaError as error:
            held = str(error)
        if held is None and not self._wanted():
            held = "The darkroom is closing."
        if held is not None:
            raise WorkerDied(held, began=False)
        self._refused = None
        try:
            self._child = await Child.start(self._module, name="darkroom", on_message=self._on_message, on_stderr=self._on_stderr)
        except OSError as error:
            raise WorkerDied(f"The darkroom's process cannot be started: {error.strerror}.", began=False) from error
        self._child.send({"type": "configure", "lock": str(self._lock_file)})
        return self._child

    async def _dead(self, child: Child, why: str) -> str:
        """End what is left of a process that did not answer; what happened, in words."""
        hung = not await _ended_by_itself(child)
        ending = await child.kill()
        self._child = None
        if ending == "abandoned":
            return f"The darkroom's process ({child.pid}) is stuck in the system and cannot be killed: {why}. See the kernel's log (dmesg)."
        if hung:
            return f"The darkroom's process was killed: {why}."
        if self._refused is not None:
            return self._refused
        code = await child.wait()
        return f"The darkroom's process died ({_name_of(code)})."

    def _on_message(self, head: Head, payload: bytearray) -> None:
        match head["type"]:
            case "log":
                self._log(str(head["level"]), str(head["message"]), event=str(head["event"]))
            case "refused":
                self._refused = str(head["message"])
            case "started" if head["job"] == self._job:
                self._began = True
            case _ if head.get("job") == self._job and self._answer is not None and not self._answer.done():
                self._answer.set_result((head, payload))
            case _:
                self._log("WARNING", f"The darkroom's process sent {head['type']!r} that nobody waits for.", event="capture")

    def _on_stderr(self, line: str) -> None:
        self._log("ERROR", f"darkroom: {line}", event="capture")

    async def end(self, ask_s: float) -> None:
        """Let it finish its job within `ask_s`, then end it."""
        child, self._child = self._child, None
        if child is not None:
            await child.end(ask_s=ask_s)

    async def kill(self) -> None:
        """End it at once: a job may always be done again. A waiting `request` raises WorkerDied."""
        if self._child is not None:
            await self._child.kill()
            if self._answer is None:
                self._child = None


async def _ended_by_itself(child: Child) -> bool:
    """Whether the process is dying of its own; a lost link is noticed some milliseconds before the exit code."""
    try:
        async with asyncio.timeout(0.5):
            await child.wait()
    except TimeoutError:
        return False
    return True


def _name_of(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
