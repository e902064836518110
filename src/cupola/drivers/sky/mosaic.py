"""The sensor's surface: which pixel sees which colour, and drawing smooth light and points of light onto it.

Pictures are (H, W) float32 electrons, one plane, behind the colour filters. Noise and bits are the business of `sensor`.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

FILTER_SHARE = 0.38  # of the light that passes any one of the three filters; they are balanced so that sunlight is neutral
_CORE_SIGMA_PX = 0.85
_CORE = 3  # half width of a star's image; beyond it there is less than a thousandth of the light
_HALO = 14
_HALO_SHARE = 0.08


class Mosaic:
    """`bayer` is RGGB, BGGR, GRBG, GBRG, or None for a sensor without filters."""

    def __init__(self, width: int, height: int, bayer: str | None) -> None:
        self.width, self.height, self.bayer = width, height, bayer
        self.channels = np.array(["RGB".index(c) for c in bayer] if bayer else [0, 0, 0, 0]).reshape(2, 2)
        self.share = FILTER_SHARE if bayer else 1.0
        reach = np.arange(-_HALO, _HALO + 1)
        halo = 1.0 / (reach[:, None] ** 2 + reach[None, :] ** 2 + 2.0) ** 1.5
        halo[np.hypot(reach[:, None], reach[None, :]) > _HALO + 0.5] = 0.0
        self._halo = (halo / halo.sum()).astype(np.float32)

    def enlarge(self, coarse: Array, step: int, shade: npt.NDArray[np.uint8], out: Array) -> None:
        """Fill `out` with light known at every `step`-th pixel, (ny, nx, 3), between them linearly; `shade` (H, W) dims it, 255 not at all."""
        if self.bayer is None:
            _enlarge(coarse.mean(axis=2), step, (0, 0), 1, shade, out)
            return
        for dy in (0, 1):
            for dx in (0, 1):
                _enlarge(np.ascontiguousarray(coarse[..., self.channels[dy, dx]]) * np.float32(self.share), step, (dy, dx), 2, shade, out)

    def points(self, picture: Array, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], flux: Array, halo_above: float = np.inf) -> None:
        """Add points of light, `flux` (N, 3) electrons without filters; those above `halo_above` get a halo of 8 % of their light."""
        for begin in range(0, len(x), 4096):
            part = slice(begin, begin + 4096)
            pixels, values = self.spread(x[part], y[part], flux[part])
            np.add.at(picture.reshape(-1), pixels, values)
        for i in np.flatnonzero(flux.mean(axis=1) > halo_above):
            self._add_halo(picture, round(float(x[i])), round(float(y[i])), flux[i])

    def spread(self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], flux: Array) -> tuple[npt.NDArray[np.int64], Array]:
        """The pixels (flat indices, with repetitions) that points fall on and the electrons each gets: a Gaussian of 0.85 px."""
        reach = np.arange(-_CORE, _CORE + 1)
        ix, iy = np.rint(x).astype(np.int64)[:, None] + reach, np.rint(y).astype(np.int64)[:, None] + reach
        wx = np.exp(-((ix - x[:, None]) ** 2) / (2 * _CORE_SIGMA_PX**2)).astype(np.float32)
        wy = np.exp(-((iy - y[:, None]) ** 2) / (2 * _CORE_SIGMA_PX**2)).astype(np.float32)
        wx /= wx.sum(axis=1, keepdims=True)
        wy /= wy.sum(axis=1, keepdims=True)
        wx *= (ix >= 0) & (ix < self.width)
        wy *= (iy >= 0) & (iy < self.height)
        values = wy[:, :, None] * wx[:, None, :]
        if self.bayer is None:
            values *= flux.mean(axis=1)[:, None, None]
        else:
            channel = self.channels[(iy & 1)[:, :, None], (ix & 1)[:, None, :]]
            values *= (flux * np.float32(self.share))[np.arange(len(x))[:, None, None], channel]
        pixels = np.clip(iy, 0, self.height - 1)[:, :, None] * self.width + np.clip(ix, 0, self.width - 1)[:, None, :]
        return pixels.reshape(-1), values.reshape(-1)

    def _add_halo(self, picture: Array, x: int, y: int, flux: Array) -> None:
        top, bottom, left, right = max(y - _HALO, 0), min(y + _HALO + 1, self.height), max(x - _HALO, 0), min(x + _HALO + 1, self.width)
        if top >= bottom or left >= right:
            return
        patch = self._halo[top - y + _HALO : bottom - y + _HALO, left - x + _HALO : right - x + _HALO] * np.float32(_HALO_SHARE)
        rows, columns = np.arange(top, bottom) & 1, np.arange(left, right) & 1
        strength = flux[self.channels[rows[:, None], columns[None, :]]] * self.share if self.bayer else flux.mean()
        picture[top:bottom, left:right] += patch * strength


def _enlarge(coarse: Array, step: int, first: tuple[int, int], stride: int, shade: npt.NDArray[np.uint8], out: Array) -> None:
    """Bilinear without gathering: between two nodes the light is a ramp, and all ramps are one broadcast product."""
    shade, out = shade[first[0] :: stride, first[1] :: stride], out[first[0] :: stride, first[1] :: stride]
    rows, columns = out.shape
    ramp_y, ramp_x = (np.arange(begin, step, stride, dtype=np.float32) / step for begin in first)
    wide = coarse[:, :-1, None] + (coarse[:, 1:, None] - coarse[:, :-1, None]) * ramp_x
    wide = wide.reshape(len(coarse), -1)[:, :columns] * np.float32(1 / 255)
    for node in range(len(coarse) - 1):
        begin = node * len(ramp_y)
        end = min(begin + len(ramp_y), rows)
        if begin < end:
            block = wide[node] + (wide[node + 1] - wide[node]) * ramp_y[: end - begin, None]
            np.multiply(block, shade[begin:end], out=out[begin:end])
