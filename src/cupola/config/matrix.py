"""What each driver was tried on: the matrix in README, and what `cupola cameras` says of it. The one place for both.

`tried` has to agree with what the driver contract ran on (tests/drivers/ran.json, which the tests write; tools/check_docs.py compares).
"""

from dataclasses import dataclass
from typing import Literal

Tried = Literal["hardware", "simulator", "stand-in"]


@dataclass(frozen=True, slots=True)
class Row:
    """One driver, or one way of using it."""

    driver: str  # its name in the configuration
    use: str  # which way of using it; empty when there is one only
    purpose: str
    tried: Tried
    on: str  # what that was, in words

    @property
    def words(self) -> str:
        return self.on if self.tried == "hardware" else f"{self.on}; **not yet tried on hardware**"


MATRIX = (
    Row("simulator", "", "an all-sky sensor under the real stars, with faults on demand", "simulator", "is a simulator"),
    Row("replay", "", "a folder of images or a video file", "simulator", "files"),
    Row("video", "HTTP MJPEG", "network cameras, ESP32-CAM, ustreamer … by a reader of our own", "stand-in", "a stand-in source"),
    Row(
        "video",
        "RTSP H.264",
        "network cameras",
        "simulator",
        "GStreamer's RTSP server (FFmpeg holds one picture back: about 40 ms at 25 fps)",
    ),
    Row("video", "RTSP MJPEG", "network cameras", "simulator", "GStreamer's RTSP server"),
    Row("zwo", "", "ZWO ASI cameras, with ZWO's libASICamera2, which you download", "stand-in", "the real `zwoasi` on a stand-in for ZWO's library"),
    Row("indi", "", "any camera behind an INDI server, here or on another machine", "simulator", "the real indiserver with its CCD simulator"),
    Row(
        "gphoto",
        "",
        "DSLRs and mirrorless cameras on USB (Canon, Nikon, Sony …), through libgphoto2",
        "simulator",
        "libgphoto2's virtual Nikon; ISO, bulb, raw files and live view on a stand-in",
    ),
    Row("picamera", "programs", "Raspberry Pi cameras through `rpicam-vid` and `rpicam-raw`", "stand-in", "only stand-ins that write the same bytes"),
    Row("picamera", "picamera2", "the same through picamera2, under the system's Python", "stand-in", "only a stand-in for the library"),
    Row(
        "video",
        "V4L2",
        "webcams on Linux",
        "stand-in",
        "a stand-in for the kernel's interface, and the kernel's test device in a virtual machine",
    ),
)
NO_HARDWARE = frozenset({"simulator", "replay"})  # there is none to try these on


def on_hardware(driver: str) -> bool:
    """Whether a driver has met what it is for; one that needs no hardware has."""
    return driver in NO_HARDWARE or any(row.driver == driver and row.tried == "hardware" for row in MATRIX)


def tried_on(driver: str) -> str:
    """What a driver was tried on, in words for `cupola cameras`: "not yet tried on hardware" unless it was."""
    if on_hardware(driver):
        return "; ".join(dict.fromkeys(row.on for row in MATRIX if row.driver == driver))
    return "not yet tried on hardware"


def markdown() -> str:
    """The table of README."""
    lines = ["| driver | for | tried on |", "|---|---|---|"]
    for row in MATRIX:
        words = row.on if row.driver in NO_HARDWARE else row.words
        lines.append(f"| `{row.driver}`{f', {row.use}' if row.use else ''} | {row.purpose} | {words} |")
    return "\n".join(lines) + "\n"
