"""Builds a running Cupola from its settings: the only module that knows all the others.

Order of the start: the port and the folders (so that a mistake is said at once), catalogue, cameras,
web. Order of the end: no new work, cameras closed (an exposure under way is cancelled), what they took
is in the catalogue, the darkroom finishes its image, sockets closed, catalogue closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from pathlib import Path

from cupola import logs
from cupola.camera.spec import CameraSpec
from cupola.camera.supervisor import CameraSupervisor
from cupola.capture.archive import Archive
from cupola.capture.session import Request, Sessions
from cupola.config.model import Camera, Settings
from cupola.core.bus import Bus
from cupola.core.errors import ConfigError
from cupola.core.events import StorageLow
from cupola.core.frame import Controls, Station
from cupola.darkroom.queue import Darkroom
from cupola.storage.catalogue import Catalogue
from cupola.storage.space import Reserve, free_space
from cupola.web import events, live
from cupola.web.app import create_app
from cupola.web.endpoint import Endpoint
from cupola.web.runtime import Runtime
from cupola.web.server import Server, listen, make_server

STORAGE_TICK_S = 30.0
DARKROOM_S = 5.0


class App:
    """One running station. `await App(settings, sock).run()` returns after a signal or `stop`."""

    def __init__(self, settings: Settings, sock: socket.socket) -> None:
        self.settings, self._sock = settings, sock
        root, state = settings.storage.root, settings.storage.state_folder
        _make_folders(root, state)
        self.station = Station(
            settings.station.name, settings.station.latitude, settings.station.longitude, settings.station.elevation_m, settings.station.timezone
        )
        self.bus = Bus()
        self.catalogue = Catalogue(state / "catalogue.sqlite")
        self.sessions = Sessions(self.catalogue, self.bus)
        self.reserve = Reserve(state / "reserve", settings.storage.reserve_mb * 1_000_000)
        self.archive = Archive(self.catalogue, self.sessions, self.bus, self.station, root, state / "queue", self.reserve, logs.write)
        quality = {camera.name: camera.capture.jpeg_quality for camera in settings.cameras}
        self.darkroom = Darkroom(
            self.catalogue,
            self.bus.publish,
            root,
            state / "queue",
            state / "darkroom.lock",  # beside locks/, where a camera may be called darkroom
            jpeg_quality_of=lambda camera: quality.get(camera, 90),
            log=logs.write,
        )
        self.archive.stored = self.darkroom.wake
        if self.catalogue.created:
            self.archive.check_all({camera.name for camera in settings.cameras})
        epoch = int(time.time())
        self.cameras = {
            camera.name: CameraSupervisor(self._spec(camera), archive=self.archive, bus=self.bus, log=logs.write, epoch=epoch, connect=camera.connect)
            for camera in settings.cameras
        }
        self.sessions.changed = lambda name: self.cameras[name].plan_changed()
        self.runtime = Runtime(settings, self.cameras, self.sessions, self.catalogue, self.darkroom, self.bus, logs.write)
        self.server: Server = make_server(create_app(self.runtime))
        self._stopping = asyncio.Event()

    def _spec(self, camera: Camera) -> CameraSpec:
        state = self.settings.storage.state_folder.absolute()
        return CameraSpec(
            name=camera.name,
            driver=camera.driver,
            driver_path=self.settings.driver_class_path(camera),
            options=self.settings.driver_options(camera),
            station=self.station,
            storage={
                "root": str(self.settings.storage.root.absolute()),
                "queue": str(state / "queue") if self.settings.storage.originals == "off" else None,
                "lock": str(state / "locks" / f"{camera.name}.lock"),
                "min_free_percent": self.settings.storage.min_free_percent,
            },
            live_view={"quality": camera.live.quality, "fps_max": camera.live.fps_max, "width_max": camera.live.width_max},
            live=Controls(camera.live.exposure_s, camera.live.gain, camera.live.f_number),
            still=Controls(camera.exposure.exposure_s, camera.exposure.gain, camera.exposure.f_number),
        )

    def stop(self) -> None:
        """Begin the orderly end; `run` returns within ten seconds."""
        self._stopping.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError):  # Windows
                loop.add_signal_handler(number, self.stop)
        if self.catalogue.problem:
            logs.write("ERROR", self.catalogue.problem, event="storage")
        await self._take_up()
        endpoint = Endpoint(self._sock)
        serving = asyncio.create_task(self.server.serve(sockets=[self._sock]), name="web")
        background = [
            asyncio.create_task(work, name=name)
            for name, work in (
                ("states", live.tell_states(self.runtime)),
                ("changes", events.announce_changes(self.runtime)),
                ("storage", self._watch_storage()),
                ("autostart", self._autostart()),
            )
        ]
        developing = asyncio.create_task(self.darkroom.run(), name="darkroom")
        supervising = [asyncio.create_task(camera.run(), name=f"camera {name}") for name, camera in self.cameras.items()]
        endpoint.announce()
        logs.write("INFO", f"Cupola is at {endpoint.url}", event="session_event")
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait({stopping, serving, developing, *supervising, *background}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()  # nothing but a mistake of ours ends one of these: it must not pass unseen
        finally:
            logs.write("INFO", "Cupola is closing.", event="session_event")
            endpoint.withdraw()
            stopping.cancel()
            for task in background:
                task.cancel()
            await self._end(supervising, developing, serving)

    async def _end(self, supervising: list[asyncio.Task[None]], developing: asyncio.Task[None], serving: asyncio.Task[None]) -> None:
        for camera in self.cameras.values():
            camera.end()
        await asyncio.gather(*supervising, return_exceptions=True)
        await self.darkroom.stop(DARKROOM_S)
        await asyncio.gather(developing, return_exceptions=True)
        self.server.should_exit = True
        await asyncio.gather(serving, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(None, self.catalogue.close)

    async def _take_up(self) -> None:
        """Series of stills that were running when the server ended go on."""
        for session in await self.sessions.resume(set(self.cameras)):
            self.cameras[session.camera].connect()
            logs.write("INFO", f"The series of stills {session.id} goes on ({session.done} taken).", event="session_event", camera=session.camera)

    async def _autostart(self) -> None:
        for camera in self.settings.cameras:
            if camera.capture.autostart and self.sessions.of(camera.name) is None:
                wanted, capture = camera.exposure, camera.capture
                request = Request(wanted.exposure_s, wanted.gain, wanted.f_number, capture.delay_s, capture.interval_s, capture.count)
                await self.sessions.start(camera.name, request)
        await asyncio.Event().wait()

    async def _watch_storage(self) -> None:
        """Keep the reserve, and say when space runs low, once each time it does."""
        low = False
        while True:
            free = await asyncio.to_thread(free_space, self.settings.storage.root)
            was, low = low, free.percent < self.settings.storage.min_free_percent
            if low and not was:
                self.bus.publish(StorageLow(free_bytes=free.bytes, free_percent=free.percent))
                logs.write("WARNING", f"Only {free.percent:.1f} % of the disk is free ({free.bytes / 1e9:.1f} GB).", event="storage")
            if not low:
                await asyncio.to_thread(self.reserve.restore)
            await asyncio.sleep(STORAGE_TICK_S)


def _make_folders(root: Path, state: Path) -> None:
    """Raises ConfigError for a folder that cannot be made or written."""
    for key, folder in (("storage.root", root), ("storage.state", state)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".cupola-probe"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise ConfigError(f"{key}: the folder {folder} cannot be written ({error.strerror}). Change it, its owner, or make room.") from None


def run(settings: Settings) -> None:
    """Run a station until it is stopped. Raises ConfigError for what is wrong before anything started."""
    sock = listen(settings.web.host, settings.web.port)
    logs.set_up(settings.logging.folder, debug=settings.logging.debug)
    try:
        asyncio.run(_main(settings, sock))
    finally:
        logs.finish()


async def _main(settings: Settings, sock: socket.socket) -> None:
    await App(settings, sock).run()
