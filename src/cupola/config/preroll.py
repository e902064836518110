"""The pre-roll of a camera: the seconds that are always kept, and what a trigger makes of them. What triggers by itself is in `triggers`."""

from __future__ import annotations

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from cupola.config.base import Block, Float, Int, key
from cupola.config.triggers import TriggerRule


class PreRoll(Block):
    """Keeping the last seconds of the live view in memory, for clips."""

    seconds: Float = key(10.0, "Seconds kept", "At least so much of the live view is kept in memory.", unit="s", ge=1, le=600)
    max_mb: Int = key(128, "Memory", "Never more than this; fewer seconds are kept when it does not suffice.", unit="MB", ge=4, le=16384)
    before_s: Float = key(10.0, "Before", "A clip begins so long before its trigger, unless the trigger says otherwise.", unit="s", ge=0, le=600)
    after_s: Float = key(10.0, "After", "A clip goes on so long after its last trigger, unless the trigger says otherwise.", unit="s", ge=0, le=3600)
    longest_s: Float = key(
        300.0, "Longest", "A clip that is triggered again and again ends so long after its first trigger.", unit="s", ge=1, le=3600
    )


class Clips(Block):
    """Clips of the cameras that keep a pre-roll: what they may take of the machine, and what makes them by itself."""

    at_once: Int = key(4, "At once", "So many clips are recorded at the same time; further triggers are refused.", ge=1, le=32)
    triggers: list[TriggerRule] = Field(
        default_factory=list[TriggerRule],
        title="Triggers",
        description="What makes clips beside the API and the command; each with one of mqtt, poll, motion, event.",
        max_length=64,
    )

    @field_validator("triggers", mode="after")
    @classmethod
    def _names_apart(cls, value: list[TriggerRule]) -> list[TriggerRule]:
        for index, rule in enumerate(value):
            if any(other.name == rule.name for other in value[:index]):
                raise PydanticCustomError("name_taken", 'has two triggers called "{name}"', {"name": rule.name, "hint": "each needs its own name"})
        return value
