"""Everything that watches one station and tells its owner, put together: what `app` starts and `web` asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from cupola.camera.supervisor import CameraSupervisor
from cupola.config.model import Settings
from cupola.core.bus import Bus
from cupola.core.events import HostAlarm
from cupola.net.mqtt import Mqtt
from cupola.storage.space import free_space
from cupola.storage.telemetry import Telemetry
from cupola.stream.publisher import Publisher
from cupola.watch.channels import sender_of
from cupola.watch.homeassistant import HomeAssistant
from cupola.watch.host import HostWatch
from cupola.watch.notify import Notifier
from cupola.watch.outputs import Outputs
from cupola.watch.sensors import Sensors
from cupola.watch.streaming import StreamingWatch


class StationWatch:
    """`mqtt`: the owner's broker, `publisher`: what streams to Redis, if they are configured. Raises StorageFull and StorageFailed when telemetry.sqlite cannot be opened."""

    def __init__(
        self,
        settings: Settings,
        cameras: Mapping[str, CameraSupervisor],
        bus: Bus,
        log: Callable[..., None],
        mqtt: Mqtt | None,
        publisher: Publisher | None = None,
    ) -> None:
        self._root = settings.storage.root
        self.telemetry = Telemetry(settings.storage.state_folder / "telemetry.sqlite")
        self.notifier = Notifier(settings.notify, sender_of(settings), self.telemetry, bus, log, self._disk_words)
        self.sensors = Sensors(settings.sensors, cameras, self.telemetry, bus, log, mqtt, settings.alarms.sysfs)
        self.host = HostWatch(settings.alarms, self.sensors, bus, lambda: 100.0 - free_space(self._root).percent)
        self.outputs = Outputs(settings.outputs, lambda: self.sensors.newest, mqtt, log)
        self.streaming = None if publisher is None else StreamingWatch(publisher, bus)
        self._home = None
        if mqtt is not None and settings.mqtt is not None:
            problems = lambda: [alarm.message for alarm in self.alarms]  # noqa: E731
            self._home = HomeAssistant(mqtt, settings.station.name, settings.mqtt.discovery, lambda: self.sensors.newest, problems)

    @property
    def alarms(self) -> list[HostAlarm]:
        """Those that last: of this machine, of silent sensors, and of streaming."""
        return [*self.host.active, *self.sensors.active, *(self.streaming.active if self.streaming is not None else ())]

    async def take_up(self) -> None:
        """What was told before a restart. Before `run`."""
        await self.notifier.take_up()
        self.host.take_up(self.notifier.troubles)
        self.sensors.take_up(self.notifier.troubles)
        if self.streaming is not None:
            self.streaming.take_up(self.notifier.troubles)

    async def run(self) -> None:
        """Until cancelled; outputs are safe then, and what was read is in the history."""
        async with asyncio.TaskGroup() as tasks:
            for part in (self.notifier, self.sensors, self.host, self.outputs, self._home, self.streaming):
                if part is not None:
                    tasks.create_task(part.run(), name=type(part).__name__)
            try:
                await asyncio.Event().wait()
            finally:
                self.outputs.end()

    def _disk_words(self) -> str:
        free = free_space(self._root)
        return f"{100 - free.percent:.0f} % used ({free.bytes / 1e9:.1f} GB free)"
