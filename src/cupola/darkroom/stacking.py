"""Dark frames become a master dark: their mean, without what cosmic rays left in one of them, and a list of pixels that no
subtraction makes good.

Which master is for which picture is the business of `masters`; where the frames come from, of `darks`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from cupola.core.clock import iso_utc, utc_now
from cupola.core.errors import StorageFailed
from cupola.darkroom.masters import Entry, entry_of, forget, name_of
from cupola.storage.files import WrittenFile, write_durable
from cupola.storage.originals import Facts, image_cards, read_original

if TYPE_CHECKING:
    from cupola.core.frame import Pixels

FEWEST = 5
CLIP_SIGMAS = 4.0
STEPS_A_COUNT = 16  # a mean is kept in sixteenths of a count
HOT_SHARE = 0.1  # of the sensor's range: a pixel with more dark signal is not subtracted but mended
UNSTEADY = 6.0  # times the usual noise: a pixel that flickers
COVERED_SHARE = 0.15  # of the range: a dark frame's median is below it
BAND_ROWS = 128


@dataclass(frozen=True, slots=True)
class Master:
    """`mean` (H, W) float32 in counts with the black level in it; `bad` flat indices of pixels to be mended."""

    mean: npt.NDArray[np.float32]
    bad: npt.NDArray[np.int64]


def load(entry: Entry) -> Master:
    """Raises StorageFailed when the file is gone or damaged."""
    from astropy.io import fits

    image_cards(entry.path)  # compares its checksum
    try:
        with fits.open(entry.path, memmap=False) as hdus:
            mean = cast("Any", hdus["DARK"]).data.astype(np.float32)
            bad = cast("Any", hdus["BAD"]).data.astype(np.int64) if entry.bad_pixels else np.empty(0, np.int64)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise StorageFailed(f"The master dark {entry.path} cannot be read: {error}. Delete it, and take dark frames again.") from error
    mean /= np.float32(STEPS_A_COUNT)
    if bad.size and not 0 <= int(bad.min()) <= int(bad.max()) < mean.size:
        raise StorageFailed(f"The master dark {entry.path} names pixels it does not have. Delete it, and take dark frames again.")
    return Master(mean, bad)


def make(paths: Sequence[Path], folder: Path) -> Entry:
    """Combine dark frames, originals of one series, into a master in `folder`; one of the same name is replaced.

    Two passes over the files, one frame in memory at a time and 13 bytes a pixel beside it. A value that is more than
    CLIP_SIGMAS from the mean of the others is left out of its pixel's mean. Raises ValueError, in words for the owner, for too
    few frames, frames that differ in size, exposure or gain, or that are not dark; StorageFailed and StorageFull.
    """
    if len(paths) < FEWEST:
        raise ValueError(f"a master dark needs {FEWEST} frames at least, 20 are good; these are {len(paths)}")
    first = read_original(paths[0])
    facts = first.facts
    stack = _Stack(first.data)
    temperatures: list[float] = []
    for path in paths:
        one = first if path == paths[0] else read_original(path)
        _check(one.facts, facts, one.data, path)
        stack.add(one.data)
        if one.facts.temperature_c is not None:
            temperatures.append(one.facts.temperature_c)
    stack.close_first_pass()
    for path in paths:
        stack.add_within(read_original(path).data)
    mean = stack.mean()
    bad = _bad_pixels(mean, stack.sigma, facts)
    temperature = round(sum(temperatures) / len(temperatures), 1) if temperatures else None
    return _store(folder, facts, mean, bad, len(paths), temperature)


def _check(one: Facts, first: Facts, pixels: Pixels, path: Path) -> None:
    if (one.width, one.height, one.format) != (first.width, first.height, first.format) or pixels.ndim != 2:
        raise ValueError(f"{path.name} is of another size or kind than the first frame")
    if (one.applied.exposure_s, one.applied.gain) != (first.applied.exposure_s, first.applied.gain):
        raise ValueError(f"{path.name} has another exposure or gain than the first frame")
    white = (1 << one.format.bits) - 1
    median = float(np.median(pixels[:: max(1, pixels.shape[0] // 100), :: max(1, pixels.shape[1] // 100)]))
    if median > one.format.black_level + COVERED_SHARE * (white - one.format.black_level):
        raise ValueError(f"{path.name} is not dark ({100 * median / white:.0f} % of white): cover the lens, light-tight, and take them again")


class _Stack:
    """Mean and scatter of frames, exact and in bounded memory: differences to the first frame are small whole numbers."""

    def __init__(self, first: Pixels) -> None:
        self._first, self._count = first.astype(np.int32), 0
        self._sum = np.zeros(first.shape, np.float32)
        self._squares = np.zeros(first.shape, np.float32)
        self._most = np.zeros(first.shape, np.float32)  # the largest difference from the first frame, with its sign

    def _bands(self, frame: Pixels) -> Iterable[tuple[slice, npt.NDArray[np.float32]]]:
        for top in range(0, frame.shape[0], BAND_ROWS):
            band = slice(top, top + BAND_ROWS)
            yield band, (frame[band].astype(np.int32) - self._first[band]).astype(np.float32)

    def add(self, frame: Pixels) -> None:
        for band, difference in self._bands(frame):
            self._sum[band] += difference
            self._squares[band] += difference * difference
            np.maximum(self._most[band], difference, out=self._most[band])
        self._count += 1

    def close_first_pass(self) -> None:
        """Centre and scatter of each pixel without its brightest value: one cosmic ray would hide in its own scatter."""
        others = np.float32(self._count - 1)
        self._centre = (self._sum - self._most) / others
        variance = (self._squares - self._most**2) / others - self._centre**2
        usual = float(np.sqrt(np.median(np.maximum(variance, 0.0))))
        self.sigma = np.sqrt(np.maximum(variance, 0.0))
        self._within = np.float32(CLIP_SIGMAS) * np.maximum(self.sigma, np.float32(max(usual, 0.5)))
        del self._most, self._squares
        self._sum[:] = 0
        self._taken = np.zeros(self._sum.shape, np.uint16)

    def add_within(self, frame: Pixels) -> None:
        for band, difference in self._bands(frame):
            good = np.abs(difference - self._centre[band]) <= self._within[band]
            self._sum[band] += difference * good
            self._taken[band] += good

    def mean(self) -> npt.NDArray[np.float32]:
        taken = np.maximum(self._taken, 1)
        return np.where(self._taken > 0, self._sum / taken, self._centre).astype(np.float32) + self._first


def _bad_pixels(mean: npt.NDArray[np.float32], sigma: npt.NDArray[np.float32], facts: Facts) -> npt.NDArray[np.int64]:
    """Pixels whose dark signal is so strong, or so unsteady, that subtracting it leaves a point."""
    usual_level, usual_noise = float(np.median(mean)), max(float(np.median(sigma)), 0.5)
    strong = mean - usual_level > HOT_SHARE * ((1 << facts.format.bits) - 1 - facts.format.black_level)
    return np.flatnonzero(strong | (sigma > UNSTEADY * usual_noise))


def _store(folder: Path, facts: Facts, mean: npt.NDArray[np.float32], bad: npt.NDArray[np.int64], frames: int, temperature_c: float | None) -> Entry:
    from astropy.io import fits

    cards: dict[str, tuple[Any, str]] = {
        "IMAGETYP": ("MASTER DARK", "mean of exposures with the lens covered"),
        "EXPTIME": (facts.applied.exposure_s, "[s] exposure"),
        "GAIN": (facts.applied.gain, "gain or ISO, the camera's own scale"),
        "CCD-TEMP": (temperature_c, "[degC] sensor temperature, mean"),
        "XBINNING": (facts.format.binning, "[pixel] sensor pixels in one, across"),
        "CUPROI": (",".join(map(str, facts.format.roi)) if facts.format.roi else None, "[pixel] x,y,width,height on the sensor"),
        "BLKLEVEL": (facts.format.black_level, "[adu] black level"),
        "CUPBITS": (facts.format.bits, "significant bits of a sample"),
        "CUPCAM": (facts.camera, "camera's name in Cupola"),
        "INSTRUME": (facts.model or None, "camera model"),
        "NCOMBINE": (frames, "exposures combined"),
        "CUPSTEPS": (STEPS_A_COUNT, "values are counts times this"),
        "CUPBAD": (int(bad.size), "pixels named bad, flat indices in BAD"),
        "DATE": (iso_utc(utc_now()).removesuffix("Z").removesuffix("+00:00"), "made, UTC"),
    }
    header = fits.Header([(key, value, comment) for key, (value, comment) in cards.items() if value is not None])
    steps = np.rint(mean * np.float32(STEPS_A_COUNT)).astype(np.int32)
    image = fits.CompImageHDU(steps, header, name="DARK", compression_type="RICE_1", tile_shape=(min(64, mean.shape[0]), mean.shape[1]))
    hdus = fits.HDUList([fits.PrimaryHDU(), image])
    if bad.size:
        hdus.append(fits.ImageHDU(bad.astype(np.int32), name="BAD"))
    file = io.BytesIO()
    hdus.writeto(file, checksum=True)
    written: WrittenFile = write_durable(folder / name_of(facts, temperature_c), file.getvalue())
    forget()
    return entry_of(written.path)
