"""A station as receivers see it: stills, clips and events in its streams, sent again after whatever Redis has forgotten.

    python -m tests.support.redis_station URL STATION --seconds 5 --every 0.02

publishes until then, sends all of it, and prints one line of JSON: what it made.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cupola.core.clock import iso_utc
from cupola.storage.files import image_stem
from cupola.stream.format import MEDIA_TYPES, Fields, Id, Kind, Part, key, pack_event, pack_part, spans
from cupola.stream.meta import ClipMeta, StillMeta

if TYPE_CHECKING:
    from redis import Redis

NIGHT = datetime(2026, 11, 21, 23, 15, 2, tzinfo=UTC)
AT_ONCE = 50


@dataclass
class PublishedStation:
    """Keeps everything it ever made, so that it can send it again. `files`: sha256 by path; `events`: their JSON, in order."""

    name: str
    incarnation: int = 1
    camera: str = "sky"
    files: dict[str, str] = field(default_factory=dict[str, str])
    events: list[str] = field(default_factory=list[str])
    number: int = 0  # of the newest still
    _records: dict[str, list[tuple[Id, Fields]]] = field(default_factory=lambda: {"log": [], "images": []})

    def event(self, kind: str = "image_captured", **facts: Any) -> Id:
        text = json.dumps(
            {"kind": kind, "at": iso_utc(NIGHT + timedelta(seconds=len(self.events))), "camera": self.camera, "n": len(self.events)} | facts
        )
        self.events.append(text)
        return self._add("log", pack_event(text))

    def still(self, data: bytes, **changed: Any) -> Id:
        """The id of its last record. `changed`: of its meta."""
        self.number += 1
        opened_at = NIGHT + timedelta(seconds=self.number)
        meta = StillMeta(self.number, opened_at, opened_at, True, 1.0, 100.0, None, 4.5, 640, 480, "2026-11-21", self.number)
        name = f"{self.camera}/2026/11/21/jpg/{image_stem(opened_at, self.number)}.jpg"
        return self.file("still", name, data, meta.to_json() | changed)

    def clip(self, data: bytes, label: str = "door") -> Id:
        self.number += 1
        at = NIGHT + timedelta(seconds=self.number)
        trigger = {"at": iso_utc(at), "source": "api", "payload": None}
        meta = ClipMeta(self.number, label, at, [trigger], 5.0, 10.0, 5.0, 10.0, 450, 15.0, [], "h264", 1280, 720)
        return self.file("clip", f"{self.camera}/2026/11/21/clips/{image_stem(at, self.number)}_{label}.mp4", data, meta.to_json())

    def file(self, kind: Kind, name: str, data: bytes, meta: dict[str, Any]) -> Id:
        sha256 = hashlib.sha256(data).hexdigest()
        pieces = list(spans(len(data)))
        self.files[name] = sha256
        for number, begin, size in pieces:
            told = meta if number == len(pieces) - 1 else None
            part = Part(kind, name, name.split("/")[0], number, len(pieces), len(data), sha256, MEDIA_TYPES[kind], told, data[begin : begin + size])
            id_ = self._add("images", pack_part(part))
        return id_

    def records(self, stream: str) -> list[dict[str, Any]]:
        """The fields of each."""
        return [dict(fields) for _, fields in self._records[stream]]

    def record(self, stream: str, fields: Mapping[str, Any]) -> Id:
        """Any record at all, as an enemy or a broken program might write it."""
        return self._add(stream, dict(fields))

    def _add(self, stream: str, fields: Fields) -> Id:
        records = self._records[stream]
        id_ = Id(self.incarnation, records[-1][0].sequence + 1 if records and records[-1][0].incarnation == self.incarnation else 1)
        records.append((id_, fields))
        return id_

    def restored(self, *, stills: int) -> None:
        """As a station whose state comes from a backup of when it had so many stills: counts go back, and a new incarnation begins."""
        self.incarnation += 1
        self.number = stills

    def send(self, client: Redis) -> int:
        """Add to Redis what it does not have, in order; how many records these were. Raises what the client raises: then just call it again."""
        sent = 0
        for stream, records in self._records.items():
            where = key(self.name, stream)  # type: ignore[arg-type]
            last = Id(0, 0)
            if client.exists(where):
                last = Id.parse(client.xinfo_stream(where)["last-generated-id"])
            waiting = [(id_, fields) for id_, fields in records if id_ > last]
            for begin in range(0, len(waiting), AT_ONCE):
                with client.pipeline(transaction=False) as pipe:
                    for id_, fields in waiting[begin : begin + AT_ONCE]:
                        pipe.xadd(where, fields, id=str(id_))  # type: ignore[arg-type]
                    sent += len(pipe.execute())
        return sent


def _publish(url: str, name: str, seconds: float, every_s: float) -> PublishedStation:
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError
    from redis.retry import Retry

    dice, station = random.Random(name), PublishedStation(name)
    client = Redis.from_url(url, socket_timeout=3.0, retry=Retry(NoBackoff(), 0))
    end, give_up = time.monotonic() + seconds, time.monotonic() + seconds + 300
    while True:
        over = time.monotonic() > end
        if not over:
            station.event()
            station.still(dice.randbytes(dice.randrange(1000, 60_000)))
            if station.number % 20 == 0:
                station.clip(dice.randbytes(2_300_000))
        try:
            station.send(client)
            if over:
                return station
        except (RedisError, OSError) as error:
            if time.monotonic() > give_up:
                raise SystemExit(f"Redis did not come back: {error}") from None
        time.sleep(every_s)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("station")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--every", type=float, default=0.02)
    options = parser.parse_args()
    made = _publish(options.url, options.station, options.seconds, options.every)
    json.dump({"files": made.files, "events": made.events}, sys.stdout)
