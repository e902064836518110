"""The group `redis`: where events, stills, clips and live pictures are streamed to. Doing so is `stream`'s."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from cupola.config.base import Address, Block, ConfigPath, Int, group, key
from cupola.config.url import parts_of

_HINT = {"hint": "such as redis://roof:${REDIS_PASSWORD}@redis.example.org:6379/0, or rediss:// for TLS"}


def _redis_url(value: Address) -> Address:
    if (parts := parts_of(value, "redis", "rediss")) is None:
        raise PydanticCustomError("redis_url", "is no URL of a Redis", _HINT)
    if parts.query or parts.fragment or not (parts.path in ("", "/") or parts.path[1:].isdigit()):
        raise PydanticCustomError("redis_url", "has more than user, password, host, port and number of the database", _HINT)
    return value


class Redis(Block):
    """Redis or Valkey, through which other machines get what happens here: events, stills and clips with nothing lost, live pictures as they come."""

    url: Annotated[Address, AfterValidator(_redis_url)] = key(
        ..., "Address", "redis:// or rediss:// (TLS), with user and password of this station's own ACL user: ${NAME} here, the password in .env."
    )
    ca: ConfigPath | None = key(None, "Authority", "PEM file of whoever signed Redis' certificate, if this machine does not know it; with rediss://.")
    station: str | None = key(
        None,
        "Station",
        "Under which name; each station of one Redis needs its own. null: station.name.",
        rule="letters, digits, - and _, at most 32",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$",
    )
    live: list[str] = group(list, "Live", "Cameras whose live pictures are streamed too, as long as the program runs, not only while somebody looks.")
    live_keep: Int = key(300, "Live pictures kept", "So many of the newest of a camera stay in Redis.", ge=1, le=100_000)
    spool_mb: Int = key(
        4000,
        "Spool",
        "Disk space for what no receiver has yet: stills and clips, of which it holds links, and a tenth of it for events. docs/redis.md says what happens when it is full.",
        unit="MB",
        ge=10,
        le=10_000_000,
    )
