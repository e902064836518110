"""Which master darks a camera has, and which of them is for a picture.

One file each, FITS, in a folder a camera; its cards say exposure, gain and temperature, and are all that is read here: the server
imports this too, without numpy. How a master is made of dark frames is the business of `stacking`, what it does to a
picture of `calibrate`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import cast

from cupola.core.clock import parse_utc
from cupola.core.errors import StorageFailed
from cupola.storage.files import ORIGINAL_SUFFIX
from cupola.storage.originals import Facts, image_cards

DOUBLES_C = 6.0  # warmer, and dark current is twice as strong: Janesick, "Photon Transfer" (2007), ch. 11, gives 5 to 8 for silicon
SAME_EXPOSURE, SAME_C = 0.1, 2.5  # so near, and a master is taken as it is
FACTORS = (0.1, 3.0)  # of scaling: outside of it the master says too little


def darks_folder(state: Path, camera: str) -> Path:
    """Where a camera's masters lie."""
    return state / "darks" / camera


@dataclass(frozen=True, slots=True)
class Entry:
    """A master as its cards tell it; `path` is its file."""

    path: Path
    exposure_s: float
    gain: float | None
    temperature_c: float | None
    width: int
    height: int
    binning: int
    roi: tuple[int, int, int, int] | None
    frames: int
    bad_pixels: int
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Match:
    """A master for a picture, and the factor on its dark signal."""

    entry: Entry
    factor: float


def best(entries: Iterable[Entry], facts: Facts) -> Match | None:
    """The master for a picture: of the same sensor area and gain; the nearest as it is, else one scaled by exposure and temperature."""
    exposure_s, warm = facts.applied.exposure_s, facts.temperature_c
    if not exposure_s:
        return None
    found: list[tuple[bool, float, Match]] = []
    for entry in entries:
        if (entry.width, entry.height, entry.binning, entry.roi) != (facts.width, facts.height, facts.format.binning, facts.format.roi):
            continue
        if entry.gain is not None and facts.applied.gain is not None and abs(entry.gain - facts.applied.gain) > 0.5:
            continue
        warmer_c = warm - entry.temperature_c if warm is not None and entry.temperature_c is not None else 0.0
        ratio = exposure_s / entry.exposure_s
        factor = ratio * 2 ** (warmer_c / DOUBLES_C)
        as_it_is = abs(ratio - 1) <= SAME_EXPOSURE and abs(warmer_c) <= SAME_C
        if as_it_is or FACTORS[0] <= factor <= FACTORS[1]:
            found.append((not as_it_is, abs(math.log(factor)), Match(entry, 1.0 if as_it_is else round(factor, 2))))
    return min(found, key=lambda one: (*one[:2], one[2].entry.path.name))[2] if found else None


def masters_in(folder: Path) -> list[Entry]:
    """All masters of a folder, by name; none where there is no folder. Files that are none are left out. Raises StorageFailed."""
    try:
        changed_ns = folder.stat().st_mtime_ns
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageFailed(f"The dark frames in {folder} cannot be read: {error.strerror}. Check its rights.") from error
    return list(_listed(folder, changed_ns))


def name_of(facts: Facts, temperature_c: float | None) -> str:
    """`dark_30s_g100_-10C_3096x2080.fits.fz`."""
    gain = "" if facts.applied.gain is None else f"_g{facts.applied.gain:g}"
    warm = "" if temperature_c is None else f"_{round(temperature_c)}C"
    roi = "" if facts.format.roi is None else f"_at{facts.format.roi[0]}-{facts.format.roi[1]}"
    return f"dark_{facts.applied.exposure_s or 0:g}s{gain}{warm}_{facts.width}x{facts.height}{roi}{ORIGINAL_SUFFIX}"


def forget() -> None:
    """A file was replaced: read the folders anew."""
    _listed.cache_clear()


@lru_cache(maxsize=8)
def _listed(folder: Path, changed_ns: int) -> Sequence[Entry]:
    """Read once as long as the folder does not change."""
    found: list[Entry] = []
    for path in sorted(folder.glob(f"dark_*{ORIGINAL_SUFFIX}")):
        try:
            found.append(entry_of(path))
        except (StorageFailed, KeyError, ValueError):
            continue
    return tuple(found)


def entry_of(path: Path) -> Entry:
    """Raises StorageFailed, KeyError or ValueError for a file that is no master."""
    cards = image_cards(path)
    roi = tuple(int(n) for n in str(cards["CUPROI"]).split(",")) if "CUPROI" in cards else None
    return Entry(
        path,
        float(cards["EXPTIME"]),
        float(cards["GAIN"]) if "GAIN" in cards else None,
        float(cards["CCD-TEMP"]) if "CCD-TEMP" in cards else None,
        int(cards["ZNAXIS1"]),
        int(cards["ZNAXIS2"]),
        int(cards["XBINNING"]),
        cast("tuple[int, int, int, int] | None", roi),
        int(cards["NCOMBINE"]),
        int(cards["CUPBAD"]),
        parse_utc(f"{cards['DATE']}+00:00"),
    )
