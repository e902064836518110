"""Who controls which camera: taking, renewing, giving back, asking for and forcing the lease."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError

from cupola.web.access import models
from cupola.web.access.gate import camera_named
from cupola.web.access.lease import NotInControl
from cupola.web.access.who import Role, Who, known
from cupola.web.runtime import NoSuchThing, NotYours, Runtime, runtime_of

router = APIRouter(tags=["control"])


@router.get("/api/control")
async def control(request: Request) -> models.ControlList:
    runtime, who = runtime_of(request), known(request)
    return models.ControlList(items=[models.control(runtime.leases, camera, who) for camera in runtime.cameras])


@router.post("/api/control/{cam}/acquire")
async def acquire(request: Request, cam: str, wanted: models.AcquireRequest | None = None) -> models.Control:
    """Take control, for 15 s; renew it every 5."""
    runtime, who = _at(request, cam)
    runtime.leases.acquire(cam, who, wanted.take_over if wanted else None)
    return models.control(runtime.leases, cam, who)


@router.post("/api/control/{cam}/renew")
async def renew(request: Request, cam: str, wanted: models.EpochRequest) -> models.Control:
    runtime, who = _at(request, cam)
    runtime.leases.renew(cam, who, wanted.epoch)
    return models.control(runtime.leases, cam, who)


@router.post("/api/control/{cam}/release")
async def release(request: Request, cam: str, wanted: models.EpochRequest) -> models.Control:
    runtime, who = _at(request, cam)
    runtime.leases.release(cam, who, wanted.epoch)
    return models.control(runtime.leases, cam, who)


@router.post("/api/control/{cam}/request")
async def ask(request: Request, cam: str) -> models.Control:
    """Ask whoever has control to give way; everybody's page is told."""
    runtime, who = _at(request, cam)
    runtime.leases.request(cam, who)
    return models.control(runtime.leases, cam, who)


@router.post("/api/force-master/{session}")
async def force(request: Request, session: str, camera: Annotated[str | None, Query(max_length=40)] = None) -> models.Control:
    """Give control of a camera (the first, if none is named) to a session, whoever has it. Its page fetches the epoch by `acquire`."""
    runtime, by = runtime_of(request), known(request)
    cam = runtime.camera(camera).name if camera is not None else runtime.first_camera().name
    who = runtime.desk.session_of(session)
    if who is None:
        raise NoSuchThing("There is no such session, or it has ended. See /api/sessions.")
    if who.role < Role.MASTER:
        raise NotYours(f"{who.user} is an observer. Change the role first.")
    runtime.leases.force(cam, who, by)
    return models.control(runtime.leases, cam, by)


def _at(request: Request, cam: str) -> tuple[Runtime, Who]:
    runtime = runtime_of(request)
    runtime.camera(cam)
    return runtime, known(request)


def answer_message(runtime: Runtime, who: Who, text: str) -> dict[str, Any]:
    """What /ws/events says to `renew` and `release`; the gate has looked at the rights. A problem names the camera that was named."""
    try:
        said = models.ControlMessage.model_validate_json(text)
        runtime.camera(said.camera)
        if said.type == "renew":
            runtime.leases.renew(said.camera, who, said.epoch)
        else:
            runtime.leases.release(said.camera, who, said.epoch)
        return {"type": "control", **models.control(runtime.leases, said.camera, who).model_dump(mode="json")}
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        problem = {"status": 400, "title": "A value cannot be used", "detail": f"{where}: {first['msg']}."}
    except NoSuchThing as error:
        problem = {"status": 404, "title": "Not found", "detail": str(error)}
    except NotInControl as error:
        problem = {"status": 409, "title": "Not in control", "detail": str(error), **models.problem_of(error)}
    return {"type": "problem", **problem, **camera_named(json.loads(text))}
