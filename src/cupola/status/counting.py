"""What happened since the server's start, counted from the events of the bus: the part of the status that no other part keeps."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cupola.core.clock import iso_utc
from cupola.core.events import CaptureFailed, ClipFailed, ClipSaved, Event, ImageCaptured
from cupola.storage.rows import ImageRow

BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 300.0, 600.0)
DUTY_OVER = 20  # images


@dataclass(slots=True)
class Counts:
    """Of one camera. `last` is what the status says of the newest image or failed exposure."""

    captured: int = 0
    errors: Counter[str] = field(default_factory=Counter[str])
    clips: Counter[str] = field(default_factory=Counter[str])
    last: dict[str, Any] | None = None
    last_opened_at: datetime | None = None
    _buckets: list[int] = field(default_factory=lambda: [0] * len(BUCKETS_S))
    _duration_s: float = 0.0
    _series: deque[tuple[datetime, float]] = field(default_factory=lambda: deque[tuple[datetime, float]](maxlen=DUTY_OVER))
    _session: int | None = None

    def begin(self, row: ImageRow) -> None:
        """What an earlier server took last."""
        if self.last is None:
            path = row.files[0].path if row.files else None
            self.last = {"time": iso_utc(row.opened_at), "filename": path, "success": True, "duration_ms": None}
            self.last_opened_at = row.opened_at

    def saw(self, event: Event) -> None:
        if isinstance(event, ImageCaptured):
            self._captured(event)
        elif isinstance(event, CaptureFailed):
            self.errors[event.error_type] += 1
            self.last = {"time": iso_utc(event.at), "filename": None, "success": False, "duration_ms": None}
        elif isinstance(event, ClipSaved):
            self.clips["saved"] += 1
        elif isinstance(event, ClipFailed):
            self.clips["failed"] += 1

    def _captured(self, event: ImageCaptured) -> None:
        took_s = max(0.0, (event.at - event.opened_at).total_seconds())
        self.captured += 1
        self._duration_s += took_s
        for index, bound in enumerate(BUCKETS_S):
            if took_s <= bound:
                self._buckets[index] += 1
                break
        if event.session != self._session:
            self._series.clear()
            self._session = event.session
        self._series.append((event.opened_at, event.exposure_s or 0.0))
        self.last = {"time": iso_utc(event.opened_at), "filename": event.path, "success": True, "duration_ms": round(1000 * took_s)}
        self.last_opened_at = event.opened_at

    def duty_cycle(self, session: int | None) -> float | None:
        """Share of the time in which the shutter was open, from the first to the last of the newest images of a running series."""
        if session is None or session != self._session or len(self._series) < 2:
            return None
        passed_s = (self._series[-1][0] - self._series[0][0]).total_seconds()
        return min(1.0, sum(exposure_s for _, exposure_s in list(self._series)[:-1]) / passed_s) if passed_s > 0 else None

    def durations(self) -> dict[str, Any]:
        """Of a histogram: upper bounds in seconds with what fell below them and not below the one before."""
        buckets = [[bound, count] for bound, count in zip(BUCKETS_S, self._buckets, strict=True)]
        return {"buckets": buckets, "sum": round(self._duration_s, 6), "count": self.captured}
