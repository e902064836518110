"""All sensors of the station: read, told as events, kept in the history, and missed when they are silent.

Sensors of their own come by serial port, by the kernel's files or by MQTT, as configured; those of the cameras and of this machine are noted
here too. When something is wrong with this machine is the business of `watch.host`, what is switched by a value that of `watch.outputs`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

from cupola.camera.supervisor import CameraSupervisor
from cupola.config.sensors import Sensor
from cupola.core.bus import Bus
from cupola.core.clock import utc_now
from cupola.core.errors import StorageFailed, StorageFull
from cupola.core.events import HostAlarm, SensorReading
from cupola.net.mqtt import Message, Mqtt
from cupola.storage.history import History, Reading
from cupola.storage.telemetry import Telemetry
from cupola.watch import sysfs
from cupola.watch.readings import Values, dew_point, digitemp, numbers, unit_of
from cupola.watch.serial_port import SerialPort

LOOK_S = 1.0  # at what is silent
CAMERAS_S = 10.0
FLUSH_S, TRIM_S = 60.0, 3600.0
OLD_S = 600.0
NOT_YET = "nothing was heard of it yet"
SERIES_MAX = 32  # values of one sensor: garbage must not make series without end
_USUAL = {"digitemp": "°C", "w1": "°C", "hwmon": "°C"}  # units of what has a number or a label for a name
_FILES = {"w1": sysfs.w1, "hwmon": sysfs.hwmon, "iio": sysfs.iio}


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest value of a series. `mono`: when it came, by the monotonic clock."""

    value: float
    unit: str
    at: datetime
    mono: float


@dataclass(slots=True)
class SensorState:
    """How a sensor does. `good` and `bad` count what it said; `problem` in words while nothing comes from it."""

    sensor: Sensor
    heard_at: float  # monotonic
    names: list[str] = field(default_factory=list[str])
    good: int = 0
    bad: int = 0
    problem: str | None = NOT_YET
    silent: HostAlarm | None = None  # while it lasts


class Sensors:
    """`newest` by series. `root`: of the kernel's files."""

    def __init__(
        self,
        sensors: list[Sensor],
        cameras: Mapping[str, CameraSupervisor],
        telemetry: Telemetry,
        bus: Bus,
        log: Callable[..., None],
        mqtt: Mqtt | None,
        root: Path,
    ) -> None:
        self._cameras, self._telemetry, self._bus, self._log, self._mqtt, self._root = cameras, telemetry, bus, log, mqtt, root
        self.history = History(telemetry)
        self.newest: dict[str, Newest] = {}
        now = time.monotonic()
        self.states = [SensorState(sensor, now) for sensor in sensors]
        self._ports: list[SerialPort] = []

    def take_up(self, troubles: Container[str]) -> None:
        """Those whose silence was told before a restart, by their keys."""
        for state in self.states:
            if f"host:sensor {state.sensor.name}" in troubles:
                state.silent = self._silence(state, active=True)

    async def run(self) -> None:
        """Until cancelled; what was read is then in the history."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as tasks:
                for state in self.states:
                    sensor = state.sensor
                    state.heard_at = time.monotonic() - (sensor.silent_s if state.silent else 0)
                    if sensor.source in _FILES:
                        tasks.create_task(self._poll(state), name=f"sensor {sensor.name}")
                    elif sensor.source == "mqtt":
                        if self._mqtt is not None and sensor.topic is not None:
                            self._mqtt.subscribe(sensor.topic, partial(self._message, state))
                    else:
                        self._ports.append(self._listen(state, loop))
                tasks.create_task(self._look(), name="silent sensors")
                tasks.create_task(self._read_cameras(), name="cameras' sensors")
                tasks.create_task(self._keep(), name="history of sensors")
        finally:
            for port in self._ports:
                port.end()
            with contextlib.suppress(StorageFull, StorageFailed):
                self.history.flush()

    @property
    def active(self) -> list[HostAlarm]:
        """The silent ones."""
        return [state.silent for state in self.states if state.silent is not None]

    def temperatures(self) -> dict[str, float]:
        """The newest temperature of each series in °C, for metrics; without those that are old."""
        now = time.monotonic()
        return {series: one.value for series, one in self.newest.items() if one.unit == "°C" and now - one.mono < OLD_S}

    def note(self, series: str, unit: str, value: float, *, tell: bool = True, camera: str | None = None) -> None:
        """A value that came this moment."""
        now = utc_now()
        self.newest[series] = Newest(value, unit, now, time.monotonic())
        self.history.note(Reading(series, unit, int(now.timestamp() * 1000), value))
        if tell:
            self._bus.publish(SensorReading(at=now, camera=camera, series=series, value=round(value, 3), unit=unit))

    # ── from each source ───────────────────────────────────────────────────

    async def _poll(self, state: SensorState) -> None:
        sensor = state.sensor
        while True:
            try:
                values = await asyncio.to_thread(_FILES[sensor.source], self._root, sensor.device)
            except sysfs.Nothing as problem:
                self._trouble(state, str(problem))
            else:
                self._heard(state, values)
            await asyncio.sleep(sensor.every_s)

    def _message(self, state: SensorState, message: Message) -> None:
        """What is retained has no time: it may be of last year."""
        if not message.retained:
            self._heard(state, numbers(message.payload[:4096].decode("utf-8", "replace")))

    def _listen(self, state: SensorState, loop: asyncio.AbstractEventLoop) -> SerialPort:
        meaning = digitemp if state.sensor.source == "digitemp" else numbers

        def in_loop(work: Callable[[], None]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(work)

        port = SerialPort(
            state.sensor.name,
            state.sensor.port,
            state.sensor.baud,
            take=lambda line: in_loop(partial(self._heard, state, meaning(line))),
            trouble=lambda words: in_loop(partial(self._trouble, state, words)),
        )
        port.start()
        return port

    def _trouble(self, state: SensorState, words: str | None) -> None:
        if words is not None and words != state.problem:
            self._log("WARNING", f"Sensor {state.sensor.name}: {words}. It is looked for again and again.", event="sensor")
        elif words is None and state.problem not in (None, NOT_YET):
            self._log("INFO", f"Sensor {state.sensor.name} is there again.", event="sensor")
        state.problem = words

    def _heard(self, state: SensorState, values: Values | None) -> None:
        if values is None:
            state.bad += 1
            return
        now, name = time.monotonic(), state.sensor.name
        self._trouble(state, None)
        state.good += 1
        state.heard_at = now
        for value in values:
            if value not in state.names and len(state.names) < SERIES_MAX:
                state.names.append(value)
        fresh = {
            value: number for value, number in values.items() if value in state.names and self._is_due(f"{name}.{value}", state.sensor.every_s, now)
        }
        for value, number in fresh.items():
            self.note(f"{name}.{value}", unit_of(value, _USUAL.get(state.sensor.source, "")), number)
        if fresh.keys() & {"temperature", "humidity"}:
            self._dew(state, now)

    def _is_due(self, series: str, every_s: float, now: float) -> bool:
        last = self.newest.get(series)
        return last is None or now - last.mono >= 0.95 * every_s

    def _dew(self, state: SensorState, now: float) -> None:
        """Of temperature and humidity of the same sensor, if both are of now."""
        name = state.sensor.name
        both = [self.newest.get(f"{name}.{value}") for value in ("temperature", "humidity")]
        known = [one.value for one in both if one is not None and now - one.mono <= 2 * state.sensor.every_s]
        if len(known) == 2 and "dew_point" not in state.names and self._is_due(f"{name}.dew_point", state.sensor.every_s, now):
            point = dew_point(*known)
            if point is not None:
                self.note(f"{name}.dew_point", "°C", point)

    async def _read_cameras(self) -> None:
        while True:
            for name, camera in self._cameras.items():
                if camera.state == "running" and camera.temperature_c is not None:
                    self.note(f"camera.{name}", "°C", camera.temperature_c, camera=name)
            await asyncio.sleep(CAMERAS_S)

    # ── what becomes of it ─────────────────────────────────────────────────

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            now = time.monotonic()
            for state in self.states:
                silent = now - state.heard_at >= state.sensor.silent_s
                if silent != (state.silent is not None):
                    event = self._silence(state, active=silent)
                    state.silent = event if silent else None
                    self._bus.publish(event)

    def _silence(self, state: SensorState, *, active: bool) -> HostAlarm:
        name, why = state.sensor.name, f": {state.problem}" if state.problem else ""
        words = f"Sensor {name} is silent{why}" if active else f"Sensor {name} is heard again"
        return HostAlarm(what=f"sensor {name}", level="WARNING", active=active, message=words)

    async def _keep(self) -> None:
        trimmed, told = 0.0, False
        while True:
            await asyncio.sleep(FLUSH_S)
            try:
                await self._telemetry.run(self.history.flush)
                if time.monotonic() - trimmed >= TRIM_S:
                    trimmed = time.monotonic()
                    await self._telemetry.run(self.history.trim, int(time.time() * 1000))
                told = False
            except (StorageFull, StorageFailed) as error:
                if not told:
                    self._log("ERROR", f"What the sensors read is kept in memory: {error}", event="storage")
                told = True
