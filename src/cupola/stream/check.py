"""Whether streaming to Redis can work, asked from outside: for commands, with or without a running server. Doing it is `publisher`'s."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

from cupola.config.model import Settings
from cupola.stream.format import Id, frames_key, key
from cupola.stream.link import Target, connect, failures, words_of
from cupola.stream.live import ADD as ADD_LIVE
from cupola.stream.sender import ADD
from cupola.stream.words import give_up, span

DEADLINE_S = 20.0
ABANDONED_S = 600.0  # without a word; a receiver asks for more twice a second


@dataclass(frozen=True, slots=True)
class Finding:
    """`fix`: what to do about it. An `error`: nothing arrives, or something may get lost."""

    level: Literal["error", "warning"]
    message: str
    fix: str


async def check_redis(settings: Settings) -> list[Finding]:
    """What is wrong, the worst first; empty when all is well, or no Redis is configured. Changes nothing in Redis. Ends within `DEADLINE_S`."""
    if settings.redis is None:
        return []
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await asyncio.to_thread(_check, settings)
    except TimeoutError:
        return [Finding("error", f"Redis did not answer within {DEADLINE_S:.0f} s.", "Look whether it runs, and what its host is busy with.")]


def _check(settings: Settings) -> list[Finding]:
    block = settings.redis
    assert block is not None
    target, station = Target(block.url.get_secret_value(), block.ca), block.station or settings.station.name
    client = connect(target, "cupola-doctor")
    try:
        client.ping()
        found = [*_rights(client, target, station, block.live), *_lasting(client), *_abandoned(client, target, station)]
    except failures() as error:
        words, _, fix = words_of(error, target).partition(". ")
        return [Finding("error", words + ".", fix or "Correct redis.url.")]
    finally:
        client.close()
    return sorted([*found, *_spool(settings)], key=lambda one: one.level)


def _rights(client: Any, target: Target, station: str, live: list[str]) -> list[Finding]:
    """Each command that the publisher needs, on keys and in ways that change nothing."""
    nobody = "0-" + str(uuid.uuid4().int % 10**18)  # no stream's last id: the script adds nothing
    add, add_live = client.script_load(ADD), client.script_load(ADD_LIVE)
    found: list[Finding] = []
    tries: list[tuple[str, Callable[[], Any]]] = []
    for name in ("log", "images"):
        stream = key(station, cast(Any, name))
        tries += [
            (f"add to {stream}", lambda stream=stream: client.evalsha(add, 1, stream, nobody)),
            (f"read {stream}", lambda stream=stream: client.xrange(stream, count=1)),
            (f"cut {stream}", lambda stream=stream: client.xtrim(stream, minid="0-0")),
            (f"see the receivers of {stream}", lambda stream=stream: client.exists(stream) and client.xinfo_groups(stream)),
        ]
    status = key(station, "status")
    tries += [(f"read {status}", lambda: client.hget(status, "live"))]
    for camera in live:
        frames = frames_key(station, camera)
        tries += [
            (f"add to {frames}", lambda frames=frames: client.evalsha(add_live, 2, frames, status, nobody, 1)),
            (f"read {frames}", lambda frames=frames: client.xrevrange(frames, count=1)),
        ]
    for what, attempt in tries:
        try:
            attempt()
        except failures() as error:
            if not any(word in str(error) for word in ("NOPERM", "permission", "ACL failure")):
                raise
            fix = "Correct the station's line in the ACL file of Redis: docs/redis.md has an example that is tested."
            found.append(Finding("error", f"Redis at {target.words} does not let this station {what}: {str(error)[:160]}", fix))
    return found


def _lasting(client: Any) -> list[Finding]:
    """Whether Redis keeps what it took. Its user may be one that must not ask: then nothing is said."""
    try:
        config = {name: client.config_get(name).get(name) for name in ("appendonly", "appendfsync", "maxmemory-policy")}
    except failures():
        return []
    found: list[Finding] = []
    conf = "docs/redis.md has a redis.conf that is tested."
    values = {name: value.decode() if isinstance(value, bytes) else value for name, value in config.items()}
    if values["appendonly"] != "yes" or values["appendfsync"] != "always":
        words = "Redis does not keep each record (appendonly yes, appendfsync always). What it loses is sent again from the spool, as far as no receiver had it"
        found.append(Finding("warning", words + ", but what receivers confirmed last may be handed out again.", f"Set both in redis.conf. {conf}"))
    if values["maxmemory-policy"] not in (None, "noeviction"):
        words = f"Redis throws records away when its memory is full (maxmemory-policy {values['maxmemory-policy']})."
        found.append(Finding("error", words, f"Set maxmemory-policy noeviction. {conf}"))
    return found


def _abandoned(client: Any, target: Target, station: str) -> list[Finding]:
    """Groups of receivers that hold records back, and that nobody serves. Where the station's user may not see who serves them, nothing is said."""
    from redis.exceptions import NoPermissionError

    found: list[Finding] = []
    held: dict[str, tuple[list[str], list[float]]] = {}  # by group: its streams, and for how long each of its receivers was quiet
    try:
        for stream in (key(station, "log"), key(station, "images")):
            if not client.exists(stream):
                continue
            newest = Id.parse(client.xinfo_stream(stream)["last-generated-id"])
            for group in client.xinfo_groups(stream):
                if group["pending"] or Id.parse(group["last-delivered-id"]) < newest:
                    streams, quiet_s = held.setdefault(group["name"].decode(errors="replace"), ([], []))
                    streams.append(stream)
                    quiet_s += [one["idle"] / 1000 for one in client.xinfo_consumers(stream, group["name"])]
    except NoPermissionError:
        return []
    for group, (streams, quiet_s) in held.items():
        if min(quiet_s, default=ABANDONED_S) >= ABANDONED_S:
            since = f"for {span(min(quiet_s))}" if quiet_s else "yet"
            words = f"No receiver of the group {group} has asked for anything {since}, so station and Redis keep all records for it."
            fix = f"Start its receiver, or if nobody needs it any more: {give_up(target.words, [(stream, group) for stream in streams])}"
            found.append(Finding("warning", words, fix))
    return found


def _spool(settings: Settings) -> list[Finding]:
    """Whether links of the archive can be made in the spool."""
    folder = settings.storage.state_folder / "spool"
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    root = settings.storage.root
    if root.exists() and os.stat(folder).st_dev != os.stat(root).st_dev:
        words = "The spool lies on another disk than the images, so each still and clip is copied into it."
        return [Finding("warning", words, "Put storage.state on the disk of storage.root, if copies are too much for it.")]
    return []
