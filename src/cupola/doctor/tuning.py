"""Measures what this machine can carry, with the program's own code: live pictures, developing, products, the disk; and says what the configuration asks.

Times are of one thread by the clock, on a machine that does its usual work beside: what is measured is what is left. The darkroom has one thread, and
each camera's live encoder one. Of a thread no more than `SHARE` is given to what must never fall behind.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from cupola.config.camera import Camera
from cupola.config.drivers import SimulatorOptions
from cupola.config.model import Settings
from cupola.config.products import Products
from cupola.core.errors import StorageFailed
from cupola.core.frame import CameraInfo, Controls, Frame, PixelFormat, PixelKind, Station
from cupola.doctor.bounded import Check, examined
from cupola.doctor.disk import nearest
from cupola.doctor.finding import Told
from cupola.doctor.patient import Patient

SIZES = ((640, 480), (1280, 720), (1920, 1080), (3096, 2080))
SHARE = 0.6
LEAST_RUNS, MOST_RUNS, EACH_S = 2, 20, 1.5
DISK_BYTES, DISK_RUNS, DISK_S = 4 << 20, 8, 120.0
STATION = Station("tune", 47.0, 8.0, 400.0, "UTC")
AT = datetime(2026, 10, 10, 21, 30, tzinfo=UTC)
EXPOSURE_S, GAIN = 4.0, 200.0


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of one run, the mean; `bytes`: of what came out."""

    what: str
    width: int
    height: int
    seconds: float
    bytes: int


@dataclass(slots=True)
class Advice:
    """What one camera, or one of this size, can do here. `fits`: what its configuration asks can be carried; None: nothing is configured."""

    camera: str
    width: int
    height: int
    live_fps: float
    least_interval_s: float
    preroll_mb: float
    fits: bool | None
    words: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class Found:
    """All that was measured. `disk_mb_s`: written with the program's durable writes; `sync_s`: of a small file."""

    processors: int
    memory_mb: int
    disk: str
    disk_mb_s: float
    sync_s: float
    measured: list[Measured]
    advice: list[Advice]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def wanted_sizes(settings: Settings) -> dict[str, tuple[int, int]]:
    """Of the configured cameras whose configuration tells it."""
    found: dict[str, tuple[int, int]] = {}
    for camera in settings.cameras:
        options = Settings.driver_options(camera)
        if options.get("width") and options.get("height"):
            found[camera.name] = (int(options["width"]), int(options["height"]))
    return found


def measure(settings: Settings, sizes: dict[str, tuple[int, int]], tell: Callable[[str], None]) -> Found:
    """Takes about a minute. `sizes`: of the cameras whose size is known. Raises StorageFailed for a disk that cannot be written, or hangs."""
    import psutil

    tell(f"disk of {settings.storage.root}")
    folder, rate, sync_s = _disk_of(settings.storage.root)
    try:
        every = sorted({*SIZES, *sizes.values()}, key=lambda size: size[0] * size[1])
        memory = psutil.virtual_memory()
        if memory.available < 1_500_000_000:
            every = [size for size in every if size[0] * size[1] < 3_000_000 or size in sizes.values()]
        measured: list[Measured] = []
        for width, height in every:
            tell(f"live picture, developing and products of {width} x {height}")
            measured += _pictures(folder, width, height)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    by_size = {(one.width, one.height): {m.what: m for m in measured if (m.width, m.height) == (one.width, one.height)} for one in measured}
    advice = [_of_size(f"{w} x {h}", w, h, by_size[w, h], rate, sync_s) for w, h in every if (w, h) in SIZES]
    for camera in settings.cameras:
        if camera.name in sizes:
            width, height = sizes[camera.name]
            advice.append(_of_camera(camera, _of_size(camera.name, width, height, by_size[width, height], rate, sync_s)))
    return Found(os.cpu_count() or 1, memory.total >> 20, str(folder.parent), round(rate, 1), round(sync_s, 4), measured, advice)


def _disk_of(root: Path) -> tuple[Path, float, float]:
    """A folder on the disk of the images, and what that does; in a process of its own, since nothing ends a wait for a disk that hangs."""
    name = f".cupola-tune-{os.getpid()}"

    def look(_: object, told: Told) -> None:
        folder = _folder(root, name)
        told.facts = {"folder": str(folder), "figures": _disk(folder)}

    check = Check(f"the disk of {root}", look, DISK_S, "See: cupola doctor disk")
    try:
        (told,) = examined([check], Patient(ask=lambda path: None))
    except BaseException:  # Ctrl-C
        _clear(root, name)
        raise
    if told.findings:
        if told.took_s < DISK_S:  # else it hangs, and so would this
            _clear(root, name)
        raise StorageFailed(f"{told.findings[0].what} {told.findings[0].fix}")
    rate, sync_s = told.facts["figures"]
    return Path(told.facts["folder"]), rate, sync_s


def _folder(root: Path, name: str) -> Path:
    """Where the images are or, before the first, will be."""
    there = root
    try:
        there = nearest(root)
        (there / name).mkdir(mode=0o700)
        return there / name
    except OSError as error:
        raise StorageFailed(
            f"{there} cannot be written ({error.strerror}), so that it cannot be measured. Run it as the service's user; see: cupola doctor disk."
        ) from None


def _clear(root: Path, name: str) -> None:
    with contextlib.suppress(OSError):
        shutil.rmtree(nearest(root) / name, ignore_errors=True)


def _disk(folder: Path) -> tuple[float, float]:
    """MB/s of large files and seconds of a small one, as images are stored: written, synced, renamed, the folder synced. Means: a worn card stands
    still now and then, and a series has to wait for that too."""
    from cupola.storage.files import write_durable

    data = os.urandom(DISK_BYTES)
    large = [_timed_once(lambda n=number: write_durable(folder / f"large-{n}", data)) for number in range(DISK_RUNS)]
    small = [_timed_once(lambda n=number: write_durable(folder / f"small-{n}", data[:4096])) for number in range(DISK_RUNS)]
    return DISK_BYTES / 1e6 / max(fmean(large), 1e-6), fmean(small)


def _pictures(folder: Path, width: int, height: int) -> Iterator[Measured]:
    """A clear night sky of a Bayer sensor: its live picture, its original, its JPEG, and one step of each product."""
    from cupola.camera.render import LiveRenderer, encode_plain
    from cupola.darkroom.growth import Shot, Window
    from cupola.darkroom.job import Developer, Order
    from cupola.darkroom.measure import Measurer
    from cupola.darkroom.products import Growth
    from cupola.storage.originals import encode_original

    frame, info = _frame(width, height)
    renderer = LiveRenderer(quality=80, width_max=None)
    seconds, (jpeg, _, _) = _timed(lambda: renderer.jpeg(frame))
    yield Measured("live from raw", width, height, seconds, len(jpeg))
    plain = Frame(1, AT, AT, 1, _rgb(jpeg), PixelFormat(PixelKind.RGB), Controls())
    seconds, encoded = _timed(lambda: encode_plain(plain, 80))
    yield Measured("live from RGB", width, height, seconds, len(encoded))
    seconds, original = _timed(lambda: encode_original(frame, camera="tune", sequence=1, station=STATION, info=info, software="cupola"))
    yield Measured("original", width, height, seconds, len(original))
    path = folder / f"{width}.fits.fz"
    path.write_bytes(original)
    measurer, developer = Measurer(), Developer()

    def look(pixels: Any, layout: Any, exposure_s: float | None) -> dict[str, Any]:
        return measurer.measure(pixels, layout, camera="tune", exposure_s=exposure_s, gain=GAIN)

    seconds, made = _timed(lambda: developer.make(path, Order(station=STATION), look))
    yield Measured("develop", width, height, seconds, len(made.data))
    picture = folder / f"{width}.jpg"
    picture.write_bytes(made.data)
    growth = Growth(folder / f"grow-{width}", Products().model_dump(), Window(AT, AT + timedelta(hours=8), 10.0, "UTC"))
    number = iter(range(1, 10_000))

    def grow() -> None:
        n = next(number)
        growth.add(Shot(n, picture, AT + timedelta(seconds=10 * n), EXPOSURE_S))

    seconds, _ = _timed(grow)
    yield Measured("products", width, height, seconds, 0)


def _rgb(jpeg: bytes) -> Any:
    import simplejpeg

    return simplejpeg.decode_jpeg(jpeg, "RGB")


def _frame(width: int, height: int) -> tuple[Frame, CameraInfo]:
    """From the simulator's sky and sensor."""
    from cupola.drivers.sky.scene import Scene
    from cupola.drivers.sky.sensor import Sensor

    options = {**SimulatorOptions.model_validate({}).model_dump(), "width": width & ~1, "height": height & ~1}
    sensor, scene = Sensor(options), Scene(options, STATION, AT.timestamp())
    light = scene.render(AT.timestamp(), EXPOSURE_S, sensor.read_noise_e).electrons
    sensor.collect(light, EXPOSURE_S)
    pixels = sensor.read(light, GAIN, np.random.default_rng(1))
    frame = Frame(1, AT, AT + timedelta(seconds=EXPOSURE_S), 1, pixels, sensor.format, Controls(EXPOSURE_S, GAIN))
    return frame, CameraInfo("simulator", "tune", width, height, sensor.format, frozenset())


def _timed(do: Callable[[], Any]) -> tuple[float, Any]:
    """The mean of some runs after a first one, which loads what is needed; and what the last gave."""
    result, times, began = do(), list[float](), time.monotonic()
    while len(times) < LEAST_RUNS or (len(times) < MOST_RUNS and time.monotonic() - began < EACH_S):
        start = time.perf_counter()
        result = do()
        times.append(time.perf_counter() - start)
    return fmean(times), result


def _timed_once(do: Callable[[], Any]) -> float:
    start = time.perf_counter()
    do()
    return time.perf_counter() - start


def _of_size(name: str, width: int, height: int, of: dict[str, Measured], rate: float, sync_s: float) -> Advice:
    """From what was measured: the live encoder and the darkroom are busy for `SHARE` of their time at most, and the disk too."""
    live, original, developed, grown = of["live from raw"], of["original"], of["develop"], of["products"]
    fps = SHARE / live.seconds
    darkroom_s = (developed.seconds + grown.seconds) / SHARE
    disk_s = ((original.bytes + developed.bytes) / 1e6 / max(rate, 0.01) + 2 * sync_s) / SHARE
    return Advice(
        name, width, height, round(fps, 1), round(max(darkroom_s, disk_s, original.seconds / SHARE), 2), round(fps * live.bytes / 1e6, 2), None
    )


def _of_camera(camera: Camera, advice: Advice) -> Advice:
    """What its configuration asks of it, in words, with the key to change where that is too much."""
    words, fits = advice.words, True
    wanted = camera.live.fps_max
    needed = min(wanted, 1 / camera.live.exposure_s) if camera.live.exposure_s else wanted
    if camera.live.width_max is None and advice.live_fps < needed:
        fits = False
        words.append(
            f"live: {advice.live_fps:g} of {needed:g} pictures a second: set live.fps_max: {max(1, int(advice.live_fps))}, or a smaller live.width_max"
        )
    else:
        words.append(f"live: {needed:g} pictures a second fit ({advice.live_fps:g} would)")
    interval = _interval_s(camera)
    if interval is None:
        words.append(f"stills: one every {advice.least_interval_s:g} s is carried; no interval is set")
    elif interval < advice.least_interval_s:
        fits = False
        words.append(
            f"stills: one every {interval:g} s is too much, the darkroom falls behind: set interval_s: {math.ceil(10 * advice.least_interval_s) / 10:g} or more"
        )
    else:
        words.append(f"stills: one every {interval:g} s fits ({advice.least_interval_s:g} s would)")
    if camera.preroll is not None:
        megabytes = camera.preroll.seconds * needed * advice.preroll_mb / max(advice.live_fps, 0.01)
        enough = megabytes <= camera.preroll.max_mb
        fits = fits and enough
        told = "fit" if enough else f"do not: set preroll.max_mb: {int(megabytes * 1.2) + 1}, or fewer seconds"
        words.append(f"pre-roll: {camera.preroll.seconds:g} s as JPEG take about {megabytes:.0f} MB, {camera.preroll.max_mb} MB {told}")
    if (native := _native(camera)) is not None:
        words.append(native)
    advice.fits = fits
    return advice


def _interval_s(camera: Camera) -> float | None:
    """The shortest that is configured."""
    found = [one for one in (camera.night.interval_s if camera.night.window else None, camera.day.interval_s if camera.day.window else None) if one]
    if camera.capture.interval_s:
        found.append(camera.capture.interval_s)
    return min(found, default=None)


def _native(camera: Camera) -> str | None:
    """Video that the camera encodes itself costs nothing here, and a tenth of the pre-roll's memory as H.264."""
    options = Settings.driver_options(camera)
    if camera.driver == "picamera" and options["picture"] != "h264":
        return "H.264: picamera.picture: h264 is encoded by the Pi's own encoder (not on a Pi 5), and needs a tenth of the memory for a pre-roll"
    if camera.driver == "video" and options["input_format"] == "yuyv":
        return "video.input_format: mjpeg or h264, where the webcam has it, is passed on as it is and costs nothing here"
    return None
