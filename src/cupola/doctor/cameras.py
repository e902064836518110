"""Every camera: is its library there, may it be opened, is it attached, is its newest image what the catalogue says, and recent."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cupola.camera.discovery import Configured, Look, claimed_by, discover
from cupola.config.camera import Camera
from cupola.config.model import Settings
from cupola.core.clock import parse_utc
from cupola.doctor.finding import Told
from cupola.doctor.patient import Patient
from cupola.storage.files import sha256_of

REACH_S = 5.0
LOOKED_FOR = ("zwo", "gphoto", "picamera")  # where a camera that is not found is not there
HASHED_MOST = 200 << 20
GRACE_S = 60.0  # beyond three intervals
TROUBLED = ("recovering", "degraded")
_LOOK = "Check cable, power and the camera's block in the configuration; what is attached shows: cupola cameras"
_BUSY = "Close the program that has it; of a DSLR that is often the desktop's: systemctl --user mask --now gvfs-gphoto2-volume-monitor"
_USB = "Check its USB power and cable (docs/usb-reset.md lets Cupola reset the port). How often it happened: cupola logs"
FIXES = {  # by the kinds of errors, and by the causes that camera.recovery names
    "library_missing": "Install what it names; docs/drivers.md says how. Then look: cupola cameras",
    "failed": "Do what it says; what a driver needs is in docs/drivers.md. What came before: cupola logs --recent-errors",
    **dict.fromkeys(("camera_not_found", "unreachable"), _LOOK),
    **dict.fromkeys(("camera_busy", "busy"), _BUSY),
    **dict.fromkeys(("camera_lost", "lost", "camera_unresponsive", "hang", "crash"), _USB),
    **dict.fromkeys(("camera_frozen", "frozen"), "Check the source. One that repeats its pictures needs a longer recovery.frozen_after_s."),
    "storage_full": "Make room; see the findings about the disk.",
}


def check(patient: Patient, told: Told) -> None:
    """What the running server says of a camera counts first; what it does not say is looked for here."""
    if patient.settings is None:
        told.saw("not looked at: the configuration names them")
        return
    for name in (camera.name for camera in patient.settings.cameras):
        if (status := patient.camera_status(name)) is not None:
            _told_by_server(patient.settings, name, status, told)
    unknown = [camera for camera in patient.settings.cameras if (patient.camera_status(camera.name) or {}).get("state") in (None, "stopped")]
    looks = {one.driver: one for one in asyncio.run(discover(_modules(unknown)))}
    configured = [Configured(camera.name, camera.driver, Settings.driver_options(camera)) for camera in patient.settings.cameras]
    reached = [Told(told.part) for _ in unknown]
    with ThreadPoolExecutor(len(unknown) or 1) as pool:  # addresses that do not answer take seconds each
        list(pool.map(_reached, unknown, reached))
    for camera, own in zip(unknown, reached, strict=True):
        _looked_for(camera, looks[camera.driver], configured, told)
        told.findings += own.findings
    if not patient.settings.cameras:
        told.note("No camera is configured.", "cupola cameras shows what is attached, and the lines for the configuration.")


def _modules(cameras: list[Camera]) -> dict[str, str]:
    return {camera.driver: Settings.driver_class_path(camera).partition(":")[0] for camera in cameras}


def _told_by_server(settings: Settings, name: str, status: Mapping[str, Any], told: Told) -> None:
    problem, state = status["problem"], status["state"]
    if problem is not None:
        fix = FIXES.get(problem["kind"], "cupola logs --recent-errors shows what came before.")
        told.error(f"{name}: {problem['message']}", fix, camera=name)
    elif state in TROUBLED:
        told.error(f"{name}: the camera is {state}.", FIXES["camera_lost"], camera=name)
    for note in status["notes"]:
        told.note(f"{name}: {note}", "Do as it says, before the night.", camera=name)
    if state == "stopped" and problem is None and next(one.connect for one in settings.cameras if one.name == name):
        told.note(f"{name}: the camera is closed, by hand.", f"cupola connect {name}", camera=name)
    if status["restarts"] > 3:
        told.warning(f"{name}: it was restarted {status['restarts']} times since the server's start.", FIXES["camera_lost"], camera=name)
    words = f"{name}: {state}, {status['activity']['words']}"
    if (image := status["last_image"]) is not None:
        words += f", last image {image['opened_at'][:19].replace('T', ' ')} UTC"
        _true(settings.storage.root, name, image, told)
    told.saw(words)
    if problem is None and status["session"] is not None:
        _recent(name, status, told)


def _true(root: Path, name: str, image: Mapping[str, Any], told: Told) -> None:
    """The newest image is on the disk, byte for byte what was stored."""
    for file in image["files"]:
        path, fix = root / file["path"], "If it happens to others too, the disk is failing: see the findings about it, and cupola logs"
        try:
            size = path.stat().st_size
            if file["missing"] or size != file["bytes"]:
                told.error(f"{name}: {path} is not as it was stored: {size} bytes in place of {file['bytes']}.", fix, camera=name)
            elif size <= HASHED_MOST and sha256_of(path) != file["sha256"]:
                told.error(f"{name}: {path} is not as it was stored: its checksum is another one.", fix, camera=name)
        except FileNotFoundError:
            told.error(f"{name}: {path} is in the catalogue but not on the disk.", fix, camera=name)
        except OSError as error:
            told.error(f"{name}: {path} cannot be read ({error.strerror}).", fix, camera=name)


def _recent(name: str, status: Mapping[str, Any], told: Told) -> None:
    """A series of stills runs: is there an image of the last three intervals?"""
    session, image = status["session"], status["last_image"]
    since = parse_utc(session["started_at"])
    if image is not None:
        since = max(since, parse_utc(image["opened_at"]))
    each_s = max(session["interval_s"] or 0.0, (session["exposure_s"] or 0.0) + (session["delay_s"] or 0.0))
    paused = (status["night"] or {}).get("state") in ("paused", "waiting", "stopped")
    late_s = (datetime.now(UTC) - since).total_seconds()
    if not paused and late_s > 3 * each_s + GRACE_S:
        told.error(
            f"{name}: there is a series, but no image for {late_s / 60:.0f} minutes.",
            f"cupola logs --recent-errors; then cupola stop {name}, and start it again.",
            camera=name,
        )


def _looked_for(camera: Camera, look: Look, configured: list[Configured], told: Told) -> None:
    name = camera.name
    if look.kind is not None:
        told.error(f"{name}: {look.message}", FIXES.get(look.kind, "cupola cameras looks again."), camera=name)
    elif camera.driver in LOOKED_FOR and look.looks:
        if not look.found:
            told.error(f"{name}: no camera of the driver {camera.driver} is attached.", FIXES["camera_not_found"], camera=name)
        elif (claims := Settings.driver_options(camera)).get("serial") and not any(claimed_by(found, configured) == name for found in look.found):
            there = ", ".join(f"{found.model} {found.serial or ''}".strip() for found in look.found)
            told.error(f"{name}: no camera with the serial {claims['serial']} is attached; there is {there}.", FIXES["camera_not_found"], camera=name)
        for found in look.found:
            if found.note and claimed_by(found, configured) in (name, None):
                told.note(f"{name}: {found.note}", "Do as it says.", camera=name)


def _reached(camera: Camera, told: Told) -> None:
    """Sources that are a file, a device or an address, without opening them."""
    options, name = Settings.driver_options(camera), camera.name
    if camera.driver == "indi":
        _connect(name, str(options["host"]), int(options["port"]), f"Start it there: indiserver -p {options['port']} DRIVER", told)
    elif camera.driver == "replay" and not os.path.exists(options["path"]):
        told.error(f"{name}: {options['path']} is not there.", f"Change cameras[].replay.path of {name}.", camera=name)
    elif camera.driver == "picamera" and options["backend"] == "picamera2" and not os.access(options["python"], os.X_OK):
        told.error(f"{name}: there is no Python at {options['python']}.", "Install python3-picamera2, or set picamera.python.", camera=name)
    elif camera.driver == "video":
        source = str(options["source"])
        parts = urlsplit(source)
        if parts.scheme in ("http", "https", "rtsp", "rtsps") and parts.hostname:
            port = parts.port or {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322}[parts.scheme]
            _connect(name, parts.hostname, port, "Check its power, its network, and the address.", told)
        elif sys.platform == "linux" and source.startswith("/dev/"):
            _device(name, Path(source), told)


def _device(name: str, path: Path, told: Told) -> None:
    if not os.path.exists(path):
        told.error(f"{name}: there is no {path}.", FIXES["camera_not_found"], camera=name)
    elif not os.access(path, os.R_OK | os.W_OK):
        told.error(f"{name}: {path} may not be used by this user.", "sudo usermod -aG video $(id -un), then log in again.", camera=name)


def _connect(name: str, host: str, port: int, fix: str, told: Told) -> None:
    try:
        socket.create_connection((host, port), REACH_S).close()
    except OSError as error:
        told.error(f"{name}: {host}:{port} cannot be reached ({error.strerror or error}).", fix, camera=name)
