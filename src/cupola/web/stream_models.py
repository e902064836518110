"""How streaming to Redis does, as the API tells it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class StreamStatus(_Answer):
    spool_records: int = Field(description="That no receiver has confirmed.")
    unsent_records: int = Field(description="Of these, what Redis has not.")
    spool_bytes: int
    oldest_seconds: float | None = Field(description="Age of the oldest that no receiver has confirmed.")
    published: int = Field(description="Records that Redis took, since the server's start.")
    incarnation: int
    behind: str | None = Field(description="The group of receivers that has confirmed least; null where there is none.")
    lost: int = Field(description="What could not be streamed, since the server's start.")


class LiveCounts(_Answer):
    produced: int
    delivered: int
    dropped: int
    age_seconds: float | None = Field(description="Of the newest packet, when Redis had it.")


class RedisStatus(_Answer):
    state: Literal["starting", "connected", "unreachable", "closed"]
    server: str
    station: str = Field(description="The name it streams under.")
    words: str = Field(description="All of it in one line.")
    problem: str | None
    fill_percent: float = Field(description="How full the spool is.")
    full_in_seconds: int | None = Field(description="Until it is full, if it goes on filling as it does; null while it does not.")
    waiting_in_archive: int = Field(description="Stills and clips that the spool had no room for yet.")
    streams: dict[str, StreamStatus]
    live: dict[str, LiveCounts]
