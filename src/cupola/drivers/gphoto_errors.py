"""What libgphoto2 and a camera say when something fails, as what the owner has to do.

libgphoto2 gives a number, and in some cases a sentence from the camera's PTP answer: that sentence tells more than the
number, which is -1 for a lens that cannot focus and for a full card alike.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from cupola.core.errors import CameraBusy, CameraLost, CameraNotFound, CameraUnresponsive, CupolaError, ExposureFailed

IO, TIMEOUT, USB_FIND, USB_CLAIM, PORT, MODEL, BUSY, NO_SPACE = -7, -10, -52, -53, -5, -105, -110, -115
GONE = frozenset((-4, PORT, IO, -8, USB_FIND, -35, -60, MODEL))
REFUSED = frozenset((-1, -2, -6, -113))  # the camera is there, and does not take this value or command

# Programs that take a camera's USB for themselves: a desktop's file manager does so the moment the camera is switched on.
_DESKTOP = ("gvfs-gphoto2-volume-monitor", "gvfsd-gphoto2")
_PROGRAMS = (*_DESKTOP, "gphoto2", "darktable", "digikam", "shotwell", "entangle", "rapid-photo-downloader", "kiod5", "kiod6")
_OURS = "a camera process of Cupola"

_SAID: tuple[tuple[str, str], ...] = (
    (
        r"focus",
        "It could not focus, so the shutter did not open. Set the lens to MF (manual focus) and focus by hand: at night nothing is bright enough for autofocus.",
    ),
    (r"store full|no more memory|card full|no space", "Its memory card is full. Empty the card, or set keep_on_card: false and capture_target: ram."),
    (r"read-?only|write.?protect", "Its memory card is write-protected. Move the slider on the card's side."),
    (r"no.?card|store not available|no storage", "It has no memory card. Put one in, or set capture_target: ram."),
    (r"mirror", "Its mirror is up. Leave live view or mirror lock-up on the camera."),
    (r"batter", "Its battery is too low to open the shutter. Charge it, or use a mains adapter."),
    (r"lens|aperture", "It has trouble with its lens. Check that the lens is locked in place and its aperture ring at the highest number."),
    (r"bulb", "It does not do bulb in this mode. Turn its dial to M or B, or set bulb: never."),
)


def said(sentences: Sequence[str]) -> str | None:
    """Advice for what the camera's driver said, if that is understood."""
    text = " ".join(sentences).lower()
    return next((advice for pattern, advice in _SAID if re.search(pattern, text)), None)


def explain(who: str, doing: str, code: int, sentences: Sequence[str], port: str = "") -> CupolaError:
    """The error for a failed call. `who` is the camera's name in words, `doing` what was tried: "open it"."""
    detail = f" ({'; '.join(sentences)})" if sentences else f" (libgphoto2 error {code})"
    if code == USB_CLAIM:
        return CameraBusy(f"{who} is held by another program. {_what_holds(port)}")
    if advice := said(sentences):
        return ExposureFailed(f"{who} did not {doing}. {advice}")
    if code == NO_SPACE:
        return ExposureFailed(f"{who} did not {doing}. {_SAID[1][1]}")
    if code == BUSY:
        return CameraBusy(f"{who} is busy and did not {doing}{detail}. Leave its menus and playback; switch it off and on if that does not help.")
    if code == TIMEOUT:
        return CameraUnresponsive(
            f"{who} did not answer when asked to {doing}. Switch it off and on; check cable, battery and its automatic power-off."
        )
    if code in (MODEL, USB_FIND):
        return CameraNotFound(f"{who} is not there any more. Check cable and battery, and that its automatic power-off is disabled.")
    if code in GONE:
        return CameraLost(f"{who} broke off while asked to {doing}{detail}. Check cable and battery, and that its automatic power-off is disabled.")
    return ExposureFailed(f"{who} did not {doing}{detail}. It is opened anew; if this repeats, switch it off and on.")


def _what_holds(port: str) -> str:
    found = holders(port)
    desktop = [name for name in found if name in _DESKTOP]
    if desktop:
        return (
            f"The desktop's {' and '.join(desktop)} took it. Run `systemctl --user mask --now gvfs-gphoto2-volume-monitor` as the user of the desktop, "
            "unmount the camera in the file manager, then plug it in again."
        )
    if _OURS in found:
        return "Another camera process of Cupola has it: give each camera of the configuration its own serial."
    if found:
        return f"These programs run and may hold it: {', '.join(found)}. Close them."
    return "Close the program that uses it (a file manager, another Cupola, gphoto2), or unplug it and plug it in again."


def holders(port: str = "", proc: Path = Path("/proc")) -> list[str]:
    """Names of running programs that have the camera's USB device (`usb:001,005`) open, or else that are known to take cameras."""
    device = _usb_device(port)
    sure: set[str] = set()
    known: set[str] = set()
    for folder in proc.glob("[0-9]*"):
        name = _program(folder)
        if name in _PROGRAMS:
            known.add(name)
        if device and int(folder.name) != os.getpid() and name and _has_open(folder, device):
            sure.add(name)
    return sorted(sure or known)


def _usb_device(port: str) -> str | None:
    match = re.fullmatch(r"usb:(\d{3}),(\d{3})", port)
    return f"/dev/bus/usb/{match[1]}/{match[2]}" if match else None


def _program(process: Path) -> str:
    try:
        arguments = (process / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return ""
    return _OURS if any("cupola.camera.process" in argument for argument in arguments) else os.path.basename(arguments[0])


def _has_open(process: Path, device: str) -> bool:
    """False also where another user's process may not be looked into."""
    try:
        return any(os.readlink(link) == device for link in (process / "fd").iterdir())
    except OSError:
        return False
