"""One child process as the server sees it: started, spoken to, and ended for certain.

Ending climbs a ladder: asked to close, SIGTERM, SIGKILL, and if even that does not help (a process
stuck in the kernel) it is abandoned and said so. What a death means is decided by the owner:
`camera.supervisor` or `darkroom.queue`.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from cupola.process.wire import Head, MessageProtocol, Payload, socket_pair

SIGKILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # on Windows both end a process at once
TERM_S = 2.0
KILL_S = 5.0
DRAIN_S = 2.0
STDERR_S = 1.0
PACKAGE = str(Path(__file__).parents[1])
# Another interpreter is given this package alone, not the folder it lies in: what else is there was made for the server's Python.
FOREIGN = """
import importlib.util, runpy, sys
found = importlib.util.spec_from_file_location("cupola", {package!r} + "/__init__.py", submodule_search_locations=[{package!r}])
sys.modules["cupola"] = cupola = importlib.util.module_from_spec(found)
found.loader.exec_module(cupola)
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""
Ending = Literal["closed", "terminated", "killed", "abandoned"]


class Child:
    """A running `python -m MODULE`, under this interpreter or another one that has numpy. Make it with `Child.start`."""

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, protocol: MessageProtocol, link_closed: asyncio.Future[Exception | None]
    ) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._protocol = protocol
        self._link_closed = link_closed
        self._stderr_task: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls,
        module: str,
        *,
        name: str,
        on_message: Callable[[Head, bytearray], None],
        on_stderr: Callable[[str], None],
        python: str = sys.executable,
    ) -> "Child":
        """Raises OSError when the interpreter cannot be started."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket_pair()
        ours.setblocking(False)
        link_closed: asyncio.Future[Exception | None] = loop.create_future()

        def closed(error: Exception | None) -> None:
            if not link_closed.done():
                link_closed.set_result(error)

        try:
            process = await _spawn(module, theirs, python)
            _, protocol = await loop.create_connection(lambda: MessageProtocol(on_message, closed), sock=ours)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        child = cls(name, process, protocol, link_closed)
        child._stderr_task = asyncio.create_task(child._read_stderr(on_stderr), name=f"stderr of {name}")
        return child

    def send(self, head: Head, payload: Payload = b"") -> None:
        self._protocol.send(head, payload)

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def wait(self) -> int:
        """The exit code once the process has ended: negative, the signal that ended it."""
        return await self._process.wait()

    async def link_lost(self) -> Exception | None:
        """Returns when the child closed its end or broke the format."""
        return await asyncio.shield(self._link_closed)

    async def end(self, *, ask_s: float = 0.0) -> Ending:
        """End the process, whatever it does. `ask_s`: how long it may take to close by itself.

        Takes at most ask_s + 7 s. "abandoned": it is stuck in the kernel and still there.
        """
        if ask_s > 0 and self.running:
            self.send({"type": "close"})
            if await self._ended_within(ask_s):
                return await self._finish("closed")
        self._signal(signal.SIGTERM)
        if await self._ended_within(TERM_S):
            return await self._finish("terminated")
        return await self.kill()

    def _signal(self, number: int) -> None:
        """Not by asyncio's own `send_signal`: that one may reap the process before its watcher does."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def kill(self) -> Ending:
        """End it at once: for a process that already missed its deadline and a TERM."""
        self._signal(SIGKILL)
        return await self._finish("killed" if await self._ended_within(KILL_S) else "abandoned")

    async def _ended_within(self, seconds: float) -> bool:
        if not self.running:
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._process.wait()
        return not self.running

    async def _finish(self, ending: Ending) -> Ending:
        if ending != "abandoned":  # what it said last may still lie in the socket
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_S):
                    await self.link_lost()
        self._protocol.close()
        if self._stderr_task is not None:
            if ending != "abandoned":
                await asyncio.wait({self._stderr_task}, timeout=STDERR_S)
            self._stderr_task.cancel()
        return ending

    async def _read_stderr(self, on_stderr: Callable[[str], None]) -> None:
        """What a library or the interpreter itself prints while dying belongs into the log."""
        stream = self._process.stderr
        assert stream is not None
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # longer than the stream's limit: skipped by asyncio
                continue
            if not line:
                return
            if text := line.decode(errors="replace").rstrip():
                on_stderr(text[:2000])


def signal_name(code: int) -> str:
    """Of the signal behind a negative exit code: SIGSEGV; a real-time signal has a number only."""
    return next((known.name for known in signal.Signals if known == -code), f"signal {-code}")


async def _spawn(module: str, link: socket.socket, python: str) -> asyncio.subprocess.Process:
    """Start the interpreter in a session of its own: a Ctrl-C is for the server, which tells its children."""
    argv = [python, "-X", "faulthandler", *(["-m", module] if python == sys.executable else ["-c", FOREIGN.format(package=PACKAGE, module=module)])]
    if sys.platform == "win32":
        process = await asyncio.create_subprocess_exec(*argv, "--link=stdin", stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(link.share(process.pid))  # pyright: ignore[reportAttributeAccessIssue]
        process.stdin.close()
        return process
    return await asyncio.create_subprocess_exec(
        *argv,
        f"--link={link.fileno()}",
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=[link.fileno()],
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
