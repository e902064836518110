"""Clouds: two seeded layers of fractal noise that drift over each other, as optical depth by direction and time.

What light they send back is the business of `light`.
"""

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

_TEXELS = 512
_TEXELS_PER_HEIGHT = 40.0  # cloud base heights; one texel at the zenith is 1.4°
_WINDS = ((0.0020, 0.0007), (0.0012, -0.0004))  # cloud base heights a second: 10 m/s in 5 km


def fractal(seed: int, texels: int = _TEXELS, slope: float = 2.2) -> Array:
    """A periodic texture (texels, texels), mean 0, deviation 1; its amplitude falls as frequency^-slope from an eighth of its width on."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(texels)[:, None], np.fft.rfftfreq(texels)[None, :]) + 8 / texels
    spectrum = np.fft.rfft2(rng.standard_normal((texels, texels))) * frequency**-slope
    texture = np.fft.irfft2(spectrum, (texels, texels))
    return ((texture - texture.mean()) / texture.std()).astype(np.float32)


def sample(texture: Array, u: npt.NDArray[np.floating], v: npt.NDArray[np.floating]) -> Array:
    """Bilinear and periodic; u and v in texels, any shape."""
    size = texture.shape[0]
    u0, v0 = np.floor(u), np.floor(v)
    fu, fv = (u - u0).astype(np.float32), (v - v0).astype(np.float32)
    i, j = v0.astype(np.int64) % size, u0.astype(np.int64) % size
    i1, j1 = (i + 1) % size, (j + 1) % size
    top = texture[i, j] * (1 - fu) + texture[i, j1] * fu
    bottom = texture[i1, j] * (1 - fu) + texture[i1, j1] * fu
    return (top * (1 - fv) + bottom * fv).astype(np.float32, copy=False)


class Clouds:
    """`cover` is the share of the sky under clouds, 0 to 1, in the long run."""

    def __init__(self, cover: float, seed: int) -> None:
        self.cover = cover
        self._textures = (fractal(seed ^ 0x5EED1), fractal(seed ^ 0x5EED2)) if cover > 0 else ()
        self._threshold = NormalDist().inv_cdf(1 - min(max(cover, 1e-6), 0.999))

    def depth(self, local: npt.NDArray[np.floating], sky_s: float) -> Array:
        """Optical depth in directions (..., 3) east, north, up; 0 is clear, 3 lets 5 % through."""
        if not self._textures:
            return np.zeros(local.shape[:-1], np.float32)
        height = np.maximum(local[..., 2], 0.0) + 0.12  # the earth is round: clouds at the horizon are not infinitely far
        u, v = local[..., 0] / height * _TEXELS_PER_HEIGHT, local[..., 1] / height * _TEXELS_PER_HEIGHT
        drift = math.fmod(sky_s, 86400.0 * 32)
        layers = [
            sample(texture, u - east * drift * _TEXELS_PER_HEIGHT, v - north * drift * _TEXELS_PER_HEIGHT)
            for texture, (east, north) in zip(self._textures, _WINDS, strict=True)
        ]
        density = (layers[0] + layers[1]) / np.float32(math.sqrt(2)) - np.float32(self._threshold)
        return np.minimum(2.5 * np.maximum(density, 0) ** 1.3, 6.0).astype(np.float32)

    def mean_depth(self, local: npt.NDArray[np.floating], sky_s: float, exposure_s: float) -> Array:
        """Optical depth of the light that arrives over an exposure: clouds drift while the shutter is open."""
        if not self._textures or exposure_s < 2.0:
            return self.depth(local, sky_s + exposure_s / 2)
        parts = min(8, 2 + int(exposure_s / 4))
        through = sum(np.exp(-self.depth(local, sky_s + exposure_s * (part + 0.5) / parts)) for part in range(parts))
        return -np.log(np.asarray(through, np.float32) / parts)
