"""One stream of every station, read as one of a consumer group: new records, those that were handed out and not acknowledged, those of receivers that died.

A record is acknowledged after its intake says that it is durable, never before; whatever goes wrong in between, it comes again. What is done
with records is `intake`'s, which stations there are `receiver`'s.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from cupola.core.errors import StorageFailed, StorageFull
from cupola.stream.format import Id, key
from cupola.stream.intake import SLICE, Entry, Tell
from cupola.stream.line import Line
from cupola.stream.link import Pause, Target, connect, failures
from cupola.stream.tally import Tally

if TYPE_CHECKING:
    from redis import Redis

BLOCK_MS = 500  # how long a stop, or a new station, may have to wait
REFUSED_S = 60.0  # before a stream is tried again that Redis does not let us read
FULL_S, FAILED_MOST_S = 2.0, 120.0


class Stopping(Exception):
    """The receiver is to end, in the middle of long work: what is not acknowledged comes again."""


@dataclass(slots=True)
class Source:
    """One station's stream, and what its consumer knows of it. `look_back`: records that are ours already come first."""

    station: str
    key: str
    ready: bool = False
    seen: bool = False
    look_back: bool = True
    resume_at: float = 0.0
    failures: int = 0
    problem: str | None = None
    incarnation: int | None = None


class Takes(Protocol):
    """An intake."""

    stream: Any

    def take(self, desk: Any, entries: Sequence[Entry]) -> Iterator[list[bytes]]: ...
    def incarnation(self, station: str) -> int | None: ...
    def try_storing(self, station: str) -> None: ...


class Consumer:
    """Runs in a thread of its own. `count`: records asked for at once, of all stations together, though one of each at least."""

    def __init__(
        self, target: Target, line: Line, intake: Takes, tally: Tally, tell: Tell, *, group: str, name: str, count: int, claim_after_s: float
    ) -> None:
        self._target, self._line, self._intake, self._tally, self._tell = target, line, intake, tally, tell
        self._group, self._name, self._count, self._claim_after_s = group, name, count, claim_after_s
        self._sources: dict[str, Source] = {}
        self._claimed_at = 0.0
        self.stop = threading.Event()

    def follow(self, station: str) -> None:
        """From now on, also this one. Any thread."""
        stream_key = key(station, self._intake.stream)
        if stream_key not in self._sources:
            self._sources = self._sources | {stream_key: Source(station, stream_key)}

    def problems(self) -> dict[str, str]:
        """By station: why nothing of this stream is stored at the moment."""
        return {source.station: source.problem for source in self._sources.values() if source.problem}

    def run(self) -> None:
        """Until `stop` is set."""
        pause = Pause()
        while not self.stop.is_set():
            client = connect(self._target, self._name)
            try:
                for source in self._sources.values():
                    source.look_back = True  # an answer that was lost on the way left records that are ours
                self._serve(client, pause)
            except Stopping:
                return
            except failures() as error:
                self._line.failed(self._intake.stream, error)
                self.stop.wait(pause.next_s())
            finally:
                with suppress(*failures()):
                    client.close()

    def _serve(self, client: Redis, pause: Pause) -> None:
        from redis import ResponseError

        while not self.stop.is_set():
            try:
                for source in self._due():
                    self._prepare(client, source)
                if time.monotonic() - self._claimed_at > self._claim_after_s / 2:
                    self._claimed_at = time.monotonic()
                    for source in self._due():
                        if source.ready:
                            self._claim(client, source)
                read: Any = {source.key: ">" for source in self._due() if source.ready and not source.look_back}
                if not read:
                    client.ping()
                    self.stop.wait(BLOCK_MS / 1000)
                    answer = []
                else:
                    count = max(1, self._count // len(read))
                    answer: Any = client.xreadgroup(self._group, self._name, read, count=count, block=BLOCK_MS)
            except ResponseError as error:
                if not str(error).startswith(("NOGROUP", "UNBLOCKED")) and not _of_one_stream(error):
                    raise
                for source in self._sources.values():  # which of them it is shows when each is asked for itself
                    source.ready = False
                continue
            self._line.works(self._intake.stream)
            pause.reset()
            for stream_key, entries in answer:
                self._take(client, self._sources[stream_key.decode()], entries)

    def _prepare(self, client: Redis, source: Source) -> None:
        """In the group, and with nothing left from before. One stream that cannot be read holds up no other."""
        from redis import ResponseError

        if source.problem and source.ready and not self._stores_again(source):
            return
        try:
            if not source.ready:
                self._join(client, source)
            if source.look_back:
                self._look_back(client, source)
        except ResponseError as error:
            if not _of_one_stream(error):
                raise
            source.ready = False
            self._put_off(source, self._line.words(error), REFUSED_S)
        else:
            if not source.look_back:
                self._well(source)

    def _due(self) -> list[Source]:
        now = time.monotonic()
        return [source for source in self._sources.values() if source.resume_at <= now]

    def _join(self, client: Redis, source: Source) -> None:
        """Be in the group, which is made where there is none: from the stream's beginning on, as what is stored already is known."""
        from redis import ResponseError

        try:
            client.xgroup_create(source.key, self._group, id="0", mkstream=True)
            made = True
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
            made = False
        if made and source.seen:
            self._tell(
                "warning",
                f"The stream {source.key}, or its group {self._group}, was deleted from Redis; both are there again. "
                "What the station still has comes again, and is stored once only.",
                source.station,
            )
        source.ready = source.seen = source.look_back = True

    def _look_back(self, client: Redis, source: Source) -> None:
        """Take what was handed to us before, and never acknowledged: by our own last life, or lost on the way."""
        after: bytes | str = "0"
        while not self.stop.is_set():
            answer: Any = client.xreadgroup(self._group, self._name, {source.key: after}, count=self._count)
            entries = answer[0][1] if answer else []
            if not entries:
                source.look_back = False
                return
            if not self._take(client, source, entries):
                return
            after = entries[-1][0]

    def _claim(self, client: Redis, source: Source) -> None:
        """Take over what a receiver was handed that has not acknowledged it for so long: it is dead, or its disk is full."""
        after: Any = "0-0"
        while not self.stop.is_set():
            idle_ms = round(self._claim_after_s * 1000)
            answer: Any = client.xautoclaim(source.key, self._group, self._name, min_idle_time=idle_ms, start_id=after, count=self._count)
            after, entries, deleted = answer[0], answer[1], answer[2] if len(answer) > 2 else []
            entries = [*entries, *((id_, None) for id_ in deleted)]
            if entries:
                self._tally.add(source.station, taken_over=len(entries))
                if not self._take(client, source, entries):
                    return
            if after == b"0-0":
                return

    def _take(self, client: Redis, source: Source, entries: Sequence[Entry]) -> bool:
        """Have them stored, and acknowledge them; False when the disk does not take them, and this station has to wait."""
        desk = _Desk(client, source, [id_ for id_, _ in entries], self)
        try:
            self._watch_incarnation(source, entries)
            for ids in self._intake.take(desk, entries):
                if ids:
                    client.xack(source.key, self._group, *ids)
        except (StorageFull, StorageFailed) as error:
            self._refused(source, error)
            return False
        self._well(source)
        return True

    def _stores_again(self, source: Source) -> bool:
        """Whether the disk takes something. Redis is not asked before: looking at our records would keep others from taking them over."""
        try:
            self._intake.try_storing(source.station)
        except (StorageFull, StorageFailed) as error:
            self._refused(source, error)
            return False
        return True

    def _refused(self, source: Source, error: StorageFull | StorageFailed) -> None:
        self._put_off(source, str(error), FULL_S if isinstance(error, StorageFull) else min(FULL_S * 2**source.failures, FAILED_MOST_S))
        source.look_back = True

    def _watch_incarnation(self, source: Source, entries: Sequence[Entry]) -> None:
        newest = max(Id.parse(id_) for id_, _ in entries).incarnation
        known = source.incarnation if source.incarnation is not None else self._intake.incarnation(source.station)
        if known is not None and newest > known:
            self._tell(
                "info",
                f"Station {source.station} begins incarnation {newest} of {self._intake.stream} (it was {known}): its state is new, or restored from a backup.",
                source.station,
            )
        source.incarnation = newest if known is None else max(known, newest)

    def _put_off(self, source: Source, problem: str, pause_s: float) -> None:
        if source.problem is None:
            self._tell("error", f"{problem} Nothing of {source.key} is acknowledged until then; it goes on by itself.", source.station)
        source.problem = problem
        source.failures += 1
        source.resume_at = time.monotonic() + pause_s

    def _well(self, source: Source) -> None:
        if source.problem is not None:
            self._tell("info", f"{source.key} is stored again.", source.station)
        source.problem, source.failures, source.resume_at = None, 0, 0.0

    # What a desk does with the stream, as an intake may ask

    def renew(self, client: Redis, source: Source, ids: Sequence[bytes]) -> None:
        client.xclaim(source.key, self._group, self._name, min_idle_time=0, message_ids=list(ids), justid=True)

    @property
    def hold_every_s(self) -> float:
        return self._claim_after_s / 4


def _of_one_stream(error: Exception) -> bool:
    """Whether it concerns one stream only: it may not be read, its station has put something else there, or a full Redis has no room for its group."""
    from redis.exceptions import NoPermissionError, OutOfMemoryError

    return isinstance(error, NoPermissionError | OutOfMemoryError) or str(error).startswith("WRONGTYPE")


class _Desk:
    """The stream of one station, for as long as some of its records are in hand."""

    def __init__(self, client: Redis, source: Source, ids: Sequence[bytes], consumer: Consumer) -> None:
        self.station, self.key = source.station, source.key
        self._client, self._source, self._ids, self._consumer = client, source, ids, consumer
        self._held_at = time.monotonic()

    def fetch(self, first: Id, last: Id) -> list[Entry]:
        answer: Any = self._client.xrange(self.key, min=str(first), max=str(last), count=SLICE)
        return answer

    def hold(self) -> None:
        if self._consumer.stop.is_set():
            raise Stopping
        if time.monotonic() - self._held_at > self._consumer.hold_every_s:
            self._consumer.renew(self._client, self._source, self._ids)
            self._held_at = time.monotonic()
