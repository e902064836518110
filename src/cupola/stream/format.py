"""What stations and receivers agree on: keys, ids, and the fields of every record.

Standard library only. Whatever another machine wrote may be malformed, so unpacking is strict and bounded, and says which
stream, record and field is wrong. What is in a picture's `meta` lies in `meta`; sending in `publisher`, receiving in `receiver`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, Self, cast

from cupola.stream.names import STATION

DATA_MAX = 1_000_000  # bytes of an image or clip in one record; every part but the last has exactly so many
PARTS_MAX = 100_000
EVENT_MAX = 1_000_000  # bytes of JSON
META_MAX = 100_000
FRAME_MAX = 64_000_000
NUMBER_MAX = 2**53

Fields = dict[str, bytes | str | int]  # as redis-py takes them
Raw = Mapping[bytes, bytes]  # as it hands them back
Codec = Literal["jpeg", "h264", "h265"]
Kind = Literal["still", "clip"]
CODECS: tuple[Codec, ...] = ("jpeg", "h264", "h265")
MEDIA_TYPES: dict[Kind, str] = {"still": "image/jpeg", "clip": "video/mp4"}

_CAMERA = STATION.pattern  # as of a camera's folder
NAME = re.compile(rf"({_CAMERA})/(\d{{4}}/\d\d/\d\d)/(jpg|clips)/([A-Za-z0-9][A-Za-z0-9._-]{{0,199}}\.(?:jpg|mp4))", re.ASCII)
_KEY = re.compile(rf"cupola:\{{({STATION.pattern})\}}:(?:(log|images|status)|({_CAMERA}):frames)", re.ASCII)
_NUMBER = re.compile(rb"0|[1-9][0-9]{0,15}")
_TIME = re.compile(rb"[0-9]{1,11}(?:\.[0-9]{1,9})?")
_SHA256 = re.compile(rb"[0-9a-f]{64}")


class Malformed(ValueError):
    """A record that is not as agreed. `field` is empty where it is not one field's fault."""

    def __init__(self, stream: str, id_: str, field: str, why: str) -> None:
        what = f"field {field} " if field else ""
        super().__init__(f"{stream} {id_}: {what}{why}")
        self.stream, self.id, self.field = stream, id_, field


class Id(NamedTuple):
    """Of a record in a lossless stream: the station's incarnation, and a count from 1 in it. Written `3-17`."""

    incarnation: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.incarnation}-{self.sequence}"

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """Raises ValueError for anything but two whole numbers with a hyphen between them."""
        words = (text.encode() if isinstance(text, str) else text).split(b"-")
        if len(words) != 2 or not all(_ID_PART.fullmatch(word) for word in words):
            raise ValueError(f"{text!r} is no id of a record")
        return cls(int(words[0]), int(words[1]))


_ID_PART = re.compile(rb"0|[1-9][0-9]{0,19}")  # Redis': 64 bits each


class Place(NamedTuple):
    """What a key is for. `camera` of `frames` only."""

    station: str
    stream: Literal["log", "images", "status", "frames"]
    camera: str | None = None


def key(station: str, stream: Literal["log", "images", "status"]) -> str:
    """`cupola:{roof}:log`; the braces keep all keys of a station in one slot of Redis Cluster."""
    return f"cupola:{{{_checked(station)}}}:{stream}"


def frames_key(station: str, camera: str) -> str:
    """`cupola:{roof}:sky:frames`."""
    return f"cupola:{{{_checked(station)}}}:{_checked(camera)}:frames"


def parse_key(text: str | bytes) -> Place | None:
    """The inverse of both; None for a key that is none of ours."""
    found = _KEY.fullmatch(text.decode("ascii", "replace") if isinstance(text, bytes) else text)
    if found is None:
        return None
    station, stream, camera = found.groups()
    return Place(station, "frames", camera) if camera else Place(station, cast(Any, stream))


def _checked(name: str) -> str:
    if not STATION.fullmatch(name):
        raise ValueError(f"{name!r} cannot be part of a key: use letters, digits, '-', '_' and '.', at most 64")
    return name


# Events: stream `log`


def pack_event(event: str | bytes) -> Fields:
    """`event`: the JSON that is on the WebSocket too."""
    return {"event": event}


def unpack_event(stream: str, id_: str, raw: Raw) -> dict[str, Any]:
    """The event as JSON types, with `kind` and `at` as text; other keys as its kind has them. Raises Malformed."""
    take = _Taker(stream, id_, raw)
    event = take.json("event", EVENT_MAX)
    for name in ("kind", "at"):
        if not isinstance(event.get(name), str):
            take.refuse("event", f"has no {name}")
    return event


# Stills and clips: stream `images`


@dataclass(frozen=True, slots=True)
class Part:
    """One record of a still or clip; the `parts` of one follow each other, with contiguous ids.

    `name` is its path below the archive's root, `size` and `sha256` are of the whole. `meta` is in the last part only.
    """

    kind: Kind
    name: str
    camera: str
    part: int
    parts: int
    size: int
    sha256: str
    media_type: str
    meta: dict[str, Any] | None
    data: bytes

    @property
    def last(self) -> bool:
        return self.part == self.parts - 1


def parts_of(size: int) -> int:
    """How many records a file of `size` bytes takes."""
    return max(1, -(-size // DATA_MAX))


def part_size(size: int, part: int) -> int:
    """How many bytes of a file lie in one of its records."""
    return min(DATA_MAX, size - part * DATA_MAX)


def pack_part(part: Part) -> Fields:
    fields: Fields = {
        "kind": part.kind,
        "name": part.name,
        "camera": part.camera,
        "part": part.part,
        "parts": part.parts,
        "size": part.size,
        "sha256": part.sha256,
        "media_type": part.media_type,
    }
    if part.meta is not None:
        fields["meta"] = json.dumps(part.meta, separators=(",", ":"), allow_nan=False)
    return fields | {"data": part.data}


def unpack_part(stream: str, id_: str, raw: Raw) -> Part:
    """Raises Malformed, also for a name that is not `CAMERA/YYYY/MM/DD/(jpg|clips)/FILE` of its own camera and kind."""
    take = _Taker(stream, id_, raw)
    kind = cast(Kind, take.choice("kind", ("still", "clip")))
    name, camera = take.text("name", 400), take.text("camera", 64)
    found = NAME.fullmatch(name)
    if found is None or (found[3] == "jpg") != (kind == "still") or name.endswith(".jpg") != (kind == "still"):
        take.refuse("name", f"is not the path of a {kind} below an archive")
    elif found[1] != camera:
        take.refuse("name", "lies in the folder of another camera")
    else:
        try:
            datetime.strptime(found[2], "%Y/%m/%d")
        except ValueError:
            take.refuse("name", "is not of a day of the calendar")
    part, parts, size = take.number("part", PARTS_MAX), take.number("parts", PARTS_MAX), take.number("size", PARTS_MAX * DATA_MAX)
    if size < 1 or parts != parts_of(size):
        take.refuse("parts", f"is {parts}, which does not go with {size} bytes")
    if part >= parts:
        take.refuse("part", f"is {part} of {parts}, counted from 0")
    data = take.bytes("data", DATA_MAX)
    if len(data) != part_size(size, part):
        take.refuse("data", f"has {len(data)} bytes instead of {part_size(size, part)}")
    sha256 = take.matching("sha256", _SHA256, "no SHA-256 in hexadecimal").decode()
    media_type = take.choice("media_type", (MEDIA_TYPES[kind],))
    meta = take.json("meta", META_MAX) if part == parts - 1 else None
    return Part(kind, name, camera, part, parts, size, sha256, media_type, meta, data)


# Live packets: stream `frames` of a camera


@dataclass(frozen=True, slots=True)
class FramePacket:
    """One live packet. H.264 and H.265 are Annex B, and a key packet's data begins with its parameter sets.

    `sequence` counts every packet the camera made in this incarnation, from 1, before any was dropped; `dropped` is how many
    of those the publisher had left out up to this one. `time`: when the shutter opened, or the packet arrived where that is
    not known. `generation`: epoch and number of the settings it obeys, as text (`1700000000.3`).
    """

    sequence: int
    incarnation: int
    generation: str
    time: datetime
    codec: Codec
    key: bool
    width: int
    height: int
    dropped: int
    data: bytes
    config: bytes = b""


def pack_frame(packet: FramePacket) -> Fields:
    fields: Fields = {
        "sequence": packet.sequence,
        "incarnation": packet.incarnation,
        "generation": packet.generation,
        "time": f"{packet.time.timestamp():.6f}",
        "codec": packet.codec,
        "key": int(packet.key),
        "width": packet.width,
        "height": packet.height,
        "dropped": packet.dropped,
    }
    if packet.config and packet.key:
        fields["config"] = packet.config
    return fields | {"data": packet.data}


def unpack_frame(stream: str, id_: str, raw: Raw) -> FramePacket:
    """Raises Malformed."""
    take = _Taker(stream, id_, raw)
    key_ = take.number("key", 1) == 1
    seconds = float(take.matching("time", _TIME, "no time in seconds since 1970"))
    return FramePacket(
        sequence=take.number("sequence"),
        incarnation=take.number("incarnation"),
        generation=take.text("generation", 64),
        time=datetime.fromtimestamp(seconds, UTC),
        codec=cast(Codec, take.choice("codec", CODECS)),
        key=key_,
        width=take.number("width", 65_535),
        height=take.number("height", 65_535),
        dropped=take.number("dropped"),
        data=take.bytes("data", FRAME_MAX),
        config=take.bytes("config", META_MAX) if key_ and b"config" in raw else b"",
    )


# What a station says of itself: hash `status`


@dataclass(frozen=True, slots=True)
class Status:
    """`document` is the status file's JSON."""

    document: dict[str, Any]
    updated_at: str
    incarnation: int


def pack_status(document: str | bytes, updated_at: str, incarnation: int) -> Fields:
    return {"document": document, "updated_at": updated_at, "incarnation": incarnation}


def unpack_status(key_: str, raw: Raw) -> Status:
    """Raises Malformed."""
    take = _Taker(key_, "(hash)", raw)
    return Status(take.json("document", EVENT_MAX), take.text("updated_at", 64), take.number("incarnation"))


class _Taker:
    """Takes the fields of one record, each within its bounds."""

    def __init__(self, stream: str, id_: str, raw: Raw) -> None:
        self._stream, self._id, self._raw = stream, id_, raw

    def refuse(self, field: str, why: str) -> None:
        raise Malformed(self._stream, self._id, field, why)

    def bytes(self, field: str, most: int) -> bytes:
        value = self._raw.get(field.encode())
        if value is None:
            raise Malformed(self._stream, self._id, field, "is not there")
        if len(value) > most:
            raise Malformed(self._stream, self._id, field, f"has {len(value)} bytes, more than {most}")
        return value

    def matching(self, field: str, pattern: re.Pattern[bytes], otherwise: str) -> bytes:
        value = self.bytes(field, 100)
        if not pattern.fullmatch(value):
            raise Malformed(self._stream, self._id, field, f"is {otherwise}: {value[:40]!r}")
        return value

    def number(self, field: str, most: int = NUMBER_MAX) -> int:
        value = int(self.matching(field, _NUMBER, "no whole number"))
        if value > most:
            raise Malformed(self._stream, self._id, field, f"is {value}, more than {most}")
        return value

    def text(self, field: str, most: int) -> str:
        try:
            value = self.bytes(field, most).decode()
        except UnicodeDecodeError:
            raise Malformed(self._stream, self._id, field, "is no UTF-8") from None
        if not value.isprintable():
            raise Malformed(self._stream, self._id, field, f"has characters that cannot be printed: {value[:40]!r}")
        return value

    def choice(self, field: str, choices: tuple[str, ...]) -> str:
        value = self.text(field, 100)
        if value not in choices:
            raise Malformed(self._stream, self._id, field, f"is {value!r}, not one of {', '.join(choices)}")
        return value

    def json(self, field: str, most: int) -> dict[str, Any]:
        value = self.bytes(field, most)
        try:
            found: object = json.loads(value, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise Malformed(self._stream, self._id, field, f"is no JSON: {error}") from None
        if not isinstance(found, dict):
            raise Malformed(self._stream, self._id, field, "is no JSON object")
        return cast(dict[str, Any], found)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def spans(size: int) -> Iterator[tuple[int, int, int]]:
    """Of each record of a file of `size` bytes: its number from 0, where its bytes begin, and how many they are."""
    for part in range(parts_of(size)):
        yield part, part * DATA_MAX, part_size(size, part)
