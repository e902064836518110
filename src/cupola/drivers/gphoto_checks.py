"""What is looked at once when a camera is opened: what its owner should change before the night, and its clock."""

from __future__ import annotations

import re
import time

from cupola.core.clock import clock_synced
from cupola.core.errors import CupolaError
from cupola.drivers.gphoto_body import Body

CLOCK_OFF_S = 2.0
LOW_BATTERY_PERCENT = 25
_ON = ("on", "1", "true", "auto", "single", "continuous")


def notes(body: Body) -> tuple[str, ...]:
    """Sentences for the owner, each with what to do; none when all is well."""
    found: list[str] = []
    battery = re.search(r"(\d+)\s*%", str(body.value("batterylevel") or ""))
    if battery and int(battery[1]) <= LOW_BATTERY_PERCENT:
        found.append(f"The battery is at {battery[1]} %. Charge it, or use a mains adapter for whole nights.")
    focus = str(body.value("focusmode") or body.value("focusmode2") or "")
    if focus and not re.search(r"manual|^mf", focus, re.IGNORECASE):
        found.append(f"The lens is on autofocus ({focus}). Set it to MF and focus by hand: in the dark it finds no focus and takes no picture.")
    mode = str(body.value("autoexposuremode") or body.value("expprogram") or "")
    if mode and not re.match(r"m\b|manual|bulb", mode, re.IGNORECASE):
        found.append(f"The camera's mode is {mode}, so it chooses its exposure itself. Turn its dial to M.")
    if dark_frame(body):
        found.append("Long exposure noise reduction is on: each long exposure takes twice its time. Switch it off in the camera's menu.")
    return tuple(found)


def dark_frame(body: Body) -> bool:
    """Whether the camera takes a dark frame of the same length after each long exposure."""
    value = body.value("longexpnr")
    return value is not None and str(value).lower() in _ON


def shutter_count(body: Body) -> int | None:
    """How often the shutter has opened in its life; None of cameras that do not tell over USB."""
    for name in ("shuttercounter", "shuttercount"):
        text = str(body.value(name) or "").strip()
        if text.isdigit() and int(text):
            return int(text)
    return None


def set_clock(body: Body) -> str | None:
    """Set the camera's clock when it is off by more than 2 s and this computer's is known to be right; what is left to tell."""
    before = body.value("datetime")
    if not isinstance(before, int) or not clock_synced() or abs(before - time.time()) <= CLOCK_OFF_S:
        return None
    try:
        taken = body.set("datetime", int(time.time()))
    except CupolaError:
        taken = False
    after = body.value("datetime")
    if taken and isinstance(after, int) and abs(after - time.time()) <= CLOCK_OFF_S:
        return None
    return f"The camera's clock is off by {abs(before - time.time()):.0f} s and could not be set. Set it on the camera: its files carry that time."
