"""Triggers, and the clips that came of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from cupola.clips.clips import Clips, NoPreRoll, Trigger
from cupola.clips.payload import problem
from cupola.core.errors import CupolaError, InvalidSetting
from cupola.storage.clips import ClipRow
from cupola.web.runtime import NoSuchThing, Runtime, runtime_of

router = APIRouter(tags=["clips"])
Id = Annotated[int, Path(ge=1, le=2**53)]
Span = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]


class TriggerRequest(BaseModel):
    """Everything may be left out: the camera's configuration says what is usual."""

    model_config = ConfigDict(extra="forbid")
    label: str = Field(
        default="trigger",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$",
        description="Part of the file's name; clips of the same label extend each other.",
    )
    before_s: Span | None = None
    after_s: Span | None = None
    payload: Any = Field(default=None, description="Kept with the clip: anything JSON, at most 4096 characters.")


class Gap(BaseModel):
    """A time of which pictures are missing, or came late."""

    at: datetime
    seconds: float
    frames: int | None = Field(description="So many are missing; null: nobody knows.")
    why: str


class Clip(BaseModel):
    """A clip; seconds count from its first trigger."""

    model_config = ConfigDict(from_attributes=True)
    id: int
    camera: str
    label: str
    state: Literal["recording", "saved", "failed"]
    triggered_at: datetime
    triggers: list[dict[str, Any]] = Field(description="Each trigger: at, source, payload.")
    before_s: float
    after_s: float
    before_got_s: float | None = Field(
        description="More than asked where the picture before is no keyframe, less where the pre-roll did not reach back."
    )
    after_got_s: float | None
    frames: int | None
    duration_s: float | None
    missing: list[Gap]
    codec: str | None
    width: int | None
    height: int | None
    bytes: int | None
    sha256: str | None = Field(description="Of the file; follows a moment after the clip is saved.")
    message: str | None
    h264_copy: Literal["none", "making", "ready", "failed"] | None = Field(
        default=None, description="For browsers that do not play H.265; null: the clip needs none."
    )


def _shown(runtime: Runtime, row: ClipRow) -> Clip:
    return Clip.model_validate(row).model_copy(update={"h264_copy": runtime.clips.copies.state(row)})


class ClipPage(BaseModel):
    items: list[Clip]
    next: str | None


class Triggered(BaseModel):
    """What became of one trigger for all cameras with a pre-roll."""

    items: list[Clip]
    failed: dict[str, str] = Field(description="Cameras of which no clip is made, and why.")


def _trigger(wanted: TriggerRequest | None) -> Trigger:
    wanted = wanted or TriggerRequest()
    if (wrong := problem(wanted.payload)) is not None:
        raise InvalidSetting("payload", f"payload {wrong}.")
    return Trigger(wanted.label, wanted.before_s, wanted.after_s, "api", wanted.payload)


@router.post("/api/cameras/{cam}/trigger", status_code=202)
async def trigger(request: Request, cam: str, wanted: TriggerRequest | None = None) -> Clip:
    """Keep the seconds before, and some after. Answers at once; the clip is saved when its end has come."""
    runtime = runtime_of(request)
    runtime.camera(cam)
    return Clip.model_validate(await runtime.clips.trigger(cam, _trigger(wanted)))


@router.post("/trigger", status_code=202)
async def trigger_all(request: Request, wanted: TriggerRequest | None = None) -> Triggered:
    """A clip of every camera that keeps a pre-roll."""
    clips = runtime_of(request).clips
    if not clips.cameras:
        raise NoPreRoll("No camera keeps a pre-roll, so there is nothing to make a clip of. Give one a preroll in the configuration.")
    return await _all(clips, _trigger(wanted))


async def _all(clips: Clips, wanted: Trigger) -> Triggered:
    items: list[Clip] = []
    failed: dict[str, str] = {}
    for camera in clips.cameras:
        try:
            items.append(Clip.model_validate(await clips.trigger(camera, wanted)))
        except CupolaError as error:
            if len(clips.cameras) == 1:
                raise
            failed[camera] = str(error)
    return Triggered(items=items, failed=failed)


@router.get("/api/clips")
async def clips(
    request: Request,
    camera: Annotated[str | None, Query(max_length=40)] = None,
    after: Annotated[int | None, Query(ge=1, le=2**53)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> ClipPage:
    """Newest first. `next` of one page is `after` of the following."""
    runtime = runtime_of(request)
    if camera is not None:
        runtime.camera(camera)
    rows = await runtime.catalogue.run(runtime.clips.rows.newest, camera, after, limit + 1)
    return ClipPage(items=[_shown(runtime, row) for row in rows[:limit]], next=str(rows[limit - 1].id) if len(rows) > limit else None)


async def _row(runtime: Runtime, number: int) -> ClipRow:
    row = await runtime.catalogue.run(runtime.clips.rows.one, number)
    if row is None:
        raise NoSuchThing(f"There is no clip {number}.")
    return row


@router.get("/api/clips/{number}")
async def one(request: Request, number: Id) -> Clip:
    runtime = runtime_of(request)
    return _shown(runtime, await _row(runtime, number))


@router.post("/api/clips/{number}/h264", status_code=202)
async def make_copy(request: Request, number: Id) -> Clip:
    """Have an H.264 copy of an H.265 clip made, if there is none; `h264_copy` of the clip says when it is there."""
    runtime = runtime_of(request)
    row = await _row(runtime, number)
    await runtime.clips.copies.want(row)
    return _shown(runtime, row)


@router.get("/api/clips/{number}/video", response_class=FileResponse)
async def video(request: Request, number: Id, codec: Literal["h264"] | None = None) -> Response:
    """The MP4; a part of it where the browser asks for one. `codec`: the H.264 copy of an H.265 clip."""
    runtime = runtime_of(request)
    row = await _row(runtime, number)
    if row.path is None:
        raise NoSuchThing(f"Clip {number} has no file. It {'is being recorded' if row.state == 'recording' else f'failed: {row.message}'}.")
    path = await runtime.stored(row.path, f"clip {number}")
    if codec is not None and row.codec == "h265":
        if runtime.clips.copies.state(row) != "ready":
            raise NoSuchThing(f"There is no H.264 copy of clip {number} (yet). POST /api/clips/{number}/h264 has it made.")
        path = runtime.clips.copies.path(row)
    headers = {"Cache-Control": "private, max-age=31536000, immutable"}
    return FileResponse(path, media_type="video/mp4", filename=path.name, content_disposition_type="inline", headers=headers)


@router.delete("/api/clips/{number}", status_code=204)
async def delete(request: Request, number: Id) -> None:
    """Delete a clip and its file."""
    runtime = runtime_of(request)
    await runtime.clips.delete(await _row(runtime, number))
