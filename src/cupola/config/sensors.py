"""Sensors beside the cameras, what is switched by them, and when this machine is not well: `sensors[]`, `outputs[]`, `alarms`."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from cupola.config.base import Block, ConfigPath, Float, Int, key
from cupola.config.mqtt import Topic

Source = Literal["digitemp", "arduino", "w1", "hwmon", "iio", "mqtt"]
_NAME = r"^[a-z0-9][a-z0-9_-]{0,31}$"
_SERIES = r"^[a-z0-9][A-Za-z0-9_-]{0,31}\.[A-Za-z0-9_-]{1,48}$"


class Sensor(Block):
    """Something that measures temperature, humidity or the like. Each of its values becomes a series, `NAME.VALUE`, such as `roof.temperature`."""

    _OF: ClassVar[dict[str, tuple[Source, ...]]] = {
        "port": ("digitemp", "arduino"),
        "device": ("w1", "hwmon", "iio"),
        "topic": ("mqtt",),
    }

    name: str = key(..., "Name", "What the sensor is called.", rule="small letters, digits, - and _; not host or camera", pattern=_NAME)
    source: Source = key(
        ...,
        "Source",
        "digitemp: lines of DigiTemp on a serial port; arduino: numbers, NAME:VALUE or JSON, line by line, on a serial port; w1: 1-wire thermometers; "
        "hwmon, iio: the kernel's drivers (BME280, SHT, DS18B20 …); mqtt: a topic.",
    )
    port: str | None = key(
        None,
        "Port",
        "Serial port, best by its lasting name, where * stands for anything: /dev/serial/by-id/usb-FTDI*; null: the only one there is.",
        min_length=1,
        max_length=256,
    )
    baud: Int = key(9600, "Speed", "Of the serial port.", unit="baud", ge=300, le=4_000_000)
    device: str | None = key(
        None,
        "Device",
        "w1: its number, such as 28-0316a2795bff; hwmon and iio: its chip, such as bme280; null: all there are.",
        min_length=1,
        max_length=64,
    )
    topic: Topic | None = key(None, "Topic", "MQTT topic whose messages are a number, NAME:VALUE pairs or JSON.")
    every_s: Float = key(10.0, "Every", "A value is taken so often, and not more often if it comes more often.", unit="s", ge=0.5, le=3600)
    silent_s: Float = key(120.0, "Silent", "Without a value for so long there is an alarm.", unit="s", ge=1, le=86400)

    @model_validator(mode="after")
    def _keys_of_its_source(self) -> Sensor:
        if self.name in ("host", "camera"):
            raise PydanticCustomError("of_source", "is called {name}, as Cupola's own series are", {"name": self.name, "hint": "choose another name"})
        for name, sources in self._OF.items():
            if getattr(self, name) is not None and self.source not in sources:
                words = {"key": name, "given": name, "source": self.source, "hint": f"it is for {' and '.join(sources)}"}
                raise PydanticCustomError("of_source", "has {given}, which source: {source} has no use for", words)
        if self.source == "mqtt" and self.topic is None:
            raise PydanticCustomError("of_source", "needs a topic with source: mqtt", {"hint": "such as garden/weather"})
        return self


class Output(Block):
    """A dew heater, a fan or the like, switched by a series of the sensors. Switched to `safe` while that is unknown, and when Cupola ends."""

    name: str = key(..., "Name", "What is switched.", rule="small letters, digits, - and _", pattern=_NAME)
    series: str = key(..., "Series", "The value that decides, such as roof.temperature.", rule="NAME.VALUE", pattern=_SERIES)
    minus: str | None = key(
        None, "Minus", "Decide by the difference to this series, such as roof.dew_point for a dew heater; null: by the value itself.", pattern=_SERIES
    )
    on_below: Float | None = key(None, "On below", "Switched on below this value; one of on_below and on_above is needed.", ge=-300, le=100_000)
    on_above: Float | None = key(None, "On above", "Switched on above this value.", ge=-300, le=100_000)
    hysteresis: Float = key(1.0, "Hysteresis", "Switched off again only when the value is beyond the limit by so much.", ge=0, le=1000)
    least_s: Float = key(30.0, "Least time", "It stays on, or off, for so long at least, unless it has to become safe.", unit="s", ge=0, le=3600)
    stale_s: Float = key(300.0, "Stale", "A value older than this is unknown.", unit="s", ge=1, le=86400)
    safe: Literal["off", "on"] = key("off", "Safe", "What it is switched to while the value is unknown, and at the end.")
    topic: Topic | None = key(None, "Topic", "MQTT topic to which ON and OFF are published; one of topic and gpio_chip is needed.")
    gpio_chip: Path | None = key(None, "GPIO chip", "Device of a GPIO chip, such as /dev/gpiochip0.")
    gpio_line: Int = key(0, "GPIO line", "Number of the line of that chip.", ge=0, le=511)
    active_low: bool = key(False, "Active low", "Whether the line is low when it is switched on.")

    @model_validator(mode="after")
    def _one_of_each(self) -> Output:
        if (self.on_below is None) == (self.on_above is None):
            raise PydanticCustomError("output", "needs one of on_below and on_above", {"hint": "a heater goes on below, a fan above"})
        if (self.topic is None) == (self.gpio_chip is None):
            raise PydanticCustomError("output", "needs one of topic and gpio_chip", {"hint": "keep one of the two"})
        return self


class Alarms(Block):
    """When this machine is not well. null: no such alarm."""

    cpu_percent: Float | None = key(70.0, "CPU", "Use of all cores, in the mean of five minutes.", unit="%", gt=0, le=100)
    memory_percent: Float | None = key(80.0, "Memory", "Use of the memory.", unit="%", gt=0, le=100)
    threads: Int | None = key(30, "Threads", "Threads of the server.", ge=1, le=10_000)
    processing_s: Float | None = key(0.5, "Processing", "Developing an image, in the median of nine.", unit="s", gt=0, le=3600)
    disk_warning_percent: Float | None = key(80.0, "Disk", "Use of the disk of the images: a warning.", unit="%", gt=0, le=100)
    disk_error_percent: Float | None = key(90.0, "Disk full", "Use of the disk of the images: an error.", unit="%", gt=0, le=100)
    temperature_c: Float | None = key(80.0, "Temperature", "Of the processor. A Raspberry Pi slows down from 80 °C on.", unit="°C", gt=0, le=150)
    under_voltage: bool = key(True, "Under-voltage", "Whether the supply is too weak, where the kernel tells it (Raspberry Pi).")
    sysfs: ConfigPath = key(Path("/sys"), "sysfs", "Where the kernel shows its sensors, those of `sensors[]` too.")
