"""Dew heaters and fans: switched by a value of the sensors, with hysteresis, and safe when that is not known or Cupola ends.

A GPIO line is let go when its process ends, however it ends; most boards then pull it to what it is without power. A switch behind MQTT that
must not stay on when this machine dies has to watch the station's topic `cupola/STATION/state`, which says `offline` then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from cupola.config.sensors import Output
from cupola.net.mqtt import Mqtt
from cupola.watch.sensors import Newest

TICK_S = 1.0
GPIO_RETRY_S = 10.0


class Switch:
    """When an output is on. Pure: `judge` is given the value, None where it is unknown, and the moment in monotonic seconds."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.on = output.safe == "on"
        self.known = False
        self._since: float | None = None

    def judge(self, value: float | None, now: float) -> bool:
        output = self.output
        self.known = value is not None
        if value is None:
            self.on, self._since = output.safe == "on", None
            return self.on
        if output.on_below is not None:
            wanted = value < output.on_below + (output.hysteresis if self.on else 0.0)
        else:
            assert output.on_above is not None
            wanted = value > output.on_above - (output.hysteresis if self.on else 0.0)
        if wanted != self.on and (self._since is None or now - self._since >= output.least_s):
            self.on, self._since = wanted, now
        return self.on


class _Line(Protocol):
    def set(self, on: bool) -> None:
        """Raises OSError."""
        ...

    def close(self) -> None: ...


class _Topic:
    def __init__(self, mqtt: Mqtt, topic: str) -> None:
        self._mqtt, self._topic = mqtt, topic

    def set(self, on: bool) -> None:
        self._mqtt.publish(self._topic, "ON" if on else "OFF", retain=True, qos=1)

    def close(self) -> None:
        pass


class _Gpio:
    """A line of a GPIO chip, held while it lives. Raises OSError."""

    def __init__(self, output: Output, on: bool) -> None:
        try:
            import gpiod  # pyright: ignore[reportMissingImports]
            from gpiod.line import Direction, Value  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise OSError("gpiod is not installed; install it with: pip install cupola[gpio]") from None
        self._values: tuple[Any, Any] = (Value.INACTIVE, Value.ACTIVE)
        self._number = output.gpio_line
        settings = gpiod.LineSettings(direction=Direction.OUTPUT, active_low=output.active_low, output_value=self._values[on])
        try:
            self._request = gpiod.request_lines(str(output.gpio_chip), consumer="cupola", config={self._number: settings})
        except ValueError as error:
            raise OSError(str(error)) from None

    def set(self, on: bool) -> None:
        self._request.set_value(self._number, self._values[on])

    def close(self) -> None:
        self._request.release()


class Outputs:
    """`switches` and, by name, `problems` in words. `newest`: of the sensors."""

    def __init__(self, outputs: list[Output], newest: Callable[[], Mapping[str, Newest]], mqtt: Mqtt | None, log: Callable[..., None]) -> None:
        self.switches = [Switch(output) for output in outputs]
        self.problems: dict[str, str] = {}
        self._newest, self._mqtt, self._log = newest, mqtt, log
        self._lines: dict[str, _Line] = {}
        self._set: dict[str, bool] = {}
        self._again_at: dict[str, float] = {}

    async def run(self) -> None:
        """Until cancelled; everything is safe then."""
        try:
            while True:
                now = time.monotonic()
                for switch in self.switches:
                    self._apply(switch, switch.judge(self._value(switch.output, now), now), now)
                await asyncio.sleep(TICK_S)
        finally:
            self.end()

    def end(self) -> None:
        """Switch everything to what is safe, and let go of it. At once, as the connection to the broker may end next. Idempotent."""
        for switch in self.switches:
            self._apply(switch, switch.judge(None, time.monotonic()), float("inf"))
        for line in self._lines.values():
            line.close()
        self.switches, self._lines = [], {}

    def _value(self, output: Output, now: float) -> float | None:
        known = self._newest()
        found = [known.get(series) for series in (output.series, output.minus) if series is not None]
        values = [one.value for one in found if one is not None and now - one.mono <= output.stale_s]
        if len(values) < len(found):
            return None
        return values[0] - values[1] if len(values) == 2 else values[0]

    def _apply(self, switch: Switch, on: bool, now: float) -> None:
        output = switch.output
        if self._set.get(output.name) == on or now < self._again_at.get(output.name, 0.0):
            return
        try:
            line = self._lines.get(output.name)
            if line is None:
                line = self._lines[output.name] = self._open(output, on)
            line.set(on)
        except OSError as error:
            if output.name not in self.problems:
                self._log("ERROR", f"Output {output.name} cannot be switched: {error}. It is tried again.", event="output")
            self.problems[output.name] = str(error)
            self._again_at[output.name] = now + GPIO_RETRY_S
            return
        self.problems.pop(output.name, None)
        self._set[output.name] = on
        why = "" if switch.known else f", to be safe, as {output.series} is not known"
        self._log("INFO", f"Output {output.name} is switched {'on' if on else 'off'}{why}.", event="output")

    def _open(self, output: Output, on: bool) -> _Line:
        if output.topic is not None:
            assert self._mqtt is not None  # the configuration sees to it
            return _Topic(self._mqtt, output.topic)
        return _Gpio(output, on)
