"""Errors as RFC 9457 problem JSON: what was wrong, where, and what to do."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from cupola.clips.clips import NoPreRoll
from cupola.core.errors import CameraBusy, CameraLost, CameraNotFound, CameraUnresponsive, CupolaError, InvalidSetting, NotAllowed, StorageFull
from cupola.darkroom.queue import DarkroomUnavailable
from cupola.web.access.claim import WrongCode
from cupola.web.access.desk import LoggedOut, WrongLogin
from cupola.web.access.lease import NotInControl
from cupola.web.access.models import problem_of
from cupola.web.access.store import PassphraseChanged
from cupola.web.access.throttle import TooManyTries
from cupola.web.runtime import NotYours

STATUS: dict[type[CupolaError], tuple[int, str]] = {
    InvalidSetting: (400, "A value cannot be used"),
    NotAllowed: (409, "Not possible in this state"),
    CameraBusy: (409, "The camera is busy"),
    CameraNotFound: (503, "The camera cannot be reached"),
    CameraLost: (503, "The camera was lost"),
    CameraUnresponsive: (503, "The camera does not answer"),
    NoPreRoll: (409, "This camera keeps no pre-roll"),
    DarkroomUnavailable: (503, "The darkroom does not work at the moment"),
    WrongLogin: (401, "Not logged in"),
    LoggedOut: (401, "Not logged in"),
    PassphraseChanged: (401, "Not logged in"),
    WrongCode: (403, "Wrong code"),
    NotYours: (403, "Not allowed"),
    NotInControl: (409, "Not in control"),
    TooManyTries: (429, "Too many tries"),
    StorageFull: (507, "The disk is full"),
}
TITLES = {404: "Not found", 405: "This method is not for this address", 413: "Too large", 416: "No such part", 421: "Not for this host"}


def problem(
    status: int, title: str, detail: str, *, field: str | None = None, headers: dict[str, str] | None = None, more: dict[str, Any] | None = None
) -> JSONResponse:
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **({"field": field} if field else {}), **(more or {})}
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def install(app: FastAPI, log: Callable[..., None]) -> None:
    """Every error leaves the server as a problem document."""

    @app.exception_handler(CupolaError)
    async def ours(request: Request, error: CupolaError) -> JSONResponse:
        status, title = STATUS.get(type(error), (503, "This does not work at the moment"))
        field = error.field if isinstance(error, InvalidSetting) else None
        headers = None if error.retry_in_s is None else {"Retry-After": str(max(1, math.ceil(error.retry_in_s)))}
        more = problem_of(error) if isinstance(error, NotInControl) else None
        return problem(status, title, str(error), field=field, headers=headers, more=more)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
        if first["type"] == "json_invalid":
            return problem(400, "The body is not JSON", f"At character {first['loc'][-1]}: {first.get('ctx', {}).get('error', first['msg'])}.")
        field = ".".join(where)
        return problem(400, "A value cannot be used", f"{field or 'The body'}: {first['msg']}.", field=field or None)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        title = TITLES.get(error.status_code, "Refused")
        detail = str(error.detail)
        if error.status_code == 404 and detail == "Not Found":
            detail = f"There is nothing at {request.url.path}."
        return problem(error.status_code, title, detail, headers=dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        log("ERROR", f"{request.method} {request.url.path} failed: {error!r}", event="websocket", exception=error)
        return problem(500, "Cupola failed", "This is a mistake in Cupola. It was written to cupola-error.log; everything else goes on.")
