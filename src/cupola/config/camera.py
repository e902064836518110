"""The group of one camera: what is the same for every driver.

The driver's own keys are in `drivers`, and larger groups have modules of their own; the groups beside `cameras` are in `model`.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from cupola.config.base import Block, Float, Int, group, key
from cupola.config.develop import Develop
from cupola.config.drivers import DRIVERS
from cupola.config.exposure import AutoExposure
from cupola.config.night import Day, Night
from cupola.config.preroll import PreRoll
from cupola.config.problems import suggestion
from cupola.config.products import Products

_DEVICE_NAMES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})
_NAME_RULE = "small letters, digits, - and _, at most 32"
RESERVED_NAMES = _DEVICE_NAMES | {"all"}


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


class Taken:
    """Stands for a camera's name that an earlier camera has."""

    def __init__(self, index: int) -> None:
        self.index = index


def _free_name(value: object) -> object:
    if isinstance(value, Taken):
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
