"""Every key of the configuration, with its bounds and its explanation.

Drivers' own keys are in `drivers`; reading files and explaining what is wrong in `load`.
"""

from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    Secret,
    ValidationInfo,
    WithJsonSchema,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from cupola.config.base import Block, ConfigPath, Float, Int, group, key
from cupola.config.develop import Develop
from cupola.config.drivers import DRIVERS, DriverOptions
from cupola.config.exposure import AutoExposure
from cupola.config.night import Day, Night
from cupola.config.preroll import ClipLimits, PreRoll
from cupola.config.problems import nearest, suggestion
from cupola.config.products import Products
from cupola.config.retention import Retention

_DEVICE_NAMES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})
_NAME_RULE = "small letters, digits, - and _, at most 32"
RESERVED_NAMES = _DEVICE_NAMES | {"all"}


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        from zoneinfo import available_timezones

        meant = nearest(name, available_timezones())
        hint = f'did you mean "{meant}"?' if meant else "write it as in Europe/Zurich, or UTC"
        raise PydanticCustomError("timezone", "is no timezone this machine knows", {"hint": hint}) from None
    return name


class Station(Block):
    """Where the cameras stand."""

    name: str = key("cupola", "Name", "The station's name.", rule="letters, digits, - and _, at most 32", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")
    latitude: Float = key(47.0, "Latitude", "Degrees north; south is negative.", unit="°", ge=-90, le=90)
    longitude: Float = key(8.0, "Longitude", "Degrees east; west is negative.", unit="°", ge=-180, le=180)
    elevation_m: Float = key(400.0, "Elevation", "Height above sea level.", unit="m", ge=-500, le=9000)
    timezone: Annotated[str, AfterValidator(_known_zone)] = key(
        "UTC", "Timezone", "IANA name, such as Europe/Zurich. Days of images are cut by it; times of images stay UTC.", rule="an IANA name"
    )


class Storage(Block):
    """Where images go, and how full the disk may get."""

    root: ConfigPath = key(Path("cupola-data"), "Root", "Folder of the images, one folder a camera below it.")
    state: ConfigPath | None = key(None, "State", "Folder of the catalogue and other state, best on a local disk; null: .cupola in root.")
    originals: Literal["keep", "off"] = key("keep", "Originals", "Whether a sensor's raw files stay after they were developed.")
    min_free_percent: Float = key(2.0, "Least free space", "Below this share of free space no new exposure is stored.", unit="%", ge=0, le=90)
    reserve_mb: Int = key(
        32, "Reserve", "Size of a file kept in reserve, given up when the disk is full so that the catalogue can close.", unit="MB", ge=1, le=4096
    )

    retention: Retention = group(dict, "Retention", "What is deleted so that the disk never fills: originals first, then the oldest images.")

    @property
    def state_folder(self) -> Path:
        """`state`, or its place below `root`."""
        return self.state or self.root / ".cupola"

    @property
    def keep_free_percent(self) -> float:
        """Of retention, worked out; 0: nothing is deleted for space."""
        given = self.retention.keep_free_percent
        return self.min_free_percent + 3.0 if given is None else given

    @field_validator("retention", mode="after")
    @classmethod
    def _deletes_before_it_stops(cls, value: Retention, info: ValidationInfo) -> Retention:
        least: float = info.data.get("min_free_percent", 0.0)
        if value.keep_free_percent is not None and 0 < value.keep_free_percent <= least:
            hint = "write more than that, 0 to delete nothing for space, or leave it out"
            words = {"least": least, "given": value.keep_free_percent, "hint": hint}
            raise PydanticCustomError(
                "keep_free",
                "has keep_free_percent: {given}, not more than min_free_percent: {least}; storing would stop before anything is deleted",
                words,
            )
        return value


class Exposure(Block):
    """Settings the camera starts with; null leaves the camera's own."""

    exposure_s: Float | None = key(None, "Exposure", "How long the shutter is open.", unit="s", gt=0, le=86400)
    gain: Float | None = key(None, "Gain", "In the camera's own scale; ISO for a DSLR.", ge=0, le=1_000_000)
    f_number: Float | None = key(None, "f-number", "Aperture, where the camera can set it.", gt=0, le=128)


class StillExposure(Exposure):
    """Settings stills begin with; what auto exposure chooses changes from there."""

    auto: AutoExposure = group(dict, "Auto exposure", "Exposure and gain of stills chosen by the pictures themselves, from day into night and back.")


class Live(Exposure):
    """The live view."""

    fps_max: Int = key(30, "Highest frame rate", "More frames than this a second are not encoded.", unit="fps", ge=1, le=120)
    quality: Int = key(80, "JPEG quality", "Quality of encoded live pictures. A camera's own video is passed on untouched.", ge=10, le=100)
    width_max: Int | None = key(
        None,
        "Greatest width",
        "Wider pictures are made smaller, but for video that the camera encodes; null: as they are, and JPEGs of stills and test shots at most 1920 px wide.",
        unit="px",
        ge=64,
        le=16384,
    )


class Capture(Block):
    """Series of stills."""

    autostart: bool = key(False, "Start by itself", "Begin a series as soon as the camera is open.")
    interval_s: Float | None = key(
        None, "Interval", "From one opening of the shutter to the next; not together with delay_s.", unit="s", gt=0, le=86400
    )
    delay_s: Float | None = key(
        None,
        "Delay",
        "From closing the shutter to the next opening; not together with interval_s. Without both, the next exposure follows at once.",
        unit="s",
        ge=0,
        le=86400,
    )
    count: Int | None = key(None, "Count", "How many images a series has; null: until it is stopped.", ge=1, le=10_000_000)
    jpeg_quality: Int = key(90, "JPEG quality", "Quality of the developed images.", ge=10, le=100)

    @field_validator("delay_s", mode="after")
    @classmethod
    def _one_pace(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("interval_s") is not None:
            raise PydanticCustomError("pace", "cannot stand beside interval_s", {"hint": "keep one of the two"})
        return value


class Recovery(Block):
    """What is done when the camera fails, rung by rung: interrupt, reopen, restart, USB reset, back off."""

    reopen: Int = key(1, "Reopen", "How often in a row a failed camera is closed and opened again before its process is started anew.", ge=0, le=10)
    restart: Int = key(3, "Restart", "How often in a row its process is started anew before the next rung.", ge=1, le=100)
    usb_reset: Literal["off", "auto", "uhubctl"] = key(
        "off", "USB reset", "Then the camera's USB port is reset: auto by the kernel, uhubctl by switching its power. See docs/usb-reset.md."
    )
    usb_port: str | None = key(
        None,
        "USB port",
        "The port that is reset, as /sys/bus/usb/devices has it; null: what the driver tells.",
        rule="bus and ports, such as 1-1.4",
        pattern=r"^[1-9][0-9]{0,2}-[1-9][0-9]?(\.[1-9][0-9]?){0,6}$",
    )
    usb_helper: Annotated[list[str], Field(min_length=1, max_length=16)] = key(
        ["sudo", "-n", "cupola-usb-reset"],
        "USB helper",
        "The command that may reset ports, as a list of words; the port is added to it.",
        rule="a list of words",
    )
    frozen_after_s: Float | None = key(
        5.0,
        "Frozen after",
        "A camera whose pictures stay exactly the same for so long counts as lost; a white or black picture does not. More for a source that repeats its pictures; null: never.",
        unit="s",
        ge=1,
        le=86400,
    )


HostName = Annotated[str, Field(pattern=r"^[0-9A-Za-z._-]{1,253}$")]


class _Taken:
    """Stands for a camera's name that an earlier camera has."""

    def __init__(self, index: int) -> None:
        self.index = index


def _free_name(value: object) -> object:
    if isinstance(value, _Taken):
        words = {"index": value.index, "hint": "each camera needs its own name"}
        raise PydanticCustomError("name_taken", "is already the name of cameras[{index}]", words)
    if isinstance(value, str) and value in RESERVED_NAMES:
        raise PydanticCustomError("name_reserved", "is a reserved word", {"hint": "choose another name, such as sky or north"})
    return value


class _CameraBase(Block):
    """One camera."""

    name: Annotated[str, BeforeValidator(_free_name)] = key(
        ..., "Name", "The camera's name in folders, addresses and commands.", rule=_NAME_RULE, pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$"
    )
    driver: Annotated[str, WithJsonSchema({"type": "string", "enum": list(DRIVERS)})] = key(
        ..., "Driver", "What drives the camera. The driver's own keys stand in a group of its name.", rule=", ".join(DRIVERS)
    )
    connect: bool = key(True, "Connect", "Open the camera when Cupola starts.")
    live: Live = group(dict, "Live view", "The live view: its frame rate, quality and first settings.")
    exposure: StillExposure = group(dict, "Exposure", "The settings stills begin with.")
    capture: Capture = group(dict, "Capture", "Series of stills.")
    preroll: PreRoll | None = key(None, "Pre-roll", "Keep the last seconds of the live view, for clips; null: no clips of this camera.")
    night: Night = group(dict, "Night", "The window of the night in which a series of stills is taken by itself.")
    day: Day = group(dict, "Day", "The window of the day in which a series of stills is taken by itself.")
    develop: Develop = group(dict, "Develop", "From a sensor's samples to the picture people look at. Originals are never changed.")
    recovery: Recovery = group(dict, "Recovery", "What is done when the camera fails, rung by rung: interrupt, reopen, restart, USB reset, back off.")
    products: Products = group(dict, "Products", "Keogram, startrails and video, which grow with each image of a night or day.")
    public_latest: bool = key(
        False, "Public newest still", "Anybody who reaches the server may see the newest still, at latest.jpg, without a login."
    )

    @field_validator("driver", mode="after")
    @classmethod
    def _known_driver(cls, value: str) -> str:
        if value not in DRIVERS:
            raise PydanticCustomError("driver", "is no driver", {"hint": suggestion(value, list(DRIVERS)), "word": value})
        return value

    @model_validator(mode="after")
    def _one_beginner(self) -> "_CameraBase":
        if self.capture.autostart and (self.night.window or self.day.window):
            words = {"hint": "remove capture.autostart: the series begins with the window"}
            raise PydanticCustomError("two_beginners", "has both capture.autostart and a window of the night or day", words)
        return self

    @field_validator(*DRIVERS, mode="before", check_fields=False)
    @classmethod
    def _own_block(cls, value: object, info: ValidationInfo) -> object:
        driver, block = info.data.get("driver"), info.field_name
        if driver == block:
            return {} if value is None else value
        if value is not None and driver is not None:
            words = {"block": block, "driver": driver, "hint": f"remove this group, or write driver: {block}"}
            raise PydanticCustomError("foreign_block", 'belongs to the driver "{block}", but this camera has driver: {driver}', words)
        return value


if TYPE_CHECKING:

    class Camera(_CameraBase):
        """One camera: the keys above, and the block of its driver."""
else:
    _BLOCKS = {
        name: (options | None, key(None, f"{name.capitalize()} driver", f"Keys of the driver {name}; only with driver: {name}."))
        for name, (options, _) in DRIVERS.items()
    }
    Camera = create_model("Camera", __base__=_CameraBase, __doc__="One camera.", **_BLOCKS)


def _network(text: str) -> str:
    try:
        ip_network(text, strict=False)
    except ValueError:
        raise PydanticCustomError("network", "is no IP address or network", {"hint": "write it as 10.0.0.2 or 10.0.0.0/24"}) from None
    return text


class Tls(Block):
    """Encryption of page and API."""

    mode: Literal["off", "self_signed", "files"] = key(
        "off", "Mode", "off: plain HTTP; self_signed: Cupola makes a certificate, which browsers warn of once; files: the two files below."
    )
    certificate: ConfigPath | None = key(None, "Certificate", "PEM file of the certificate with its chain; with mode: files.")
    key: ConfigPath | None = key(None, "Key", "PEM file of the private key, readable by its owner only; with mode: files.")

    @model_validator(mode="after")
    def _files_named(self) -> "Tls":
        if (self.mode == "files") != (self.certificate is not None and self.key is not None):
            words = {"hint": "name certificate and key together with mode: files, and neither without it"}
            raise PydanticCustomError("tls", "does not go together", words)
        return self


class Web(Block):
    """The web page and the API."""

    host: str = key(
        "127.0.0.1",
        "Address",
        "Address the server listens on: 127.0.0.1 for this machine only, 0.0.0.0 for every network it is in, once the station is claimed.",
        rule="an IP address or host name",
        pattern=r"^[0-9A-Za-z.:_-]{1,253}$",
    )
    port: Int = key(8000, "Port", "TCP port of page and API.", ge=1, le=65535)
    max_viewers: Int = key(
        5, "Most viewers", "So many may watch live at the same time; the next is turned away, unless it is an admin.", ge=1, le=1000
    )
    session_minutes: Int = key(30, "Session", "Without use a login ends after this time. An open live view is use.", unit="min", ge=1, le=10080)
    hosts: list[HostName] = Field(
        default_factory=list[str],
        title="Names",
        description="Further names under which this machine is reached, such as sky.example.org. Its own name, NAME.local and its addresses are known.",
        max_length=32,
    )
    trusted_proxies: list[Annotated[str, AfterValidator(_network)]] = Field(
        default_factory=list[str],
        title="Trusted proxies",
        description="Addresses or networks of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.",
        max_length=32,
    )
    tls: Tls = group(dict, "TLS", "Encryption of page and API.")


class Logging(Block):
    """Log files."""

    folder: ConfigPath = key(Path("logs"), "Folder", "Folder of cupola.log, cupola-error.log and cupola-debug.log.")
    debug: bool = key(False, "Debug", "Write cupola-debug.log too. The environment variable CUPOLA_DEBUG sets it as well.")


class Settings(Block):
    """The whole configuration."""

    station: Station = group(dict, "Station", "Where the cameras stand.")
    storage: Storage = group(dict, "Storage", "Where images go, and how full the disk may get.")
    cameras: list[Camera] = Field(default_factory=list[Camera], title="Cameras", description="One entry a camera.", max_length=64)
    clips: ClipLimits = group(dict, "Clips", "Clips of the cameras that keep a pre-roll.")
    web: Web = group(dict, "Web", "The web page and the API.")
    logging: Logging = group(dict, "Logging", "Log files.")
    _source: Path | None = PrivateAttr(default=None)

    @property
    def source(self) -> Path | None:
        """The file these settings were read from; None for the built-in demo."""
        return self._source

    def read_from(self, source: Path) -> None:
        self._source = source

    @field_validator("cameras", mode="before")
    @classmethod
    def _mark_taken_names(cls, value: object) -> object:
        """Flag repeated names before the cameras are checked, so that all problems come out together."""
        if value is None:
            return []
        if not isinstance(value, list):
            return value
        first: dict[str, int] = {}
        cameras = list(cast(list[object], value))
        for index, camera in enumerate(cameras):
            fields = cast(dict[str, object], camera if isinstance(camera, dict) else {})
            if isinstance(name := fields.get("name"), str) and first.setdefault(name, index) != index:
                cameras[index] = {**fields, "name": _Taken(first[name])}
        return cameras

    @model_validator(mode="after")
    def _folders_apart(self) -> "Settings":
        for camera in self.cameras:
            images = self.storage.root / camera.name
            for name, folder in (("storage.state", self.storage.state_folder), ("logging.folder", self.logging.folder)):
                if folder == images or images in folder.parents:
                    words = {"key": name, "camera": camera.name, "hint": "choose another folder, or rename the camera"}
                    raise PydanticCustomError("folders", 'lies in the folder of the images of camera "{camera}"', words)
        return self

    @model_validator(mode="after")
    def _devices_apart(self) -> "Settings":
        taken: list[tuple[str, str, str]] = []  # driver, device, camera
        for index, camera in enumerate(self.cameras):
            options: DriverOptions = getattr(camera, camera.driver)
            if (device := options.claims()) is None:
                continue
            for driver, other, owner in taken:
                if driver == camera.driver and (device == other or "" in (device, other)):
                    words = {"key": f"cameras.{index}.{camera.driver}", "owner": owner, "hint": "each camera needs a device of its own"}
                    raise PydanticCustomError("device_taken", 'names the device that camera "{owner}" has already', words)
            taken.append((camera.driver, device, camera.name))
        return self

    @staticmethod
    def driver_options(camera: Camera) -> dict[str, Any]:
        """The block of the camera's driver with its defaults, as JSON types, passwords included: for the camera process only."""
        block: Block = getattr(camera, camera.driver)
        return _as_json_types(block.model_dump())

    @staticmethod
    def driver_class_path(camera: Camera) -> str:
        """`module:Class` of the camera's driver."""
        return DRIVERS[camera.driver][1]

    @staticmethod
    def driver_interpreter(camera: Camera) -> str | None:
        """The Python the camera process needs; None: the server's own."""
        options: DriverOptions = getattr(camera, camera.driver)
        return options.interpreter


def _as_json_types(value: Any) -> Any:
    match value:
        case Path():
            return str(value)
        case Secret():
            return cast(Secret[str], value).get_secret_value()
        case dict():
            return {name: _as_json_types(item) for name, item in cast(dict[str, Any], value).items()}
        case list():
            return [_as_json_types(item) for item in cast(list[Any], value)]
        case _:
            return value
