"""The helper that resets USB ports, on a made-up sysfs and a made-up uhubctl: no USB bus to reset here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cupola import usb_reset
from cupola.usb_reset import Refused, cycle_power, main, reset


@pytest.fixture
def usb(tmp_path: Path) -> Path:
    """A camera at 1-1.4, a hub at 1-1, a disk at 2-1, a device of an old kernel at 3-1."""
    usb = tmp_path / "usb"
    for port, device_class, interface_class in (("1-1.4", "00", "ff"), ("1-1", "09", "09"), ("2-1", "00", "08"), ("3-1", "ef", "0e")):
        folder = usb / "devices" / port
        (folder / f"{port}:1.0").mkdir(parents=True)
        (folder / "bDeviceClass").write_text(f"{device_class}\n")
        (folder / f"{port}:1.0" / "bInterfaceClass").write_text(f"{interface_class}\n")
        if port != "3-1":
            (folder / "authorized").write_text("1\n")
    (usb / "drivers" / "usb").mkdir(parents=True)
    return usb


def test_a_port_is_switched_off_and_on(usb: Path) -> None:
    authorized = usb / "devices" / "1-1.4" / "authorized"
    process = subprocess.Popen([sys.executable, "-c", _run(usb, 0.5), "1-1.4"], stdout=subprocess.PIPE, text=True)
    until = time.monotonic() + 10
    while authorized.read_text() != "0" and time.monotonic() < until:
        time.sleep(0.01)
    assert authorized.read_text() == "0"
    assert process.communicate(timeout=10)[0] == "USB port 1-1.4 was switched off and on (authorized).\n"
    assert process.returncode == 0
    assert authorized.read_text() == "1"


def _run(usb: Path, off_s: float) -> str:
    return f"import sys, pathlib; from cupola.usb_reset import main; sys.exit(main(None, pathlib.Path({str(usb)!r}), {off_s}))"


def test_what_was_switched_off_is_switched_on_although_the_helper_is_told_to_end(usb: Path) -> None:
    authorized = usb / "devices" / "1-1.4" / "authorized"
    process = subprocess.Popen([sys.executable, "-c", _run(usb, 0.5), "1-1.4"], stdout=subprocess.PIPE)
    until = time.monotonic() + 10
    while authorized.read_text() != "0" and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 0
    assert authorized.read_text() == "1"


def test_a_kernel_without_authorized_unbinds_and_binds(usb: Path) -> None:
    assert reset("3-1", usb, 0) == "USB port 3-1 was unbound and bound again."
    assert [(usb / "drivers" / "usb" / name).read_text() for name in ("unbind", "bind")] == ["3-1", "3-1"]


@pytest.mark.parametrize(
    "port",
    [
        "",
        "usb1",
        "1-0",
        "0-1",
        "1",
        "1-1.",
        "1-1.4/../2-1",
        "../1-1.4",
        "1-1.4\n",
        "1-1.4 2-1",
        "1-1.4;reboot",
        "1-¹",
        "1-1.4:1.0",
        "1-" + "1." * 9 + "1",
        "/1-1",
    ],
)
def test_what_is_no_port_is_refused_before_anything_is_touched(usb: Path, port: str) -> None:
    for do in (lambda: reset(port, usb, 0), lambda: cycle_power(port, usb)):
        with pytest.raises(Refused, match="is no USB port"):
            do()
    assert (usb / "devices" / "1-1.4" / "authorized").read_text() == "1\n"


@pytest.mark.parametrize(("port", "what"), [("1-1", "a hub"), ("2-1", "a disk")])
def test_hubs_and_disks_are_left_alone(usb: Path, tmp_path: Path, port: str, what: str) -> None:
    programs = uhubctl(tmp_path, 0)
    for do in (lambda: reset(port, usb, 0), lambda: cycle_power(port, usb, programs)):
        with pytest.raises(Refused, match=f"is {what}, not a camera"):
            do()
    assert (usb / "devices" / port / "authorized").read_text() == "1\n"
    assert not (tmp_path / "asked").exists()


def test_an_empty_port_says_so(usb: Path) -> None:
    with pytest.raises(Refused, match=r"Nothing is plugged in at USB port 1-1\.3"):
        reset("1-1.3", usb, 0)


def test_a_device_the_kernel_does_not_take_back_is_reported(usb: Path) -> None:
    authorized = usb / "devices" / "1-1.4" / "authorized"
    authorized.unlink()
    authorized.symlink_to(os.devnull)
    with pytest.raises(Refused, match="stays switched off"):
        reset("1-1.4", usb, 0)


def test_missing_rights_are_said_with_the_file(usb: Path) -> None:
    authorized = usb / "devices" / "1-1.4" / "authorized"
    authorized.unlink()
    authorized.mkdir()  # cannot be written, not even by root
    with pytest.raises(Refused, match=r"authorized cannot be written \(Is a directory\)"):
        reset("1-1.4", usb, 0)


def uhubctl(tmp_path: Path, code: int) -> str:
    """A program of that name that notes what it was asked; the folder it is in."""
    folder = tmp_path / "programs"
    folder.mkdir()
    program = folder / "uhubctl"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\necho "No compatible devices detected!" >&2\nexit {code}\n')
    program.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("port", "asked"), [("1-1.4", "-l 1-1 -p 4 -a cycle -d 2"), ("2-3", "-l 2 -p 3 -a cycle -d 2"), ("4-1.2.7", "-l 4-1.2 -p 7 -a cycle -d 2")]
)
def test_uhubctl_is_asked_for_the_hub_and_its_port_also_when_the_camera_is_off_the_bus(usb: Path, tmp_path: Path, port: str, asked: str) -> None:
    assert f"USB port {port}" in cycle_power(port, usb, uhubctl(tmp_path, 0))
    assert (tmp_path / "asked").read_text().strip() == asked


def test_a_hub_that_cannot_switch_power_is_told_in_its_words(usb: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot switch port 4 of hub 1-1: No compatible devices detected!"):
        cycle_power("1-1.4", usb, uhubctl(tmp_path, 1))


def test_without_uhubctl_it_is_said_how_to_get_it(usb: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="apt install uhubctl"):
        cycle_power("1-1.4", usb, str(tmp_path))


@pytest.mark.parametrize("arguments", [[], ["-h"], ["1-1.4", "1-1.5"], ["--uhubctl"], ["--root", "/tmp", "1-1.4"], ["--uhubctl", "--help"]])
def test_wrong_usage_exits_with_2(usb: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments, usb) == 2
    assert "usage: cupola-usb-reset" in capsys.readouterr().err


def test_as_a_copy_it_runs_isolated_without_cupola(tmp_path: Path) -> None:
    copy = tmp_path / "cupola-usb-reset"
    copy.write_bytes(Path(usb_reset.__file__).read_bytes())
    done = subprocess.run([sys.executable, "-I", "-S", str(copy), "1-1.4.9"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "USB port 1-1.4.9" in done.stderr
    assert copy.read_text().startswith("#!/usr/bin/python3 -I\n")
