"""How streaming does, in one line for people: from what `publisher.report` tells; and how they give up receivers that are gone."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any


def in_words(report: dict[str, Any]) -> str:
    """`connected to redis.example.org:6379; 12 records wait for receivers, the oldest for 3 min`."""
    streams = report["streams"].values()
    depth = sum(stream["spool_records"] for stream in streams)
    ages = [stream["oldest_seconds"] for stream in streams if stream["oldest_seconds"] is not None]
    said = [report["problem"].rstrip(".") if report["problem"] else f"{report['state']}: {report['server']}"]
    if depth:
        age = f", the oldest for {span(max(ages))}" if ages else ""
        groups = sorted({stream["behind"] for stream in streams if stream["spool_records"] and stream["behind"]})
        whose = f" of {' and '.join(groups)}" if groups else ""
        said.append(f"{depth} {'record waits' if depth == 1 else 'records wait'} for receivers{whose}{age}")
    if depth and all(stream["behind"] is None for stream in streams) and report["state"] == "connected":
        said.append("there is no receiver")
    if report["waiting_in_archive"]:
        said.append(f"the spool is full, {report['waiting_in_archive']} more wait in the archive")
    elif report["full_in_seconds"] is not None:
        said.append(f"spool full in {span(report['full_in_seconds'])}")
    if lost := sum(stream["lost"] for stream in streams):
        said.append(f"{lost} lost")
    return "; ".join(said)


def give_up(server: str, held: Iterable[tuple[str, str]]) -> str:
    """What to type so that stations no longer wait for groups of receivers, each given with its stream's key. `server`: host:port."""
    host, _, port = server.rpartition(":")
    return "; ".join(shlex.join(["redis-cli", "-h", host, "-p", port, "XGROUP", "DESTROY", stream, group]) for stream, group in held)


def span(seconds: float) -> str:
    """`3 h`."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
