"""Stored images, addressed by their row's id, never by a path."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path as FilePath
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import FileResponse, Response

from cupola.storage.measurements import Measurements
from cupola.storage.rows import ImageRow
from cupola.web import models
from cupola.web.runtime import NoSuchThing, Runtime, runtime_of
from cupola.web.views import capture

router = APIRouter(tags=["captures"])
Id = Annotated[int, Path(ge=1, le=2**53)]
# Kept by a browser for as long as it sends the same login: what one person has seen there is not the next one's.
VARY = {"Vary": "Cookie, Authorization"}
MEDIA = {".jpg": "image/jpeg", ".fz": "application/fits"}  # a camera's raw file has no type that everybody knows
CACHE = {"Cache-Control": "private, max-age=31536000, immutable", **VARY}


@router.get("/api/captures")
async def captures(
    request: Request,
    camera: Annotated[str | None, Query(max_length=40)] = None,
    from_: Annotated[datetime | None, Query(alias="from")] = None,
    to: datetime | None = None,
    after: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> models.CapturePage:
    """Newest first. `next` of one page is `after` of the following."""
    runtime = runtime_of(request)
    if camera is not None:
        runtime.camera(camera)
    rows, following = await runtime.catalogue.run(runtime.catalogue.images, camera, from_, to, after, limit)
    return models.CapturePage(items=[capture(row) for row in rows], next=following)


def media_type(path: FilePath) -> str:
    """JPEG, FITS, or what only a raw converter understands: the file a camera calls its own (NEF, CR2, ARW, …)."""
    return "image/jpeg" if path.suffix == ".jpg" else "application/fits" if ".fits" in path.suffixes else "application/octet-stream"


async def row_of(runtime: Runtime, number: int) -> ImageRow:
    """Raises NoSuchThing."""
    row = await runtime.catalogue.run(runtime.catalogue.image, number)
    if row is None:
        raise NoSuchThing(f"There is no image {number}.")
    return row


async def _file(runtime: Runtime, row: ImageRow, kind: Literal["raw", "jpg"]) -> Response:
    for file in row.files:
        if file.kind == kind:
            path = await runtime.stored(file.path, f"image {row.id}")
            headers = {**CACHE, "ETag": f'"{file.sha256}"'}
            return FileResponse(path, media_type=media_type(path), filename=path.name, content_disposition_type="inline", headers=headers)
    if kind == "raw":
        state = "Its original was not kept."
    elif row.developed:
        state = "It was deleted to make room (storage.retention)."
    else:
        state = f"It could not be developed: {row.failure}" if row.failure else "It is not developed yet."
    raise NoSuchThing(f"Image {row.id} has no {'picture' if kind == 'jpg' else 'original'}. {state}")


@router.get("/api/captures/{number}")
async def one(request: Request, number: Id) -> models.CaptureDetail:
    """One image, with what was measured on it."""
    runtime = runtime_of(request)
    row = await row_of(runtime, number)
    found = await runtime.catalogue.run(Measurements(runtime.catalogue).of, number)
    measured = None if found is None else models.Measured.model_validate(asdict(found))
    return models.CaptureDetail(**capture(row).model_dump(), measured=measured)


@router.get("/api/captures/{number}/streaks/{streak}", response_class=FileResponse)
async def streak(request: Request, number: Id, streak: Annotated[int, Path(ge=1, le=1000)]) -> Response:
    """A picture of one of an image's streaks, counted from 1 as they are listed."""
    runtime = runtime_of(request)
    row = await row_of(runtime, number)
    found = await runtime.catalogue.run(Measurements(runtime.catalogue).of, number)
    name = found.streaks[streak - 1].get("crop") if found is not None and streak <= len(found.streaks) else None
    if name is None:
        raise NoSuchThing(f"Image {row.id} has no picture of a streak {streak}.")
    path = await runtime.stored(name, f"streak {streak} of image {row.id}")
    return FileResponse(path, media_type="image/jpeg", filename=path.name, content_disposition_type="inline", headers=CACHE)


@router.get("/api/captures/{number}/image", response_class=FileResponse)
async def image(request: Request, number: Id) -> Response:
    """The developed JPEG."""
    runtime = runtime_of(request)
    return await _file(runtime, await row_of(runtime, number), "jpg")


@router.get("/api/captures/{number}/raw", response_class=FileResponse)
async def raw(request: Request, number: Id) -> Response:
    """The original: FITS of a sensor, or the camera's own raw file. A camera that delivers JPEG has its original at /image."""
    runtime = runtime_of(request)
    return await _file(runtime, await row_of(runtime, number), "raw")


@router.get("/api/captures/{number}/thumb", response_class=Response)
async def thumb(request: Request, number: Id) -> Response:
    """The developed JPEG, small; 404 until it is developed."""
    runtime = runtime_of(request)
    row = await row_of(runtime, number)
    if not any(file.kind == "jpg" for file in row.files):
        return await _file(runtime, row, "jpg")
    return Response(await runtime.darkroom.thumb(row), media_type="image/jpeg", headers=CACHE)


@router.get("/api/cameras/{cam}/latest.jpg", response_class=FileResponse)
async def latest(request: Request, cam: str) -> Response:
    """The newest developed still of a camera."""
    runtime = runtime_of(request)
    runtime.camera(cam)
    row = await runtime.catalogue.run(runtime.catalogue.latest, cam, developed=True)
    if row is None:
        raise NoSuchThing(f'Camera "{cam}" has no developed image yet.')
    answer = await _file(runtime, row, "jpg")
    answer.headers["Cache-Control"] = "no-cache"
    return answer
