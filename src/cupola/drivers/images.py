"""Reads one image file of a folder: JPEG untouched, PNG, TIFF and BMP through FFmpeg, FITS through astropy.

The order and the pace of a folder are the business of `replay`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cupola.core.clock import clock_synced, monotonic_ns, utc_now
from cupola.core.frame import Controls, Frame, Packet, PixelFormat, PixelKind
from cupola.drivers.jpeg import BadJpeg, decodes, inspect

_JPEG = (".jpg", ".jpeg")
_FITS = (".fits", ".fits.fz", ".fit", ".fits.gz")
ENDINGS = (*_JPEG, ".png", ".tif", ".tiff", ".bmp", *_FITS)
_BAYER = ("RGGB", "BGGR", "GRBG", "GBRG")


class Unreadable(Exception):
    """Why a file is no picture that can be shown."""


def read(path: Path) -> Frame | Packet:
    """The picture in a file, stamped with this moment, `seq` 0. Raises Unreadable.

    JPEG gives a packet with the file's own bytes; PNG, TIFF and BMP give RGB (H, W, 3) uint8 or MONO
    (H, W) uint8 or uint16 frames; FITS gives MONO, or BAYER where its header names a pattern.
    """
    now = utc_now()
    facts: dict[str, Any] = {"seq": 0, "opened_at": now, "ended_at": now, "monotonic_ns": monotonic_ns(), "clock_synced": clock_synced()}
    name = path.name.lower()
    try:
        if name.endswith(_JPEG):
            data = path.read_bytes()
            size = inspect(data)
            if not decodes(data):
                raise Unreadable("its compressed data is damaged")
            return Packet(codec="jpeg", data=data, width=size.width, height=size.height, **facts)
        if name.endswith(_FITS):
            return _fits(path, facts)
        return _through_ffmpeg(path, facts)
    except BadJpeg as reason:
        raise Unreadable(str(reason)) from None
    except OSError as problem:
        raise Unreadable(problem.strerror or str(problem)) from None


def _through_ffmpeg(path: Path, facts: Mapping[str, Any]) -> Frame:
    import av
    import av.error

    from cupola.drivers.decode import Pixels

    try:
        with av.open(str(path)) as container:
            for picture in container.decode(video=0):
                return Pixels().frame(picture, **facts)
    except (av.error.FFmpegError, IndexError) as problem:
        raise Unreadable(getattr(problem, "strerror", None) or "it holds no picture") from None
    raise Unreadable("it holds no picture")


def _fits(path: Path, facts: Mapping[str, Any]) -> Frame:
    import warnings

    from astropy.io import fits
    from astropy.utils.exceptions import AstropyWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyWarning)  # a file cut short is only warned about
            with path.open("rb") as file, fits.open(file, memmap=False) as units:
                every: list[Any] = list(units)
                unit = next((one for one in every if one.data is not None and one.data.ndim == 2), None)
                if unit is None:
                    raise Unreadable("it holds no two-dimensional image")
                pixels, header = _sixteen_bits(unit.data), dict(unit.header)
    except (ValueError, TypeError, KeyError, AstropyWarning, fits.VerifyError) as problem:
        raise Unreadable(str(problem).splitlines()[0]) from None
    pattern = str(header.get("BAYERPAT", "")).strip().upper()
    bayer = pattern if pattern in _BAYER else None
    kind = PixelKind.BAYER if bayer else PixelKind.MONO
    applied = Controls.from_dict({"exposure_s": _number(header.get("EXPTIME", header.get("EXPOSURE"))), "gain": _number(header.get("GAIN"))})
    return Frame(data=pixels, format=PixelFormat(kind, bits=pixels.dtype.itemsize * 8, bayer=bayer), applied=applied, **facts)


def _sixteen_bits(data: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """8 and 16 bits as they are; fractions from 0 to 1 count as parts of full scale; what does not fit in 16 bits is stretched to fit."""
    if data.dtype != np.uint8:
        low, high = float(np.nanmin(data)), float(np.nanmax(data))
        if data.dtype.kind == "f" and low >= 0 and high <= 1:
            data = data * 65535
        elif low < 0 or high > 65535:
            data = (data - low) * (65535 / max(high - low, 1e-30))
        data = np.rint(np.nan_to_num(data)).astype(np.uint16) if data.dtype.kind == "f" else data.astype(np.uint16)
    pixels = np.ascontiguousarray(data)
    pixels.flags.writeable = False
    return pixels


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
