"""How long a mechanical shutter lasts at the pace it is used, in sentences for its owner.

A DSLR's shutter is made for 50,000 to 500,000 exposures. How often it has opened is told by the camera, or counted from its
images in the catalogue, whose numbers have no gaps, and what the configuration says it had made before. Pure functions.
"""

from __future__ import annotations

from dataclasses import dataclass

NIGHT_S = 10 * 3600.0  # a night of the forecast
WHOLE_NIGHT_S = 4 * 3600.0  # a series of at least so long is one of whole nights
SHORT_INTERVAL_S = 60.0
WORN = 0.8  # share of its life from which on the count is told


@dataclass(frozen=True, slots=True)
class Shutter:
    """`count`: exposures so far; `life`: those the maker gives it; `by_camera`: the camera counts by itself."""

    count: int
    life: int
    by_camera: bool

    @property
    def left(self) -> int:
        return max(0, self.life - self.count)


def wear_notes(shutter: Shutter, period_s: float | None, exposures: int | None) -> list[str]:
    """What the owner should know.

    `period_s`: from one opening to the next of the series that runs, None without one; `exposures`: how many it still has,
    None: until told otherwise.
    """
    found: list[str] = []
    if shutter.count >= WORN * shutter.life:
        counted = "the camera counts" if shutter.by_camera else "Cupola counted"
        found.append(f"The shutter has opened {shutter.count:,} times, as {counted}; its maker gives it {shutter.life:,}.")
    if period_s is None or period_s <= 0 or (exposures is not None and exposures * period_s < WHOLE_NIGHT_S):
        return found
    a_night = max(1, round(NIGHT_S / period_s))
    forecast = (
        f"{a_night:,} a night: {_nights(shutter.life, a_night)} of a {shutter.life:,}-shot shutter, {shutter.left // a_night:,} of what is left."
    )
    if period_s < SHORT_INTERVAL_S:
        forecast = f"An exposure every {period_s:g} s wears out the shutter. {forecast} Intervals of 60 s or more, or longer exposures, spare it."
    return [*found, forecast]


def _nights(exposures: int, a_night: int) -> str:
    nights = exposures // a_night
    return "1 night" if nights == 1 else f"{nights:,} nights"
