"""The sensor: from electrons to numbers, with the noise that belongs to them.

Signal and dark current are Poisson, reading is Gaussian; gain is in tenths of a decibel of amplitude, as ZWO's: 60.2 more
halves the electrons a count (e-/ADU). Model: Janesick, "Photon Transfer" (2007), ch. 5. Where the electrons come from is
the business of `scene`.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cupola.core.frame import PixelFormat, PixelKind, Pixels

Array = npt.NDArray[np.float32]

_ROWS = 64  # at a time: what a core's cache holds
_POISSON_BELOW_E = 16.0  # above, a Gaussian of the same variance is not told apart
_POOL = 1 << 20
_DARK_DOUBLES_C = 6.0


class Sensor:
    """A CMOS sensor. The black level is a sixteenth of the range; at gain 0 the full well just fits into what is left."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.width, self.height, bits = options["width"], options["height"], options["bits"]
        self.black = 2**bits // 16
        self.largest = 2**bits - 1
        self._full_well = float(options["full_well_e"])
        self._read_noise = float(options["read_noise_e"])
        kind = PixelKind.BAYER if options["bayer"] else PixelKind.MONO
        self.format = PixelFormat(kind, bits, options["bayer"], 0 if bits == 8 else 16 - bits, self.black)
        warmth = 2 ** ((options["temperature_c"] - 20.0) / _DARK_DOUBLES_C)
        self._dark_e_s = options["dark_current_e_s"] * warmth
        rng = np.random.default_rng([options["seed"], 3])
        pixels = self.width * self.height
        self.hot = np.sort(rng.choice(pixels, size=round(options["hot_pixels"] * pixels), replace=False))
        self._hot_e_s = (rng.lognormal(math.log(150.0), 1.3, len(self.hot)) * self._dark_e_s).astype(np.float32)
        pool = np.random.default_rng([options["seed"], 5]).standard_normal(_POOL + _ROWS * self.width, np.float32)
        self._pool = (pool - pool.mean()) / pool.std()

    def electrons_per_adu(self, gain: float) -> float:
        """At `gain` tenths of a decibel; the padding of the samples is not counted."""
        return self._full_well / (self.largest - self.black) / 10 ** (gain / 200)

    @property
    def read_noise_e(self) -> float:
        return self._read_noise

    def dark_e(self, exposure_s: float) -> float:
        """Electrons of dark current in a pixel that is not hot."""
        return self._dark_e_s * exposure_s

    def collect(self, light: Array, exposure_s: float) -> None:
        """Add the dark current of an exposure to the electrons of light, in place; more than a few full wells is nothing more."""
        light += np.float32(self.dark_e(exposure_s))
        light.reshape(-1)[self.hot] += self._hot_e_s * np.float32(exposure_s)
        np.minimum(light, np.float32(4 * self._full_well), out=light)

    def read(self, electrons: Array, gain: float, rng: np.random.Generator) -> Pixels:
        """Samples of collected electrons, every random number fresh: what stills and long exposures get. (H, W) uint8 or uint16."""
        out = self._samples(electrons.shape)
        scale = np.float32(1 / self.electrons_per_adu(gain))
        for top in range(0, self.height, _ROWS):
            mean = electrons[top : top + _ROWS]
            noise = rng.standard_normal(mean.shape, np.float32)
            value = mean + np.sqrt(mean + np.float32(self._read_noise**2)) * noise
            few = mean < _POISSON_BELOW_E
            if few.any():
                value[few] = rng.poisson(mean[few]) + np.float32(self._read_noise) * noise[few]
            out[top : top + _ROWS] = self._digitise(value * scale)
        return out

    def reread(self, electrons: Array, gain: float, rng: np.random.Generator) -> Pixels:
        """Samples with noise out of a pool, each band of rows from another place of it: mean and variance are right, a fraction of the work."""
        out = self._samples(electrons.shape)
        scale, read_variance = np.float32(1 / self.electrons_per_adu(gain)), np.float32(self._read_noise**2)
        buffer = np.empty((_ROWS, self.width), np.float32)
        for top in range(0, self.height, _ROWS):
            mean = electrons[top : top + _ROWS]
            value = buffer[: len(mean)]
            begin = int(rng.integers(_POOL))
            np.add(mean, read_variance, out=value)
            np.sqrt(value, out=value)
            value *= self._pool[begin : begin + mean.size].reshape(mean.shape)
            value += mean
            value *= scale
            out[top : top + _ROWS] = self._digitise(value)
        return out

    def add(self, pixels: Pixels, electrons: Array, gain: float, indices: npt.NDArray[np.int64], more: Array, rng: np.random.Generator) -> None:
        """Read again, in place, the pixels on which more light falls than `reread` was given (flat indices, with repetitions)."""
        places, where = np.unique(indices, return_inverse=True)
        total = electrons.reshape(-1)[places] + np.bincount(where, weights=more, minlength=len(places))
        total = np.minimum(total, 4 * self._full_well)
        value = total + np.sqrt(total + self._read_noise**2) * rng.standard_normal(len(places))
        pixels.reshape(-1)[places] = self._digitise((value / self.electrons_per_adu(gain)).astype(np.float32))

    def _digitise(self, adu: Array) -> Pixels:
        """Offset, round, clip and pad; spoils `adu`."""
        adu += np.float32(self.black + 0.5)
        np.clip(adu, 0, np.float32(self.largest), out=adu)
        if self.format.bits == 8:
            return adu.astype(np.uint8)
        samples = adu.astype(np.uint16)
        if self.format.padding_bits:
            samples <<= np.uint16(self.format.padding_bits)
        return samples

    def _samples(self, shape: tuple[int, ...]) -> Pixels:
        if self.format.bits == 8:
            return np.empty(shape, np.uint8)
        return np.empty(shape, np.uint16)
