"""The USB port a camera hangs on, as the kernel names it (1-1.4): for a reset of that port, which is `cupola.usb_reset`'s.

Vendors' libraries do not tell it. But a camera process has one camera open, so the one USB device among its open files is that camera.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

OPEN_FILES, DEVICES, VIDEO = Path("/proc/self/fd"), Path("/sys/bus/usb/devices"), Path("/sys/class/video4linux")
_NODE = re.compile(r"/dev/bus/usb/(\d{3})/(\d{3})", re.ASCII)
_PORT = re.compile(r"\d+-\d+(\.\d+)*", re.ASCII)


def opened_port(open_files: Path = OPEN_FILES, devices: Path = DEVICES) -> str | None:
    """Of the USB device that this process has open; None when that is none or several, or not to be known (on other systems than Linux)."""
    nodes: set[tuple[int, int]] = set()
    try:
        for link in open_files.iterdir():
            if found := _NODE.fullmatch(_target(link)):
                nodes.add((int(found[1]), int(found[2])))
    except OSError:
        return None
    if len(nodes) != 1:
        return None
    (wanted,) = nodes
    return next((folder.name for folder in devices.glob("*-*") if _PORT.fullmatch(folder.name) and _numbers(folder) == wanted), None)


def port_of_video(device: str, nodes: Path = VIDEO) -> str | None:
    """Of a webcam's device, such as /dev/video0 or a link to it; None when it is on no USB."""
    interface = os.path.basename(os.path.realpath(nodes / os.path.basename(os.path.realpath(device)) / "device"))
    port, colon, _ = interface.partition(":")
    return port if colon and _PORT.fullmatch(port) else None


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:  # closed meanwhile
        return ""


def _numbers(folder: Path) -> tuple[int, int] | None:
    """Bus and device number of a device; None when it has gone."""
    try:
        return int((folder / "busnum").read_text()), int((folder / "devnum").read_text())
    except (OSError, ValueError):
        return None
