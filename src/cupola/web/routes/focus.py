"""Focusing: how sharp the stars of a region are, again and again, for whoever turns the focuser."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from cupola.camera.supervisor import CameraSupervisor
from cupola.web.runtime import runtime_of
from cupola.web.wire import writer_of

SIZE = 384  # pixels: room for a dozen stars, and little to send
router = APIRouter(tags=["live"])


@router.get("/api/cameras/{cam}/focus", response_class=StreamingResponse)
async def focus(
    request: Request,
    cam: str,
    x: Annotated[int | None, Query(ge=0, le=100_000, description="Column of the region's middle; by default the picture's.")] = None,
    y: Annotated[int | None, Query(ge=0, le=100_000, description="Row of the region's middle; by default the picture's.")] = None,
    size: Annotated[int, Query(ge=64, le=1024, description="Pixels the region measures each way.")] = SIZE,
) -> StreamingResponse:
    """A line of JSON a measurement, without end: `hfr_px` and `fwhm_px` (medians of `stars`; null: none could be measured), `best_hfr_px`,
    `trend` (sharper, steady, softer), the region as a base64 `jpeg`, its place and the picture's facts. A camera without video takes
    test shots meanwhile, which are not stored."""
    camera = runtime_of(request).camera(cam)
    camera.require_open()
    hang_up = writer_of(request.scope).abort
    return StreamingResponse(_lines(camera, x, y, size, hang_up), media_type="application/x-ndjson", headers={"Cache-Control": "no-store"})


async def _lines(camera: CameraSupervisor, x: int | None, y: int | None, size: int, hang_up: Callable[[], None]) -> AsyncIterator[bytes]:
    with camera.focusing.look(x, y, size, hang_up) as looker:
        while True:
            yield json.dumps(await looker.next(), separators=(",", ":")).encode() + b"\n"
