"""What a receiver has done so far, counted for each station. Any thread."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Count:
    """`again`: came once more, and was stored already. `set_aside`: not as agreed. `gone`: deleted from Redis before it was stored. `taken_over`:
    from a receiver that is gone. `frames`: live pictures that were kept.

    `bytes`: of what was taken, stored or not.
    """

    stills: int = 0
    clips: int = 0
    events: int = 0
    bytes: int = 0
    again: int = 0
    set_aside: int = 0
    gone: int = 0
    taken_over: int = 0
    frames: int = 0


class Tally:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Count] = {}

    def add(self, station: str, **more: int) -> None:
        """Names are those of Count."""
        with self._lock:
            count = self._counts.setdefault(station, Count())
            for name, number in more.items():
                setattr(count, name, getattr(count, name) + number)

    def by_station(self) -> dict[str, dict[str, int]]:
        with self._lock:
            return {station: asdict(count) for station, count in sorted(self._counts.items())}

    def total(self) -> dict[str, int]:
        with self._lock:
            every = [asdict(count) for count in self._counts.values()]
        return {name: sum(count[name] for count in every) for name in asdict(Count())}
