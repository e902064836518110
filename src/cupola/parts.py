"""Parts of a station, made from its configuration. What joins, starts and ends them is `cupola.app`."""

from __future__ import annotations

from collections.abc import Mapping

from cupola import logs
from cupola.camera.recovery import Policy
from cupola.camera.spec import AutoSpec, CameraSpec
from cupola.camera.supervisor import CameraSupervisor
from cupola.capture.keeping import Keeping
from cupola.clips.clips import Clips, PreRoll
from cupola.config.camera import Camera
from cupola.config.drivers import DRIVERS
from cupola.config.model import Settings
from cupola.core.bus import Bus
from cupola.core.frame import Controls, Station
from cupola.storage.catalogue import Catalogue
from cupola.storage.forecast import Nights
from cupola.storage.kinds import Clips as ClipFiles
from cupola.storage.kinds import Frames, Logs, Originals, Products
from cupola.storage.retention import Retention
from cupola.storage.space import Reserve, Thrift
from cupola.stream.publisher import Publisher


def spec(settings: Settings, camera: Camera, station: Station) -> CameraSpec:
    """All that a camera's supervisor has to know of its block."""
    state, auto = settings.storage.state_folder.absolute(), camera.exposure.auto
    return CameraSpec(
        name=camera.name,
        driver=camera.driver,
        driver_path=settings.driver_class_path(camera),
        options=settings.driver_options(camera),
        station=station,
        storage={
            "root": str(settings.storage.root.absolute()),
            "queue": str(state / "queue"),
            "keep_originals": settings.storage.originals == "keep",
            "lock": str(state / "locks" / f"{camera.name}.lock"),
            "min_free_percent": settings.storage.min_free_percent,
            "keep_free_percent": settings.storage.keep_free_percent,
        },
        live_view={"quality": camera.live.quality, "fps_max": camera.live.fps_max, "width_max": camera.live.width_max},
        live=Controls(camera.live.exposure_s, camera.live.gain, camera.live.f_number),
        still=Controls(camera.exposure.exposure_s, camera.exposure.gain, camera.exposure.f_number),
        auto=AutoSpec(auto.on, auto.limits(), None if auto.region is None else auto.region.model_dump()),
        exclusive=DRIVERS[camera.driver][0].exclusive,
        recovery=Policy(**{**camera.recovery.model_dump(), "usb_helper": tuple(camera.recovery.usb_helper)}),
        python=settings.driver_interpreter(camera),
    )


def keeping(settings: Settings, catalogue: Catalogue, reserve: Reserve, bus: Bus) -> Keeping:
    """What deletes images, and says how full the disk is."""
    storage, names = settings.storage, [camera.name for camera in settings.cameras]
    root = storage.root.absolute()
    retention = Retention(
        catalogue,
        root,
        [
            Originals(catalogue, root),
            Frames(catalogue, root, names),
            ClipFiles(catalogue, root),
            Products(catalogue, root),
            Logs(settings.logging.folder, root),
        ],
        days=storage.retention.days.model_dump(),
        keep_free_percent=storage.keep_free_percent,
        min_free_percent=storage.min_free_percent,
    )
    thrift = Thrift(storage.min_free_percent, storage.keep_free_percent)
    return Keeping(catalogue, retention, Nights(catalogue, names), thrift, reserve, bus, logs.write)


def clips(settings: Settings, catalogue: Catalogue, bus: Bus, cameras: Mapping[str, CameraSupervisor]) -> Clips:
    """The clips of all cameras that keep a pre-roll."""
    storage = settings.storage
    made = Clips(
        catalogue,
        bus,
        storage.root,
        storage.state_folder,
        timezone=settings.station.timezone,
        log=logs.write,
        at_once=settings.clips.at_once,
        min_free_percent=storage.min_free_percent,
    )
    for camera in settings.cameras:
        if (kept := camera.preroll) is not None:
            preroll = PreRoll(kept.seconds, kept.max_mb * 1_000_000, kept.before_s, kept.after_s, kept.longest_s)
            made.watch(camera.name, cameras[camera.name].hub, preroll)
    return made


def publisher(settings: Settings, catalogue: Catalogue, bus: Bus, cameras: Mapping[str, CameraSupervisor]) -> Publisher | None:
    """What streams to Redis, where one is configured."""
    if settings.redis is None:
        return None
    storage = settings.storage
    made = Publisher(settings.redis, settings.station.name, storage.state_folder, storage.root, catalogue, bus, logs.write)
    for name in settings.redis.live:
        cameras[name].hub.look(made.look(name))
    return made
