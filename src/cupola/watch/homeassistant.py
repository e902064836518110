"""Sensors and alarms as topics of the owner's MQTT broker, announced so that Home Assistant finds them by itself.

Announcements follow Home Assistant's "MQTT discovery", one retained message an entity. The connection, and the topic that says whether the station
is there, are `net.mqtt`'s.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from cupola import __version__
from cupola.core.clock import iso_utc
from cupola.net.mqtt import Mqtt
from cupola.watch.sensors import Newest

TICK_S = 1.0
EXPIRE_S = 600  # without a value for so long it is shown as unavailable
# device classes of Home Assistant, by unit; that of % is for humidity alone
_CLASSES = {"°C": "temperature", "hPa": "atmospheric_pressure", "V": "voltage", "lx": "illuminance", "m/s": "wind_speed", "mm": "precipitation"}


class HomeAssistant:
    """`prefix`: where Home Assistant looks for announcements; None: nothing is announced, values are published all the same."""

    def __init__(
        self, mqtt: Mqtt, station: str, prefix: str | None, newest: Callable[[], Mapping[str, Newest]], problems: Callable[[], list[str]]
    ) -> None:
        self._mqtt, self._station, self._prefix, self._newest, self._problems = mqtt, station, prefix, newest, problems
        self._base = f"cupola/{station}"
        self._told: dict[str, datetime] = {}
        self._problem: list[str] | None = None
        mqtt.will(f"{self._base}/state", gone="offline", here="online")

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for series, one in self._newest().items():
                if series not in self._told:
                    self._announce("sensor", series, self._sensor(series, one.unit))
                if self._told.get(series) != one.at:
                    self._told[series] = one.at
                    self._mqtt.publish(f"{self._base}/{series}", json.dumps({"value": round(one.value, 3), "at": iso_utc(one.at)}))
            problems = self._problems()
            if problems != self._problem:
                if self._problem is None:
                    self._announce("binary_sensor", "problem", self._problem_sensor())
                self._problem = problems
                state = {"state": "ON" if problems else "OFF", "messages": problems}
                self._mqtt.publish(f"{self._base}/problem", json.dumps(state), retain=True)
            await asyncio.sleep(TICK_S)

    def _announce(self, component: str, name: str, config: dict[str, Any]) -> None:
        if self._prefix is None:
            return
        own = re.sub(r"[^A-Za-z0-9_-]", "_", name)
        document = {
            **config,
            "unique_id": f"cupola_{self._station}_{own}",
            "availability_topic": f"{self._base}/state",
            "device": {"identifiers": [f"cupola_{self._station}"], "name": self._station, "manufacturer": "Cupola", "sw_version": __version__},
            "origin": {"name": "Cupola", "sw_version": __version__},
        }
        self._mqtt.publish(f"{self._prefix}/{component}/cupola_{self._station}/{own}/config", json.dumps(document), retain=True, qos=1)

    def _sensor(self, series: str, unit: str) -> dict[str, Any]:
        config: dict[str, Any] = {
            "name": series.replace(".", " ").replace("_", " "),
            "state_topic": f"{self._base}/{series}",
            "value_template": "{{ value_json.value }}",
            "state_class": "measurement",
            "expire_after": EXPIRE_S,
        }
        kind = "humidity" if series.endswith("humidity") and unit == "%" else _CLASSES.get(unit)
        if kind is not None:
            config["device_class"] = kind
        if unit:
            config["unit_of_measurement"] = unit
        return config

    def _problem_sensor(self) -> dict[str, Any]:
        topic = f"{self._base}/problem"
        return {
            "name": "problem",
            "state_topic": topic,
            "value_template": "{{ value_json.state }}",
            "json_attributes_topic": topic,
            "device_class": "problem",
        }
