"""From a spool into its stream: each record once, in order, under the id the spool gave it, whatever dies in between.

A script adds records only behind the one they belong behind, and else tells what is there; so nothing is sent twice or left out, and no answer that got lost
matters. The spool is freed, and the stream cut, up to what every group of receivers has confirmed. Whose thread this runs in is `publisher`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from cupola.stream.format import Fields, Id, pack_event, pack_part
from cupola.stream.images import Gone, Images
from cupola.stream.journal import key_of
from cupola.stream.spool import Entry, Spool

if TYPE_CHECKING:
    from redis import Redis

    from cupola.storage.to_stream import ToStream

CALL_BYTES, CALL_RECORDS = 1_000_000, 200  # of one run of the script: while it runs, Redis does nothing else
CALLS = 4  # on their way at once

# KEYS[1]: the stream. ARGV: the id that has to be its last; then for each record its id, how many words follow, and these.
# Answers 1 and the last id now, or 0 and the last id there is.
ADD = """
local there = redis.call('EXISTS', KEYS[1])
local last = '0-0'
if there == 1 then
  local facts = redis.call('XINFO', 'STREAM', KEYS[1])
  for at = 1, #facts, 2 do
    if facts[at] == 'last-generated-id' then last = facts[at + 1] end
  end
end
if last ~= ARGV[1] then return {0, last} end
local at = 2
while at <= #ARGV do
  local count = tonumber(ARGV[at + 1])
  last = redis.call('XADD', KEYS[1], ARGV[at], unpack(ARGV, at + 2, at + 1 + count))
  at = at + 2 + count
end
return {1, last}
"""
NOTHING = Id(0, 0)


class Source(Protocol):
    """What is spooled for one stream, and how its records look there."""

    @property
    def spool(self) -> Spool: ...

    def records(self, entry: Entry, first: int) -> Iterator[tuple[int, Fields]]:
        """From the sequence `first` on, each with its sequence. Raises Gone."""
        ...

    def skip(self, gone: Gone) -> None:
        """What cannot be sent."""
        ...

    def free(self, upto: int) -> int:
        """Receivers have all up to this sequence; up to where something was freed."""
        ...


@dataclass(frozen=True, slots=True)
class Events:
    """`room` is called when some of the spool was freed."""

    spool: Spool
    notes: ToStream
    room: Callable[[], None]

    def records(self, entry: Entry, first: int) -> Iterator[tuple[int, Fields]]:
        yield entry.sequence, pack_event(entry.payload)

    def skip(self, gone: Gone) -> None:
        raise AssertionError(gone)

    def free(self, upto: int) -> int:
        done = [key for entry in _until(self.spool, upto) if (key := key_of(entry.payload)) is not None]
        if done:
            self.notes.done(done)
        self.spool.free(upto)
        self.room()
        return self.spool.freed


@dataclass(frozen=True, slots=True)
class Files:
    images: Images
    room: Callable[[], None]

    @property
    def spool(self) -> Spool:
        return self.images.spool

    def records(self, entry: Entry, first: int) -> Iterator[tuple[int, Fields]]:
        for sequence, part in self.images.parts(entry, first):
            yield sequence, pack_part(part)

    def skip(self, gone: Gone) -> None:
        self.images.skip(gone)

    def free(self, upto: int) -> int:
        freed = self.images.free(upto)
        self.room()
        return freed


class Sender:
    """One stream. Its methods raise what the client raises, StorageFull and StorageFailed; after any of these call `resume` first."""

    def __init__(self, key: str, source: Source, log: Callable[..., None]) -> None:
        self.key, self.source = key, source
        self.published = 0  # records, since the start
        self.behind: str | None = None  # the group of receivers that has confirmed least
        self.renewals = 0
        self._log = log
        self._last = NOTHING  # of the stream in Redis
        self._next = 0  # sequence that is sent next
        self._cut = NOTHING
        self._script = ""

    @property
    def unsent(self) -> int:
        return max(0, self.source.spool.next - max(self._next, self.source.spool.freed + 1))

    def resume(self, client: Redis) -> None:
        """Find out what Redis has, and go on behind it."""
        self._script = cast(str, client.script_load(ADD))
        self._cut = NOTHING
        self._place(client, self._last_of(client))

    def _last_of(self, client: Redis) -> Id:
        from redis.exceptions import ResponseError

        try:
            facts = cast("dict[str, Any]", client.xinfo_stream(self.key))
        except ResponseError as error:
            if "no such key" in str(error).lower():
                return NOTHING
            raise
        return Id.parse(facts["last-generated-id"])

    def _place(self, client: Redis, last: Id) -> None:
        """Go on behind `last`, if what stands there is ours; else begin a new incarnation behind it."""
        spool = self.source.spool
        ours = spool.id_of(spool.next - 1) if spool.next > 1 else NOTHING
        upto = spool.upto(last)
        if last > max(ours, Id(spool.incarnation, 0)) or (upto > spool.freed and not self._same(client, upto)):
            upto = self._part_ways(client, last, upto)
        elif last == NOTHING and self._next > spool.freed + 1:
            self._log("WARNING", f"The stream {self.key} in Redis is gone; what the spool has of it is sent again.", event="storage")
        self._last, self._next = last, max(upto, spool.freed) + 1

    def _part_ways(self, client: Redis, last: Id, upto: int) -> int:
        """Redis has records under our name that the spool does not know; up to which of ours it has what we have."""
        spool = self.source.spool
        kept = cast("list[tuple[bytes, Any]]", client.xrange(self.key, count=1))
        low = first = max(spool.freed, spool.upto(Id.parse(kept[0][0])) - 1) if kept else spool.freed
        high = min(upto, spool.next - 1)
        while low < high:  # what is the same is so up to some record
            middle = (low + high + 1) // 2
            if self._same(client, middle, unknown=False):
                low = middle
            else:
                high = middle - 1
        if low == first:
            low = spool.freed  # nothing shows what of ours was cut there: it is sent again rather than lost
        entry = next(spool.read(low + 1), None)
        if entry is not None and entry.sequence <= low:
            low = entry.sequence - 1  # all records of a still in one incarnation
        spool.renew(last.incarnation + 1, low + 1)
        self.renewals += 1
        why = (
            "Is there another station of this name? Give each its own redis.station."
            if self.renewals > 1
            else "Was this station restored from a backup, or is there another one of its name?"
        )
        self._log(
            "WARNING",
            f"The stream {self.key} in Redis goes on to {last}, beyond what this station's spool knows. {why} "
            f"It goes on as incarnation {spool.incarnation}, with {spool.next - low - 1} records that are not in Redis.",
            event="storage",
        )
        return low

    def _same(self, client: Redis, sequence: int, *, unknown: bool = True) -> bool:
        """Whether Redis has our record under its id; `unknown` when one of both has it no more."""
        spool = self.source.spool
        entry = next(spool.read(sequence), None)
        if entry is None or not entry.sequence <= sequence <= entry.last:
            return unknown
        id_ = str(spool.id_of(sequence))
        found = cast("list[tuple[bytes, dict[bytes, bytes]]]", client.xrange(self.key, id_, id_))
        if not found:
            return unknown
        try:
            _, fields = next(self.source.records(entry, sequence))
        except Gone:
            return unknown
        return found[0][1] == {name.encode(): _bytes(value) for name, value in fields.items()}

    # ── sending ────────────────────────────────────────────────────────────

    def send(self, client: Redis) -> bool:
        """Some of what is not sent; False when there was nothing."""
        calls, upto = self._calls()
        if not calls:
            if upto <= self._next:
                return False
            self._next = upto  # what cannot be sent was passed over
            return True
        pipeline = client.pipeline(transaction=False)
        for words in calls:
            pipeline.evalsha(self._script, 1, self.key, *cast("list[Any]", words))
        answers = cast("list[Any]", pipeline.execute(raise_on_error=False))
        for (count, following), answer in zip(self._sizes, answers, strict=True):
            if isinstance(answer, Exception):
                if "NOSCRIPT" in str(answer):
                    self.resume(client)
                    return True
                raise answer
            added, last = answer
            if not added:
                self._place(client, Id.parse(last))
                return True
            self.published += count
            self._last, self._next = Id.parse(last), following
        return True

    def _calls(self) -> tuple[list[list[Any]], int]:
        """The words of each run of the script, and the sequence behind them all."""
        spool, calls, words = self.source.spool, list[list[Any]](), list[Any]()
        self._sizes: list[tuple[int, int]] = []
        previous, upto, size, count = self._last, self._next, 0, 0

        def finish() -> None:
            nonlocal words, size, count
            if count:
                calls.append(words)
                self._sizes.append((count, upto))
            words, size, count = [], 0, 0

        for entry in spool.read(self._next):
            try:
                for sequence, fields in self.source.records(entry, max(entry.sequence, upto)):
                    record = sum(len(_bytes(value)) for value in fields.values())
                    if count and (size + record > CALL_BYTES or count >= CALL_RECORDS):
                        finish()
                        if len(calls) >= CALLS:
                            return calls, upto
                    id_ = spool.id_of(sequence)
                    words = words or [str(previous)]
                    words += [str(id_), 2 * len(fields), *(word for pair in fields.items() for word in pair)]
                    size, count, upto, previous = size + record, count + 1, sequence + 1, id_
            except Gone as gone:
                self.source.skip(gone)
                upto = entry.last + 1
        finish()
        return calls, upto

    # ── confirming ─────────────────────────────────────────────────────────

    def confirm(self, client: Redis) -> bool:
        """Free what every group of receivers has, here and in Redis; whether anything was."""
        spool = self.source.spool
        if self._last == NOTHING or (upto := self._confirmed(client)) is None:
            return False
        freed = spool.freed
        if upto > freed:
            self.source.free(upto)
        keep = spool.id_of(spool.freed + 1)
        if self._cut != keep:
            client.xtrim(self.key, minid=str(keep), approximate=False)
            self._cut = keep
        return spool.freed > freed

    def _confirmed(self, client: Redis) -> int | None:
        """The sequence up to which all groups have everything; None without a group."""
        from redis.exceptions import ResponseError

        try:
            groups = cast("list[dict[str, Any]]", client.xinfo_groups(self.key))
        except ResponseError as error:
            if "no such key" in str(error).lower():  # deleted behind our back: the next script finds out
                return None
            raise
        least: tuple[Id, str] | None = None
        for group in groups:
            name, position = group["name"].decode(errors="replace"), Id.parse(group["last-delivered-id"])
            if group["pending"] and (waiting := cast("dict[str, Any]", client.xpending(self.key, group["name"]))["min"]):
                oldest = Id.parse(waiting)
                position = min(position, Id(oldest.incarnation, oldest.sequence - 1))
            least = min(least or (position, name), (position, name))
        self.behind = None if least is None else least[1]
        return None if least is None else self.source.spool.upto(least[0])


def _until(spool: Spool, upto: int) -> Iterator[Entry]:
    for entry in spool.read(spool.freed + 1):
        if entry.last > upto:
            return
        yield entry


def _bytes(value: bytes | str | int) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
