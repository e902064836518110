"""The FastAPI application: routes, errors, the guard around it all, and the built page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from cupola import __version__
from cupola.web import events, live, models, problems
from cupola.web.access.gate import Gate
from cupola.web.guard import Guard
from cupola.web.problems import problem
from cupola.web.routes import (
    cameras,
    captures,
    clips,
    control,
    develop,
    focus,
    logs,
    nights,
    notify,
    people,
    products,
    retention,
    sensors,
    station,
    watch,
)
from cupola.web.runtime import NoSuchThing, Runtime
from cupola.web.slow import Slow

STATIC = Path(__file__).parent / "static"
NOT_BUILT = "<!doctype html><title>Cupola</title><p>The page is not built. Run <code>make setup</code> in the source folder. The API is described at <a href=/api/openapi.json>/api/openapi.json</a>."


class _Api(FastAPI):
    """Says in its document that every error is a problem document; FastAPI's own words for invalid input are not used."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            for operations in super().openapi()["paths"].values():
                for operation in operations.values():
                    content = operation["responses"]["default"]["content"]
                    content["application/problem+json"] = content.pop("application/json")
        return super().openapi()


class _Page(StaticFiles):
    """Files of the page; a WebSocket to an address that is none is refused, not a failure, and nor is a page that is not built."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory, check_dir=False)
        self.config_checked = True  # where the folder is not there, Starlette would raise at every address that is none

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4404, "reason": "there is no such socket"})
            return
        await super().__call__(scope, receive, send)


def create_app(runtime: Runtime, *, tls: bool = False) -> FastAPI:
    """`tls`: it is served with a certificate."""
    app = _Api(
        title="Cupola",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        responses={"default": {"model": models.ProblemDetail, "description": "What was wrong, and what to do (RFC 9457)."}},
    )
    app.state.runtime = runtime
    app.add_middleware(Gate, slow=Slow(runtime.log))
    app.add_middleware(Guard, addresses=runtime.addresses, tls=tls)  # the last one added is the outermost
    problems.install(app, runtime.log)

    @app.exception_handler(NoSuchThing)
    async def missing(request: Request, error: NoSuchThing) -> Response:
        return problem(404, "Not found", str(error))

    for module in (
        station,
        watch,
        retention,
        sensors,
        notify,
        people,
        control,
        cameras,
        captures,
        develop,
        clips,
        focus,
        logs,
        nights,
        products,
        live,
        events,
    ):
        app.include_router(module.router)
    _page(app)
    return app


def _page(app: FastAPI) -> None:
    @app.get("/viewer", include_in_schema=False)
    async def viewer() -> Response:
        if not (STATIC / "viewer.html").is_file():
            return HTMLResponse(NOT_BUILT, 503)
        return FileResponse(STATIC / "viewer.html", headers={"Cache-Control": "no-cache"})

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        if not (STATIC / "index.html").is_file():
            return HTMLResponse(NOT_BUILT, 503)
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/", _Page(STATIC), name="page")
