"""A camera without hardware: a noisy sensor under the real sky of the station's place and time.

Owns the camera's behaviour: exposing, timing, streaming, controls. What it sees is made by `drivers.sky`, what goes
wrong on purpose is in `simulator_faults`.
"""

import threading
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cupola.core.clock import clock_synced, utc_now
from cupola.core.errors import CameraLost, CaptureCancelled
from cupola.core.frame import CameraInfo, Capability, ControlRange, Controls, Frame, Pixels, Station, Stop
from cupola.drivers.simulator_faults import Faults
from cupola.drivers.sky import clock
from cupola.drivers.sky.scene import Picture, Scene, Streak
from cupola.drivers.sky.sensor import Sensor
from cupola.drivers.sky.truth import TruthWriter

_T = TypeVar("_T")

_POLL_S = 0.01  # between looks at `interrupt`; `stop` wakes at once
_POOLED_BELOW_S = 0.5  # shorter exposures of a stream share one rendered sky and take their noise out of a pool
_SKY_STAYS_PX = 0.1  # how far the sky may turn under a stream before it is drawn anew
_SKY_STAYS_S = 10.0


@dataclass(frozen=True, slots=True)
class _Shot:
    """One exposure on its way: what it shows and when its shutter opened."""

    number: int
    controls: Controls
    opened_at: datetime
    opened_ns: int
    sky_s: float


@dataclass(frozen=True, slots=True)
class _Base:
    """A rendered sky, with dark current, that the frames of a stream share."""

    picture: Picture
    exposure_s: float
    sky_s: float


@dataclass(frozen=True, slots=True)
class _Rendered:
    """The pixels of an exposure, and what the truth file wants to know."""

    pixels: Pixels
    picture: Picture
    streaks: list[Streak]


class Simulator:
    """The `simulator` driver. Options: the config block of the same name, with every key present."""

    def __init__(self, options: Mapping[str, Any], station: Station) -> None:
        self._options, self._station = options, station
        self._serial = str(options.get("serial") or f"SIM-{options['seed']:08X}")
        self.faults = Faults(options.get("faults") or {}, self._serial)
        self._controls = Controls()
        self._interrupted = threading.Event()
        self._count = 0
        self._scene: Scene | None = None
        self._frozen: Pixels | None = None
        self._truth: TruthWriter | None = None
        self._worker: ThreadPoolExecutor | None = None

    def open(self) -> CameraInfo:
        """Read the star catalogue and draw the view. Raises CameraNotFound while unplugged on purpose."""
        self.close()
        self.faults.plug_in()
        options = self._options
        now_s = time.time()
        opens_s = clock.parse_sky_time(options["sky_time"], now_s, self._station.latitude, self._station.longitude)
        self._sky_ahead_s, self._opened_s = opens_s - now_s, now_s
        self._sensor = Sensor(options)
        self._scene = Scene(options, self._station, opens_s)
        self._ranges = {
            "exposure_s": _range(options["exposure_min_s"], options["exposure_max_s"], 1.0),
            "gain": replace(_range(0.0, options["gain_max"], 100.0), scale="tenth_db"),
        }
        self._controls = Controls(self._ranges["exposure_s"].default, self._ranges["gain"].default)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="sky")
        self._truth = TruthWriter(Path(options["truth"]), self._scene) if options.get("truth") else None
        self._count, self._frozen = 0, None
        colours = options["bayer"] or "mono"
        return CameraInfo(
            driver="simulator",
            model=f"Simulated sky {options['width']}x{options['height']} {colours} {options['bits']} bit",
            width=options["width"],
            height=options["height"],
            format=self._sensor.format,
            capabilities=frozenset({Capability.STILLS, Capability.VIDEO}),
            serial=self._serial,
            controls=self._ranges,
            readout_s=options["readout_s"],
        )

    def apply(self, wanted: Controls) -> Controls:
        """Take the nearest the sensor can do: exposures in whole microseconds, gain in whole tenths of a decibel; a lens has no f-number here."""
        self._opened()
        merged = wanted.over(self._controls)
        exposure_s, gain = merged.exposure_s or 0.0, merged.gain or 0.0
        self._controls = Controls(
            exposure_s=round(self._ranges["exposure_s"].nearest(exposure_s), 6),
            gain=float(round(self._ranges["gain"].nearest(gain))),
        )
        return self._controls

    def expose(self, stop: Stop) -> Frame:
        """One exposure; it is drawn while the shutter is open, so that only the readout follows."""
        scene, worker = self._opened()
        self._interrupted.clear()
        stop.check()
        shot = self._shoot(time.monotonic_ns(), self._controls)
        ended_ns = shot.opened_ns + round(_exposure_s(shot) * 1e9)
        abandoned = threading.Event()
        future = worker.submit(self._render, scene, shot, abandoned.is_set)
        try:
            self._expose_until(ended_ns, shot, stop)
            rendered = self._result(future, stop)
            readout_s = self.faults.readout_s(shot.number, self._options["readout_s"])
            self._sleep_until(ended_ns + round(readout_s * 1e9), stop)
        finally:
            abandoned.set()
        return self._deliver(shot, rendered, dropped=0)

    def stream(self, stop: Stop) -> Generator[Frame, None, None]:
        """Frames one after the other, each read out while the next is exposed: one every max(exposure, readout).

        A consumer that is late loses frames; the next one says how many.
        """
        self._opened()
        self._interrupted.clear()
        controls, opens_ns, dropped = self._controls, time.monotonic_ns(), 0
        base, pending = None, None
        rng = np.random.default_rng()
        try:
            while not stop.is_set():
                scene, worker = self._opened()
                if controls != self._controls:
                    controls, opens_ns = self._controls, time.monotonic_ns()
                shot = self._shoot(opens_ns, controls)
                readout_s = self.faults.readout_s(shot.number, self._options["readout_s"])
                ended_ns = opens_ns + round(_exposure_s(shot) * 1e9)
                if _exposure_s(shot) < _POOLED_BELOW_S:
                    base, pending = self._refresh(scene, worker, shot, base, pending, stop)
                    rendered = self._reread(scene, base, shot, rng)
                else:
                    rendered = self._result(worker.submit(self._render, scene, shot, stop.is_set), stop)
                self._expose_until(ended_ns, shot, stop)
                self._sleep_until(ended_ns + round(readout_s * 1e9), stop)
                yield self._deliver(shot, rendered, dropped)
                period_ns = max(round(max(_exposure_s(shot), readout_s) * 1e9), 1_000_000)
                due_ns = ended_ns + round(readout_s * 1e9) + period_ns  # the next frame waits for its consumer, the one after replaces it
                dropped = max(0, time.monotonic_ns() - due_ns) // period_ns
                opens_ns += period_ns * (1 + dropped)
        except CaptureCancelled:
            if not stop.is_set():
                raise
        finally:
            if pending is not None:
                pending.cancel()

    def interrupt(self) -> None:
        """End the exposure under way with CaptureCancelled. Any thread, any time."""
        self._interrupted.set()

    def close(self) -> None:
        """Let go of sky and threads; files of truth under way are finished."""
        if self._worker is not None:
            self._worker.shutdown(wait=False, cancel_futures=True)
        if self._truth is not None:
            self._truth.close()
        self._worker = self._truth = self._scene = self._frozen = None

    def _opened(self) -> tuple[Scene, ThreadPoolExecutor]:
        if self._scene is None or self._worker is None:
            raise CameraLost(f"Simulated camera {self._serial} is not open.")
        self.faults.check_plugged()
        return self._scene, self._worker

    def _shoot(self, opened_ns: int, controls: Controls) -> _Shot:
        """`opened_ns` may lie a little in the past or ahead: frames of a stream keep their pace. The wall clock follows from it."""
        opened_at = utc_now() + timedelta(microseconds=(opened_ns - time.monotonic_ns()) / 1000)
        since_s = opened_at.timestamp() - self._opened_s
        sky_s = self._opened_s + self._sky_ahead_s + since_s * self._options.get("sky_speed", 1.0)
        return _Shot(self._count + 1, controls, opened_at, opened_ns, sky_s)

    def _render(self, scene: Scene, shot: _Shot, cancelled: Callable[[], bool]) -> _Rendered:
        exposure_s = _exposure_s(shot)
        picture = scene.render(shot.sky_s, exposure_s, self._sensor.read_noise_e, cancelled)
        streaks = scene.streaks(shot.sky_s, exposure_s)
        for streak in streaks:
            np.add.at(picture.electrons.reshape(-1), streak.pixels, streak.electrons)
        self._sensor.collect(picture.electrons, exposure_s)
        if cancelled():
            raise CaptureCancelled("the exposure was cancelled")
        pixels = self._sensor.read(picture.electrons, shot.controls.gain or 0.0, np.random.default_rng([self._options["seed"], shot.number]))
        return _Rendered(pixels, picture, streaks)

    def _base(self, scene: Scene, shot: _Shot, cancelled: Callable[[], bool]) -> _Base:
        exposure_s = _exposure_s(shot)
        picture = scene.render(shot.sky_s, exposure_s, self._sensor.read_noise_e, cancelled)
        self._sensor.collect(picture.electrons, exposure_s)
        return _Base(picture, exposure_s, shot.sky_s)

    def _refresh(
        self, scene: Scene, worker: ThreadPoolExecutor, shot: _Shot, base: _Base | None, pending: Future[_Base] | None, stop: Stop
    ) -> tuple[_Base, Future[_Base] | None]:
        """The sky for a frame of a stream: at once when the exposure changed, else drawn anew beside the stream when it has moved."""
        if base is None or base.exposure_s != _exposure_s(shot):
            if pending is not None:
                pending.cancel()
            return self._result(worker.submit(self._base, scene, shot, stop.is_set), stop), None
        if pending is not None and pending.done():
            return pending.result(), None
        moved_px = abs(shot.sky_s - base.sky_s) * 7.29e-5 * scene.lens.focal_px
        if pending is None and (moved_px > _SKY_STAYS_PX or abs(shot.sky_s - base.sky_s) > _SKY_STAYS_S):
            pending = worker.submit(self._base, scene, shot, stop.is_set)
        return base, pending

    def _reread(self, scene: Scene, base: _Base, shot: _Shot, rng: np.random.Generator) -> _Rendered:
        gain = shot.controls.gain or 0.0
        pixels = self._sensor.reread(base.picture.electrons, gain, rng)
        streaks = scene.streaks(shot.sky_s, _exposure_s(shot))
        if streaks:
            indices, electrons = np.concatenate([s.pixels for s in streaks]), np.concatenate([s.electrons for s in streaks])
            self._sensor.add(pixels, base.picture.electrons, gain, indices, electrons, rng)
        return _Rendered(pixels, base.picture, streaks)

    def _expose_until(self, ended_ns: int, shot: _Shot, stop: Stop) -> None:
        if self.faults.strikes(shot.number):
            self._sleep_until((time.monotonic_ns() + ended_ns) // 2, stop)
            self.faults.strike(shot.number)
        while self.faults.stalls(shot.number):
            self._sleep_until(time.monotonic_ns() + 1_000_000_000, stop)
        self._sleep_until(ended_ns, stop)

    def _sleep_until(self, moment_ns: int, stop: Stop) -> None:
        """Wait by the monotonic clock; raises CaptureCancelled within 20 ms of `stop` or `interrupt`."""
        while True:
            self._check(stop)
            left_s = (moment_ns - time.monotonic_ns()) / 1e9
            if left_s <= 0:
                return
            stop.wait(min(left_s, _POLL_S))

    def _check(self, stop: Stop) -> None:
        stop.check()
        if self._interrupted.is_set():
            raise CaptureCancelled("the exposure was interrupted")

    def _result(self, future: Future[_T], stop: Stop) -> _T:
        """What the worker made, with an eye on `stop`; a late picture makes a late frame."""
        while True:
            try:
                return future.result(timeout=_POLL_S)
            except NotYet:
                self._check(stop)

    def _deliver(self, shot: _Shot, rendered: _Rendered, dropped: int) -> Frame:
        pixels = rendered.pixels
        if self.faults.frozen(shot.number) and self._frozen is not None:
            pixels = self._frozen
        elif self.faults.freezes:
            self._frozen = pixels
        pixels.flags.writeable = False
        self._count = shot.number
        self.faults.delivered(shot.number)
        if self._truth is not None:
            other_e2 = self._sensor.dark_e(_exposure_s(shot)) + self._sensor.read_noise_e**2
            self._truth.write(shot.number, shot.opened_at, shot.sky_s, shot.controls, rendered.picture, other_e2, rendered.streaks)
        return Frame(
            seq=shot.number,
            opened_at=shot.opened_at,
            ended_at=shot.opened_at + timedelta(seconds=_exposure_s(shot)),
            monotonic_ns=shot.opened_ns,
            data=pixels,
            format=self._sensor.format,
            applied=shot.controls,
            clock_synced=clock_synced(),
            temperature_c=float(self._options["temperature_c"]),
            dropped_before=dropped,
        )


def _exposure_s(shot: _Shot) -> float:
    return shot.controls.exposure_s or 0.0


def _range(minimum: float, maximum: float, default: float) -> ControlRange:
    return ControlRange(minimum, maximum, min(max(default, minimum), maximum))
