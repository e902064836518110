"""Evening out what auto exposure missed: a still's `correction` in stops, applied to light before the tone curve.

A video of a night is as even as its pictures are to each other. Auto exposure misses its target by some tenths of a stop, less
when clouds are slow, more when a control has few values; by how much is known for each still, and a factor near one hides it.
What the sky did by itself stays. Where the correction comes from is `camera.auto_exposure`'s business, the tone curve `develop`'s.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MOST_STOPS = 1.0
KNEE = 0.75  # so much of the range is exactly proportional; above it white stays white


def gain(correction: float | None) -> float:
    """The factor on light above black that `correction` stops are, within MOST_STOPS; None is 0 stops, a factor of one."""
    return 2.0 ** min(max(correction or 0.0, -MOST_STOPS), MOST_STOPS)


def evened(level: Floats, correction: float | None) -> Floats:
    """Levels (any shape; fractions of white, below 0 where noise is) as if the picture had been exposed `correction` stops more.

    Within MOST_STOPS; None is 0. Proportional up to the knee, from there on straight to white, which white and what is beyond stay:
    a picture made darker has no grey sun, and one made brighter keeps the difference between its brightest parts.
    """
    factor = gain(correction)
    if factor == 1.0:
        return level
    knee = KNEE / max(factor, 1.0)  # below it the result is under KNEE too
    at_knee = knee * factor
    above = at_knee + (level - knee) * ((1.0 - at_knee) / (1.0 - knee))
    return np.where(level <= knee, level * factor, np.where(level < 1.0, above, level))
