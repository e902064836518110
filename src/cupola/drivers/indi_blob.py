"""What an INDI driver sends for a picture (FITS, perhaps compressed) as pixels and facts. Talking to it is the business of `indi`."""

from __future__ import annotations

import importlib
import io
import warnings
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from cupola.core.errors import BadImage
from cupola.core.frame import HeaderCard, PixelFormat, PixelKind, Pixels

_BAYER = {"RGGB", "BGGR", "GRBG", "GBRG"}
_FOLDED_IN = {"XBAYROFF", "YBAYROFF", "EXTNAME", "INHERIT"}  # told by our own cards, or of the file it came in
_NOT_IMAGES = {".jpg", ".jpeg", ".nef", ".cr2", ".arw", ".xisf", ".stream"}


@dataclass(frozen=True, slots=True)
class Blob:
    """Pixels as `core.frame.Frame` has them, and what the header says; None where it says nothing."""

    data: Pixels
    format: PixelFormat
    header: tuple[HeaderCard, ...]
    exposure_s: float | None
    gain: float | None
    temperature_c: float | None
    started_at: datetime | None  # by the clock of the driver's computer


def load_reader() -> None:
    """Import now what `decode` imports on its first call (0.35 s); the storing of stills needs the same library."""
    _fits()


def _fits() -> Any:
    return importlib.import_module("astropy.io.fits")


def decode(data: bytes, suffix: str, bits: int, binning: int, roi: tuple[int, int, int, int] | None) -> Blob:
    """The first image of a FITS file. `bits`: significant bits of a sample as the driver tells them, 0 unknown. Raises BadImage."""
    if suffix in _NOT_IMAGES:
        raise BadImage(f"The camera's driver sends {suffix} files. Set its transfer format to FITS.")
    try:
        if suffix.endswith(".z"):
            data = zlib.decompress(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that are not by the book, which is common
            with _fits().open(io.BytesIO(data), memmap=False) as hdus:
                unit = next(hdu for hdu in hdus if hdu.is_image and hdu.data is not None)
                pixels, header = unit.data, unit.header
                return _read(pixels, header, bits, binning, roi)
    except (OSError, ValueError, TypeError, KeyError, StopIteration, zlib.error) as problem:
        raise BadImage(f"What the camera's driver sent ({len(data)} bytes, {suffix or 'no suffix'}) is no FITS image: {problem}.") from problem


def _read(pixels: Any, header: Any, bits: int, binning: int, roi: tuple[int, int, int, int] | None) -> Blob:
    colour = pixels.ndim == 3 and pixels.shape[0] == 3
    if pixels.ndim == 3 and pixels.shape[0] == 1:
        pixels = pixels[0]
    if (pixels.ndim != 2 and not colour) or (colour and pixels.dtype != np.uint8) or pixels.dtype.kind not in "iu" or pixels.dtype.itemsize > 2:
        raise BadImage(
            f"The camera's driver sends a picture of shape {pixels.shape} and type {pixels.dtype.name}, which Cupola cannot keep. "
            "Set it to raw with 8 or 16 bits (CCD_CAPTURE_FORMAT), or RGB with 8."
        )
    if pixels.dtype.kind == "i":  # 16 bits without FITS's offset: a driver whose samples never reach the sign
        pixels = np.clip(pixels, 0, None)
    depth = 8 * pixels.dtype.itemsize
    pixels = np.ascontiguousarray(np.moveaxis(pixels, 0, 2) if colour else pixels, dtype=np.uint8 if depth == 8 else np.uint16)
    pixels.flags.writeable = False
    if not depth - 8 < bits < depth or int(pixels.max()) >> bits:
        bits = depth
    bayer = None if colour else _bayer(header)
    kind = PixelKind.RGB if colour else PixelKind.BAYER if bayer else PixelKind.MONO
    return Blob(
        data=pixels,
        format=PixelFormat(kind, bits=bits, bayer=bayer, roi=roi, binning=binning),
        header=_cards(header),
        exposure_s=_number(header, "EXPTIME"),
        gain=_number(header, "GAIN"),
        temperature_c=_number(header, "CCD-TEMP"),
        started_at=_started(header),
    )


def _bayer(header: Any) -> str | None:
    return shifted_bayer(str(header.get("BAYERPAT", "")), int(_number(header, "XBAYROFF") or 0), int(_number(header, "YBAYROFF") or 0))


def shifted_bayer(pattern: str, x: int, y: int) -> str | None:
    """The colours of the first 2x2 pixels, of a pattern that begins (x, y) pixels off; None for what is no pattern."""
    pattern = pattern.strip().upper()
    if pattern not in _BAYER:
        return None
    if x % 2:
        pattern = pattern[1] + pattern[0] + pattern[3] + pattern[2]
    return pattern[2:] + pattern[:2] if y % 2 else pattern


def _number(header: Any, key: str) -> float | None:
    value = header.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _started(header: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(header["DATE-OBS"]))
    except (KeyError, ValueError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _cards(header: Any) -> tuple[HeaderCard, ...]:
    """All that describes the picture: not what describes the file it came in."""
    kept = header.copy()
    kept.strip()
    cards: list[HeaderCard] = []
    for card in kept.cards:
        if card.keyword and card.keyword not in _FOLDED_IN and isinstance(card.value, str | int | float | bool):
            cards.append((card.keyword, card.value, card.comment))
    return tuple(cards)
