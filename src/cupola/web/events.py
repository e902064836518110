"""Events as they happen: `/ws/events` for everything, `/ws/captures/` in the shape older clients know."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

from fastapi import APIRouter, WebSocket

from cupola.core.errors import StorageFailed, StorageFull
from cupola.core.events import CameraChanged, Event, ImageCaptured, ImageDeveloped, SessionEvent
from cupola.web.access.who import Role, known
from cupola.web.routes.control import answer_message
from cupola.web.runtime import Runtime, runtime_of
from cupola.web.views import camera_status

CHANGE_TICK_S = 0.5
SEND_TIMEOUT_S = 5.0
SOCKETS_MAX = 50
# who is where, and who tries to get in, is the business of admins
FOR_ADMINS = {"logged_in", "logged_out", "login_failed", "claimed", "user_changed", "user_deleted"}

router = APIRouter(tags=["events"])


async def announce_changes(runtime: Runtime) -> None:
    """Publish `camera_changed` when something about a camera is different. One task for the server, which a catalogue that cannot be read does not end."""
    told: dict[str, object] = {}
    failed = ""
    while True:
        await asyncio.sleep(CHANGE_TICK_S)
        if not runtime.listeners:
            told.clear()
            continue
        for name, camera in runtime.cameras.items():
            try:
                status = await camera_status(runtime, camera)
            except (StorageFull, StorageFailed) as error:
                if failed != (failed := str(error)):
                    runtime.log("ERROR", failed, event="storage", camera=name)
                break  # until the next look
            failed = ""
            data = status.model_dump(mode="json")
            # times that run by themselves are not news
            compared = json.dumps({**data, "activity": {"kind": data["activity"]["kind"]}, "live": {**data["live"], "age_s": None, "fps": None}})
            if told.get(name) != compared:
                told[name] = compared
                runtime.bus.publish(CameraChanged(camera=name, data=data))


@router.websocket("/ws/events")
async def events(socket: WebSocket) -> None:
    admin = known(socket).role >= Role.ADMIN

    def shape(runtime: Runtime, event: Event) -> str | None:
        hidden = isinstance(event, SessionEvent) and event.action in FOR_ADMINS and not admin
        return None if hidden else event.model_dump_json()

    await _stream(socket, shape)


@router.websocket("/ws/captures/")
async def captures(socket: WebSocket) -> None:
    """`capture_update` messages only."""

    def shape(runtime: Runtime, event: Event) -> str | None:
        if not isinstance(event, ImageCaptured | ImageDeveloped):
            return None
        camera = runtime.cameras.get(event.camera or "")
        data = {
            "camera": event.camera,
            "status": camera.state if camera else "stopped",
            "temperature": camera.temperature_c if camera else None,
            "latest_image": {"id": event.id, "sequence": event.sequence, "path": event.path, "developed": isinstance(event, ImageDeveloped)},
        }
        return json.dumps({"type": "capture_update", "data": data})

    await _stream(socket, shape)


async def _stream(socket: WebSocket, shape: Callable[[Runtime, Event], str | None]) -> None:
    runtime = runtime_of(socket)
    await socket.accept()
    if runtime.listeners >= SOCKETS_MAX and known(socket).role < Role.ADMIN:
        await socket.close(1013, f"All {SOCKETS_MAX} places for listeners are taken.")
        return
    runtime.listeners += 1
    try:
        with runtime.bus.subscribe() as subscription:
            tasks = (
                asyncio.create_task(_send(socket, subscription, lambda event: shape(runtime, event))),
                asyncio.create_task(_listen(runtime, socket)),
            )
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
            if any(isinstance(why, TimeoutError) for why in ended):
                await socket.close(1013, f"too slow: nothing was taken for {SEND_TIMEOUT_S:.0f} s")
    finally:
        runtime.listeners -= 1


async def _send(socket: WebSocket, subscription: AsyncIterator[Event], text_of: Callable[[Event], str | None]) -> None:
    async for event in subscription:
        if (text := text_of(event)) is not None:
            await _say(socket, text)


async def _listen(runtime: Runtime, socket: WebSocket) -> None:
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        await _say(socket, json.dumps(answer_message(runtime, known(socket), message["text"])))


async def _say(socket: WebSocket, text: str) -> None:
    """Raises TimeoutError when nothing is taken."""
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await socket.send_text(text)
