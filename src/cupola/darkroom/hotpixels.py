"""Single pixels that glow by themselves, told from stars, and mended.

A star, however sharp, reaches the neighbours of its brightest pixel (behind a Bayer filter those of other colours); a hot
pixel does not. What a master dark knows of bad pixels is the business of `masters`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cupola.core.frame import PixelFormat
from cupola.darkroom.opencv import opencv

if TYPE_CHECKING:
    from cupola.core.frame import Pixels

Places = npt.NDArray[np.int64]  # flat indices

SIGMAS = 12.0  # of the noise: fainter ones are not told from stars
SHARE = 0.15  # of its light that a hot pixel's four neighbours show at most; of a star it is half and more
BORDER = 3
BAND_ROWS = 128  # at a time: what a core's cache holds
MOST = 0.02  # of all pixels; a picture with more such points is no sky


def find(pixels: Pixels, layout: PixelFormat) -> Places:
    """Where the hot pixels of a mosaic or mono frame (H, W) are. About 1 ms a megapixel."""
    height, width = pixels.shape
    if min(height, width) < 4 * BORDER:
        return np.empty(0, np.int64)
    sigma, background = _noise(pixels)
    rows, columns = _candidates(pixels, SIGMAS * sigma)
    if rows.size == 0 or rows.size > MOST * pixels.size:
        return np.empty(0, np.int64)

    def light(down: int, right: int) -> npt.NDArray[np.float32]:
        return pixels[rows + down, columns + right].astype(np.float32)

    centre = light(0, 0)
    for down, right in ((0, 2), (-2, 0), (2, 0)):  # the one to the left was asked; few are left for the rest
        stands = centre - light(down, right) > SIGMAS * sigma
        rows, columns, centre = rows[stands], columns[stands], centre[stands]
    around = np.stack([light(0, -2), light(0, 2), light(-2, 0), light(2, 0)])  # of the same colour, in any pattern
    level = around.max(axis=0)
    excess = centre - level
    beside = sum(light(y, x) - light(3 * y, 3 * x) for y, x in ((0, -1), (0, 1), (-1, 0), (1, 0)))
    black = float(layout.black_level << layout.padding_bits)
    usual = max(background - black, 4 * sigma)
    brighter = np.sqrt(np.maximum((level - black) / usual, 1.0))  # photon noise grows with the root of the light
    hot = (excess > SIGMAS * sigma * brighter) & (beside < SHARE * excess)
    return rows[hot] * np.int64(width) + columns[hot]


def _candidates(pixels: Pixels, above: float) -> tuple[Places, Places]:
    """Rows and columns of pixels that are brighter than the one of the same colour to their left by more than `above`: some in ten thousand.

    One look at each pixel; the rest of the questions is asked of these only.
    """
    cv2, found = opencv(), list[Places]()
    height, width = pixels.shape
    across = width - 2 * BORDER
    threshold = min(int(above), int(np.iinfo(pixels.dtype).max) - 1)
    for top in range(BORDER, height - BORDER, BAND_ROWS):
        band = pixels[top : min(top + BAND_ROWS, height - BORDER)]
        over = cv2.subtract(band[:, BORDER:-BORDER], band[:, BORDER - 2 : -BORDER - 2])  # stops at 0
        found.append(np.flatnonzero(over > threshold) + (top - BORDER) * across)
    rows, columns = np.divmod(np.concatenate(found), across)
    return rows + BORDER, columns + BORDER


def _noise(pixels: Pixels) -> tuple[float, float]:
    """Standard deviation of a sample and the median, of a sparse part; at least half a count. From differences, so that gradients do not count."""
    step = max(1, int((pixels.size / 20_000) ** 0.5)) | 1  # odd: all colours of a pattern take part
    here = pixels[2:-2:step, 2:-2:step].astype(np.float32)
    there = pixels[2:-2:step, 4::step].astype(np.float32)[:, : here.shape[1]]
    difference = np.abs(here[:, : there.shape[1]] - there)
    return max(1.4826 * float(np.median(difference)) / 2**0.5, 0.5), float(np.median(here))


def mend(pixels: Any, places: Places, pitch: int) -> None:
    """Put the median of the four neighbours of the same colour in their place. `pixels` (H, W) is changed; `pitch` is 2 behind a Bayer filter, else 1."""
    if places.size == 0:
        return
    height, width = pixels.shape
    rows, columns = np.divmod(places, width)
    up, down = np.where(rows < pitch, rows + pitch, rows - pitch), np.where(rows >= height - pitch, rows - pitch, rows + pitch)
    left, right = np.where(columns < pitch, columns + pitch, columns - pitch), np.where(columns >= width - pitch, columns - pitch, columns + pitch)
    around = np.sort(np.stack([pixels[up, columns], pixels[down, columns], pixels[rows, left], pixels[rows, right]]).astype(np.uint32), axis=0)
    pixels[rows, columns] = (around[1] + around[2]) // 2
