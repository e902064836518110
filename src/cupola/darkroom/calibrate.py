"""What a sensor adds by itself is taken away: dark current, bad pixels, hot pixels, and the fall-off of light of its lens.

Works on samples as they lie in the original, before any curve, and gives such samples back. How master darks are chosen is
the business of `masters`, how they are made of `stacking`. Memory: a master and what is subtracted of it, 6 bytes a pixel; a flat, 4 bytes a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from cupola.core.errors import StorageFailed
from cupola.core.frame import PixelFormat, PixelKind
from cupola.darkroom import hotpixels
from cupola.darkroom.masters import Match, best, masters_in
from cupola.darkroom.opencv import opencv
from cupola.darkroom.recipe import Recipe
from cupola.darkroom.stacking import Master, load
from cupola.storage.originals import Facts, read_original

if TYPE_CHECKING:
    from cupola.core.frame import Pixels

FLAT_LIMITS = (0.25, 4.0)  # no corner is brightened by more than the sensor's noise bears
FLAT_BLUR_PX = 2.0


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Linear samples, of the same shape and kind as they were; `dark` names the master that was subtracted, `mended` counts pixels.

    `problems`: what was asked for and could not be done, in sentences for the owner.
    """

    pixels: Pixels
    layout: PixelFormat
    dark: str | None = None
    mended: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Dark:
    """What is subtracted: `pedestal` counts are put back in, so that nothing falls below 0; the black level is lower by as much."""

    match: Match
    master: Master
    counts: Pixels
    pedestal: int


class Calibrator:
    """Keeps the last master and flat, which the next picture of the same camera mostly needs again. One thread."""

    def __init__(self) -> None:
        self._dark: _Dark | None = None
        self._flat: tuple[str, tuple[int, ...], npt.NDArray[np.float32]] | None = None

    def calibrate(self, pixels: Pixels, facts: Facts, recipe: Recipe, darks: Path | None) -> Calibrated:
        """`pixels` of an original are mended where they are if they are writeable, and else left as they are. `darks`: the folder of the
        camera's masters.

        RGB pictures, which a camera has developed itself, come back as they are. A master or flat that cannot be used is a
        problem to be told, and left out: the night goes on without it.
        """
        layout = facts.format
        if layout.kind not in (PixelKind.MONO, PixelKind.BAYER):
            return Calibrated(pixels, layout)
        pitch = 2 if layout.kind is PixelKind.BAYER else 1
        result, name, mended, problems = pixels, None, 0, list[str]()
        dark = None
        if recipe.darks and darks is not None:
            try:
                dark = self._dark_for(facts, pixels, darks)
            except StorageFailed as error:
                problems.append(str(error))
        if dark is not None:
            result = cast("Pixels", opencv().subtract(pixels, dark.counts))  # stops at 0
            layout = replace(layout, black_level=layout.black_level - dark.pedestal)
            hotpixels.mend(result, dark.master.bad, pitch)
            name, mended = dark.match.entry.path.name, dark.master.bad.size
        if recipe.hot_pixels and (hot := hotpixels.find(result, layout)).size:
            result = result.copy() if result is pixels and not pixels.flags.writeable else result
            hotpixels.mend(result, hot, pitch)
            mended += hot.size
        if recipe.flat is not None:
            try:
                result = self._evened(result, layout, recipe.flat)
            except StorageFailed as error:
                problems.append(str(error))
            except ValueError as error:
                problems.append(f"The light is not evened out: {error}.")
        return Calibrated(result, layout, name, mended, tuple(problems))

    def _dark_for(self, facts: Facts, pixels: Pixels, folder: Path) -> _Dark | None:
        match = best(masters_in(folder), facts)
        if match is None:
            return None
        if self._dark is None or self._dark.match != match:
            kept = self._dark
            self._dark = None  # so that two are never in memory
            same = kept is not None and kept.match.entry == match.entry
            master = kept.master if kept is not None and same else load(match.entry)
            self._dark = _Dark(match, master, *_to_subtract(master, match.factor, facts.format.black_level, pixels.dtype))
        return self._dark

    def _evened(self, pixels: Pixels, layout: PixelFormat, path: str) -> Pixels:
        if self._flat is None or self._flat[:2] != (path, pixels.shape):
            self._flat = None
            self._flat = (path, pixels.shape, _flat_factors(Path(path), pixels.shape))
        factors, black, largest = self._flat[2], layout.black_level, np.iinfo(pixels.dtype).max
        result = np.empty_like(pixels)
        for top in range(0, pixels.shape[0], hotpixels.BAND_ROWS):
            band = slice(top, top + hotpixels.BAND_ROWS)
            light = (pixels[band].astype(np.float32) - black) * factors[band] + np.float32(black + 0.5)
            result[band] = np.clip(light, 0, largest, out=light)
        white = (1 << layout.bits) - 1
        result[pixels >= white] = white  # what is saturated stays so
        return result


def _to_subtract(master: Master, factor: float, black: int, dtype: Any) -> tuple[Pixels, int]:
    """The dark signal above the black level times `factor`, rounded, and the pedestal that keeps negative ones."""
    scaled = master.mean - np.float32(black)
    scaled *= np.float32(factor)
    pedestal = min(max(0, -int(np.floor(float(scaled.min())))), black // 2)
    scaled += np.float32(pedestal + 0.5)
    np.clip(scaled, 0, np.iinfo(dtype).max, out=scaled)
    return cast("Pixels", scaled.astype(dtype)), pedestal


def _flat_factors(path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """What each sample's light is multiplied by: 1 in the middle of the brightness of its colour, more where the lens gives less."""
    flat = read_original(path)
    if flat.data.shape != shape:
        raise ValueError(f"the flat {path} has {flat.data.shape[1]} x {flat.data.shape[0]} pixels, this picture {shape[1]} x {shape[0]}")
    factors = np.empty(shape, np.float32)
    pitch = 2 if flat.facts.format.kind is PixelKind.BAYER else 1
    for site in range(pitch * pitch):
        place = (slice(site // pitch, None, pitch), slice(site % pitch, None, pitch))
        light = opencv().GaussianBlur(flat.data[place].astype(np.float32) - flat.facts.format.black_level, (0, 0), FLAT_BLUR_PX)
        bright = float(np.median(light))
        if bright <= 0:
            raise ValueError(f"the flat {path} is dark: take it of an evenly lit field")
        factors[place] = np.clip(bright / np.maximum(light, bright / FLAT_LIMITS[1]), *FLAT_LIMITS)
    return factors
