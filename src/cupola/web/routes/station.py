"""The station as a whole: is it well, what does it do."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request

from cupola import __version__
from cupola.camera.discovery import Configured
from cupola.storage.space import free_space
from cupola.web import models
from cupola.web.access.who import who_of
from cupola.web.discover import look_around
from cupola.web.routes.retention import retention_status
from cupola.web.runtime import runtime_of
from cupola.web.stream_models import RedisStatus
from cupola.web.views import camera_status

router = APIRouter(tags=["station"])


@router.get("/health", include_in_schema=False)
@router.get("/api/health")
async def health(request: Request) -> models.Health:
    runtime = runtime_of(request)
    states: dict[str, models.LifeState] = {name: camera.state for name, camera in runtime.cameras.items()}
    well = all(state in ("running", "stopped", "starting") for state in states.values())
    status = "ok" if well else "degraded"
    if who_of(request) is None:
        return models.Health(status=status, claimed=runtime.desk.claimed)
    holders = {name: runtime.leases.of(name) for name in runtime.cameras}
    return models.Health(
        status=status,
        claimed=runtime.desk.claimed,
        version=__version__,
        uptime_s=round(time.monotonic() - runtime.started, 3),
        viewers=runtime.viewers,
        max_viewers=runtime.settings.web.max_viewers,
        cameras=states,
        master={name: lease.who.user if lease else None for name, lease in holders.items()},
    )


@router.get("/api/discover")
async def discover(request: Request) -> models.Discovery:
    """What is attached, driver by driver, with the lines to configure it. Opens no camera; takes some seconds."""
    runtime = runtime_of(request)
    async with runtime.looking:
        configured = [Configured(name, camera.spec.driver, camera.spec.options, camera.serial) for name, camera in runtime.cameras.items()]
        return await look_around(configured, frozenset(name for name, camera in runtime.cameras.items() if camera.state != "stopped"))


@router.get("/api/status")
async def status(request: Request) -> models.StationStatus:
    runtime = runtime_of(request)
    free = free_space(runtime.settings.storage.root)
    return models.StationStatus(
        station=runtime.settings.station.name,
        state=runtime.scheduler.state,
        version=__version__,
        uptime_s=round(time.monotonic() - runtime.started, 3),
        disk_free_bytes=free.bytes,
        disk_free_percent=round(free.percent, 1),
        retention=retention_status(runtime),
        darkroom=models.DarkroomStatus(state=runtime.darkroom.state, waiting=runtime.darkroom.pending),
        triggers=[models.TriggerStatus.model_validate(told) for told in runtime.triggers.told],
        alarms=runtime.watch.alarms,
        redis=None if (redis := runtime.status.document.redis()) is None else RedisStatus.model_validate(redis),
        cameras=[await camera_status(runtime, camera) for camera in runtime.cameras.values()],
    )
