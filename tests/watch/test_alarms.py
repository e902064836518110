"""When a figure is too high, and when not any more; and what is switched by one."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from tests.watch.test_sensors import put

from cupola.config.mqtt import Broker
from cupola.config.sensors import Alarms, Output
from cupola.core.clock import utc_now
from cupola.core.events import HostAlarm
from cupola.net.mqtt import Mqtt
from cupola.watch import sysfs
from cupola.watch.alarms import Alarm, Limits
from cupola.watch.host import limits_of
from cupola.watch.outputs import Outputs, Switch
from cupola.watch.sensors import Newest

DISK = Limits("disk", "The disk fills up", "The disk has room again", "%", ((80.0, "WARNING"), (90.0, "ERROR")), hold_s=0.0, slack=2.0)


def told(alarm: Alarm, *values: tuple[float, float]) -> list[tuple[str, bool]]:
    """Level and whether it lasts, of what is told of these figures and moments."""
    events = [alarm.judge(value, at_s) for value, at_s in values]
    return [(event.level, event.active) for event in events if isinstance(event, HostAlarm)]


def test_a_disk_that_fills_up_and_is_cleared_is_told_of_at_each_limit_once() -> None:
    rising = [(float(percent), float(percent)) for percent in range(70, 96)]
    assert told(Alarm(DISK), *rising, (89.0, 200.0), (87.0, 201.0), (79.0, 202.0), (77.0, 203.0)) == [
        ("WARNING", True),
        ("ERROR", True),
        ("WARNING", True),
        ("WARNING", False),
    ]


def test_a_figure_at_its_limit_does_not_make_an_alarm_again_and_again() -> None:
    wavering = [(79.5 + number % 2, float(number)) for number in range(100)]
    assert told(Alarm(DISK), *wavering) == [("WARNING", True)]


def test_a_short_peak_is_no_alarm_where_it_has_to_last() -> None:
    limits = Limits("cpu", "", "", "%", ((70.0, "WARNING"),), hold_s=30.0, slack=5.0)
    alarm = Alarm(limits)
    assert told(alarm, (90, 0), (90, 29), (10, 30), (90, 31), (90, 60)) == []
    assert told(alarm, (90, 61), (60, 70), (60, 99)) == [("WARNING", True)]
    assert told(alarm, (60, 100)) == [("WARNING", False)]


def test_an_alarm_of_before_a_restart_is_told_to_be_over() -> None:
    alarm = Alarm(DISK)
    alarm.take_up("ERROR")
    assert told(alarm, (95, 0)) == [] and alarm.now is not None
    assert told(alarm, (40, 1)) == [("ERROR", False)] and alarm.now is None


def test_the_defaults_are_those_that_are_promised() -> None:
    limits = {one.what: [limit for limit, _ in one.steps] for one in limits_of(Alarms())}
    assert limits == {
        "cpu": [70.0],
        "memory": [80.0],
        "threads": [30],
        "processing": [0.5],
        "disk": [80.0, 90.0],
        "temperature": [80.0],
        "under_voltage": [0.5],
    }


def test_the_supply_of_a_pi_is_found(tmp_path: Path) -> None:
    assert sysfs.under_voltage(tmp_path) is None
    put(tmp_path, **{"class/hwmon/hwmon2/name": "rpi_volt\n", "class/hwmon/hwmon2/in0_lcrit_alarm": "1\n"})
    assert sysfs.under_voltage(tmp_path) is True
    put(tmp_path, **{"class/hwmon/hwmon2/in0_lcrit_alarm": "0\n"})
    assert sysfs.under_voltage(tmp_path) is False


def heater(**keys: Any) -> Switch:
    return Switch(Output(**{"name": "heater", "series": "roof.temperature", "on_below": 3.0, "topic": "x", "least_s": 30.0, **keys}))


def test_a_heater_goes_on_below_its_limit_and_off_beyond_the_hysteresis() -> None:
    switch = heater(least_s=0.0)
    assert [switch.judge(value, 0.0) for value in (5.0, 3.0, 2.9, 3.5, 3.9, 4.0, 3.5)] == [False, False, True, True, True, False, False]


def test_a_fan_goes_on_above_its_limit() -> None:
    switch = heater(on_below=None, on_above=50.0, hysteresis=5.0, least_s=0.0)
    assert [switch.judge(value, 0.0) for value in (50.0, 50.1, 46.0, 45.0, 49.0)] == [False, True, True, False, False]


def test_an_output_is_not_switched_too_often_but_at_once_to_what_is_safe() -> None:
    switch = heater()
    assert [switch.judge(value, at_s) for value, at_s in ((2.0, 0.0), (9.0, 10.0), (9.0, 29.0), (9.0, 30.0))] == [True, True, True, False]
    assert switch.judge(2.0, 61.0) is True
    assert switch.judge(None, 62.0) is False and not switch.known
    assert heater(safe="on").judge(None, 0.0) is True


async def test_an_output_whose_chip_is_not_there_is_told_once_and_the_others_are_switched(tmp_path: Path) -> None:
    said: list[str] = []
    there = Output(name="fan", series="host.temperature", on_above=60, topic="fan/set")
    gone = Output(name="heater", series="host.temperature", on_above=60, gpio_chip=tmp_path / "gpiochip0")
    broker = Mqtt(Broker(host="127.0.0.1", port=9), "test", lambda *_, **__: None)
    newest = {"host.temperature": Newest(70.0, "°C", utc_now(), time.monotonic())}
    outputs = Outputs([gone, there], lambda: newest, broker, lambda level, words, **_: said.append(f"{level} {words}"))
    running = asyncio.create_task(outputs.run())
    try:
        async with asyncio.timeout(10):
            while not any("fan is switched on" in words for words in said):
                await asyncio.sleep(0.01)
        assert list(outputs.problems) == ["heater"]
        newest.clear()
        async with asyncio.timeout(10):
            while not any("fan is switched off, to be safe" in words for words in said):
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert [words for words in said if "heater" in words] == [words for words in said if "cannot be switched" in words][:1]
