"""Developing: what a stored image would look like with other settings, and a camera's master darks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from cupola.config.develop import Develop
from cupola.config.overrides import parse_changes, with_changes
from cupola.config.problems import ConfigProblems
from cupola.core.errors import InvalidSetting, NotAllowed
from cupola.darkroom.darks import make_master
from cupola.darkroom.masters import Entry, darks_folder, masters_in
from cupola.web.develop_models import Dark, DarkList, DarkRequest
from cupola.web.routes.captures import Id, row_of
from cupola.web.runtime import Runtime, runtime_of

router = APIRouter(tags=["developing"])
Changes = Annotated[
    list[Annotated[str, Query(max_length=500)]],
    Query(max_length=40, alias="set", description="KEY=VALUE of the camera's `develop` group, such as stretch.method=asinh."),
]


@router.get("/api/captures/{number}/preview", response_class=Response, responses={200: {"content": {"image/jpeg": {}, "image/png": {}}}})
async def preview(
    request: Request,
    number: Id,
    changes: Changes = [],  # noqa: B006 - FastAPI copies it
    width: Annotated[int | None, Query(ge=64, le=16384, description="Greatest width in pixels.")] = None,
    format: Annotated[Literal["jpeg", "png16"], Query(description="png16: PNG with 16 bit a colour.")] = "jpeg",
) -> Response:
    """The image developed anew from its original, as its camera's configuration says and `set` changes it. Nothing is stored."""
    runtime = runtime_of(request)
    row = await row_of(runtime, number)
    block = next((camera.develop for camera in runtime.settings.cameras if camera.name == row.camera), Develop())
    job = {**runtime.darkroom.orders.of(row), "recipe": _changed(block, changes).recipe()}
    job |= {"type": "preview", "original": str(runtime.darkroom.orders.original(row)), "format": format, "width_max": width}
    _, payload = await runtime.darkroom.errand(job)
    return Response(bytes(payload), media_type="image/png" if format == "png16" else "image/jpeg", headers={"Cache-Control": "no-store"})


def _changed(block: Develop, words: list[str]) -> Develop:
    """Raises InvalidSetting for the first problem."""
    if not words:
        return block
    try:
        changes = parse_changes(tuple(words), "set")
        if "flat" in changes and changes["flat"] is not None:
            raise InvalidSetting("set", "flat names a file of this machine, so it can be changed in the configuration only.")
        return with_changes(block, changes, "set", Path.cwd())
    except ConfigProblems as error:
        raise InvalidSetting("set", f"{error}.") from None


def _folder(runtime: Runtime, camera: str) -> Path:
    return darks_folder(runtime.settings.storage.state_folder.absolute(), camera)


def _dark(entry: Entry) -> Dark:
    return Dark.model_validate({"name": entry.path.name, **{key: getattr(entry, key) for key in Dark.model_fields if key != "name"}})


@router.get("/api/cameras/{cam}/darks")
async def darks(request: Request, cam: str) -> DarkList:
    """The camera's master darks, which are subtracted from pictures they fit."""
    runtime = runtime_of(request)
    runtime.camera(cam)
    entries = await runtime.catalogue.run(masters_in, _folder(runtime, cam))
    return DarkList(items=[_dark(entry) for entry in entries], originals_kept=runtime.settings.storage.originals == "keep")


@router.post("/api/cameras/{cam}/darks")
async def make_dark(request: Request, cam: str, wanted: DarkRequest) -> Dark:
    """Combine a finished series of stills, taken with the lens covered, into a master dark. One of the same kind is replaced."""
    runtime = runtime_of(request)
    runtime.camera(cam)
    running = runtime.sessions.of(cam)
    if running is not None and running.id == wanted.session:
        raise NotAllowed(f"Series {wanted.session} is still running: stop it first, or wait for its end.")
    return _dark(await make_master(runtime.darkroom, runtime.catalogue, _folder(runtime, cam), cam, wanted.session))
