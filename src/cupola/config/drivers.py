"""Each driver's block of keys, and the registry: a name, its block, the class that drives the camera.

The classes themselves live in `cupola.drivers` and are named here as text: reading a configuration
loads no camera code. A new driver is its file, its block and one line in `DRIVERS`.
"""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError

from cupola.config.base import Address, Block, ConfigPath, Float, Int, group, in_folder_of_config, key
from cupola.config.problems import suggestion
from cupola.core.clock import parse_utc

FrameNumber = Annotated[Int, Field(ge=1)]
ColourGain = Annotated[Float, Field(gt=0, le=32)]
_SCHEMES = ("rtsp", "rtsps", "http", "https")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class DriverOptions(Block):
    """Base of all drivers' blocks."""

    exclusive: ClassVar[bool] = False
    """Whether the serial number an opened camera tells names a device that only one camera can have."""

    def claims(self) -> str | None:
        """What names a device that only one camera can have: "" for the only one attached, and "host/" for the only one at a host's
        "host/device". None: any number may share it."""
        return None

    @property
    def interpreter(self) -> str | None:
        """The Python the camera process has to run under; None: the server's own."""
        return None


def _sky_time(text: str) -> str:
    if text in ("now", "night"):
        return text
    try:
        if parse_utc(text).utcoffset() == timedelta(0):
            return text
    except (ValueError, OverflowError):
        pass
    raise PydanticCustomError("sky_time", "is neither now, night, nor a time in UTC such as 2026-11-21T23:15:00Z")


class SimulatorFaults(Block):
    """Faults on purpose. Frames count from 1, since the camera was opened."""

    hang_on: list[FrameNumber] = group(list, "Hang on frames", "The exposure of these frames never ends, and cannot be interrupted.")
    hang_holds_gil: bool = key(False, "Hang holds the interpreter", "A hang blocks the whole camera process, as a vendor library that never returns.")
    crash_on: list[FrameNumber] = group(list, "Crash on frames", "The camera process dies with a segmentation fault during these frames.")
    unplug_after_frames: Int | None = key(None, "Unplug after frames", "The camera disappears after so many frames; null never.", ge=0)
    replug_after_s: Float | None = key(
        None, "Plug in again", "How long an unplugged camera stays away; null: until the camera process is started anew.", unit="s", ge=0, le=86400
    )
    slow_readout_s: Float | None = key(None, "Slow readout", "Readout time of slow frames, in place of readout_s.", unit="s", ge=0, le=3600)
    slow_readout_on: list[FrameNumber] = group(list, "Slow frames", "The frames slow_readout_s is for; none named: all.")
    freeze_after_frames: Int | None = key(None, "Freeze after frames", "After so many frames the same pixels come again and again; null never.", ge=0)
    stall_after_frames: Int | None = key(None, "Stall after frames", "After so many frames no more come, until it is opened anew; null never.", ge=0)


class SimulatorOptions(DriverOptions):
    """A sensor under the real sky of the station's place and time: for the demo, for tests, to try settings by day."""

    width: Int = key(1920, "Width", "Width of the sensor; even.", unit="px", ge=64, le=8192, multiple_of=2)
    height: Int = key(1080, "Height", "Height of the sensor; even.", unit="px", ge=64, le=8192, multiple_of=2)
    bits: Int = key(12, "Bit depth", "Bits of one sample.", unit="bit", ge=8, le=16)
    bayer: Literal["RGGB", "BGGR", "GRBG", "GBRG"] | None = key(
        "RGGB", "Bayer pattern", "Colour filters of the top left 2x2 pixels; null for monochrome."
    )
    seed: Int = key(1, "Seed", "The same seed gives the same hot pixels, clouds, meteors and satellites.", ge=0, le=2**32 - 1)
    sky_time: Annotated[str, AfterValidator(_sky_time)] = key(
        "now",
        "Sky time",
        "now: the real sky. night: the sky's clock is shifted so that the sun is more than 18° below the horizon when the camera opens. "
        "Or the time the sky shows when the camera opens, in UTC (2026-11-21T23:15:00Z).",
        rule="now, night, or a time in UTC such as 2026-11-21T23:15:00Z",
    )
    sky_speed: Float = key(
        1.0,
        "Sky speed",
        "How fast the sky's clock runs: with 60 a minute of the sky passes in a second. Exposures stay as long as they are.",
        ge=1,
        le=3600,
    )
    field_of_view_deg: Float = key(180.0, "Field of view", "Angle across the sensor's height.", unit="°", ge=1, le=220)
    distortion: Float = key(0.02, "Distortion", "How far the lens departs from an ideal fisheye (equidistant); 0 is ideal.", ge=-0.2, le=0.2)
    azimuth_deg: Float = key(
        0.0, "Azimuth", "Compass direction at the top of the picture; with a lowered camera, where it looks.", unit="°", ge=-360, le=360
    )
    altitude_deg: Float = key(90.0, "Altitude", "Height above the horizon the camera points at; 90 is the zenith.", unit="°", ge=-90, le=90)
    full_well_e: Float = key(20_000.0, "Full well", "Electrons a pixel holds before it saturates.", unit="e-", ge=100, le=1_000_000)
    read_noise_e: Float = key(2.5, "Read noise", "Noise of reading a pixel.", unit="e-", ge=0, le=1000)
    dark_current_e_s: Float = key(
        0.1, "Dark current", "Electrons a second and pixel at 20 °C; doubles about every 6 °C.", unit="e-/s", ge=0, le=10_000
    )
    temperature_c: Float = key(15.0, "Sensor temperature", "Temperature of the sensor.", unit="°C", ge=-60, le=80)
    hot_pixels: Float = key(0.0002, "Hot pixels", "Share of the pixels with a much higher dark current; 0.0002 is two in ten thousand.", ge=0, le=0.1)
    exposure_min_s: Float = key(0.0001, "Shortest exposure", "The shortest exposure the camera takes.", unit="s", gt=0, le=3600)
    exposure_max_s: Float = key(300.0, "Longest exposure", "The longest exposure the camera takes.", unit="s", gt=0, le=86400)
    gain_max: Float = key(400.0, "Highest gain", "The highest gain the camera takes, in tenths of a dB; the lowest is 0.", ge=0, le=1000)
    readout_s: Float = key(0.05, "Readout", "Time from the shutter's closing to the frame.", unit="s", ge=0, le=60)
    clouds: Float = key(0.0, "Clouds", "Share of the sky under clouds: 0 clear, 1 overcast.", ge=0, le=1)
    meteors_per_hour: Float = key(10.0, "Meteors", "Meteors an hour, on average.", unit="per hour", ge=0, le=100_000)
    satellites_per_hour: Float = key(20.0, "Satellites", "Satellites an hour, on average.", unit="per hour", ge=0, le=100_000)
    f_number: Float = key(2.0, "f-number", "The lens's f-number.", ge=0.5, le=64)
    truth: ConfigPath | None = key(None, "Truth", "Folder that gets, for each frame, where stars and streaks really are; null writes nothing.")
    faults: SimulatorFaults = group(dict, "Faults", "Faults on purpose, to see what Cupola makes of them.")

    @field_validator("exposure_max_s", mode="after")
    @classmethod
    def _above_the_shortest(cls, value: float, info: ValidationInfo) -> float:
        shortest = info.data.get("exposure_min_s")
        if isinstance(shortest, float) and value <= shortest:
            raise PydanticCustomError("exposure_max", "must be longer than exposure_min_s")
        return value


class ReplayOptions(DriverOptions):
    """A folder of images or a video file, played as if it were a camera."""

    path: ConfigPath = key(..., "Path", "Folder with images (played by name), or one video file.")
    rate_fps: Float | None = key(None, "Rate", "Frames a second; null: a video file's own rate, one a second for a folder.", unit="fps", gt=0, le=240)
    loop: bool = key(True, "Loop", "Begin again after the last picture. Without it the camera is closed there, until it is connected again.")


def _address(address: Address, info: ValidationInfo) -> Address:
    """A URL of a known scheme with a host, or a device or file; `./` counts from the configuration's folder."""
    text = address.get_secret_value()
    if not text.strip() or "\0" in text:
        raise PydanticCustomError("address", "is empty; give a URL or a device such as /dev/video0")
    scheme, separator, _ = text.partition("://")
    if not separator:
        return Address(str(in_folder_of_config(Path(text), info))) if text.startswith(("./", "../", "~/")) else address
    if scheme.lower() not in _SCHEMES:
        raise PydanticCustomError("address", "is a URL of an unknown kind", {"hint": suggestion(scheme if scheme.isalnum() else "", _SCHEMES)})
    try:
        parts = urlsplit(text)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise PydanticCustomError("address", "is a URL without a usable host or port", {"hint": "write it as rtsp://192.168.1.20:554/path"})
    return address


SourceAddress = Annotated[Address, AfterValidator(_address), WithJsonSchema({"type": "string", "writeOnly": True})]


class VideoOptions(DriverOptions):
    """A webcam, a network camera (RTSP, HTTP MJPEG) or any other source of video."""

    source: SourceAddress = key(
        ...,
        "Source",
        "URL or device of the live picture: rtsp://…, http://…, /dev/v4l/by-id/… (`cupola cameras` lists them). Passwords belong into ${NAME}.",
    )
    record: SourceAddress | None = key(
        None, "Record source", "URL or device for stills and clips, such as a camera's main stream; null: the same as source."
    )
    input_format: Literal["mjpeg", "yuyv", "h264"] | None = key(
        None, "Input format", "What a webcam is asked to deliver; null: mjpeg where it has that, else its own choice."
    )
    width: Int | None = key(None, "Width", "Width a webcam is asked for; null: its own choice.", unit="px", ge=16, le=16384)
    height: Int | None = key(None, "Height", "Height a webcam is asked for; null: its own choice.", unit="px", ge=16, le=16384)
    fps: Float | None = key(None, "Frame rate", "Frames a second a webcam is asked for; null: its own choice.", unit="fps", gt=0, le=240)
    dynamic_frame_rate: bool = key(False, "Dynamic frame rate", "Let a webcam lower its frame rate in the dark to expose longer by itself.")
    white_balance_k: Int | None = key(None, "White balance", "A webcam's fixed colour temperature; null: automatic.", unit="K", ge=1000, le=20000)
    focus: Int | None = key(None, "Focus", "A webcam's fixed focus, on its own scale; null: autofocus, where it has one.", ge=0, le=65535)
    power_line_hz: Literal[0, 50, 60] | None = key(
        None, "Power line", "What a webcam filters against flickering lamps; 0: nothing; null: as it is.", unit="Hz"
    )
    timeout_s: Float = key(10.0, "Timeout", "Longest silence of the source before it counts as lost, also while connecting.", unit="s", ge=1, le=120)
    transport: Literal["tcp", "udp"] = key("tcp", "RTSP transport", "tcp loses nothing; udp has less delay on a good network.")

    def claims(self) -> str | None:
        """A webcam; network cameras serve several."""
        source = self.source.get_secret_value()
        return source if source.startswith("/dev/") else None


class Region(Block):
    """A part of the sensor, in unbinned pixels from its top left."""

    x: Int = key(0, "Left", "Columns left out at the left.", unit="px", ge=0, le=100_000)
    y: Int = key(0, "Top", "Rows left out at the top.", unit="px", ge=0, le=100_000)
    width: Int = key(..., "Width", "Width of the region; made to fit what the sensor can read.", unit="px", ge=8, le=100_000)
    height: Int = key(..., "Height", "Height of the region; made to fit what the sensor can read.", unit="px", ge=2, le=100_000)


class ZwoOptions(DriverOptions):
    """A ZWO ASI camera, through ZWO's own library, which you have to download."""

    serial: str | None = key(
        None, "Serial number", "16 hexadecimal digits, as `cupola cameras` shows them; null: the only one attached.", pattern="^[0-9a-fA-F]{16}$",
        rule="16 hexadecimal digits, as `cupola cameras` shows them",
    )  # fmt: skip
    library: ConfigPath | None = key(None, "Library", "Path of ZWO's libASICamera2; null: it is looked for in the usual places.")
    mode: Literal["auto", "video", "snapshot"] = key(
        "auto",
        "Capture mode",
        "video is kept open and has no gaps; snapshot makes single exposures. auto: video for short exposures, and the other way once one has "
        "failed twice in a row.",
    )
    video_limit_s: Float = key(0.5, "Video limit", "The longest exposure that auto takes by video.", unit="s", gt=0, le=60)
    image_type: Literal["RAW16", "RAW8", "Y8"] = key(
        "RAW16", "Image type", "RAW16 has all bits of the sensor; RAW8 is half as large; Y8 is monochrome, also of a colour camera."
    )
    binning: Int = key(1, "Binning", "Side of the square of sensor pixels that become one.", unit="px", ge=1, le=8)
    roi: Region | None = key(None, "Region", "The part of the sensor that is read; null: all of it.")
    bandwidth_percent: Int | None = key(
        None, "USB bandwidth", "Share of the USB bandwidth the camera may use; less where frames are lost. null: automatic.", unit="%", ge=1, le=100
    )
    high_speed: bool = key(False, "High speed", "Read the sensor faster, with fewer bits.")
    cooler_c: Float | None = key(None, "Cooler", "Temperature the sensor is cooled to; null: the cooler is off.", unit="°C", ge=-60, le=40)

    exclusive = True

    def claims(self) -> str:
        return (self.serial or "").lower()


class IndiOptions(DriverOptions):
    """Any camera behind an INDI server."""

    host: str = key(
        "localhost", "Host", "Where the INDI server runs.", min_length=1, max_length=253, pattern=r"^\S+$", rule="a host name or an address"
    )
    port: Int = key(7624, "Port", "Port of the INDI server.", ge=1, le=65535)
    device: str | None = key(None, "Device", 'The camera\'s name in INDI, such as "ZWO CCD ASI178MM"; null: the only camera there.', min_length=1)
    binning: Int = key(1, "Binning", "Sensor pixels in one, across and down.", ge=1, le=16)
    roi: Region | None = key(None, "Region", "The part of the sensor that is read; null: all of it.")
    temperature_c: Float | None = key(
        None, "Sensor temperature", "Target of the camera's cooler; null leaves it as it is.", unit="°C", ge=-100, le=50
    )
    timeout_s: Float = key(
        15.0, "Timeout", "Time for server and camera to get ready, and longest wait for a picture after its exposure.", unit="s", ge=2, le=40
    )

    def claims(self) -> str:
        host = self.host.lower().rstrip(".")
        return f"{'localhost' if host in _LOOPBACK else host}:{self.port}/{self.device or ''}"


class GphotoOptions(DriverOptions):
    """A DSLR or mirrorless camera on USB that libgphoto2 knows: Canon, Nikon, Sony and most others."""

    serial: str | None = key(
        None, "Serial number", "Which camera, by its serial number as `cupola cameras` tells it; null: the only one.", min_length=1, max_length=64
    )
    port: str | None = key(
        None,
        "Port",
        "Which camera, by its USB port, for one without a serial number. It changes when the camera is plugged in again.",
        rule="a port such as usb:001,005",
        pattern=r"^usb:\d{3},\d{3}$",
    )
    image_format: Literal["raw+jpeg", "raw", "jpeg"] | None = key(
        None, "Image format", "What the camera writes, in the best quality it has of it; null: as it is set on the camera."
    )
    capture_target: Literal["card", "ram"] | None = key(
        None, "Capture target", "Where the camera puts a picture before it is downloaded; null: as the camera has it."
    )
    keep_on_card: bool = key(False, "Keep on card", "Leave pictures on the card when they are stored. The card fills, and then no more are taken.")
    bulb: Literal["auto", "never"] = key("auto", "Bulb", "auto: exposures longer than the camera's longest shutter speed are made with bulb.")
    sync_clock: bool = key(True, "Set the clock", "Set the camera's clock when it is opened, if it is off by more than 2 s.")
    shutter_life: Int = key(100_000, "Shutter life", "Exposures the maker gives the shutter, for the forecast of its wear.", ge=1000, le=10_000_000)
    shutter_count: Int = key(
        0, "Shutter count", "Exposures the shutter had made before it came to Cupola, where the camera does not count itself.", ge=0, le=10_000_000
    )

    exclusive = True

    def claims(self) -> str:
        return self.serial or self.port or ""

    @field_validator("serial", mode="after")
    @classmethod
    def _without_padding(cls, value: str | None) -> str | None:
        """As the driver tells it: without the zeros that some cameras, and programs that tell of them, put in front."""
        text = (value or "").strip()
        return text.lstrip("0") or value if text.isdigit() else value

    @field_validator("port", mode="after")
    @classmethod
    def _one_of_both(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("serial") is not None:
            raise PydanticCustomError("serial_or_port", "says again which camera is meant; the serial number is enough", {"hint": "remove port"})
        return value


class PiCameraOptions(DriverOptions):
    """A camera on the ribbon cable of a Raspberry Pi."""

    index: Int = key(0, "Camera", "Number of the camera, as `cupola cameras` lists it.", ge=0, le=7)
    backend: Literal["programs", "picamera2"] = key(
        "programs",
        "Way to the camera",
        "programs: rpicam-vid and rpicam-raw. picamera2: the library of that name under the system's Python; it changes settings without starting anew.",
    )
    python: ConfigPath = key(Path("/usr/bin/python3"), "Python", "The interpreter that has picamera2; used with backend picamera2 only.")
    picture: Literal["jpeg", "h264", "raw"] = key(
        "jpeg",
        "Picture",
        "jpeg: developed by the Pi. h264: the Pi's video encoder (not on a Pi 5, nor with picamera2). raw: the sensor's own samples, unpacked.",
    )
    width: Int | None = key(None, "Width", "Width of the picture; null: the sensor's, 1920 for h264.", unit="px", ge=64, le=16384, multiple_of=2)
    height: Int | None = key(None, "Height", "Height of the picture; null: the sensor's, 1080 for h264.", unit="px", ge=64, le=16384, multiple_of=2)
    fps: Float = key(10.0, "Frame rate", "Frames a second, where the exposure leaves time for them.", unit="fps", gt=0, le=120)
    quality: Int = key(93, "JPEG quality", "Quality of the JPEGs the Pi makes.", ge=1, le=100)
    white_balance: list[ColourGain] | None = key(
        None,
        "White balance",
        "Gains of red and blue, such as [2.2, 1.6], the same in every picture; null: automatic.",
        min_length=2,
        max_length=2,
        rule="two numbers above 0, at most 32",
    )
    focus_dioptres: Float | None = key(
        None, "Focus", "Where a lens with a motor stays: one over the distance in metres, 0 is infinity; null: as libcamera chooses.", ge=0, le=32
    )
    defect_correction: bool = key(False, "Defect correction", "Let the Pi's image processor remove single bright pixels: hot ones, and faint stars.")
    timeout_s: Float = key(8.0, "Timeout", "Longest silence beyond the exposure before the camera counts as lost.", unit="s", ge=3, le=120)

    def claims(self) -> str:
        return str(self.index)

    @property
    def interpreter(self) -> str | None:
        return str(self.python) if self.backend == "picamera2" else None

    @field_validator("picture", mode="after")
    @classmethod
    def _made_by_the_backend(cls, value: str, info: ValidationInfo) -> str:
        if value == "h264" and info.data.get("backend") == "picamera2":
            raise PydanticCustomError("picture", "cannot be h264 with backend picamera2; use backend programs, or jpeg")
        return value


DRIVERS: dict[str, tuple[type[DriverOptions], str]] = {
    "simulator": (SimulatorOptions, "cupola.drivers.simulator:Simulator"),
    "replay": (ReplayOptions, "cupola.drivers.replay:Replay"),
    "video": (VideoOptions, "cupola.drivers.video:Video"),
    "zwo": (ZwoOptions, "cupola.drivers.zwo:Zwo"),
    "indi": (IndiOptions, "cupola.drivers.indi:Indi"),
    "gphoto": (GphotoOptions, "cupola.drivers.gphoto:Gphoto"),
    "picamera": (PiCameraOptions, "cupola.drivers.picamera:PiCamera"),
}
