"""The server's side of focusing a camera: who looks, at which region, the sharpest so far, and the trend.

Measuring is the camera process's (`focus`), which does it only while somebody looks here. Of what is measured each looker
has a box for the newest; the sharpest so far is kept as long as somebody looks at the same region.
"""

from __future__ import annotations

import asyncio
import base64
import statistics
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from cupola.process.wire import Head

TREND_OVER = 5  # measurements, against as many before them
LEFT_S = 10.0  # a measurement that is not taken for so long is taken by nobody
STEADY = 0.02  # share by which the half-flux radius has to change to count
FACTS = ("seq", "opened_at", "exposure_s", "gain", "x", "y", "width", "height", "frame_width", "frame_height")
MEASURED = ("hfr_px", "fwhm_px", "stars", "saturated")


class Looker:
    """One who looks. `next` from one task; `hang_up` ends a connection whose task is stuck, as nobody takes what it sends."""

    def __init__(self, hang_up: Callable[[], None]) -> None:
        self._hang_up = hang_up
        self._newest: dict[str, Any] | None = None
        self._left_since: float | None = None
        self._changed = asyncio.Event()

    def offer(self, measured: dict[str, Any]) -> None:
        now = time.monotonic()
        if self._newest is None:
            self._left_since = now
        elif self._left_since is not None and now - self._left_since > LEFT_S:
            self._hang_up()  # test shots for nobody would wear out a shutter
        self._newest = measured
        self._changed.set()

    async def next(self) -> dict[str, Any]:
        """The newest measurement that was not taken yet, waiting for one."""
        while self._newest is None:
            self._changed.clear()
            await self._changed.wait()
        measured, self._newest = self._newest, None
        return measured


class Focusing:
    """Of one camera. `send` tells its process which region is measured; None: nobody looks."""

    def __init__(self, send: Callable[[Head], None]) -> None:
        self._send = send
        self._lookers: set[Looker] = set()
        self._region: Head | None = None
        self._forget()

    def _forget(self) -> None:
        self._best: tuple[float, str] | None = None  # half-flux radius, and when
        self._history: deque[float] = deque(maxlen=2 * TREND_OVER)

    @contextmanager
    def look(self, x: int | None, y: int | None, size: int, hang_up: Callable[[], None]) -> Generator[Looker]:
        """Look at the square of `size` pixels around (x, y), by default the middle. There is one region a camera: the last one asked for."""
        looker = Looker(hang_up)
        self._lookers.add(looker)
        region = {"x": x, "y": y, "size": size}
        if region != self._region:
            self._region = region
            self._forget()
            self.tell()
        try:
            yield looker
        finally:
            self._lookers.discard(looker)
            if not self._lookers:
                self._region = None
                self._forget()
                self.tell()

    def tell(self) -> None:
        """Say what is wanted, also to a process that is new."""
        self._send({"type": "focus", "region": self._region})

    def heard(self, head: Head, jpeg: bytes | bytearray) -> None:
        """A measurement of the camera process, with the region's picture."""
        if head["region"] != self._region:
            return  # of the region before, on its way meanwhile
        hfr_px = head["hfr_px"]
        if hfr_px is not None:
            self._history.append(hfr_px)
            if self._best is None or hfr_px < self._best[0]:
                self._best = (hfr_px, head["opened_at"])
        best, at = self._best or (None, None)
        measured = {name: head[name] for name in (*FACTS, *MEASURED)}
        measured |= {"best_hfr_px": best, "best_at": at, "trend": self._trend(), "jpeg": base64.b64encode(jpeg).decode()}
        for looker in self._lookers:
            looker.offer(measured)

    def _trend(self) -> str | None:
        """`sharper`, `softer` or `steady`; None with too few measurements."""
        if len(self._history) < 2 * TREND_OVER:
            return None
        values = list(self._history)
        before, now = statistics.median(values[:TREND_OVER]), statistics.median(values[TREND_OVER:])
        if abs(now - before) <= STEADY * before:
            return "steady"
        return "sharper" if now < before else "softer"
