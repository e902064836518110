"""How this machine does: processor, memory, threads, disk, temperature, supply, and the time that images take; alarms where it is too much.

The figures go to `watch.sensors`, which keeps them; who is told of alarms is the business of `watch.notify`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from cupola.config.sensors import Alarms
from cupola.core.bus import Bus
from cupola.core.events import HostAlarm, ImageDeveloped
from cupola.status.host import processor_sensor, temperature_c
from cupola.watch import sysfs
from cupola.watch.alarms import Alarm, Limits
from cupola.watch.sensors import Sensors

EVERY_S = 10.0
IMAGES = 9  # of which the median counts


def limits_of(alarms: Alarms) -> Iterable[Limits]:
    """Each alarm that is configured."""

    def steps(*pairs: tuple[float | None, Any]) -> list[tuple[float, Any]]:
        return [(limit, level) for limit, level in pairs if limit is not None]

    one = "WARNING"
    yield Limits("cpu", "The processor is busy", "The processor has room again", "%", steps((alarms.cpu_percent, one)), 30.0, 5.0)
    yield Limits("memory", "Memory runs short", "There is memory again", "%", steps((alarms.memory_percent, one)), 30.0, 3.0)
    yield Limits("threads", "The server has too many threads", "The server has few threads again", "", steps((alarms.threads, one)), 30.0, 1.0)
    yield Limits("processing", "Images are developed slowly", "Images are developed in time again", "s", steps((alarms.processing_s, one)), 0.0, 0.05)
    disk = steps((alarms.disk_warning_percent, one), (alarms.disk_error_percent, "ERROR"))
    yield Limits("disk", "The disk fills up", "The disk has room again", "%", sorted(disk), 0.0, 2.0)
    yield Limits("temperature", "The processor is hot", "The processor has cooled down", "°C", steps((alarms.temperature_c, one)), 30.0, 5.0)
    voltage = steps((0.5 if alarms.under_voltage else None, "ERROR"))
    yield Limits("under_voltage", "The supply is too weak", "The supply is strong enough again", "", voltage)


class HostWatch:
    """`disk_percent` gives the use of the disk of the images."""

    def __init__(self, alarms: Alarms, sensors: Sensors, bus: Bus, disk_percent: Callable[[], float]) -> None:
        self._root: Path = alarms.sysfs
        self._sensors, self._bus, self._disk_percent = sensors, bus, disk_percent
        self._alarms = {limits.what: Alarm(limits) for limits in limits_of(alarms) if limits.steps}
        self._cpu: deque[float] = deque(maxlen=round(300 / EVERY_S))
        self._developed_s: deque[float] = deque(maxlen=IMAGES)
        self._process = psutil.Process()

    @property
    def active(self) -> list[HostAlarm]:
        """The alarms that last."""
        return [alarm.now for alarm in self._alarms.values() if alarm.now is not None]

    def take_up(self, troubles: Mapping[str, Mapping[str, Any]]) -> None:
        """Those that were told before a restart, by their keys, so that their end is told too."""
        for what, alarm in self._alarms.items():
            if (trouble := troubles.get(f"host:{what}")) is not None:
                alarm.take_up(trouble["told"])

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hear(), name="time of images")
            psutil.cpu_percent()  # the first one has nothing to compare with
            while True:
                now = await asyncio.to_thread(self._look)
                for what, (unit, value) in now.items():
                    self._sensors.note(f"host.{what}", unit, value, tell=what == "temperature")
                    if what != "cpu":
                        self._judge(what, value)
                self._cpu.append(now["cpu"][1])
                if len(self._cpu) == self._cpu.maxlen:
                    self._judge("cpu", sum(self._cpu) / len(self._cpu))
                await asyncio.sleep(EVERY_S)

    def _look(self) -> dict[str, tuple[str, float]]:
        """Unit and value of each figure."""
        found = {
            "cpu": ("%", psutil.cpu_percent()),
            "memory": ("%", psutil.virtual_memory().percent),
            "threads": ("", float(self._process.num_threads())),
            "disk": ("%", self._disk_percent()),
        }
        if (celsius := temperature_c(processor_sensor(self._root))) is not None:
            found["temperature"] = ("°C", celsius)
        if (weak := sysfs.under_voltage(self._root)) is not None:
            found["under_voltage"] = ("", float(weak))
        return found

    async def _hear(self) -> None:
        with self._bus.subscribe() as heard:
            async for event in heard:
                if isinstance(event, ImageDeveloped) and event.took_ms is not None:
                    self._developed_s.append(event.took_ms / 1000)
                    if len(self._developed_s) == IMAGES:
                        self._judge("processing", median(self._developed_s))

    def _judge(self, what: str, value: float) -> None:
        alarm = self._alarms.get(what)
        event = None if alarm is None else alarm.judge(value, time.monotonic())
        if event is not None:
            self._bus.publish(event)
