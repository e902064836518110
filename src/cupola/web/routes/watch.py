"""What others ask who watch the station from afar: at the same addresses, and with the same answers, as the status server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response

from cupola.status import metrics as names
from cupola.web.runtime import NoSuchThing, runtime_of

router = APIRouter(tags=["watching"])
FRESH = {"Cache-Control": "no-cache"}


@router.get("/status")
async def status(request: Request) -> dict[str, Any]:
    """What stands in the status file, as of this moment."""
    told = await runtime_of(request).status.current()
    return {**told, "stale": False, "stale_since": None, "age_seconds": 0.0}


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """For Prometheus. 404 where they are switched off."""
    writer = runtime_of(request).status
    if not writer.metrics_on:
        raise NoSuchThing("Metrics are switched off (monitoring.prometheus).")
    from cupola.web.prometheus import exposition

    text, kind = exposition(names.families(await writer.current(), 0.0, stale=False), request.headers.get("accept", ""))
    return Response(text, headers={"Content-Type": kind})


@router.get("/latest/photo", response_class=FileResponse)
async def photo(request: Request) -> Response:
    """The newest developed still of all cameras."""
    status = runtime_of(request).status
    await status.look()
    return _file(status.document.photo, "image/jpeg", "There is no developed image yet.")


@router.get("/latest/video", response_class=FileResponse)
async def video(request: Request) -> Response:
    """The newest finished video of a night or day."""
    status = runtime_of(request).status
    await status.look()
    return _file(status.document.video, "video/mp4", "There is no finished video yet.")


@router.get("/config")
async def config(request: Request) -> dict[str, Any]:
    """The configuration in force, with defaults; secrets as ***."""
    return runtime_of(request).status.config


def _file(path: Path | None, kind: str, none: str) -> Response:
    if path is None or not path.is_file():
        raise NoSuchThing(none)
    return FileResponse(path, media_type=kind, filename=path.name, content_disposition_type="inline", headers=FRESH)
