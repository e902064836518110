"""Sensors that are read: serial devices behind pseudo terminals, the kernel's files in a folder that looks like /sys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.serial_device import SerialDevice

from cupola.config.sensors import Sensor
from cupola.core.bus import Bus
from cupola.core.events import HostAlarm, SensorReading
from cupola.storage.telemetry import Telemetry
from cupola.watch.sensors import Sensors, SensorState


class Reading:
    """Sensors that are running, and what they told."""

    def __init__(self, sensors: Sensors, bus: Bus) -> None:
        self.sensors, self.alarms, self.read = sensors, list[HostAlarm](), list[SensorReading]()
        self._bus = bus

    @property
    def state(self) -> SensorState:
        return self.sensors.states[0]

    async def hear(self) -> None:
        with self._bus.subscribe() as heard:
            async for event in heard:
                if isinstance(event, HostAlarm):
                    self.alarms.append(event)
                if isinstance(event, SensorReading):
                    self.read.append(event)

    async def until(self, condition: Callable[[], Any], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)

    def value(self, series: str) -> float | None:
        one = self.sensors.newest.get(series)
        return None if one is None else one.value


@asynccontextmanager
async def reading(folder: Path, root: Path, **keys: Any) -> AsyncIterator[Reading]:
    """One sensor with these keys. `root`: in place of /sys."""
    telemetry, bus = Telemetry(folder / "telemetry.sqlite"), Bus()
    sensors = Sensors([Sensor(**{"every_s": 0.5, **keys})], {}, telemetry, bus, lambda *_, **__: None, None, root)
    told = Reading(sensors, bus)
    tasks = [asyncio.create_task(told.hear()), asyncio.create_task(sensors.run())]
    try:
        yield told
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        telemetry.close()


DIGITEMP = (
    "4:25:43 Sensor 0 C: 11.11 F: 52.00\n",
    "May 24 21:25:43 Sensor 0 C: 23.66 F: 74.59\r\nMay 24 21:25:44 Sensor 1 C: -3.50 F: 25.70\r\n",
    "May 24 21:25:45 Sensor 0 C: 99.99 F: 1.00\n",
    "\nMay 24 21:26:43 Sensor 0 C: 24.00 F: 75.20\n",
    ("0", "1"),
)
ARDUINO = ("t: 11.11\n", "box: 23.66, lid: -3.50\r\n", "box: 9e999\n", "\nbox: 24.00\n", ("box", "lid"))


@pytest.mark.parametrize(("source", "spoken"), [("digitemp", DIGITEMP), ("arduino", ARDUINO)])
async def test_a_serial_device_is_read_through_garbage_silence_and_being_unplugged(tmp_path: Path, source: str, spoken: tuple[Any, ...]) -> None:
    half, two_values, impossible, later, names = spoken
    first, second = (f"roof.{name}" for name in names)
    port = {"name": "roof", "source": source, "port": str(tmp_path / "usb-FTDI*"), "silent_s": 1.5}
    with SerialDevice(tmp_path / "usb-FTDI_A1") as device:
        async with reading(tmp_path, tmp_path, **port) as told:
            await told.until(lambda: told.state.problem is None)
            device.says(half)  # it was speaking when we came
            device.says(two_values)
            await told.until(lambda: told.value(first) == 23.66 and told.value(second) == -3.5)
            assert told.state.bad == 0

            device.says(b"\x00\xff\xfe garbage\n\n" + b"x" * 5000 + b"\n" + impossible.encode())
            await told.until(lambda: told.state.bad >= 3)
            assert told.value(first) == 23.66 and tuple(sorted(told.state.names)) == names

            await told.until(lambda: told.alarms and told.alarms[-1].active)
            assert told.alarms[0].what == "sensor roof"

            device.unplug()
            await told.until(lambda: told.state.problem is not None)
            device.name = tmp_path / "usb-FTDI_A1"  # the same adapter, at another port of the computer
            device.plug_in()
            await told.until(lambda: told.state.problem is None)
            device.says(later)
            await told.until(lambda: told.value(first) == 24.0)
            await told.until(lambda: not told.alarms[-1].active)
        assert [one.value for one in told.read if one.series == first] == [23.66, 24.0]


async def test_an_arduino_gives_its_values_by_name_and_their_dew_point(tmp_path: Path) -> None:
    with SerialDevice(tmp_path / "usb-Arduino") as device:
        async with reading(tmp_path, tmp_path, name="dome", source="arduino", port=str(device.name)) as told:
            await told.until(lambda: told.state.problem is None)
            device.says("Booting...\nT: 20.0, H: 50.0\n")
            await told.until(lambda: told.value("dome.dew_point") is not None)
            assert told.value("dome.dew_point") == pytest.approx(9.3, abs=0.1)
            for _ in range(50):
                device.says("T: 21.0, H: 50.0\n")
            await told.until(lambda: told.state.good >= 51)
            assert sum(one.series == "dome.temperature" for one in told.read) <= 2, "not more often than every_s"


async def test_a_port_that_is_not_there_or_not_unique_is_named(tmp_path: Path) -> None:
    async with reading(tmp_path, tmp_path, name="roof", source="digitemp", port=str(tmp_path / "usb-*")) as told:
        await told.until(lambda: "there is no serial port" in (told.state.problem or ""))
        with SerialDevice(tmp_path / "usb-1"), SerialDevice(tmp_path / "usb-2"):
            await told.until(lambda: "name one of them" in (told.state.problem or ""))


def put(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


async def test_thermometers_of_the_1_wire_bus_come_and_go(tmp_path: Path) -> None:
    root = tmp_path / "sys"
    good = "72 01 : crc=57 YES\n72 01 t={}\n"
    async with reading(tmp_path, root, name="bus", source="w1", silent_s=1.0) as told:
        await told.until(lambda: told.state.problem == "there is no 1-wire thermometer")
        put(root, **{"bus/w1/devices/28-1/w1_slave": good.format(23125), "bus/w1/devices/28-2/w1_slave": good.format(-5500)})
        await told.until(lambda: (told.value("bus.28-1"), told.value("bus.28-2")) == (23.125, -5.5))
        put(root, **{"bus/w1/devices/28-1/w1_slave": good.format(24000), "bus/w1/devices/28-2/w1_slave": "00 : crc=00 NO\n00 t=0\n"})
        await told.until(lambda: told.value("bus.28-1") == 24.0)
        assert told.value("bus.28-2") == -5.5, "a reading with a wrong check sum is none"


@pytest.mark.parametrize(
    ("keys", "files", "values"),
    [
        (
            {"source": "hwmon", "device": "sht3x"},
            {"class/hwmon/hwmon1/name": "sht3x\n", "class/hwmon/hwmon1/temp1_input": "21500\n", "class/hwmon/hwmon1/humidity1_input": "45250\n"},
            {"temperature": 21.5, "humidity": 45.25},
        ),
        (
            {"source": "hwmon"},
            {"class/hwmon/hwmon0/name": "nvme", "class/hwmon/hwmon0/temp1_input": "40850", "class/hwmon/hwmon0/temp2_input": "51850"}
            | {"class/hwmon/hwmon0/temp1_label": "Composite"},
            {"nvme_composite": 40.85, "nvme_temp2": 51.85},
        ),
        (
            {"source": "iio", "device": "bme280"},
            {"bus/iio/devices/iio:device0/name": "bme280", "bus/iio/devices/iio:device0/in_temp_input": "21570"}
            | {"bus/iio/devices/iio:device0/in_humidityrelative_input": "45123", "bus/iio/devices/iio:device0/in_pressure_input": "95.3258"},
            {"temperature": 21.57, "humidity": 45.123, "pressure": 953.258},
        ),
        (
            {"source": "iio", "device": "hdc2010"},
            {"bus/iio/devices/iio:device1/name": "hdc2010", "bus/iio/devices/iio:device1/in_temp_raw": "25000"}
            | {"bus/iio/devices/iio:device1/in_temp_offset": "-15887.5", "bus/iio/devices/iio:device1/in_temp_scale": "2.517700195"},
            {"temperature": 22.9425},
        ),
    ],
)
async def test_chips_of_the_kernel_are_read_in_our_units(
    tmp_path: Path, keys: dict[str, str], files: dict[str, str], values: dict[str, float]
) -> None:
    root = tmp_path / "sys"
    put(root, **files)
    async with reading(tmp_path, root, name="box", **keys) as told:
        await told.until(lambda: all(told.value(f"box.{name}") is not None for name in values))
        assert {name: told.value(f"box.{name}") for name in values} == pytest.approx(values)
