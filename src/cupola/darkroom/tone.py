"""Brightness: from a sample of the sensor to what is shown, as one table a colour.

The curve is measured on a sparse part of the mosaic and put into tables, so that every sample is touched once. Debayering and
the rest of the way are the business of `develop`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cupola.core.frame import PixelFormat
from cupola.darkroom.evening import evened
from cupola.darkroom.recipe import Recipe, Stretch

Floats = npt.NDArray[np.float64]
Table = npt.NDArray[Any]  # uint8 or uint16

SAMPLES = 10_000  # of each colour site: enough for a median within 1 % of the noise
BALANCE_LIMIT = 2.5  # strongest factor between two colours
SHADOW_SIGMAS = 2.8  # black is so far below the background
BRIGHT, BRIGHT_SHOWN = 0.95, 0.8  # this quantile is shown no brighter than that
GAIN_LIMIT = 100.0  # slope of the curve at black: noise is not a picture
DAY_FROM, DAY_FULL = 0.15, 0.35  # background level at which the night's curve begins to give way, and has


@dataclass(frozen=True, slots=True)
class Tone:
    """How a frame is shown, measured on a sparse part of it. Levels are fractions of the white level, after balancing."""

    gains: tuple[float, ...]  # a colour, the smallest is 1, so that what is saturated stays white
    background: float
    sigma: float
    bright: float
    stretch: Stretch
    correction: float  # stops, applied to light before all else

    @classmethod
    def of(cls, colours: list[npt.NDArray[Any]], layout: PixelFormat, recipe: Recipe, correction: float = 0.0) -> Tone:
        """`colours`: some samples of each colour of one frame, 1-D, in the file's ADU. `correction`: see `evening`."""
        levels = [evened(_level(samples, layout), correction) for samples in colours]
        gains = _balanced(levels, recipe)
        balanced = np.minimum(np.concatenate([level * gain for level, gain in zip(levels, gains, strict=True)]), 1.0)
        background = float(np.median(balanced))
        quantile = float(np.quantile(balanced, BRIGHT))
        return cls(tuple(gains.tolist()), background, _sigma(balanced, background), quantile, recipe.stretch, correction)

    def curve(self, level: Floats) -> Floats:
        """Brightness, 0…1, of a level 0…1, by the recipe's method."""
        match self.stretch.method:
            case "auto":
                return self._auto(level)
            case "linear":
                return _between(level, self.stretch)
            case "asinh":
                # Lupton et al. 1999 (AJ 118, 1406), scaled to 0…1: a line up to about the softening, a logarithm above.
                return np.arcsinh(_between(level, self.stretch) / self.stretch.softening) / np.arcsinh(1 / self.stretch.softening)

    def _auto(self, level: Floats) -> Floats:
        """A screen transfer function at night, sRGB by day, a mixture at dusk.

        Night: PixInsight's ScreenTransferFunction with its usual constants (black 2.8 sigma below the
        median, the median shown at 0.25, here the recipe's target), of which Siril's autostretch is the same; sigma = 1.4826 MAD.
        Two limits keep it from amplifying what is no sky: GAIN_LIMIT, and BRIGHT_SHOWN for the quantile BRIGHT
        (a fisheye's dark corners may be most of a frame).
        """
        black = min(max(0.0, self.background - SHADOW_SIGMAS * self.sigma), 0.99)
        above, bright = max(self.background - black, 0.0) / (1 - black), max(self.bright - black, 0.0) / (1 - black)
        balance = min(max(_balance(above, self.stretch.target), min(_balance(bright, BRIGHT_SHOWN), 0.5), 1 / (1 + GAIN_LIMIT)), 0.95)
        night = np.clip((level - black) / (1 - black), 0.0, 1.0)
        night = (balance - 1) * night / ((2 * balance - 1) * night - balance)
        # sRGB: IEC 61966-2-1
        day = np.where(level <= 0.0031308, 12.92 * level, 1.055 * np.maximum(level, 0.0031308) ** (1 / 2.4) - 0.055)
        share = min(max((self.background - DAY_FROM) / (DAY_FULL - DAY_FROM), 0.0), 1.0)
        return (1 - share) * night + share * day

    def tables(self, sample_bits: int, layout: PixelFormat, depth: int = 8) -> list[Table]:
        """A table (1, 2**sample_bits), uint8 or with depth 16 uint16, for each colour, from a sample as it lies in the file to brightness."""
        used = min(1 << (layout.bits + layout.padding_bits), 1 << sample_bits)
        level = evened(_level(np.arange(used), layout), self.correction)
        largest = (1 << depth) - 1
        tables: list[Table] = []
        for gain in self.gains:
            table = np.full((1, 1 << sample_bits), largest, np.uint8 if depth == 8 else np.uint16)
            table[0, :used] = np.rint(largest * self.curve(np.clip(level * gain, 0.0, 1.0)))
            tables.append(table)
        return tables


def _balanced(levels: list[Floats], recipe: Recipe) -> Floats:
    """A factor a colour, the smallest 1.

    auto is grey-world on the background: its median is the same in all colours, as far as BALANCE_LIMIT allows, and left
    alone where the background drowns in noise.
    """
    gains = np.ones(len(levels))
    if len(levels) == 1:
        return gains
    if recipe.white_balance == "gains":
        given = np.array(recipe.gains)
        return given / given.min()
    medians = np.array([float(np.median(level)) for level in levels])
    noise = max(_sigma(level, median) for level, median in zip(levels, medians, strict=True))
    if medians.min() > noise and medians.min() > 0:
        gains = np.clip(medians.max() / medians, 1.0, BALANCE_LIMIT)
    return gains


def _between(level: Floats, stretch: Stretch) -> Floats:
    return np.clip((level - stretch.black) / (stretch.white - stretch.black), 0.0, 1.0)


def _balance(level: float, shown: float) -> float:
    """The midtones balance that shows `level` at the brightness `shown`; 0.5 is a straight line.

    PixInsight's MTF(m, x) = (m - 1) x / ((2m - 1) x - m), solved for m: which is MTF(shown, level).
    """
    return (shown - 1) * level / ((2 * shown - 1) * level - shown)


def _level(samples: npt.NDArray[Any], layout: PixelFormat) -> Floats:
    """Fractions of the white level above black; below 0 where noise is."""
    white = (1 << layout.bits) - 1
    if not 0 <= layout.black_level < white:
        raise ValueError(f"a black level of {layout.black_level} leaves nothing of {layout.bits} bit")
    return ((samples >> layout.padding_bits).astype(np.float64) - layout.black_level) / (white - layout.black_level)


def _sigma(level: Floats, median: float) -> float:
    """Standard deviation of a normal distribution with the same median absolute deviation."""
    return 1.4826 * float(np.median(np.abs(level - median)))
