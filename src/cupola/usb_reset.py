#!/usr/bin/python3 -I
"""Switches one USB device off and on again: `cupola-usb-reset [--uhubctl] PORT`, with PORT such as 1-1.4.

The only part of Cupola that may run with the rights of root, so it is one file that needs nothing but
Python, takes nothing from the environment, and touches nothing but one port: no hub, and no disk.
How to install it out of the reach of the server's user: docs/usb-reset.md.
"""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

USB = Path("/sys/bus/usb")
PORT = re.compile(r"[1-9][0-9]{0,2}-[1-9][0-9]?(\.[1-9][0-9]?){0,6}", re.ASCII)  # bus-port.port…; a root hub (usb1) never
OFF_S = 1.0
UHUBCTL_S = 5.0
PROGRAMS = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin"
HUB, STORAGE = "09", "08"


class Refused(Exception):
    """Why the port was not reset, for people."""


def reset(port: str, usb: Path = USB, off_s: float = OFF_S) -> str:
    """Switch the device at a port off and on by the kernel: by `authorized`, else by `unbind` and `bind`.

    `usb` is sysfs's folder of USB. Returns what was done; raises Refused.
    """
    device = _device(port, usb)
    authorized = device / "authorized"
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what was switched off is switched on again, whoever asks us to end
    try:
        if authorized.exists():
            return _by_authorized(port, authorized, off_s)
        return _by_unbinding(port, usb, off_s)
    except OSError as error:
        raise Refused(f"USB port {port}: {error.filename} cannot be written ({error.strerror}). Run as root, or give the right to it.") from None
    finally:
        signal.signal(signal.SIGTERM, before)


def cycle_power(port: str, usb: Path = USB, programs: str = PROGRAMS) -> str:
    """Switch the port's power off and on by uhubctl, for hubs that can. Returns what was done; raises Refused."""
    _check(port)
    if (usb / "devices" / port).is_dir():  # a camera that has gone off the bus is just what power may bring back
        _device(port, usb)
    program = shutil.which("uhubctl", path=programs)
    if program is None:
        raise Refused("uhubctl is not installed. Install it (Debian: apt install uhubctl), or set recovery.usb_reset: auto.")
    bus, _, path = port.partition("-")
    above, _, number = path.rpartition(".")
    hub = f"{bus}-{above}" if above else bus
    argv = [program, "-l", hub, "-p", number, "-a", "cycle", "-d", "2"]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=UHUBCTL_S, env={"PATH": programs}, check=False)
    except subprocess.TimeoutExpired:
        raise Refused(f"uhubctl did not finish within {UHUBCTL_S:.0f} s.") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Refused(f"uhubctl cannot switch port {number} of hub {hub}: {said[-1] if said else f'exit code {done.returncode}'}")
    return f"USB port {port}: its power was switched off and on by uhubctl."


def _check(port: str) -> None:
    if not PORT.fullmatch(port):
        raise Refused(f"{port[:40]!r} is no USB port; one is written as 1-1.4, as in `ls /sys/bus/usb/devices`.")


def _device(port: str, usb: Path) -> Path:
    """The folder of the device at a port. Refuses what must not be switched off: hubs, and disks, where the images may lie."""
    _check(port)
    device = usb / "devices" / port
    if not device.is_dir():
        raise Refused(f"Nothing is plugged in at USB port {port}. Check the cable; `lsusb -t` shows the ports.")
    classes = {_read(device / "bDeviceClass"), *(_read(folder / "bInterfaceClass") for folder in device.glob(f"{port}:*"))}
    for forbidden, what in ((HUB, "a hub"), (STORAGE, "a disk")):
        if forbidden in classes:
            raise Refused(f"At USB port {port} is {what}, not a camera: it is left alone. Name the camera's own port.")
    return device


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _by_authorized(port: str, authorized: Path, off_s: float) -> str:
    try:
        authorized.write_text("0")
        time.sleep(off_s)
    finally:
        authorized.write_text("1")
    if _read(authorized) != "1":
        raise Refused(f"USB port {port} stays switched off: the kernel did not take the device back.")
    return f"USB port {port} was switched off and on (authorized)."


def _by_unbinding(port: str, usb: Path, off_s: float) -> str:
    driver = usb / "drivers" / "usb"
    (driver / "unbind").write_text(port)
    try:
        time.sleep(off_s)
    finally:
        (driver / "bind").write_text(port)
    return f"USB port {port} was unbound and bound again."


def main(arguments: Sequence[str] | None = None, usb: Path = USB, off_s: float = OFF_S) -> int:
    """0 done, 1 not possible, 2 wrong usage."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    by_power = given[:1] == ["--uhubctl"]
    ports = given[1:] if by_power else given
    if len(ports) != 1 or ports[0].startswith("-"):
        print("usage: cupola-usb-reset [--uhubctl] PORT     such as: cupola-usb-reset 1-1.4", file=sys.stderr)
        return 2
    try:
        print(cycle_power(ports[0], usb) if by_power else reset(ports[0], usb, off_s))
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
