"""The pre-roll of a camera: the seconds that are always kept, and what a trigger makes of them."""

from __future__ import annotations

from cupola.config.base import Block, Float, Int, key


class PreRoll(Block):
    """Keeping the last seconds of the live view in memory, for clips."""

    seconds: Float = key(10.0, "Seconds kept", "At least so much of the live view is kept in memory.", unit="s", ge=1, le=600)
    max_mb: Int = key(128, "Memory", "Never more than this; fewer seconds are kept when it does not suffice.", unit="MB", ge=4, le=16384)
    before_s: Float = key(10.0, "Before", "A clip begins so long before its trigger, unless the trigger says otherwise.", unit="s", ge=0, le=600)
    after_s: Float = key(10.0, "After", "A clip goes on so long after its last trigger, unless the trigger says otherwise.", unit="s", ge=0, le=3600)
    longest_s: Float = key(
        300.0, "Longest", "A clip that is triggered again and again ends so long after its first trigger.", unit="s", ge=1, le=3600
    )


class ClipLimits(Block):
    """What clips may take of the machine."""

    at_once: Int = key(4, "At once", "So many clips are recorded at the same time; further triggers are refused.", ge=1, le=32)
