"""Cameras: their state, and what can be done with them. Reads never move hardware."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from cupola.camera.messages import Mode
from cupola.camera.settings import check_against
from cupola.camera.supervisor import CameraSupervisor
from cupola.capture.session import Request as SessionRequest
from cupola.core.bus import Subscription
from cupola.core.errors import InvalidSetting
from cupola.core.events import DevelopFailed, ImageDeveloped
from cupola.core.frame import Controls
from cupola.darkroom.queue import DarkroomUnavailable
from cupola.web import models
from cupola.web.routes.captures import row_of
from cupola.web.runtime import NoSuchThing, Runtime, runtime_of
from cupola.web.views import camera_status, capture, mode_settings, series

OPENING_S = 15.0
DEVELOPING_S = 60.0

router = APIRouter(tags=["cameras"])


class Series(BaseModel):
    """What became of a series of stills."""

    model_config = ConfigDict(from_attributes=True)
    id: int
    state: Literal["running", "finished", "stopped", "replaced"] = Field(
        description="finished: it has all its images, or its window is over; stopped: by somebody, or with its camera; replaced: by another series."
    )
    done: int
    failed: int = Field(description="Exposures that gave no image.")
    started_at: datetime
    ended_at: datetime | None


@router.get("/api/cameras")
async def cameras(request: Request) -> models.CameraList:
    runtime = runtime_of(request)
    return models.CameraList(items=[await camera_status(runtime, camera) for camera in runtime.cameras.values()])


@router.get("/api/cameras/{cam}")
async def camera(request: Request, cam: str) -> models.CameraStatus:
    runtime = runtime_of(request)
    return await camera_status(runtime, runtime.camera(cam))


@router.post("/api/connect")
async def connect_first(request: Request) -> models.CameraStatus:
    """Open the only or the first camera; after a failure, try again at once."""
    runtime = runtime_of(request)
    return await _connect(runtime, runtime.first_camera())


@router.post("/api/cameras/{cam}/connect")
async def connect(request: Request, cam: str) -> models.CameraStatus:
    runtime = runtime_of(request)
    return await _connect(runtime, runtime.camera(cam))


async def _connect(runtime: Runtime, which: CameraSupervisor) -> models.CameraStatus:
    which.connect()
    await which.settled(OPENING_S)
    return await camera_status(runtime, which)


@router.post("/api/cameras/{cam}/disconnect")
async def disconnect(request: Request, cam: str) -> models.CameraStatus:
    """Close the camera; a running series of stills ends with it."""
    runtime = runtime_of(request)
    which = runtime.camera(cam)
    await runtime.sessions.stop(cam)
    which.disconnect()
    await which.settled(OPENING_S)
    return await camera_status(runtime, which)


@router.post("/api/cameras/{cam}/start")
async def start(request: Request, cam: str, body: models.StartRequest | None = None) -> models.CameraStatus:
    """Begin a series of stills. One that runs already is replaced."""
    runtime, wanted = runtime_of(request), body or models.StartRequest()
    which = runtime.camera(cam)
    if wanted.delay_s is not None and wanted.interval_s is not None:
        raise InvalidSetting("interval_s", "Give either delay_s (shutter close to next opening) or interval_s (opening to opening), not both.")
    controls = Controls(exposure_s=wanted.exposure_s, gain=wanted.gain, f_number=wanted.f_number)
    check_against(controls, which.require_open().controls, cam)
    if controls != Controls() or wanted.auto is not None:
        which.request("still", controls, wanted.auto)
    in_force = which.settings.still.requested
    session = await runtime.sessions.start(
        cam, SessionRequest(**{**wanted.model_dump(exclude={"auto"}), **{k: v for k, v in in_force.to_dict().items() if v is not None}})
    )
    status = await camera_status(runtime, which)
    return status.model_copy(update={"session": series(session)})  # also of one so short that it has ended meanwhile


@router.get("/api/cameras/{cam}/series/{number}")
async def one_series(request: Request, cam: str, number: Annotated[int, Path(ge=1, le=2**53)]) -> Series:
    """A series of stills, also one that has ended, and how."""
    runtime = runtime_of(request)
    runtime.camera(cam)
    row = await runtime.catalogue.run(runtime.catalogue.session, number)
    if row is None or row.camera != cam:
        raise NoSuchThing(f'Camera "{cam}" has no series {number}.')
    return Series.model_validate(row)


@router.post("/api/cameras/{cam}/stop")
async def stop(request: Request, cam: str) -> models.CameraStatus:
    """End the series of stills, and the exposure under way. The live view stays."""
    runtime = runtime_of(request)
    which = runtime.camera(cam)
    await runtime.sessions.stop(cam)
    return await camera_status(runtime, which)


@router.post("/api/cameras/{cam}/resume")
async def resume(request: Request, cam: str) -> models.CameraStatus:
    """Go on with the schedule, in a window in which the camera was stopped or started by hand."""
    runtime = runtime_of(request)
    which = runtime.camera(cam)
    await runtime.scheduler.go_on(cam)
    return await camera_status(runtime, which)


@router.post("/api/cameras/{cam}/snap")
async def snap(request: Request, cam: str, wanted: models.SnapRequest | None = None) -> models.Capture:
    """Take one still; answers when it is on disk and in the catalogue, and developed if its original is not kept."""
    runtime = runtime_of(request)
    with runtime.bus.subscribe() as events:
        row = await row_of(runtime, await runtime.camera(cam).snap(wanted.exposure_s if wanted else None))
        if not row.acknowledged:
            await _developed(events, row.id)
            row = await row_of(runtime, row.id)
    if not row.acknowledged:
        words = f"The still is taken and waits as image {row.id} to be developed, which takes longer than it should"
        raise DarkroomUnavailable(f"{words}{f': {row.failure}' if row.failure else '; see the log.'}", runtime.darkroom.retry_in_s)
    return capture(row)


async def _developed(events: Subscription, number: int) -> None:
    """Wait until an image without its original has its JPEG, or cannot have one; not for ever."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DEVELOPING_S):
            async for event in events:
                if isinstance(event, ImageDeveloped | DevelopFailed) and event.id == number:
                    return


@router.patch("/api/cameras/{cam}/settings", status_code=202)
async def settings(request: Request, cam: str, wanted: models.SettingsRequest) -> models.SettingsAccepted:
    """Ask for other settings. They are applied soon, and visible in pictures after that."""
    runtime = runtime_of(request)
    which = runtime.camera(cam)
    mode: Mode = wanted.mode or ("still" if runtime.sessions.of(cam) or wanted.auto is not None else "live")
    if mode == "live" and wanted.auto is not None:
        raise InvalidSetting("auto", "Auto exposure is for stills: leave out the mode, or make it still.")
    which.request(mode, Controls(exposure_s=wanted.exposure_s, gain=wanted.gain, f_number=wanted.f_number), wanted.auto)
    told = mode_settings(which, mode)
    return models.SettingsAccepted(mode=mode, generation=told.generation, requested=told.requested, applied=told.applied, automatic=told.automatic)
