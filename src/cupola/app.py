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
from collections.abc import Callable
from dataclasses import asdict

from cupola import logs, parts
from cupola.camera.claims import Claims
from cupola.camera.supervisor import CameraSupervisor
from cupola.capture.archive import Archive
from cupola.capture.nights import Scheduler
from cupola.capture.schedule import Timetable
from cupola.capture.session import Request, Sessions
from cupola.clips.triggers import Triggers
from cupola.config.base import secrets_of
from cupola.config.model import Settings
from cupola.config.products import Products as ProductsBlock
from cupola.core.bus import Bus
from cupola.core.errors import ConfigError, StorageFailed, StorageFull
from cupola.core.events import SessionEvent
from cupola.core.frame import Station
from cupola.darkroom.growing import Growing
from cupola.darkroom.masters import darks_folder
from cupola.darkroom.queue import Darkroom
from cupola.net.mqtt import Mqtt, client_id_for
from cupola.status.document import Document
from cupola.status.files import runtime_folder
from cupola.status.writer import StatusWriter
from cupola.storage.catalogue import Catalogue
from cupola.storage.periods import PeriodRow
from cupola.storage.space import Reserve
from cupola.watch.station import StationWatch
from cupola.watchdog import ServiceManager
from cupola.web import events, live
from cupola.web.access.address import Addresses
from cupola.web.access.claim import link
from cupola.web.access.desk import Desk
from cupola.web.access.lease import Leases
from cupola.web.access.store import Store
from cupola.web.app import create_app
from cupola.web.endpoint import Endpoint
from cupola.web.events import FOR_ADMINS
from cupola.web.runtime import Runtime
from cupola.web.server import Server, is_loopback, listen, listen_locally, make_server
from cupola.web.tls import certificate_for

DARKROOM_S = 5.0
TIDY_S = 10.0
LEASE_TICK_S = 0.25


class App:
    """One running station. `await App(settings, sock).run()` returns after a signal or `stop`.

    `invite` is shown the link by which the station is claimed, as long as it is not.
    """

    def __init__(self, settings: Settings, sock: socket.socket, invite: Callable[[str], None]) -> None:
        self.settings, self._invite = settings, invite
        root, state = settings.storage.root, settings.storage.state_folder
        make_folders(settings)
        self.station = Station(
            settings.station.name, settings.station.latitude, settings.station.longitude, settings.station.elevation_m, settings.station.timezone
        )
        self.bus = Bus()
        self.mqtt = None if settings.mqtt is None else Mqtt(settings.mqtt, client_id_for(self.station.name, state), logs.write)
        self.catalogue = Catalogue(state / "catalogue.sqlite")
        self.sessions = Sessions(self.catalogue, self.bus)
        self.reserve = Reserve(state / "reserve", settings.storage.reserve_mb * 1_000_000)
        self.archive = Archive(self.catalogue, self.sessions, self.bus, self.station, root, state / "queue", self.reserve, logs.write)
        quality = {camera.name: camera.capture.jpeg_quality for camera in settings.cameras}
        orders = {
            camera.name: {
                "recipe": camera.develop.recipe(),
                "station": asdict(self.station),
                "darks": str(darks_folder(state, camera.name).absolute()),
            }
            for camera in settings.cameras
        }
        recipes = {camera.name: camera.products.model_dump() for camera in settings.cameras}
        self.growing = Growing(
            self.catalogue,
            self.bus.publish,
            root,
            state / "products",
            recipe_of=lambda camera: recipes.get(camera) or ProductsBlock().model_dump(),
            station=self.station,
            log=logs.write,
        )
        self.darkroom = Darkroom(
            self.catalogue,
            self.bus.publish,
            root,
            state / "queue",
            state / "darkroom.lock",  # beside locks/, where a camera may be called darkroom
            jpeg_quality_of=lambda camera: quality.get(camera, 90),
            order_of=lambda camera: orders.get(camera, {}),
            gain_scale_of=self._gain_scale,
            log=logs.write,
            growing=self.growing,
        )
        self.keeping = parts.keeping(settings, self.catalogue, self.reserve, self.bus)
        self.archive.stored = self._stored
        if self.catalogue.created:
            self.archive.check_all({camera.name for camera in settings.cameras})
        store = Store(state / "access.sqlite")
        start, claims = store.count_start(), Claims()
        self.cameras = {
            camera.name: CameraSupervisor(
                parts.spec(settings, camera, self.station),
                archive=self.archive,
                bus=self.bus,
                log=logs.write,
                epoch=start,
                connect=camera.connect,
                claims=claims,
            )
            for camera in settings.cameras
        }
        self.clips = parts.clips(settings, self.catalogue, self.bus, self.cameras)
        hubs = {name: camera.hub for name, camera in self.cameras.items()}
        self.publisher = parts.publisher(settings, self.catalogue, self.bus, self.cameras)
        self.triggers = Triggers(settings.clips.triggers, self.clips, self.bus, self.mqtt, hubs, logs.write)
        self.watch = StationWatch(settings, self.cameras, self.bus, logs.write, self.mqtt, self.publisher)
        self.scheduler = Scheduler(
            {camera.name: Timetable(camera, self.station) for camera in settings.cameras},
            self.sessions,
            self.catalogue,
            self.bus,
            root,
            logs.write,
            connect=lambda name: self.cameras[name].connect(),
            wanted=lambda name: self.cameras[name].settings.still.requested,
            left_s=self._exposure_left_s,
        )
        self.sessions.changed = lambda name, finish: self.cameras[name].plan_changed(finish=finish)
        self.scheduler.finish = self._products_done
        self.leases = Leases(self.cameras, self.bus.publish, start)
        self.desk = Desk(
            store, self.leases, self.bus.publish, session_minutes=settings.web.session_minutes, renewed=lambda code: self._invite_by(code)
        )
        certificate = certificate_for(settings.web.tls, state / "secrets", settings.web.hosts)
        local = listen_locally(sock)
        self._sockets = [sock] if local is None else [sock, local]
        self.endpoint = Endpoint(sock, local, self.desk.owner_token, None if certificate is None else certificate.fingerprint)
        document = Document(settings, self.cameras, self.sessions, self.scheduler, self.catalogue, self.darkroom, self.keeping, self.clips)
        document.sensors = self.watch.sensors.temperatures
        document.troubles = lambda: {alarm.what: alarm.message for alarm in self.watch.alarms}
        if self.publisher is not None:
            document.redis = self.publisher.report
        self.status = StatusWriter(document, settings, self.bus, runtime_folder(), store.token_hashes, logs.write)
        if self.publisher is not None:
            self.publisher.document = lambda: self.status.told
        addresses = Addresses(settings.web.hosts, settings.web.trusted_proxies)
        self.runtime = Runtime(
            settings,
            self.cameras,
            self.sessions,
            self.scheduler,
            self.catalogue,
            self.darkroom,
            self.bus,
            logs.write,
            self.desk,
            self.leases,
            addresses,
            self.endpoint.url,
            self.clips,
            self.triggers,
            self.keeping,
            self.growing,
            logs.tail,
            self.watch,
            self.status,
        )
        self.server: Server = make_server(create_app(self.runtime, tls=certificate is not None), certificate, addresses.proxied)
        lan = self.runtime.lan
        lan.listen, lan.port, lan.tls = self.server.listen, self.endpoint.port, certificate is not None
        self.manager = ServiceManager()
        self._stopping = asyncio.Event()

    def _stored(self) -> None:
        self.darkroom.wake()
        self.keeping.wake()
        if self.publisher is not None:
            self.publisher.wake()

    async def _products_done(self, period: PeriodRow) -> None:
        await self.growing.finish(period.id)

    def _exposure_left_s(self, camera: str) -> float:
        """Of the still under way, as the camera process told last."""
        beat = self.cameras[camera].beat
        exposes = beat.get("phase") == "exposing" and beat.get("mode") == "still"
        return max(0.0, float(beat["exposure_s"] or 0.0) - float(beat["age_s"])) if exposes else 0.0

    def stop(self) -> None:
        """Begin the orderly end; `run` returns within ten seconds."""
        self._stopping.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError):  # an event loop of Windows takes no signal handlers
                loop.add_signal_handler(number, self.stop)
        for problem in (self.catalogue.problem, self.watch.telemetry.problem):
            if problem:
                logs.write("ERROR", problem, event="storage")
        await self._take_up()
        await self.watch.take_up()
        await self.clips.recover()
        endpoint = self.endpoint
        serving = asyncio.create_task(self.server.serve(sockets=self._sockets), name="web")
        background = [
            asyncio.create_task(work, name=name)
            for name, work in (
                ("states", live.tell_states(self.runtime)),
                ("changes", events.announce_changes(self.runtime)),
                ("storage", self.keeping.run()),
                ("session events", self._log_session_events()),
                ("leases", self._watch_leases()),
                ("logins", self._tidy_logins()),
                ("autostart", self._autostart()),
                ("schedule", self.scheduler.run()),
                ("triggers", self.triggers.run()),
                ("watch", self.watch.run()),
                ("status", self.status.run()),
                ("service manager", self.manager.keep(lambda: self.server.started, self.cameras.values(), logs.write)),
            )
        ]
        if self.mqtt is not None:
            background.append(asyncio.create_task(self.mqtt.run(), name="mqtt"))
        if self.publisher is not None:
            background.append(asyncio.create_task(self.publisher.run(), name="redis"))
        developing = asyncio.create_task(self.darkroom.run(), name="darkroom")
        supervising = [asyncio.create_task(camera.run(), name=f"camera {name}") for name, camera in self.cameras.items()]
        endpoint.announce()
        logs.write("INFO", f"Cupola is at {endpoint.url}", event="session_event")
        if not self.desk.claimed:
            self._invite_by(self.desk.claim.code)
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait({stopping, serving, developing, *supervising, *background}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()  # nothing but a mistake of ours ends one of these: it must not pass unseen
        finally:
            self.manager.tell("STOPPING=1")
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
        await self.clips.close()
        await self.darkroom.stop(DARKROOM_S)
        await asyncio.gather(developing, return_exceptions=True)
        await self.status.end()
        self.server.should_exit = True
        await asyncio.gather(serving, return_exceptions=True)
        self.runtime.lan.close()
        if self.publisher is not None:
            await asyncio.get_running_loop().run_in_executor(None, self.publisher.close)
        for close in (self.catalogue.close, self.desk.close, self.watch.telemetry.close):
            await asyncio.get_running_loop().run_in_executor(None, close)

    def _gain_scale(self, camera: str) -> str | None:
        """What a camera's gain means, where its driver knows."""
        supervisor = self.cameras.get(camera)
        gain = None if supervisor is None or supervisor.info is None else supervisor.info.controls.get("gain")
        return getattr(gain, "scale", None)

    def _invite_by(self, code: str) -> None:
        self._invite(link(self.endpoint.url, code))

    async def _log_session_events(self) -> None:
        with self.bus.subscribe() as heard:
            async for event in heard:
                if isinstance(event, SessionEvent):
                    who = " ".join(part for part in (event.user, f"({event.session_id})" if event.session_id else "") if part)
                    words = ": ".join(part for part in (who, event.action.replace("_", " ")) if part)
                    told = words + (f", {event.detail}" if event.detail else "")
                    logs.write("INFO", told, event="session_event", camera=event.camera or "-", private=event.action in FOR_ADMINS)

    async def _watch_leases(self) -> None:
        while True:
            self.leases.expire()
            if self.desk.claimed:
                self.runtime.lan.close()
            await asyncio.sleep(LEASE_TICK_S)

    async def _tidy_logins(self) -> None:
        """Write down who was there, and end what ran out; a disk that fails meanwhile is told by others."""
        while True:
            await asyncio.sleep(TIDY_S)
            try:
                await self.desk.tidy()
            except (StorageFull, StorageFailed) as error:
                logs.write("ERROR", str(error), event="storage")

    async def _take_up(self) -> None:
        """Nights and series of stills that were running when the server ended go on."""
        if self.publisher is not None:
            await self.publisher.take_up()
        await self.scheduler.resume()
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


def make_folders(settings: Settings) -> None:
    """Those of images, state and secrets. Raises ConfigError for one that cannot be made or written."""
    root, state = settings.storage.root, settings.storage.state_folder
    for key, folder in (("storage.root", root), ("storage.state", state), ("storage.state", state / "secrets")):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".cupola-probe"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise ConfigError(f"{key}: the folder {folder} cannot be written ({error.strerror}). Change it, its owner, or make room.") from None
    (state / "secrets").chmod(0o700)


def _refuse_strangers(settings: Settings) -> None:
    """Raises ConfigError when others could reach a station that nobody has claimed yet: whoever came first would own it."""
    if is_loopback(settings.web.host):
        return
    path = settings.storage.state_folder / "access.sqlite"
    if path.is_file():
        store = Store(path)
        claimed = bool(store.users())
        store.close()
        if claimed:
            return
    raise ConfigError(
        f"web.host is {settings.web.host}, but nobody has claimed this station yet, and whoever came first could. "
        "Claim it now with: cupola claim --terminal. Or start it with --host 127.0.0.1, and open the link it prints."
    )


def run(settings: Settings, invite: Callable[[str], None]) -> None:
    """Run a station until it is stopped; `invite` is shown the link to claim it. Raises ConfigError for what is wrong before anything started."""
    _refuse_strangers(settings)
    sock = listen(settings.web.host, settings.web.port)
    logs.set_up(settings.logging.folder, debug=settings.logging.debug, secrets=secrets_of(settings), slow_s=settings.alarms.processing_s)
    try:
        asyncio.run(_main(settings, sock, invite))
    finally:
        logs.finish()


async def _main(settings: Settings, sock: socket.socket, invite: Callable[[str], None]) -> None:
    await App(settings, sock, invite).run()
