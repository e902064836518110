"""H.264 copies of H.265 clips, for browsers that do not play H.265: made when somebody asks, one at a time, by a process of the lowest priority.

A copy lies beside its clip, is named after it, and goes with it. No row tells of it: the file is there, with its whole name only when it
is durable, or it is not. Making one is `clips.process`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from cupola.core.errors import CupolaError, NotAllowed, StorageFull
from cupola.process.child import Child
from cupola.process.wire import Head
from cupola.storage.catalogue import Catalogue
from cupola.storage.clips import ClipRow, ClipRows, copy_of
from cupola.storage.files import inside
from cupola.storage.space import free_space

MODULE = "cupola.clips.process"
STALL_S = 120.0  # without a sign of life of the process
WAITING_MAX = 20
CopyState = Literal["none", "making", "ready", "failed"]


class Copies:
    """Called from the server's loop."""

    def __init__(self, catalogue: Catalogue, root: Path, *, min_free_percent: float, log: Callable[..., None]) -> None:
        self._catalogue, self._rows, self._root = catalogue, ClipRows(catalogue), root.absolute()
        self._min_free, self._log = min_free_percent, log
        self._turn = asyncio.Lock()  # one at a time
        self._making: dict[int, asyncio.Task[None]] = {}
        self._failed: set[int] = set()

    def path(self, row: ClipRow) -> Path:
        """Of a saved clip's copy, which may not be there. Raises ValueError where a link leads it out of the root."""
        return inside(self._root, copy_of(Path(str(row.path))).as_posix())

    def state(self, row: ClipRow) -> CopyState | None:
        """None for a clip that needs no copy."""
        if row.state != "saved" or row.codec != "h265":
            return None
        if row.id in self._making:
            return "making"
        try:
            return "ready" if self.path(row).is_file() else "failed" if row.id in self._failed else "none"
        except ValueError:
            return "failed"

    async def want(self, row: ClipRow) -> None:
        """Have it made, if it is not. Raises NotAllowed, StorageFull."""
        state = self.state(row)
        if state is None:
            raise NotAllowed(f"Clip {row.id} needs no copy: only saved clips of H.265 do.")
        if state in ("making", "ready"):
            return
        if len(self._making) >= WAITING_MAX:
            raise NotAllowed(f"{WAITING_MAX} copies are waited for already. Ask again when some are made.")
        free = await asyncio.to_thread(free_space, self._root)
        if free.percent < self._min_free:
            raise StorageFull(f"Only {free.percent:.1f} % of the disk is free: below storage.min_free_percent no copy is made.")
        if row.id not in self._making:
            self._failed.discard(row.id)
            task = self._making[row.id] = asyncio.create_task(self._make(row), name=f"copy of clip {row.id}")
            task.add_done_callback(lambda _: self._making.pop(row.id, None))

    async def _make(self, row: ClipRow) -> None:
        async with self._turn:
            try:
                made = await self._ask(inside(self._root, str(row.path)), self.path(row))
                if made["type"] == "failed":
                    raise ChildProcessError(made["message"])
                if await self._catalogue.run(self._rows.one, row.id) is None:  # deleted meanwhile
                    await asyncio.to_thread(self.path(row).unlink, missing_ok=True)
                self._log("INFO", f"Made an H.264 copy of the clip {row.path}: {made['frames']} frames.", event="clip", camera=row.camera)
            except (OSError, ValueError, CupolaError) as error:
                self._failed.add(row.id)
                self._log("ERROR", f"The H.264 copy of clip {row.id} could not be made: {error}", event="clip", camera=row.camera)

    async def _ask(self, source: Path, target: Path) -> Head:
        """The process's last word."""
        heard: asyncio.Queue[Head] = asyncio.Queue()
        child = await Child.start(
            MODULE,
            name="copy",
            on_message=lambda head, _: heard.put_nowait(head),
            on_stderr=lambda line: self._log("ERROR", f"copy: {line}", event="clip"),
        )
        lost = asyncio.create_task(child.link_lost())
        try:
            child.send({"type": "copy", "source": str(source), "target": str(target)})
            while True:
                hearing = asyncio.create_task(heard.get())
                try:
                    done, _ = await asyncio.wait({hearing, lost}, timeout=STALL_S, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    hearing.cancel()
                if hearing in done:
                    if (head := hearing.result())["type"] != "progress":
                        return head
                elif not done:
                    raise ChildProcessError(f"its process did nothing for {STALL_S:.0f} s, and was killed")
                else:
                    raise ChildProcessError("its process died")
        finally:
            lost.cancel()
            await child.end(ask_s=0.5)

    async def close(self) -> None:
        """Give up what is being made: who wants it asks again."""
        tasks = tuple(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def delete(self, row: ClipRow) -> None:
        """With its clip."""
        if (task := self._making.get(row.id)) is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        with suppress(OSError, ValueError):
            await asyncio.to_thread(self.path(row).unlink, missing_ok=True)
