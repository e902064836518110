"""What a station published, as it stands in Redis."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from typing import Any

from cupola.stream.format import key, unpack_event, unpack_part
from tests.support.light_station import LightStation
from tests.support.redis_server import RedisServer

LOG, IMAGES = key("roof", "log"), key("roof", "images")
NOWHERE = "redis://127.0.0.1:1/0"  # nobody answers


def events(redis: RedisServer, stream: str = LOG) -> list[tuple[str, dict[str, Any]]]:
    return [(id_.decode(), unpack_event(stream, id_.decode(), raw)) for id_, raw in redis.client().xrange(stream)]


def numbers(redis: RedisServer, stream: str = LOG) -> list[int]:
    return [int(event["value"]) for _, event in events(redis, stream) if event["kind"] == "sensor_reading"]


def stills(redis: RedisServer, stream: str = IMAGES) -> list[str]:
    """The names of the whole ones, each checked against its own size and digest."""
    whole, data = [], b""
    for id_, raw in redis.client().xrange(stream):
        part = unpack_part(stream, id_.decode(), raw)
        data = part.data if part.part == 0 else data + part.data
        if part.last:
            assert (len(data), hashlib.sha256(data).hexdigest()) == (part.size, part.sha256)
            whole.append(part.name)
    return whole


async def until(look: Callable[[], Any], seconds: float = 120.0) -> Any:
    end = time.monotonic() + seconds
    while not (answer := await asyncio.to_thread(look)):
        assert time.monotonic() < end, f"not within {seconds} s; the last answer was {answer!r}"
        await asyncio.sleep(0.05)
    return answer


def sent(station: LightStation) -> bool:
    return station.publisher.state == "connected" and not any(sender.unsent for sender in station.publisher.senders.values())


async def all_sent(station: LightStation, events: int, stills: int = 0) -> None:
    """So many records were spooled, counted from the first, and Redis has them."""
    spools = station.publisher.journal.spool, station.publisher.images.spool
    await until(lambda: spools[0].next > events and spools[1].next > stills and sent(station))
