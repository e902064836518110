"""What makes clips by itself: `clips.triggers`. Each trigger is one block here; what is done with it is `clips.triggers`'s."""

from __future__ import annotations

from typing import Annotated, Any, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from cupola.config.base import Block, Float, Int, key
from cupola.config.exposure import MeterRegion
from cupola.config.mqtt import TopicFilter
from cupola.config.problems import suggestion
from cupola.config.url import OutgoingUrl
from cupola.core.condition import LONGEST, BadCondition, Condition
from cupola.core.events import Event
from cupola.core.reach import why_refused

# What clips themselves cause is left out, or one would make the next.
_CAUSED = frozenset({"trigger_received", "clip_started", "clip_saved", "clip_failed", "camera_changed", "session_event"})
KINDS: tuple[str, ...] = tuple(sorted({kind.model_fields["kind"].default for kind in get_args(get_args(Event)[0])} - _CAUSED))


def _condition(text: str) -> str:
    try:
        Condition(text)
    except BadCondition as error:
        hint = {"problem": str(error), "hint": 'such as error.code != 0 and state == "stopped"'}
        raise PydanticCustomError("condition", "{problem}", hint) from None
    return text


def _kind(word: str) -> str:
    if word not in KINDS:
        raise PydanticCustomError("event", "is no event that can make clips", {"hint": suggestion(word, KINDS)})
    return word


When = Annotated[str, Field(min_length=1, max_length=LONGEST), AfterValidator(_condition)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")]
_RULE = "letters, digits, - and _, at most 32"
_WHEN = "A condition on {what}, such as error.code != 0; {none}."


class OnMessage(Block):
    """Each message of an MQTT topic."""

    topic: TopicFilter = key(
        ..., "Topic", "Its topic; + stands for one level, # for all that follow. What is retained does not count.", rule="a topic"
    )
    when: When | None = key(None, "When", _WHEN.format(what="the message", none="null: any message"), rule="a condition")


class OnPoll(Block):
    """A URL that answers with JSON, asked again and again; triggers when its condition becomes true, and again after it was false."""

    url: OutgoingUrl = key(..., "URL", "Asked with GET; user and password may stand in it. Redirects are not followed.", rule="a URL")
    when: When = key(..., "When", _WHEN.format(what="the answer", none="what holds already when Cupola starts does not count"), rule="a condition")
    every_s: Float = key(2.0, "Every", "From one request to the next.", unit="s", ge=0.2, le=3600)
    loopback: bool = key(False, "This machine", "Whether the URL may lead to this machine itself.")

    @model_validator(mode="after")
    def _may_be_asked(self) -> OnPoll:
        host = urlsplit(self.url.get_secret_value()).hostname or ""
        try:
            refused = why_refused(host, loopback=self.loopback)
        except ValueError:
            refused = "is this machine itself" if host == "localhost" and not self.loopback else None  # other names are judged when they are asked
        if refused:
            raise PydanticCustomError(
                "url", "is refused: {host} {why}", {"host": host, "why": refused, "hint": "set loopback: true if that is meant"}
            )
        return self


class OnMotion(Block):
    """Something moves in the live view of a camera with a pre-roll. Costs decoding, in a process of its own."""

    camera: str = key(..., "Camera", "Whose pictures are looked at.", rule="the name of a camera")
    sensitivity: Int = key(50, "Sensitivity", "From 1, a tenth of the region has to change much, to 100, a few points a little.", ge=1, le=100)
    region: MeterRegion | None = key(None, "Region", "The part of the picture that is looked at; null: all of it.")
    mask: list[MeterRegion] = Field(
        default_factory=list[MeterRegion], title="Mask", description="Parts that are not looked at: trees, a road.", max_length=32
    )


class OnEvent(Block):
    """Something that Cupola itself tells, as on /ws/events."""

    kind: Annotated[str, AfterValidator(_kind), WithJsonSchema({"type": "string", "enum": list(KINDS)})] = key(
        ..., "Event", "Its kind, such as streak_found or camera_recovered.", rule="the kind of an event"
    )
    when: When | None = key(None, "When", _WHEN.format(what="the event's fields", none="null: any such event"), rule="a condition")


_SOURCES = ("mqtt", "poll", "motion", "event")


def _empty_is_none(value: Any) -> Any:
    return [] if value is None else value


class TriggerRule(Block):
    """One trigger: what it waits for, in exactly one of mqtt, poll, motion, event, and the clips it makes."""

    name: Name = key(..., "Name", "What it is called in status and log.", rule=_RULE)
    label: Name | None = key(
        None, "Label", "Part of the clips' file names; a trigger extends a running clip of the same label. null: the name.", rule=_RULE
    )
    cameras: Annotated[list[str], BeforeValidator(_empty_is_none)] = Field(
        default_factory=list[str],
        title="Cameras",
        description="Of which clips are made; empty: the camera that an event or motion concerns, else all with a preroll.",
        max_length=64,
    )
    before_s: Float | None = key(None, "Before", "As of the pre-roll; null: as it says there.", unit="s", ge=0, le=600)
    after_s: Float | None = key(None, "After", "As of the pre-roll; null: as it says there.", unit="s", ge=0, le=3600)
    mqtt: OnMessage | None = key(None, "MQTT", "Triggers with each message of a topic.")
    poll: OnPoll | None = key(None, "Poll", "Triggers when what a URL answers becomes true.")
    motion: OnMotion | None = key(None, "Motion", "Triggers when something moves.")
    event: OnEvent | None = key(None, "Event", "Triggers with an event of Cupola itself.")

    @property
    def source(self) -> str:
        """Which of the four it is."""
        return next(name for name in _SOURCES if getattr(self, name) is not None)

    @property
    def needs(self) -> list[str]:
        """Cameras that have to keep a pre-roll."""
        return [*self.cameras, *([self.motion.camera] if self.motion is not None else [])]

    @model_validator(mode="after")
    def _one_source(self) -> TriggerRule:
        if sum(getattr(self, name) is not None for name in _SOURCES) != 1:
            raise PydanticCustomError("trigger", "needs exactly one of mqtt, poll, motion, event", {"hint": "such as mqtt: {topic: garage/door}"})
        return self
