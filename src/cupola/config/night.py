"""When a camera takes pictures by itself: the keys `cameras[].night` and `cameras[].day`, and how a window is written.

When a window opens at a place on a date is `capture.schedule`'s business.
"""

import re
from dataclasses import dataclass
from datetime import time, timedelta
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from cupola.config.base import Block, Float, Int, key
from cupola.config.problems import nearest

ALWAYS = "always"
# the height of the sun's centre, in degrees, without refraction; sunrise and sunset: refraction and the sun's radius (Meeus, chapter 15)
TWILIGHTS = {"civil": -6.0, "nautical": -12.0, "astronomical": -18.0}
RISING = {"sunrise": -0.8333, **{f"{name}_dawn": height for name, height in TWILIGHTS.items()}}
FALLING = {"sunset": -0.8333, **{f"{name}_dusk": height for name, height in TWILIGHTS.items()}}

_EDGE = re.compile(r"(?:(?P<clock>\d\d?:\d\d(?::\d\d)?)|(?P<event>[a-z_]+))(?:(?P<sign>[+-])(?:(?P<h>\d{1,2})h)?(?:(?P<m>\d{1,3})m)?)?", re.ASCII)
_HOW = "write it as sunset..sunrise, astronomical_dusk..dawn, sunrise-30m..sunset+30m, 22:00..04:30 or always"
_FARTHEST = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Edge:
    """One end of a window: an event of the sun (a key of RISING or FALLING) or a time of the station's clock, and what is added to it."""

    event: str | None
    clock: time | None
    offset: timedelta


@dataclass(frozen=True, slots=True)
class Span:
    """What a window's text says. None stands for `always`."""

    start: Edge
    end: Edge


def parse_window(text: str) -> Span | None:
    """`sunset-30m..sunrise` in parts; None for `always`. Raises ValueError, whose words are a hint for the owner."""
    if text == ALWAYS:
        return None
    first, dots, last = (part.strip() for part in text.partition(".."))
    if not dots:
        raise ValueError(_HOW)
    return Span(_edge(first, last), _edge(last, first))


def _edge(text: str, other: str) -> Edge:
    found = _EDGE.fullmatch(text)
    if found is None or (found["sign"] and not (found["h"] or found["m"])):
        raise ValueError(_HOW)
    offset = timedelta(hours=int(found["h"] or 0), minutes=int(found["m"] or 0))
    if offset > _FARTHEST:
        raise ValueError("an offset is at most 12h")
    if found["sign"] == "-":
        offset = -offset
    if found["clock"]:
        try:
            hour, minute, second = (*map(int, found["clock"].split(":")), 0)[:3]
            return Edge(None, time(hour, minute, second), offset)
        except ValueError:
            raise ValueError("a time of the clock is 00:00 to 23:59") from None
    event = found["event"]
    if event in ("dusk", "dawn"):  # of the same kind as the other end: `astronomical_dusk..dawn`
        event = f"{next((name for name in TWILIGHTS if other.startswith(name)), 'civil')}_{event}"
    if event not in RISING and event not in FALLING:
        meant = nearest(event, {**RISING, **FALLING})
        raise ValueError(f"did you mean {meant}?" if meant else _HOW)
    return Edge(event, None, offset)


def _window(text: str) -> str:
    try:
        parse_window(text)
    except ValueError as error:
        raise PydanticCustomError("window", "is no window", {"hint": str(error)}) from None
    return text


class Day(Block):
    """A window in which the camera takes a series of stills by itself, every day."""

    window: Annotated[str, AfterValidator(_window)] | None = key(
        None,
        "Window",
        "From when to when stills are taken: events of the sun with offsets, times of the station's clock, or always; null: nothing is scheduled.",
        rule="such as sunset..sunrise, astronomical_dusk..dawn, sunrise-30m..sunset+30m, 22:00..04:30, always",
    )
    interval_s: Float | None = key(
        None,
        "Interval",
        "From one opening of the shutter to the next; null: as the video's length asks for, else as in capture.",
        unit="s",
        gt=0,
        le=86400,
    )
    video_length_s: Float | None = key(
        None,
        "Length of the video",
        "The interval is chosen so that the window makes a video of this length; not together with interval_s.",
        unit="s",
        gt=0,
        le=86400,
    )
    video_fps: Int = key(25, "Frame rate of the video", "Photos a second of the video, for video_length_s.", unit="fps", ge=1, le=120)

    @field_validator("video_length_s", mode="after")
    @classmethod
    def _one_pace(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("interval_s") is not None:
            raise PydanticCustomError("pace", "cannot stand beside interval_s", {"hint": "keep one of the two"})
        return value


class Night(Day):
    """A window of the night. A night bears the date of the evening it begins on."""

    moon_max_percent: Float | None = key(
        None,
        "Moon",
        "Stills are taken only while the moon is down, or all night where it is lit by at most this much; 0: only while it is down; null: whatever it does.",
        unit="%",
        ge=0,
        le=100,
    )
