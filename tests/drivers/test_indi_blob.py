"""What INDI drivers send, as pixels and facts: each form of FITS they use, and what is none."""

import io
import zlib
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from cupola.core.errors import BadImage
from cupola.core.frame import PixelKind
from cupola.drivers.indi_blob import Blob, decode, shifted_bayer


def written(pixels: Any, compressed: bool = False, **cards: Any) -> bytes:
    header = fits.Header([(key.replace("_", "-"), value) for key, value in cards.items()])
    unit = fits.CompImageHDU(pixels, header) if compressed else fits.PrimaryHDU(pixels, header)
    file = io.BytesIO()
    (fits.HDUList([fits.PrimaryHDU(), unit]) if compressed else fits.HDUList([unit])).writeto(file)
    return file.getvalue()


def read(data: bytes, suffix: str = ".fits", bits: int = 16) -> Blob:
    return decode(data, suffix, bits, 1, None)


def ramp(kind: Any, shape: tuple[int, ...] = (12, 20)) -> Any:
    return (np.arange(np.prod(shape)) % (200 if kind == np.uint8 else 60_000)).reshape(shape).astype(kind)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(("suffix", "compressed"), [(".fits", False), (".fits.fz", True), (".fits.z", False)])
def test_samples_come_back_exactly_however_they_were_packed(kind: Any, suffix: str, compressed: bool) -> None:
    pixels = ramp(kind)
    data = written(pixels, compressed, EXPTIME=2.5, GAIN=120, CCD_TEMP=-9.5, DATE_OBS="2026-11-21T23:15:02.123")
    blob = read(zlib.compress(data) if suffix == ".fits.z" else data, suffix)
    assert blob.data.dtype == kind and np.array_equal(blob.data, pixels)
    assert not blob.data.flags.writeable and blob.data.flags.c_contiguous and blob.data.dtype.isnative
    assert (blob.format.kind, blob.format.bits) == (PixelKind.MONO, 8 * pixels.dtype.itemsize)
    assert (blob.exposure_s, blob.gain, blob.temperature_c) == (2.5, 120.0, -9.5)
    assert blob.started_at == datetime(2026, 11, 21, 23, 15, 2, 123000, UTC)
    kept = {key for key, _, _ in blob.header}
    assert kept >= {"EXPTIME", "GAIN", "CCD-TEMP", "DATE-OBS"}
    assert not kept & {"SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "BZERO", "BSCALE", "EXTEND", "XTENSION", "PCOUNT", "ZIMAGE", "ZCMPTYPE", "CHECKSUM"}


def test_a_header_that_says_nothing_leaves_everything_open() -> None:
    blob = read(written(ramp(np.uint16)))
    assert (blob.exposure_s, blob.gain, blob.temperature_c, blob.started_at) == (None, None, None, None)


def test_samples_with_a_sign_that_is_never_used_are_taken_without_it() -> None:
    blob = read(written(np.array([[-3, 0], [5, 32_000]], np.int16)))
    assert blob.data.dtype == np.uint16 and blob.data.tolist() == [[0, 0], [5, 32_000]]


def test_three_planes_of_eight_bits_are_a_colour_picture() -> None:
    planes = ramp(np.uint8, (3, 6, 8))
    blob = read(written(planes, BAYERPAT="RGGB"))
    assert blob.format.kind is PixelKind.RGB and blob.format.bayer is None
    assert np.array_equal(blob.data, np.moveaxis(planes, 0, 2)) and blob.data.flags.c_contiguous


@pytest.mark.parametrize(
    ("bits", "highest", "expected"), [(12, 4095, 12), (12, 4096, 16), (14, 16_383, 14), (16, 9, 16), (0, 9, 16), (8, 9, 16), (32, 9, 16)]
)
def test_bits_are_those_the_driver_names_unless_the_samples_show_otherwise(bits: int, highest: int, expected: int) -> None:
    assert read(written(np.array([[0, highest]], np.uint16)), bits=bits).format.bits == expected


@pytest.mark.parametrize(("x", "y", "expected"), [(0, 0, "RGGB"), (1, 0, "GRBG"), (0, 1, "GBRG"), (1, 1, "BGGR"), (2, 4, "RGGB"), (-1, 3, "BGGR")])
def test_a_pattern_that_begins_elsewhere_is_told_as_it_lies_on_the_picture(x: int, y: int, expected: str) -> None:
    blob = read(written(ramp(np.uint16), BAYERPAT="RGGB", XBAYROFF=x, YBAYROFF=y))
    assert (blob.format.kind, blob.format.bayer) == (PixelKind.BAYER, expected)
    assert not {"XBAYROFF", "YBAYROFF"} & {key for key, _, _ in blob.header}, "another program would shift it twice"


def test_a_pattern_that_is_none_is_left_out() -> None:
    assert shifted_bayer("RGBW", 0, 0) is None
    assert read(written(ramp(np.uint16), BAYERPAT="")).format.kind is PixelKind.MONO


@pytest.mark.parametrize(
    "pixels", [ramp(np.float32), ramp(np.int32), ramp(np.uint16, (3, 4, 5)), ramp(np.uint16, (5, 4, 5)), ramp(np.uint8, (2, 3, 4, 5))]
)
def test_what_cannot_be_kept_says_what_to_set(pixels: Any) -> None:
    with pytest.raises(BadImage, match="8 or 16 bits"):
        read(written(pixels))


@pytest.mark.parametrize("suffix", [".cr2", ".xisf", ".jpg"])
def test_native_files_say_what_to_set(suffix: str) -> None:
    with pytest.raises(BadImage, match="transfer format to FITS"):
        read(b"II*\0", suffix)


@pytest.mark.parametrize("suffix", [".fits", ".fits.fz", ".fits.z", ""])
@pytest.mark.parametrize("data", [b"", b"SIMPLE", b"\0" * 2880, b"<html>" * 1000, written(ramp(np.uint16, (60, 60)))[:4000], written(None)])
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_picture_is_refused(data: bytes, suffix: str) -> None:
    with pytest.raises(BadImage, match="is no FITS image"):
        read(data, suffix)
