"""The keys of the configuration, with their bounds and explanations.

Those of a camera are in `camera`, drivers' own in `drivers`; reading files and explaining what is wrong in `load`.
"""

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, cast
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    Secret,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from cupola.config.base import Block, ConfigPath, Float, Int, group, key
from cupola.config.camera import Camera, Taken
from cupola.config.drivers import DRIVERS, DriverOptions
from cupola.config.monitoring import Monitoring
from cupola.config.mqtt import Broker
from cupola.config.notify import Notify
from cupola.config.preroll import Clips
from cupola.config.problems import nearest, suggestion
from cupola.config.redis import Redis
from cupola.config.retention import Retention
from cupola.config.sensors import Alarms, Output, Sensor
from cupola.config.version import VERSION


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


HostName = Annotated[str, Field(pattern=r"^[0-9A-Za-z._-]{1,253}$")]


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
        json_schema_extra={"rule": "names without http:// and port, such as sky.example.org"},
    )
    trusted_proxies: list[Annotated[str, AfterValidator(_network)]] = Field(
        default_factory=list[str],
        title="Trusted proxies",
        description="Addresses or networks of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.",
        max_length=32,
        json_schema_extra={"rule": "addresses or networks, such as 127.0.0.1 and 10.0.0.0/8"},
    )
    tls: Tls = group(dict, "TLS", "Encryption of page and API.")


class Logging(Block):
    """Log files."""

    folder: ConfigPath = key(Path("logs"), "Folder", "Folder of cupola.log, cupola-error.log and cupola-debug.log.")
    debug: bool = key(
        False,
        "Debug",
        "Write cupola-debug.log too, with what passes between server and camera processes. The environment variable CUPOLA_DEBUG sets it as well.",
    )


class Settings(Block):
    """The whole configuration."""

    version: Int = key(
        VERSION,
        "Version",
        "Of the keys in this file, as `cupola init` writes it. A file without one is of version 1.",
        rule=str(VERSION),
        ge=VERSION,
        le=VERSION,
    )
    station: Station = group(dict, "Station", "Where the cameras stand.")
    storage: Storage = group(dict, "Storage", "Where images go, and how full the disk may get.")
    cameras: list[Camera] = Field(default_factory=list[Camera], title="Cameras", description="One entry a camera.", max_length=64)
    clips: Clips = group(dict, "Clips", "Clips of the cameras that keep a pre-roll, and what makes them by itself.")
    mqtt: Broker | None = key(None, "MQTT", "The broker that triggers, sensors and notifications share; null: none.")
    redis: Redis | None = key(None, "Redis", "Where events, stills, clips and live pictures are streamed to; null: nowhere.")
    sensors: list[Sensor] = Field(default_factory=list[Sensor], title="Sensors", description="One entry a sensor beside the cameras.", max_length=32)
    outputs: list[Output] = Field(default_factory=list[Output], title="Outputs", description="One entry a dew heater or fan.", max_length=16)
    alarms: Alarms = group(dict, "Alarms", "When this machine is not well.")
    notify: Notify = group(dict, "Notify", "Who is told when something happens.")
    web: Web = group(dict, "Web", "The web page and the API.")
    monitoring: Monitoring = group(dict, "Monitoring", "Watching the station from afar.")
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
                cameras[index] = {**fields, "name": Taken(first[name])}
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
    def _sensors_apart(self) -> "Settings":
        for path, named in (("sensors", self.sensors), ("outputs", self.outputs)):
            names = [one.name for one in named]
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise PydanticCustomError("names", 'has "{name}" twice', {"key": path, "name": twice, "hint": "rename one of them"})
        if self.mqtt is None and any(one.topic is not None for one in (*self.sensors, *self.outputs)):
            raise PydanticCustomError(
                "names", "is needed for the topics of sensors and outputs", {"key": "mqtt", "hint": "name the broker: mqtt: {host: …}"}
            )
        return self

    @model_validator(mode="after")
    def _streams_known_cameras(self) -> "Settings":
        names = [camera.name for camera in self.cameras]
        for number, name in enumerate(self.redis.live if self.redis else ()):
            if name not in names:
                words = {"key": f"redis.live.{number}", "camera": name, "hint": suggestion(name, names) if names else "configure a camera"}
                raise PydanticCustomError("redis_live", 'names "{camera}", which is no camera', words)
        return self

    @model_validator(mode="after")
    def _devices_apart(self) -> "Settings":
        taken: list[tuple[str, str, str]] = []  # driver, device, camera
        for index, camera in enumerate(self.cameras):
            options: DriverOptions = getattr(camera, camera.driver)
            if (device := options.claims()) is None:
                continue
            for driver, other, owner in taken:
                if driver == camera.driver and (device == other or _is_part(device, other) or _is_part(other, device)):
                    words = {"key": f"cameras.{index}.{camera.driver}", "owner": owner, "hint": "each camera needs a device of its own"}
                    raise PydanticCustomError("device_taken", 'names the device that camera "{owner}" has already', words)
            taken.append((camera.driver, device, camera.name))
        return self

    @model_validator(mode="after")
    def _triggers_can_work(self) -> "Settings":
        prerolls = {camera.name: camera.preroll for camera in self.cameras if camera.preroll is not None}
        for index, rule in enumerate(self.clips.triggers):
            at = f"clips.triggers.{index}"
            if rule.mqtt is not None and self.mqtt is None:
                words = {"key": f"{at}.mqtt", "hint": "name the broker: mqtt: {host: …} beside clips:"}
                raise PydanticCustomError("trigger", "needs a broker, and none is configured", words)
            for camera in rule.needs:
                if camera not in prerolls:
                    known = suggestion(camera, list(prerolls)) if prerolls else "give a camera a preroll"
                    raise PydanticCustomError(
                        "trigger", 'names "{camera}", which is no camera with a preroll', {"key": at, "camera": camera, "hint": known}
                    )
            if not prerolls:
                raise PydanticCustomError("trigger", "has nothing to make clips of", {"key": at, "hint": "give a camera a preroll"})
            for camera in rule.needs or prerolls:
                if rule.before_s is not None and rule.before_s > prerolls[camera].seconds:
                    words = {"key": f"{at}.before_s", "camera": camera, "kept": prerolls[camera].seconds, "hint": "keep more, or ask for less"}
                    raise PydanticCustomError("trigger", 'is more than the {kept} s that camera "{camera}" keeps (preroll.seconds)', words)
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


def _is_part(name: str, other: str) -> bool:
    """Whether a device's name leaves open which one is meant, and may mean the other."""
    return not name or (name.endswith("/") and other.startswith(name))


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
