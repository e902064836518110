"""Who waits for which single still of a camera. One event loop; nothing here is saved: a snap is lost with the server that was asked for it."""

from __future__ import annotations

import asyncio

from cupola.core.errors import CameraBusy, CameraLost, CupolaError, StorageFull

WAITING_MAX = 16  # each exposes for up to an hour, and whoever asked may long be gone


class Snaps:
    """A token a snap goes to the camera process with it, and comes back with the image or the failure."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._token = 0

    def new(self) -> tuple[int, asyncio.Future[int]]:
        """The future gets the id of the image's row, or CupolaError. Raises CameraBusy."""
        if len(self._waiting) >= WAITING_MAX:
            raise CameraBusy(f"{WAITING_MAX} stills that were asked for are waiting for their turn. Ask again when one of them is there.")
        self._token += 1
        future = self._waiting[self._token] = asyncio.get_running_loop().create_future()
        return self._token, future

    def stored(self, token: int | None, row: int) -> None:
        if (future := self._taken(token)) is not None:
            future.set_result(row)

    def failed(self, token: int | None, kind: str, message: str) -> None:
        if (future := self._taken(token)) is not None:
            error = StorageFull(message) if kind == StorageFull.kind else CupolaError(message)
            error.kind = kind
            future.set_exception(error)

    def lost(self, message: str) -> None:
        """The process that took them is gone."""
        for token in tuple(self._waiting):
            if (future := self._taken(token)) is not None:
                future.set_exception(CameraLost(message))

    def _taken(self, token: int | None) -> asyncio.Future[int] | None:
        """The one who waits; None when there is nobody, or nobody any more."""
        future = self._waiting.pop(token or 0, None)
        return None if future is None or future.done() else future
