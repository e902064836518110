"""What came of a night or day, in figures: pure, from what the catalogue knows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any

from cupola.core.clock import iso_utc
from cupola.storage.periods import PeriodRow, Shot

LATE = 1.5  # an opening later than so many intervals after the one before leaves a gap
LATE_S = 2.0  # and at least so late
MOST_GAPS = 100  # the longest are listed
Part = tuple[datetime, datetime]


def summary(
    period: PeriodRow,
    images: Sequence[Shot],
    measurements: Mapping[int, Mapping[str, Any]],
    products: Sequence[Mapping[str, Any]],
    parts: Sequence[Part] = (),
) -> dict[str, Any]:
    """The summary of a period, in JSON types.

    `images` in the order they were taken; `measurements` by image, as far as there are any; `parts` of the window in which stills were to
    be taken (default: all of it). `duty_cycle`: share of the parts in which the shutter was open. `gaps`: where an opening was missing, by the
    interval, or by the usual pace where none is set. `best`: the image with the most stars, then the sharpest ones; null where nothing was measured.
    """
    parts = parts or [(period.starts_at, period.ends_at)]
    planned_s = sum((end - begin).total_seconds() for begin, end in parts)
    open_s = sum(image.exposure_s or 0.0 for image in images)
    found = gaps(images, parts, period.interval_s)
    longest = sorted(found, key=lambda gap: gap[0] - gap[1])[:MOST_GAPS]
    best = best_of(images, measurements)
    stars = [int(one["stars"]) for one in measurements.values() if one.get("stars") is not None]
    return {
        "camera": period.camera,
        "kind": period.kind,
        "day": period.day,
        "starts_at": iso_utc(period.starts_at),
        "ends_at": iso_utc(period.ends_at),
        "interval_s": period.interval_s,
        "expected": period.expected,
        "photos": len(images),
        "developed": sum(image.developed for image in images),
        "failed": sum(image.failure is not None for image in images),
        "first_at": iso_utc(images[0].opened_at) if images else None,
        "last_at": iso_utc(images[-1].opened_at) if images else None,
        "exposed_s": round(open_s, 3),
        "duty_cycle": round(min(1.0, open_s / planned_s), 4) if planned_s > 0 else 0.0,
        "gap_s": round(sum((end - begin).total_seconds() for begin, end in found), 1),
        "gaps": [{"from": iso_utc(begin), "to": iso_utc(end), "seconds": round((end - begin).total_seconds(), 1)} for begin, end in sorted(longest)],
        "clock_unsynced": sum(not image.clock_synced for image in images),
        "best": best,
        "stars_median": median(stars) if stars else None,
        "stars_most": max(stars, default=None),
        "streaks": sum(len(one.get("streaks") or ()) for one in measurements.values()),
        "products": [dict(one) for one in products],
    }


def gaps(images: Sequence[Shot], parts: Sequence[Part], interval_s: float | None) -> list[Part]:
    """Stretches of the parts in which an opening was due and none came: from when it was due to when one came, or to the part's end."""
    openings = sorted(image.opened_at for image in images)
    pace_s = interval_s or _usual_s(openings) or 0.0
    late = timedelta(seconds=max(LATE * pace_s, pace_s + LATE_S))
    pace = timedelta(seconds=pace_s)
    found: list[Part] = []
    for begin, end in parts:
        due = begin
        for at in (*(one for one in openings if begin <= one < end), end):
            if at - due > late - pace:
                found.append((due, at))
            due = at + pace
    return found


def _usual_s(openings: Sequence[datetime]) -> float | None:
    steps = [(after - before).total_seconds() for before, after in pairwise(openings)]
    return median(steps) if steps else None


def best_of(images: Sequence[Shot], measurements: Mapping[int, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The image with the most stars, of several the one with the smallest; where no stars were counted, the sharpest."""

    def rank(image: Shot) -> tuple[float, float, float]:
        one = measurements[image.id]
        return (one.get("stars") or 0, -(one.get("hfr") or float("inf")), one.get("sharpness") or 0.0)

    measured = [image for image in images if image.developed and image.id in measurements]
    if not measured:
        return None
    best = max(measured, key=rank)
    one = measurements[best.id]
    return {
        "id": best.id,
        "opened_at": iso_utc(best.opened_at),
        "path": best.path,
        **{key: one.get(key) for key in ("stars", "hfr", "sky", "sharpness")},
    }
