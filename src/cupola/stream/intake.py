"""What becomes of the records of one stream: stored, set aside, or found stored already. Reading them, and acknowledging, is `consumer`'s.

An intake's `take` yields the ids that may be acknowledged, as soon as what they stand for is durable; when the disk takes no more it raises, and
whatever was not yielded comes again.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from cupola.core.clock import iso_utc, parse_utc
from cupola.core.errors import StorageFailed, StorageFull
from cupola.stream.archive import Archives, Arrived, Event
from cupola.stream.format import NUMBER_MAX, Id, Malformed, Part, Raw, unpack_event, unpack_part
from cupola.stream.meta import ClipMeta, StillMeta
from cupola.stream.names import STATION
from cupola.stream.quarantine import Quarantine
from cupola.stream.tally import Tally

Entry = tuple[bytes, Raw | None]  # without fields: pending, but no longer in the stream
Tell = Callable[[str, str, str], None]  # level, message, station
PARTS_KEPT_BYTES = 32_000_000  # of stills and clips whose last record has not come
SLICE = 8  # records that are fetched at once
_KIND = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)


class Desk(Protocol):
    """What an intake may ask of the stream that it takes records from."""

    station: str
    key: str

    def fetch(self, first: Id, last: Id) -> list[Entry]:
        """Records of the stream, these two included, SLICE of them at most."""
        ...

    def hold(self) -> None:
        """Called now and then in long work: tells other receivers that this one is at it."""
        ...


class Intake:
    """What both have in common: what is set aside, and what was lost."""

    stream = ""

    def __init__(self, archives: Archives, tally: Tally, tell: Tell) -> None:
        self._archives, self._tally, self._tell = archives, tally, tell
        self._quarantines: dict[str, Quarantine] = {}

    def incarnation(self, station: str) -> int | None:
        return self._archives.of(station).incarnation(self.stream)

    def try_storing(self, station: str) -> None:
        """Raises StorageFull and StorageFailed as storing would that failed last."""
        self._archives.of(station).try_storing()

    def _aside(self, station: str, id_: bytes, raw: Raw, error: Malformed) -> None:
        quarantine = self._quarantines.get(station)
        if quarantine is None:
            quarantine = self._quarantines[station] = Quarantine(self._archives.root(station), station, self._tell)
        quarantine.set_aside(self.stream, id_.decode(), raw, error)
        self._tally.add(station, set_aside=1)

    def _gone(self, station: str, id_: bytes) -> None:
        self._tally.add(station, gone=1)
        self._tell("error", f"Record {id_.decode()} of {self.stream} was deleted from Redis before any receiver had stored it.", station)


class EventIntake(Intake):
    """Events, into the archive's table."""

    stream = "log"

    def take(self, desk: Desk, entries: Sequence[Entry]) -> Iterator[list[bytes]]:
        events: list[Event] = []
        for id_, raw in entries:
            if not raw:
                self._gone(desk.station, id_)
                continue
            try:
                events.append(_event(desk.key, id_, raw))
            except Malformed as error:
                self._aside(desk.station, id_, raw, error)
        if events:
            new = self._archives.of(desk.station).add_events(events)
            self._tally.add(desk.station, events=new, again=len(events) - new, bytes=sum(len(event.text) for event in events))
        yield [id_ for id_, _ in entries]


class ImageIntake(Intake):
    """Stills and clips, into files. `cameras`: only theirs; none named: all."""

    stream = "images"

    def __init__(self, archives: Archives, tally: Tally, tell: Tell, cameras: Sequence[str] = ()) -> None:
        super().__init__(archives, tally, tell)
        self._cameras = frozenset(cameras)
        self._parts: OrderedDict[tuple[str, Id], Part] = OrderedDict()
        self._kept_bytes = 0

    def take(self, desk: Desk, entries: Sequence[Entry]) -> Iterator[list[bytes]]:
        archive = self._archives.of(desk.station)
        lasts, done = self._sorted(desk, entries)
        again = archive.stored(number for _, _, number, _ in lasts)
        arrived: list[Arrived] = []
        trouble: StorageFull | StorageFailed | None = None
        try:
            for id_, raw, number, part in lasts:
                if number in again:
                    self._tally.add(desk.station, again=1)
                    done.append(id_)
                    continue
                try:
                    meta = _meta(desk.key, id_, part)
                    tmp = archive.collect(desk.key, number, part, self._pieces(desk, number, part))
                except Malformed as error:
                    self._aside(desk.station, id_, raw, error)
                    done.append(id_)
                except (StorageFull, StorageFailed) as error:
                    trouble = error  # what has arrived by now may still find its place
                    break
                else:
                    arrived.append(Arrived(number, part, meta, tmp))
            yield done
            if arrived:
                new = set(archive.add_images(arrived))
                for one in arrived:
                    kind = {"again": 1} if one.id not in new else {"clips": 1} if one.last.kind == "clip" else {"stills": 1}
                    self._tally.add(desk.station, **kind, bytes=one.last.size)
                yield [str(one.id).encode() for one in arrived]
        finally:
            for one in arrived:
                with suppress(OSError):
                    one.tmp.unlink(missing_ok=True)
        if trouble is not None:
            raise trouble

    def _sorted(self, desk: Desk, entries: Sequence[Entry]) -> tuple[list[tuple[bytes, Raw, Id, Part]], list[bytes]]:
        """Last records, on which a still or clip is stored; and the ids of all others, with which nothing more is to be done."""
        lasts: list[tuple[bytes, Raw, Id, Part]] = []
        done: list[bytes] = []
        for id_, raw in entries:
            if not raw:
                self._gone(desk.station, id_)
                done.append(id_)
                continue
            try:
                number, part = _id(desk.key, id_), unpack_part(desk.key, id_.decode(), raw)
            except Malformed as error:
                self._aside(desk.station, id_, raw, error)
                done.append(id_)
                continue
            if part.last and not (self._cameras and part.camera not in self._cameras):
                lasts.append((id_, raw, number, part))
                continue
            if not part.last:
                self._keep(desk.key, number, part)
            done.append(id_)
        return lasts, done

    def _pieces(self, desk: Desk, number: Id, last: Part) -> Iterator[bytes]:
        """The bytes of a still or clip, record by record: those that were kept, and the others from Redis."""
        first = number.sequence - last.part
        if first < 1:
            raise Malformed(desk.key, str(number), "part", f"is {last.part}, which would have begun before the stream")
        at = first
        while at < number.sequence:
            desk.hold()
            kept = self._parts.pop((desk.key, Id(number.incarnation, at)), None)
            if kept is not None:
                self._kept_bytes -= len(kept.data)
                yield _fits(desk.key, number, last, kept, at - first).data
                at += 1
                continue
            until = Id(number.incarnation, min(number.sequence - 1, at + SLICE - 1))
            found = desk.fetch(Id(number.incarnation, at), until)
            if not found:
                raise Malformed(desk.key, str(number), "", f"belongs to {last.name}, of which part {at - first} is not in the stream (any more)")
            for id_, raw in found:
                if not raw or _id(desk.key, id_) != (number.incarnation, at):
                    raise Malformed(desk.key, str(number), "", f"belongs to {last.name}, of which part {at - first} is not in the stream (any more)")
                yield _fits(desk.key, number, last, unpack_part(desk.key, id_.decode(), raw), at - first).data
                at += 1
        yield last.data

    def _keep(self, key: str, number: Id, part: Part) -> None:
        self._parts[key, number] = part
        self._kept_bytes += len(part.data)
        while self._kept_bytes > PARTS_KEPT_BYTES:
            self._kept_bytes -= len(self._parts.popitem(last=False)[1].data)


def _fits(key: str, number: Id, last: Part, part: Part, index: int) -> Part:
    same = (part.kind, part.name, part.parts, part.size, part.sha256) == (last.kind, last.name, last.parts, last.size, last.sha256)
    if not same or part.part != index:
        raise Malformed(key, str(number), "", f"belongs to {last.name}, of which part {index} is another file's")
    return part


def _id(key: str, text: bytes) -> Id:
    id_ = Id.parse(text)
    if not 0 <= id_.incarnation <= NUMBER_MAX or not 1 <= id_.sequence <= NUMBER_MAX:
        raise Malformed(key, text.decode(), "", "has an id no station gives")
    return id_


def _event(key: str, id_: bytes, raw: Raw) -> Event:
    number, event = _id(key, id_), unpack_event(key, id_.decode(), raw)
    try:
        text = raw[b"event"].decode()
        at = iso_utc(parse_utc(event["at"]))
    except (ValueError, OverflowError) as error:
        raise Malformed(key, id_.decode(), "event", f"is not as agreed: {str(error)[:100]}") from None
    if not _KIND.fullmatch(event["kind"]):
        raise Malformed(key, id_.decode(), "event", "has a kind that is no word")
    camera = event.get("camera")
    named = isinstance(camera, str) and STATION.fullmatch(camera) is not None
    return Event(number, at, event["kind"], camera if named else None, text)


def _meta(key: str, id_: bytes, part: Part) -> StillMeta | ClipMeta:
    values: Mapping[str, object] = part.meta or {}
    try:
        meta = (StillMeta if part.kind == "still" else ClipMeta).from_json(values)
        if isinstance(meta, StillMeta) and meta.day != "-".join(part.name.split("/")[1:4]):
            raise ValueError("day is not that of the folder")
    except ValueError as error:
        raise Malformed(key, id_.decode(), "meta", str(error)) from None
    return meta
