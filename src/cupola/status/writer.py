"""Writes the two status files: whenever something happened, at most once a second, and every five seconds when nothing did.

What stands in them is `document`'s business, how a file is replaced `files`'. The one place in the server that writes there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cupola.config.model import Settings
from cupola.config.schema import show
from cupola.core.bus import Bus
from cupola.core.errors import StorageFailed, StorageFull
from cupola.core.events import Event
from cupola.status import files
from cupola.status.document import Document

GAP_S = 1.0
LOOK_S = 60.0  # between looks at the catalogue when nothing happened: retention deletes, days end
CHANGING = {
    "camera_connected",
    "camera_lost",
    "camera_recovered",
    "capture_started",
    "capture_stopped",
    "capture_failed",
    "storage_low",
    "storage_full",
}
CHANGING |= {"clip_saved", "clip_failed", "product_failed", "schedule_failed"}
COUNTED = {"image_captured", "image_developed", "product_finished", "night_started", "night_finished"}  # what the catalogue has to be asked for again


class StatusWriter:
    """`tokens` gives the scope of each token by the SHA-256 (hex) of its secret."""

    def __init__(
        self, document: Document, settings: Settings, bus: Bus, folder: Path, tokens: Callable[[], dict[str, Any]], log: Callable[..., None]
    ) -> None:
        self.document = document
        self.metrics_on = settings.monitoring.prometheus
        self.config = show(settings)
        self._bus, self._folder, self._tokens, self._log = bus, folder, tokens, log
        self._lasting = {"config": self.config, "logs": str(settings.logging.folder.absolute()), "metrics": self.metrics_on}
        self.told: dict[str, Any] = {}  # the document that was written last
        self._before: dict[str, Any] | None = None  # what the private file holds besides
        self._changed = asyncio.Event()
        self._look_due = 0.0
        self._said: dict[str, str] = {}  # what is wrong, and was said
        self._thread = ThreadPoolExecutor(1, "status")  # one, so that what was said last is what stands there
        before = files.read(folder, files.DOCUMENT) or {}
        self._sequence = int(before.get("sequence", 0)) if before.get("boot_id") == files.boot_id() else 0

    async def run(self) -> None:
        """Until cancelled."""
        listening = asyncio.create_task(self._listen(), name="status events")
        try:
            while True:
                await self._beat(running=True)
                await asyncio.sleep(GAP_S)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(files.HEARTBEAT_S - GAP_S):
                        await self._changed.wait()
                self._changed.clear()
        finally:
            listening.cancel()

    async def end(self) -> None:
        """Say that the server has ended in order."""
        await self._beat(running=False)
        self._thread.shutdown(wait=False)

    async def _beat(self, *, running: bool) -> None:
        try:
            if running:
                await self.look()
            await self.write(running=running)
        except Exception as error:  # a mistake of ours: who is watched must not die of it
            self._complain("all", f"The status cannot be told: {error!r}.", error)
        else:
            self._said.pop("all", None)

    async def current(self) -> dict[str, Any]:
        """The document as of this moment, for the web."""
        await self.look()
        return self.document.make(sequence=self._sequence)

    async def _listen(self) -> None:
        with self._bus.subscribe() as heard:
            async for event in heard:
                self._saw(event)

    def _saw(self, event: Event) -> None:
        self.document.saw(event)
        if event.kind in COUNTED:
            self._look_due = 0.0
        if event.kind in COUNTED or event.kind in CHANGING:
            self._changed.set()

    async def look(self) -> None:
        """Ask the catalogue, if it may say something else than at the last look."""
        if time.monotonic() < self._look_due:
            return
        self._look_due = time.monotonic() + LOOK_S
        try:
            await self.document.look()
        except (StorageFailed, StorageFull) as error:
            self._look_due = 0.0
            self._complain("catalogue", f"The status does not know what the catalogue knows: {error}")
        else:
            self._said.pop("catalogue", None)

    async def write(self, *, running: bool = True) -> None:
        """Both files, as of now. What goes wrong is told in the log, once."""
        self._sequence += 1
        self.told = self.document.make(running=running, sequence=self._sequence)
        document = json.dumps(self.told, separators=(",", ":"))
        private = {"photo": _text(self.document.photo), "video": _text(self.document.video), "tokens": self._known_tokens()}
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._store, document, private)
        except OSError as error:
            words = f"The status file in {self._folder} cannot be written ({error.strerror}); whoever watches the station takes it for dead."
            self._complain("file", words)
        else:
            self._said.pop("file", None)

    def _known_tokens(self) -> dict[str, Any]:
        """While the disk fails, those that were known before."""
        try:
            tokens = self._tokens()
        except StorageFailed as error:
            self._complain("tokens", f"The status server does not know of new tokens: {error}")
            return {} if self._before is None else self._before["tokens"]
        self._said.pop("tokens", None)
        return tokens

    def _store(self, document: str, private: dict[str, Any]) -> None:
        """Beside the loop: where there is no tmpfs, it is a disk."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if private != self._before or not (self._folder / files.PRIVATE).exists():
            files.write(self._folder, files.PRIVATE, json.dumps({**private, **self._lasting}), private=True)
            self._before = private
        files.write(self._folder, files.DOCUMENT, document)

    def _complain(self, what: str, words: str, error: Exception | None = None) -> None:
        """Once, until it is well again."""
        if self._said.get(what) != words:
            self._log("WARNING", words, event="storage" if error is None else "-", exception=error)
        self._said[what] = words


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
