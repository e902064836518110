"""The whole program with sensors: a serial device, a folder like /sys, a real MQTT broker that Home Assistant would listen to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from tests.support.mosquitto import Mosquitto
from tests.support.serial_device import SerialDevice
from tests.support.station import eventually
from tests.torture.station import Station, sky
from tests.watch.test_sensors import put


class Listener:
    """A client of the broker that keeps the newest message of each topic, and all of their payloads."""

    def __init__(self, port: int) -> None:
        self.newest: dict[str, str] = {}
        self.all: list[tuple[str, str]] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._take
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("#")
        self._client.loop_start()

    def _take(self, client: Any, data: Any, message: paho.MQTTMessage) -> None:
        self.newest[message.topic] = message.payload.decode()
        self.all.append((message.topic, message.payload.decode()))

    def publish(self, topic: str, payload: str, *, retain: bool = False) -> None:
        self._client.publish(topic, payload, 1, retain).wait_for_publish(5)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@dataclass
class Observatory:
    station: Station
    listener: Listener
    device: SerialDevice
    root: Path  # in place of /sys

    def value(self, series: str) -> float | None:
        return next((one["value"] for one in self.station.get("/api/sensors")["items"] if one["series"] == series), None)


@pytest.fixture(scope="module")
def observatory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observatory]:
    folder = tmp_path_factory.mktemp("observatory")
    root = folder / "sys"
    put(root, **{"bus/w1/devices/28-1/w1_slave": "72 01 : crc=57 YES\n72 01 t=23125\n"})
    put(root, **{"class/thermal/thermal_zone0/type": "cpu-thermal", "class/thermal/thermal_zone0/temp": "61850\n"})
    sensors = [
        {"name": "roof", "source": "digitemp", "port": str(folder / "usb-FTDI*"), "every_s": 0.5, "silent_s": 2},
        {"name": "bus", "source": "w1", "every_s": 0.5},
        {"name": "garden", "source": "mqtt", "topic": "garden/weather", "every_s": 0.5},
    ]
    heater = {"name": "heater", "series": "garden.temperature", "minus": "garden.dew_point", "on_below": 3, "least_s": 0, "topic": "dome/heater/set"}
    with Mosquitto(folder) as broker, SerialDevice(folder / "usb-FTDI_A1") as device:
        listener = Listener(broker.port)
        groups = {"mqtt": {"host": "127.0.0.1", "port": broker.port}, "sensors": sensors, "outputs": [heater], "alarms": {"sysfs": str(root)}}
        with Station(folder, sky(), more=groups) as station:
            eventually(lambda: listener.newest.get("cupola/cupola/state") == "online")
            yield Observatory(station, listener, device, root)
        listener.close()


def test_values_of_every_source_are_there_now_and_in_the_history(observatory: Observatory) -> None:
    device, listener = observatory.device, observatory.listener
    listener.publish("garden/weather", '{"temperature": 9.0, "humidity": 40}')
    eventually(lambda: observatory.value("garden.temperature") == 9.0)

    def heard() -> bool:
        device.says("May 24 21:25:43 Sensor 0 C: 23.66 F: 74.59\n")
        return observatory.value("roof.0") == 23.66

    eventually(heard)
    eventually(lambda: observatory.value("bus.28-1") == 23.125 and observatory.value("host.temperature") == 61.9)
    observatory.station.running()
    observatory.station.post("/api/cameras/north/snap", exposure_s=0.05)
    eventually(lambda: observatory.value("camera.north") is not None, 30)
    now = observatory.station.get("/api/sensors")
    assert {one["name"]: one["problem"] for one in now["sensors"]} == {"roof": None, "bus": None, "garden": None}
    history = observatory.station.get("/api/history", series="garden.dew_point,bus.28-1,nobody.x", points=2000)["items"]
    assert [(one["series"], one["unit"]) for one in history] == [("garden.dew_point", "°C"), ("bus.28-1", "°C"), ("nobody.x", None)]
    assert history[0]["points"][-1]["value"] == pytest.approx(-3.8, abs=0.2)
    assert {point["value"] for point in history[1]["points"]} == {23.125}


def test_a_dew_heater_is_switched_by_the_distance_to_the_dew_point(observatory: Observatory) -> None:
    listener = observatory.listener

    def weather(temperature: float, humidity: float, wanted: str) -> bool:
        listener.publish("garden/weather", f"T: {temperature}, H: {humidity}")
        return listener.newest.get("dome/heater/set") == wanted

    eventually(lambda: weather(10.0, 95.0, "ON"))
    eventually(lambda: weather(10.0, 50.0, "OFF"))
    eventually(lambda: weather(10.0, 95.0, "ON"))


def test_a_silent_sensor_is_an_alarm_that_ends(observatory: Observatory) -> None:
    station = observatory.station
    alarms = lambda: {alarm["what"] for alarm in station.get("/api/status")["alarms"]}  # noqa: E731
    eventually(lambda: "sensor roof" in alarms())
    eventually(lambda: "Sensor roof is silent" in observatory.listener.newest.get("cupola/cupola/problem", ""))

    def speaks() -> bool:
        observatory.device.says("May 24 21:25:43 Sensor 0 C: 23.66 F: 74.59\n")
        return "sensor roof" not in alarms()

    eventually(speaks)


# Home Assistant's documentation of MQTT discovery, sensor.mqtt and binary_sensor.mqtt, and of the device classes of sensors: what is used of it
_COMMON = {"name", "unique_id", "availability_topic", "device", "origin", "state_topic", "value_template", "device_class", "expire_after"}
_KEYS = {"sensor": _COMMON | {"state_class", "unit_of_measurement"}, "binary_sensor": _COMMON | {"json_attributes_topic"}}
_DEVICE = {"identifiers", "connections", "manufacturer", "model", "name", "hw_version", "serial_number", "sw_version", "via_device"}
_ORIGIN = {"name", "sw_version", "support_url"}
_UNITS = {
    "temperature": {"°C", "°F", "K"},
    "humidity": {"%"},
    "atmospheric_pressure": {"hPa", "Pa", "mbar", "bar", "mmHg"},
    "voltage": {"V", "mV", "kV"},
    "illuminance": {"lx"},
    "wind_speed": {"m/s", "km/h", "kn"},
    "precipitation": {"mm", "cm", "in"},
}


def test_home_assistant_is_told_of_every_series_as_it_documents_it(observatory: Observatory) -> None:
    listener = observatory.listener
    wanted = {"garden_temperature", "garden_dew_point", "bus_28-1", "host_cpu", "host_temperature"}
    prefix = "homeassistant/sensor/cupola_cupola/"
    eventually(lambda: wanted <= {topic.removeprefix(prefix).removesuffix("/config") for topic in listener.newest})
    found = {topic: json.loads(text) for topic, text in listener.newest.items() if topic.startswith("homeassistant/")}
    assert "homeassistant/binary_sensor/cupola_cupola/problem/config" in found
    for topic, config in found.items():
        assert re.fullmatch(r"homeassistant/(binary_sensor|sensor)/[A-Za-z0-9_-]+/[A-Za-z0-9_-]+/config", topic)
        component = topic.split("/")[1]
        assert config.keys() <= _KEYS[component] and {"state_topic", "unique_id", "device"} <= config.keys()
        assert config["device"]["identifiers"] and config["device"].keys() <= _DEVICE
        assert config["origin"]["name"] and config["origin"].keys() <= _ORIGIN
        assert all(isinstance(value, str) for name, value in config.items() if name not in ("device", "origin", "expire_after"))
        assert isinstance(config.get("expire_after", 0), int)
        assert listener.newest[config["availability_topic"]] == "online"
        state = json.loads(listener.newest[config["state_topic"]])
        field = re.fullmatch(r"\{\{ value_json\.(\w+) \}\}", config["value_template"])
        assert field is not None and field[1] in state
        if component == "sensor":
            assert config["state_class"] == "measurement" and isinstance(state[field[1]], int | float)
            if (kind := config.get("device_class")) is not None:
                assert config["unit_of_measurement"] in _UNITS[kind]
        else:
            assert config["device_class"] == "problem" and state[field[1]] in ("ON", "OFF")
    assert len({config["unique_id"] for config in found.values()}) == len(found)


def test_at_the_end_outputs_are_safe_and_the_broker_says_that_nobody_is_there(observatory: Observatory) -> None:
    listener, station = observatory.listener, observatory.station
    eventually(lambda: listener.publish("garden/weather", "T: 10, H: 95") or listener.newest["dome/heater/set"] == "ON")
    station.stop()
    eventually(lambda: listener.newest["dome/heater/set"] == "OFF" and listener.newest["cupola/cupola/state"] == "offline")

    listener.publish("garden/weather", "77.0", retain=True)
    station.start()
    eventually(lambda: listener.newest["cupola/cupola/state"] == "online" and observatory.value("bus.28-1"))
    assert observatory.value("garden.temperature") is None, "what the broker kept may be of last year"
    station.kill()
    eventually(lambda: listener.newest["cupola/cupola/state"] == "offline", 60)
