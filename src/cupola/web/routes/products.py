"""Keogram, startrails and video of a night or day: the finished file, a preview while it grows, and making it again."""

from __future__ import annotations

from datetime import date as Date
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response

from cupola.storage.products import SUFFIXES, PeriodKind, ProductKind, Span
from cupola.web import models
from cupola.web.runtime import NoSuchThing, Runtime, runtime_of
from cupola.web.views import product_list

router = APIRouter(tags=["nights"])
Kind = Annotated[PeriodKind, Query(description="night or day: a date may have both.")]
MEDIA = {".jpg": "image/jpeg", ".mp4": "video/mp4"}


async def _span(runtime: Runtime, camera: str, date: Date, kind: PeriodKind) -> Span:
    products = runtime.growing.products
    span = await runtime.catalogue.run(products.span_of, camera[:40], date.isoformat(), kind)
    if span is None:
        raise NoSuchThing(f'There is no {kind} of {date} of a camera "{camera[:40]}".')
    return span


@router.get("/api/nights/{camera}/{date}/products")
async def listed(request: Request, camera: str, date: Date, kind: Kind = "night") -> models.ProductList:
    """How far each product is. A night without images has none."""
    runtime = runtime_of(request)
    return await product_list(runtime.growing, runtime.catalogue, await _span(runtime, camera, date, kind))


@router.post("/api/nights/{camera}/{date}/render", status_code=202)
async def render(request: Request, camera: str, date: Date, body: models.RenderRequest, kind: Kind = "night") -> models.ProductList:
    """Make products again from the stored images. A date whose images belong to no night becomes one. What was made before stays until the new one is finished."""
    runtime = runtime_of(request)
    span = await runtime.growing.span(camera[:40], date.isoformat(), kind)
    if span is None:
        raise NoSuchThing(f'There is no {kind} of {date} of a camera "{camera[:40]}", and no image that could become one.')
    await runtime.growing.again(span.id, body.products or runtime.growing.kinds_of(span.camera))
    return await product_list(runtime.growing, runtime.catalogue, span)


@router.get("/api/nights/{camera}/{date}/keogram", response_class=FileResponse)
async def keogram(request: Request, camera: str, date: Date, kind: Kind = "night") -> Response:
    """JPEG; while it grows for the first time, as it is now."""
    return await _file(runtime_of(request), camera, date, kind, "keogram")


@router.get("/api/nights/{camera}/{date}/startrails", response_class=FileResponse)
async def startrails(request: Request, camera: str, date: Date, kind: Kind = "night") -> Response:
    """JPEG; while they grow for the first time, as they are now."""
    return await _file(runtime_of(request), camera, date, kind, "startrails")


@router.get("/api/nights/{camera}/{date}/timelapse", response_class=FileResponse)
async def timelapse(request: Request, camera: str, date: Date, kind: Kind = "night") -> Response:
    """MP4, in parts if asked for; while it grows for the first time, as it is now."""
    return await _file(runtime_of(request), camera, date, kind, "timelapse")


async def _file(runtime: Runtime, camera: str, date: Date, kind: PeriodKind, product: ProductKind) -> Response:
    span = await _span(runtime, camera, date, kind)
    rows = {row.kind: row for row in await runtime.catalogue.run(runtime.growing.products.of, span.id)}
    row = rows.get(product)
    if row is None:
        raise NoSuchThing(f"There is no {product} of the {kind} of {date}, and none grows.")
    if row.path is not None and row.sha256 is not None:
        what = f"the {product} of the {kind} of {date}"
        path = await runtime.stored(row.path, what, f" Make it again with: cupola render {date} {product}")
        headers = {"ETag": f'"{row.sha256}"', "Cache-Control": "private, no-cache"}
    elif row.state == "growing":
        path, headers = await runtime.growing.preview(span, product), {"Cache-Control": "no-store"}
        if path is None:
            raise NoSuchThing(f"The {product} of the {kind} of {date} has no image yet.")
    else:
        raise NoSuchThing(f"The {product} of the {kind} of {date} was not made. {row.message or ''}")
    name = f"{span.camera}-{date}-{'' if kind == 'night' else 'day-'}{product}{SUFFIXES[product]}"
    return FileResponse(path, media_type=MEDIA[path.suffix], filename=name, content_disposition_type="inline", headers=headers)
