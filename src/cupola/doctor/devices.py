"""Who may use USB, video and serial devices, and how much memory the kernel gives USB: for the cameras and sensors that are configured."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cupola.config.model import Settings
from cupola.doctor.finding import Told
from cupola.doctor.patient import Patient

USBFS_MB = 200  # as in the rules of udev
NEEDS = {"zwo": "plugdev", "gphoto": "plugdev", "video": "video", "picamera": "video"}


def check(patient: Patient, told: Told) -> None:
    """Root needs no groups; a service has those that its unit names."""
    settings = patient.settings
    if settings is None or sys.platform != "linux":
        told.saw("not looked at")
        return
    drivers = {camera.driver for camera in settings.cameras}
    told.saw(", ".join(sorted(drivers)) or "no cameras")
    if "zwo" in drivers:
        megabytes = patient.number("sys/module/usbcore/parameters/usbfs_memory_mb")
        if megabytes is not None and 0 < megabytes < USBFS_MB:
            told.warning(
                f"The kernel gives USB {megabytes} MB; large frames of ZWO cameras do not fit, and the camera hangs.",
                f"echo {USBFS_MB} | sudo tee /sys/module/usbcore/parameters/usbfs_memory_mb; for good: sudo cupola service install",
            )
    if drivers & {"zwo", "gphoto"}:
        _rules(patient, told)
    if "gphoto" in drivers:
        _gvfs(patient, told)
    _groups(patient, settings, told)
    for sensor in settings.sensors:
        if sensor.port and "*" not in sensor.port and not Path(sensor.port).exists():
            told.warning(f"Sensor {sensor.name}: there is no {sensor.port}.", "Plug it in; ls /dev/serial/by-id shows what there is.")


def _rules(patient: Patient, told: Told) -> None:
    from cupola.service.unit import RULES

    folders = ("etc/udev/rules.d", "lib/udev/rules.d", "usr/lib/udev/rules.d")
    ours = any(patient.path(folder, RULES).is_file() for folder in folders)
    makers = any(True for folder in folders for _ in patient.path(folder).glob("*asi*.rules"))
    if not ours and not makers and os.geteuid() != 0:
        told.warning("No rules of udev give users the right to cameras on USB.", "sudo cupola service install writes them; --print shows them.")


def _gvfs(patient: Patient, told: Told) -> None:
    for process in patient.path("proc").glob("[0-9]*/comm"):
        try:
            if process.read_text().startswith("gvfs-gphoto2"):
                told.warning(
                    "The desktop's gvfs takes cameras as soon as they are plugged in.",
                    "systemctl --user mask --now gvfs-gphoto2-volume-monitor",
                )
                return
        except OSError:  # ended meanwhile
            continue


def _groups(patient: Patient, settings: Settings, told: Told) -> None:
    if os.geteuid() == 0 or not patient.is_this_machine:
        return
    import grp

    named = {group.gr_name: group.gr_gid for group in grp.getgrall()}
    wanted = {NEEDS[camera.driver] for camera in settings.cameras if camera.driver in NEEDS}
    wanted |= {"dialout"} if any(sensor.source in ("digitemp", "arduino") for sensor in settings.sensors) else set()
    if missing := sorted(group for group in wanted if group in named and named[group] not in {*os.getgroups(), os.getegid()}):
        told.warning(
            f"This user is not in {' and '.join(missing)}, and may not use the devices of that group.",
            f"sudo usermod -aG {','.join(missing)} $(id -un), then log in again. The service has these groups by its unit.",
        )
