"""Two cameras of a configuration that mean one device."""

from pathlib import Path

import pytest

from cupola.config.load import from_text
from cupola.config.problems import ConfigProblems


def two(first: str, second: str) -> str:
    return f"cameras:\n  - {{name: north, driver: gphoto, gphoto: {first}}}\n  - {{name: dome, driver: gphoto, gphoto: {second}}}\n"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{}", "{}"),
        ("{serial: '1'}", "{serial: '1'}"),
        ("{serial: '1'}", "{}"),
        ("{port: 'usb:001,002'}", "{port: 'usb:001,002'}"),
        ("{serial: '0000123'}", "{serial: '123'}"),
    ],
)
def test_two_cameras_for_one_device_are_refused_by_name(first: str, second: str) -> None:
    with pytest.raises(ConfigProblems, match=r'cameras\[1\]\.gphoto: names the device that camera "north" has already'):
        from_text(two(first, second), "cupola.yaml", Path("/base"))


@pytest.mark.parametrize(
    ("first", "second", "apart"),
    [
        ("{}", "{}", False),
        ("{}", "{device: CCD Simulator}", False),
        ("{device: CCD Simulator}", "{host: 127.0.0.1}", False),
        ("{host: localhost, device: CCD Simulator}", "{host: '::1', device: CCD Simulator}", False),
        ("{device: CCD Simulator}", "{device: Guide Simulator}", True),
        ("{device: CCD}", "{device: CCD Simulator}", True),
        ("{}", "{port: 7625}", True),
        ("{host: roof}", "{host: garden}", True),
    ],
)
def test_two_cameras_for_one_device_of_an_indi_server_are_refused(first: str, second: str, apart: bool) -> None:
    text = two(first, second).replace("gphoto", "indi")
    if apart:
        from_text(text, "cupola.yaml", Path("/base"))
    else:
        with pytest.raises(ConfigProblems, match=r'cameras\[1\]\.indi: names the device that camera "north" has already'):
            from_text(text, "cupola.yaml", Path("/base"))


def test_two_devices_and_cameras_of_other_drivers_are_fine() -> None:
    from_text(two("{serial: '1'}", "{serial: '2'}"), "cupola.yaml", Path("/base"))
    from_text("cameras:\n  - {name: a, driver: simulator}\n  - {name: b, driver: simulator}\n", "cupola.yaml", Path("/base"))


def test_serial_and_port_together_are_refused() -> None:
    with pytest.raises(ConfigProblems, match="remove port"):
        from_text("cameras:\n  - {name: a, driver: gphoto, gphoto: {serial: '1', port: 'usb:001,002'}}\n", "cupola.yaml", Path("/base"))
