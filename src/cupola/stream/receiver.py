"""Receives what stations publish: finds them, has their streams consumed, ends in order.

One thread reads events of all stations, one stills and clips, so that a long clip holds up no event, one live pictures where these are kept; this one looks
for new stations.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from cupola.core.errors import CupolaError
from cupola.storage.files import ensure_folder, telling
from cupola.storage.space import Lock
from cupola.stream.archive import Archives
from cupola.stream.consumer import Consumer
from cupola.stream.format import parse_key
from cupola.stream.intake import EventIntake, ImageIntake
from cupola.stream.keeping import Keeper
from cupola.stream.line import Line, target_of
from cupola.stream.link import connect, failures
from cupola.stream.names import GROUP
from cupola.stream.tally import Tally

LOOK_S = 5.0
EVENTS_AT_ONCE, IMAGES_AT_ONCE = 500, 32  # records; of images with 1 MB each
CLAIM_AFTER_S = 60.0
Level = Literal["info", "warning", "error"]
Tell = Callable[[str, str, str | None], None]  # level, message, station


class Slot:
    """This receiver's name among all of a group: kept in the archive's folder, so that it is the same after a restart, and held by a lock.

    Two that share the folder have two slots. Raises StorageFull, StorageFailed.
    """

    def __init__(self, into: Path) -> None:
        self._folder = into / ".receivers"
        ensure_folder(self._folder)
        with telling(self._folder, "list"):
            known = sorted(path.stem for path in self._folder.glob("*.lock"))
        for name in (*known, secrets.token_hex(4)):
            lock = self._lock(name)
            if lock.acquire():
                self.name, self._held = name, lock
                return
        raise CupolaError(f"No name could be had in {self._folder}. Start again.")

    def _lock(self, name: str) -> Lock:
        return Lock(self._folder / f"{name}.lock")

    @property
    def consumer(self) -> str:
        """As Redis shows it."""
        host = "".join(letter for letter in socket.gethostname() if letter.isalnum() or letter in "-.")
        return f"{host[:64]}-{self.name}"

    def alive(self, name: str) -> bool:
        """Whether the receiver of that slot runs, here or elsewhere on this machine."""
        return self._lock(name).holder() is not None

    def release(self) -> None:
        self._held.release()


class Receiver:
    """Made and run in one thread; `stop` may be called from any, or by a signal.

    `stations`: only these, else all that the user of Redis may read, also those that come later. With `cameras` only their stills and clips; the
    group is then one of its own, as others still want the rest. `frames_every_s`: keep live pictures of each camera so often, 0 for all; None: none.
    """

    def __init__(
        self,
        url: str,
        into: Path,
        tell: Tell,
        *,
        stations: Sequence[str] = (),
        cameras: Sequence[str] = (),
        group: str = GROUP,
        claim_after_s: float = CLAIM_AFTER_S,
        frames_every_s: float | None = None,
    ) -> None:
        self._target, self.into, self.tally = target_of(url), into, Tally()
        self.group = f"{group}:{'+'.join(sorted(set(cameras)))}" if cameras else group
        self._tell, self._wanted, self._cameras, self._stop = tell, tuple(stations), tuple(cameras), threading.Event()
        self._lock = threading.Lock()
        self.line = Line(self._target, lambda level, message: self.tell(level, message))
        self.slot = Slot(into)
        self._archives = Archives(into, self.slot.name, self.slot.alive, self.tell)
        name = self.slot.consumer
        self._consumers = [
            Consumer(self._target, self.line, intake, self.tally, self.tell, group=self.group, name=name, count=count, claim_after_s=claim_after_s)
            for intake, count in (
                (EventIntake(self._archives, self.tally, self.tell), EVENTS_AT_ONCE),
                (ImageIntake(self._archives, self.tally, self.tell, cameras), IMAGES_AT_ONCE),
            )
        ]
        self._keeper: Keeper | None = None
        if frames_every_s is not None:
            self._keeper = Keeper(self._target, self.line, self._archives, self.tally, self.tell, name=name, every_s=frames_every_s)
        self._workers = [*self._consumers, *([self._keeper] if self._keeper else [])]
        self.stations: set[str] = set()
        self._failure: BaseException | None = None

    def tell(self, level: str, message: str, station: str | None = None) -> None:
        with self._lock:
            self._tell(level, message, station)

    def problems(self) -> dict[str, str]:
        """By station: why nothing is stored at the moment."""
        return {station: problem for worker in self._workers for station, problem in worker.problems().items()}

    def stop(self) -> None:
        """What is under way is stored, and `run` returns."""
        self._stop.set()
        for worker in self._workers:
            worker.stop.set()

    def run(self, every_second: Callable[[], None]) -> None:
        """Until `stop`. Raises what ended a thread, if something did that should not."""
        threads = [threading.Thread(target=self._work, args=(worker,), daemon=True) for worker in self._workers]
        self._follow(self._wanted)
        for thread in threads:
            thread.start()
        looked_at: float | None = None
        try:
            while not self._stop.is_set():
                if (not self._wanted or self._keeper) and (looked_at is None or time.monotonic() - looked_at >= LOOK_S):
                    self._look()
                    looked_at = time.monotonic()
                every_second()
                self._stop.wait(1.0)
        finally:
            self.stop()
            for thread in threads:
                thread.join()
            self._archives.close()
            self.slot.release()
        if self._failure is not None:
            raise self._failure

    def _work(self, worker: Consumer | Keeper) -> None:
        try:
            worker.run()
        except BaseException as error:
            self._failure = error
            self.stop()

    def _follow(self, stations: Sequence[str]) -> None:
        for station in sorted(set(stations) - self.stations):
            self.stations.add(station)
            for consumer in self._consumers:
                consumer.follow(station)
            self.tell("info", f"Receiving station {station}.", station)

    def _look(self) -> None:
        """Find stations, and cameras whose live pictures there are, by their streams."""
        client = connect(self._target, self.slot.consumer)
        try:
            found: Any = client.scan_iter(match="cupola:{*}:*", count=1000)
            places = [place for text in found if (place := parse_key(text)) is not None]
            self.line.works("stations")
        except failures() as error:
            self.line.failed("stations", error)
            return
        finally:
            client.close()
        places = [place for place in places if not self._wanted or place.station in self._wanted]
        self._follow([place.station for place in places if place.stream in ("log", "images")])
        for place in places:
            if self._keeper and place.camera is not None and (not self._cameras or place.camera in self._cameras):
                self._keeper.follow(place.station, place.camera)
