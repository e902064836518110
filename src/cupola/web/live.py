"""Live pictures to browsers: WebSocket, multipart JPEG, and single pictures.

Which packet a viewer gets next is decided by `core.hub`; here are the sockets, the number of viewers,
and the words about the state of the picture. A viewer who cannot keep up gets fewer pictures, and is
closed when it takes nothing for five seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

from fastapi import APIRouter, Query, Request, WebSocket
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from cupola.camera.supervisor import CameraSupervisor
from cupola.core.clock import iso_utc, utc_now
from cupola.core.errors import CameraUnresponsive, NotAllowed
from cupola.core.events import SessionEvent
from cupola.core.frame import Codec, native_of
from cupola.core.hub import FIRST_CHUNK, LivePacket, Viewer, choose_codec
from cupola.web.access.who import Role, Who, known
from cupola.web.runtime import NoSuchThing, Runtime, runtime_of
from cupola.web.views import live_state
from cupola.web.wire import Writer, framed, writer_of

SEND_TIMEOUT_S = 5.0
STATE_TICK_S = 0.25
PICTURE_WAIT_S = 10.0

router = APIRouter(tags=["live"])


class TooManyViewers(NotAllowed):
    """All places are taken."""

    retry_in_s = 10.0


class NoCommonCodec(NotAllowed):
    """The viewer takes nothing that the camera or Cupola can give."""


@contextlib.contextmanager
def seat(runtime: Runtime, camera: CameraSupervisor, accepted: tuple[str, ...], who: Who) -> Iterator[Viewer]:
    """A viewer's place at a camera, given back at the end. An admin is always let in. Raises TooManyViewers, NoCommonCodec."""
    if is_full(runtime, who):
        limit = runtime.settings.web.max_viewers
        raise TooManyViewers(f"All {limit} places for viewers are taken (web.max_viewers). You are let in when somebody has left.")
    codec = choose_codec(accepted, native_codec(camera))
    if codec is None:
        has = " and ".join(dict.fromkeys((native_codec(camera), "jpeg")))
        raise NoCommonCodec(f'Camera "{camera.name}" has {has}, which accept={",".join(accepted)[:40]} does not name.')
    runtime.viewers += 1
    viewer = camera.hub.join(codec)
    try:
        yield viewer
    finally:
        camera.hub.leave(viewer)
        runtime.viewers -= 1


def is_full(runtime: Runtime, who: Who) -> bool:
    """A person who is admin can always look; programs of the owner's queue like everybody."""
    return runtime.viewers >= runtime.settings.web.max_viewers and not (who.kind == "session" and who.role >= Role.ADMIN)


def native_codec(camera: CameraSupervisor) -> Codec:
    return native_of(camera.info.capabilities if camera.info is not None else frozenset())


@router.websocket("/ws/live/{cam}")
async def live_socket(socket: WebSocket, cam: str, accept: str = "jpeg") -> None:
    """`hello`, then a binary message a picture; `state` texts in between when the picture changes its trustworthiness."""
    runtime = runtime_of(socket)
    await socket.accept()
    who = known(socket)
    session = who.id
    try:
        camera = runtime.camera(cam)
        with seat(runtime, camera, tuple(accept.split(",")), who) as viewer:
            runtime.bus.publish(SessionEvent(camera=cam, action="joined", session_id=session, user=who.user, detail=viewer.codec))
            hello = {
                "type": "hello",
                "session": session,
                "role": _role(runtime, cam, who),
                "codec": viewer.codec,
                "server_time": iso_utc(utc_now()),
                "camera": cam,
            }
            viewer.tell(json.dumps(hello))
            viewer.tell(json.dumps(live_state(camera)))
            if viewer.codec == "jpeg" and camera.hub.newest is not None and camera.hub.newest.packet.codec == "jpeg" and camera.seen.live:
                viewer.offer(camera.hub.newest)
            reason = await _serve(socket, viewer)
            runtime.bus.publish(SessionEvent(camera=cam, action="left", session_id=session, user=who.user, detail=reason))
    except TooManyViewers as full:
        runtime.bus.publish(SessionEvent(camera=cam, action="refused", session_id=session, user=who.user, detail="full"))
        await socket.close(1013, str(full)[:120])
    except NoCommonCodec as error:
        await socket.close(1003, str(error)[:120])
    except NoSuchThing as error:
        await socket.close(4404, str(error)[:120])


def _role(runtime: Runtime, cam: str, who: Who) -> str:
    """What this viewer is at this moment: `master` is who has control of this camera."""
    lease = runtime.leases.of(cam)
    return "admin" if who.role >= Role.ADMIN else "master" if lease is not None and lease.who == who else "observer"


async def _serve(socket: WebSocket, viewer: Viewer) -> str:
    """Until the viewer leaves, or takes nothing for too long; why it ended."""
    sending = asyncio.create_task(_send(socket, viewer))
    listening = asyncio.create_task(_listen(socket))
    stalled = False
    try:
        while not (sending.done() or listening.done() or stalled):
            await asyncio.wait({sending, listening}, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
            stalled = _stalled(viewer)
    finally:
        for task in (sending, listening):
            task.cancel()
        await asyncio.gather(sending, listening, return_exceptions=True)
    if stalled:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(0.1):
                await socket.close(1013, "too slow: nothing was taken for 5 s")
        return "too slow"
    return "left"


def _stalled(viewer: Viewer) -> bool:
    return viewer.sending_since is not None and asyncio.get_running_loop().time() - viewer.sending_since > SEND_TIMEOUT_S


async def _send(socket: WebSocket, viewer: Viewer) -> None:
    loop = asyncio.get_running_loop()
    while (item := await viewer.next()) is not None:
        viewer.sending_since = loop.time()
        if isinstance(item, LivePacket):
            await socket.send(framed(item.frame))
        else:
            await socket.send_text(item)
        viewer.sending_since = None


async def _listen(socket: WebSocket) -> None:
    """Viewers have nothing to say; reading is how leaving is noticed."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def tell_states(runtime: Runtime) -> None:
    """Tell viewers when the picture becomes stale, recovers or stops; hang up on those who take nothing. One task for the server."""
    told: dict[str, dict[str, object]] = {}
    while True:
        await asyncio.sleep(STATE_TICK_S)
        for name, camera in runtime.cameras.items():
            for viewer in camera.hub:
                if viewer.hang_up is not None and _stalled(viewer):
                    viewer.hang_up()
            if not camera.hub.viewers:
                told.pop(name, None)
                continue
            state = live_state(camera)
            if state != told.get(name):
                told[name] = state
                camera.hub.tell(json.dumps(state))


class _Seated(StreamingResponse):
    """An answer that gives the viewer's place back however it ends, also when the viewer was gone before it began."""

    def __init__(self, parts: AsyncIterator[bytes], place: contextlib.ExitStack) -> None:
        super().__init__(parts, media_type="multipart/x-mixed-replace; boundary=frame", headers={"Cache-Control": "no-store"})
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._place:
            await super().__call__(scope, receive, send)


@router.get("/api/cameras/{cam}/live.mjpg", response_class=StreamingResponse)
async def live_stream(request: Request, cam: str) -> Response:
    """Multipart JPEG, for browsers and programs without WebSocket."""
    runtime = runtime_of(request)
    camera, who = runtime.camera(cam), known(request)
    place = contextlib.ExitStack()
    viewer = place.enter_context(seat(runtime, camera, ("jpeg",), who))
    if camera.seen.live and camera.hub.newest is not None and camera.hub.newest.packet.codec == "jpeg":
        viewer.offer(camera.hub.newest)
    write = writer_of(request.scope)
    write.begin()
    viewer.hang_up = write.abort
    return _Seated(_parts(write, viewer), place)


async def _parts(write: Writer, viewer: Viewer) -> AsyncIterator[bytes]:
    """The pictures, past uvicorn's own sending; it has sent the head by the time this goes on."""
    yield b""
    await write(FIRST_CHUNK)
    while (item := await viewer.next()) is not None:
        if isinstance(item, LivePacket):
            viewer.sending_since = asyncio.get_running_loop().time()
            await write(item.chunk)
            viewer.sending_since = None


@router.get("/api/cameras/{cam}/live.jpg", response_class=Response)
async def live_picture(request: Request, cam: str, max_age_s: Annotated[float, Query(ge=0, le=60)] = 0.5) -> Response:
    """One current picture, at most `max_age_s` old. Whoever asks counts as a viewer meanwhile."""
    runtime = runtime_of(request)
    camera = runtime.camera(cam)
    camera.require_open()
    newest = camera.hub.newest
    with seat(runtime, camera, ("jpeg",), known(request)) as viewer:
        if newest is None or newest.packet.codec != "jpeg" or (camera.seen.age_s or 0.0) > max_age_s:
            try:
                async with asyncio.timeout(PICTURE_WAIT_S + (camera.settings.live.requested.exposure_s or 0.0)):
                    while not isinstance(item := await viewer.next(), LivePacket):
                        pass
                newest = item
            except TimeoutError:
                raise CameraUnresponsive(
                    f'Camera "{cam}" delivered no picture within {PICTURE_WAIT_S:.0f} s. Its state is in /api/cameras/{cam}.'
                ) from None
    packet = newest.packet
    headers = {
        "Cache-Control": "no-store",
        "X-Sequence": str(newest.seq),
        "X-Opened-At": iso_utc(packet.opened_at),
        "X-Age-Ms": f"{newest.age_ms:.1f}",
    }
    return Response(bytes(packet.data), media_type="image/jpeg", headers=headers)
