"""What is deleted so that the disk never fills: what would go now, and a run by hand."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from cupola.storage.retention import Report
from cupola.web import models
from cupola.web.runtime import Runtime, runtime_of

router = APIRouter(tags=["station"])


class DeletedFiles(BaseModel):
    kind: str = Field(description="originals, jpg, products, logs")
    reason: Literal["age", "space"]
    files: int
    bytes: int
    first_day: str = Field(description="The oldest observing day of them.")
    last_day: str


class HeldFiles(BaseModel):
    kind: str
    files: int
    bytes: int


class RetentionReport(models.RetentionStatus):
    dry_run: bool
    deleted: list[DeletedFiles] = Field(description="What went; after a dry run, what would go.")
    gone: int = Field(description="Files that somebody else had deleted.")
    held: list[HeldFiles] = Field(description="What there is after that.")


def retention_status(runtime: Runtime) -> models.RetentionStatus:
    """As of the last look at the disk: touches nothing."""
    state, storage = runtime.keeping.state, runtime.settings.storage
    return models.RetentionStatus(
        words=state.forecast.words,
        keep_free_percent=storage.keep_free_percent,
        bytes_per_night=state.forecast.bytes_per_night,
        nights_left=None if state.forecast.nights_left is None else round(state.forecast.nights_left, 1),
        low=state.low,
        stored=state.rung,
        problem=state.problem,
    )


@router.get("/api/retention")
async def dry_run(request: Request) -> RetentionReport:
    """What would be deleted now. Cupola looks by itself: this is to see it beforehand."""
    runtime = runtime_of(request)
    return await _answer(runtime, await runtime.keeping.plan(), dry_run=True)


@router.post("/api/retention")
async def run(request: Request) -> RetentionReport:
    """Delete what is due now rather than at the next look."""
    runtime = runtime_of(request)
    return await _answer(runtime, await runtime.keeping.sweep(), dry_run=False)


async def _answer(runtime: Runtime, report: Report, *, dry_run: bool) -> RetentionReport:
    deleted = [DeletedFiles.model_validate(one, from_attributes=True) for one in report.deleted]
    held = [HeldFiles(kind=kind, files=files, bytes=size) for kind, files, size in await runtime.keeping.held()]
    return RetentionReport(**retention_status(runtime).model_dump(), dry_run=dry_run, deleted=deleted, gone=report.gone, held=held)
