"""What is deleted when: the group `storage.retention`."""

from __future__ import annotations

from cupola.config.base import Block, Float, group, key


def _days(title: str, what: str) -> float | None:
    return key(None, title, f"{what} older than this goes, however much room there is; null: only when room is needed.", unit="days", gt=0, le=36500)


class RetentionDays(Block):
    """After how many days each kind of file is deleted, however much room there is. Only while the clock is known to be right."""

    originals: Float | None = _days("Originals", "The original of a developed image")
    jpg: Float | None = _days("Images", "An image, with its original,")
    products: Float | None = _days("Products", "Keograms, startrails, videos and summaries")
    clips: Float | None = _days("Clips", "A clip")
    logs: Float | None = _days("Logs", "A rotated log file")


class Retention(Block):
    """What is deleted so that the disk never fills: originals first, then the oldest images, clips a little later, and products last."""

    keep_free_percent: Float | None = key(
        None,
        "Keep free",
        "Below this share of free space the oldest files are deleted. null: 3 more than min_free_percent; 0: nothing is deleted for space.",
        unit="%",
        ge=0,
        le=95,
    )
    days: RetentionDays = group(dict, "Days", "After how many days each kind of file is deleted, however much room there is.")
