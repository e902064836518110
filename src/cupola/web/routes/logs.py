"""The log for programs and for a page: newest records as JSON lines, or as a stream of events that goes on where it was interrupted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response, StreamingResponse

from cupola.core.errors import NotAllowed
from cupola.core.logtail import LEVELS, LogLine
from cupola.web.access.who import Role, who_of
from cupola.web.runtime import Runtime, runtime_of

KEEP_ALIVE_S = 15.0
EVENTS = "text/event-stream"
AGAIN_MS = 2000  # how soon a browser comes back
READERS_MAX = 20

router = APIRouter(tags=["logs"])


class TooManyReaders(NotAllowed):
    """All places are taken."""

    retry_in_s = 30.0


@router.get("/logs", response_class=Response, responses={200: {"content": {"application/x-ndjson": {}, EVENTS: {}}}})
async def logs(
    request: Request,
    lines: Annotated[int, Query(ge=0, le=1000, description="So many of the newest records, before those to come.")] = 100,
    level: Annotated[Literal["debug", "info", "warning", "error", "critical"], Query(description="Of this level and worse.")] = "info",
    last_event_id: Annotated[int | None, Header(ge=0, description="Go on after this record instead of with the newest `lines`.")] = None,
) -> Response:
    """Each record: id, at, level, event, camera, message. JSON lines and the end; with `Accept: text/event-stream` each record as it is written, with its id."""
    runtime, who = runtime_of(request), who_of(request)
    tail = runtime.logtail
    least, admin = LEVELS.index(level.upper()), who is not None and who.role >= Role.ADMIN

    def fits(line: LogLine) -> bool:
        return (admin or not line.private) and (line.level not in LEVELS or LEVELS.index(line.level) >= least)

    last = tail.last if last_event_id is None else last_event_id
    backlog = tail.newest(lines, fits) if last_event_id is None else list(filter(fits, tail.after(last)))
    if EVENTS not in request.headers.get("accept", ""):
        return Response("".join(json.dumps(line.to_dict()) + "\n" for line in backlog), media_type="application/x-ndjson")
    if runtime.log_readers >= READERS_MAX and not admin:
        raise TooManyReaders(f"All {READERS_MAX} places for readers of the log are taken. Try again when somebody has left.")
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # no proxy may hold it back
    return StreamingResponse(_events(runtime, backlog, last, fits), media_type=EVENTS, headers=headers)


async def _events(runtime: Runtime, lines: list[LogLine], last: int, fits: Callable[[LogLine], bool]) -> AsyncIterator[str]:
    loop, written = asyncio.get_running_loop(), asyncio.Event()
    written.set()  # for what was written since `lines` were taken

    def wake() -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(written.set)

    runtime.log_readers += 1
    try:
        with runtime.logtail.heard(wake):
            yield f"retry: {AGAIN_MS}\n\n"
            while True:
                for line in lines:
                    last = line.id
                    yield f"id: {line.id}\ndata: {json.dumps(line.to_dict())}\n\n"
                try:
                    async with asyncio.timeout(KEEP_ALIVE_S):
                        await written.wait()
                except TimeoutError:
                    yield ": still here\n\n"
                written.clear()
                lines = list(filter(fits, runtime.logtail.after(last)))
    finally:
        runtime.log_readers -= 1
