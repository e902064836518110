"""Originals: nothing of a frame is lost, any FITS reader opens them, and damage is noticed."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from cupola.core.errors import StorageFailed
from cupola.core.frame import CameraInfo, Controls, Frame, PixelFormat, PixelKind, Pixels, Station
from cupola.storage.originals import encode_original, read_facts, read_original

_STATION = Station("Zum Ölberg's top", 49.5, -11.25, 512.0, "Europe/Berlin")
_AT = datetime(2026, 11, 21, 23, 15, 2, 123456, tzinfo=UTC)


def _frame(data: Pixels, form: PixelFormat, temperature_c: float | None = -9.5) -> Frame:
    return Frame(5, _AT, _AT + timedelta(seconds=30), 1, data, form, Controls(30.0, 120.5, 1.8), clock_synced=False, temperature_c=temperature_c)


def _encoded(frame: Frame, session: int | None = 3) -> bytes:
    info = CameraInfo("zwo", "ASI178MC é" + "x" * 100, frame.width, frame.height, frame.format, frozenset(), serial="1a2b")
    return encode_original(frame, camera="north", sequence=342, station=_STATION, info=info, session=session, software="Cupola 0.1")


def _noise(shape: tuple[int, ...], bits: int) -> Any:
    rng = np.random.default_rng(bits)
    values = rng.integers(0, 1 << bits, shape) if bits == 16 else np.clip(rng.poisson(40, shape) + rng.normal(0, 4, shape), 0, (1 << bits) - 1)
    values.flat[:2] = (0, (1 << bits) - 1)
    return values.astype(np.uint8 if bits == 8 else np.uint16)


@pytest.mark.parametrize(
    ("shape", "form"),
    [
        ((300, 401), PixelFormat(PixelKind.MONO, 8)),
        ((300, 401), PixelFormat(PixelKind.MONO, 16)),
        ((513, 40), PixelFormat(PixelKind.BAYER, 12, "GRBG", padding_bits=4, black_level=60, roi=(8, 16, 80, 1026), binning=2)),
        ((300, 401), PixelFormat(PixelKind.BAYER, 14, "RGGB", padding_bits=2)),
        ((1, 1), PixelFormat(PixelKind.MONO, 10)),
        ((270, 64, 3), PixelFormat(PixelKind.RGB, 8)),
    ],
)
def test_pixels_and_facts_come_back_exactly(tmp_path: Path, shape: tuple[int, ...], form: PixelFormat) -> None:
    stored: Any = _noise(shape, form.bits) if math.prod(shape) > 1 else np.array([[1023]], np.uint16)
    path = tmp_path / "a.fits.fz"
    path.write_bytes(_encoded(_frame(stored << form.padding_bits, form)))
    original = read_original(path)
    assert original.data.dtype == stored.dtype
    assert np.array_equal(original.data, stored)
    assert not original.data.flags.writeable
    facts = original.facts
    assert facts == read_facts(path)
    assert (facts.opened_at, facts.ended_at, facts.clock_synced) == (_AT, _AT + timedelta(seconds=30), False)
    assert (facts.camera, facts.sequence, facts.session, facts.temperature_c) == ("north", 342, 3, -9.5)
    assert facts.applied == Controls(30.0, 120.5, 1.8)
    assert (facts.width, facts.height) == (shape[1], shape[0])
    assert facts.format == PixelFormat(form.kind, form.bits, form.bayer, 0, form.black_level, form.roi, form.binning)


def test_any_fits_reader_finds_pixels_and_standard_keywords(tmp_path: Path) -> None:
    stored, path = _noise((300, 401), 12), tmp_path / "a.fits.fz"
    path.write_bytes(_encoded(_frame(stored << 4, PixelFormat(PixelKind.BAYER, 12, "RGGB", 4, 60))))
    with fits.open(path, checksum=True) as hdus:
        hdus.verify("exception")
        image: Any = hdus[1]
        assert np.array_equal(image.data, stored)
        header = image.header
        expected = {"DATE-OBS": "2026-11-21T23:15:02.123456", "TIMESYS": "UTC", "EXPTIME": 30.0, "GAIN": 120.5, "CCD-TEMP": -9.5, "XBINNING": 1}
        expected |= {"BAYERPAT": "RGGB", "ROWORDER": "TOP-DOWN", "SITELAT": 49.5, "SITELONG": -11.25, "SITEELEV": 512.0, "SWCREATE": "Cupola 0.1"}
        expected |= {"CUPSEQ": 342, "CUPCAM": "north", "CUPBITS": 12, "BLKLEVEL": 60, "OBSERVAT": "Zum ?lberg's top", "TIMESYNC": False}
        assert {key: header[key] for key in expected} == expected


def test_a_twelve_bit_frame_shrinks_to_less_than_half(tmp_path: Path) -> None:
    frame = _frame(_noise((1000, 1000), 12) << 4, PixelFormat(PixelKind.BAYER, 12, "RGGB", 4))
    assert len(_encoded(frame)) < frame.data.nbytes / 2


def test_low_bits_that_a_driver_wrongly_calls_padding_are_kept(tmp_path: Path) -> None:
    data, path = _noise((20, 20), 16), tmp_path / "a.fits.fz"
    path.write_bytes(_encoded(_frame(data, PixelFormat(PixelKind.MONO, 12, padding_bits=4, black_level=10))))
    original = read_original(path)
    assert np.array_equal(original.data, data)
    assert (original.facts.format.bits, original.facts.format.black_level) == (16, 160)


def test_unknown_and_endless_values_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.fits.fz"
    path.write_bytes(_encoded(_frame(_noise((8, 8), 8), PixelFormat(PixelKind.MONO), temperature_c=math.nan), session=None))
    assert (read_facts(path).temperature_c, read_facts(path).session) == (None, None)


def test_a_frame_that_is_no_plain_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be an original"):
        _encoded(_frame(_noise((8, 8), 8), PixelFormat(PixelKind.YUV420)))


def test_every_way_of_cutting_or_changing_the_file_is_noticed(tmp_path: Path) -> None:
    whole, path = _encoded(_frame(_noise((60, 60), 12), PixelFormat(PixelKind.MONO, 12))), tmp_path / "a.fits.fz"
    damaged = [b"", b"\0" * 6000, whole[:2000], whole[:2880], whole[:9000], whole[:-1], whole[:-2880]]
    for at in (30, 2880 + 100, 2880 + 1300, len(whole) - 3000):
        damaged.append(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    for content in damaged:
        path.write_bytes(content)
        for read in (read_facts, read_original):
            with pytest.raises(StorageFailed, match="not a whole original"):
                read(path)


def test_another_programs_fits_is_not_taken_for_an_original(tmp_path: Path) -> None:
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(_noise((9, 9), 8))]).writeto(tmp_path / "a.fits", checksum=True)
    with pytest.raises(StorageFailed):
        read_original(tmp_path / "a.fits")
    with pytest.raises(StorageFailed, match="No such file"):
        read_original(tmp_path / "b.fits")


def test_the_cameras_own_header_is_kept_beside_ours(tmp_path: Path) -> None:
    cards = (
        ("TELESCOP", "O'Neill é " + "x" * 100, "its name, long " * 6),
        ("FOCALLEN", 9e2, "[mm]"),
        ("OBJCTALT", 1e-12, ""),
        ("SHUTTERS", 123456789012, "count"),
        ("AOFLAG", True, ""),
        ("NOTHING", math.nan, ""),
        ("A_LONG_KEYWORD", 5, "not of the standard"),
        ("DATE-OBS", "1999-01-01T00:00:00.0", "a clock that was never set"),
        ("EXPTIME", 30.0, "the same as ours"),
        ("CUPSEQ", 99999, "a trap"),
        ("COMMENT", "made by a driver, 'quoted', " + "y" * 90, ""),
        ("HISTORY", "bias taken off", ""),
    )
    path = tmp_path / "a.fits.fz"
    frame = _frame(_noise((30, 40), 16), PixelFormat(PixelKind.MONO, 16))
    path.write_bytes(_encoded(replace(frame, header=cards)))
    facts = read_original(path).facts
    assert (facts.opened_at, facts.sequence, facts.applied) == (_AT, 342, Controls(30.0, 120.5, 1.8))
    assert facts == read_facts(path)
    with fits.open(path) as hdus:
        hdus[1].verify("exception")
        header: Any = hdus[1].header  # pyright: ignore[reportAttributeAccessIssue]
        assert header["TELESCOP"].startswith("O'Neill ? xxx")
        assert (header["FOCALLEN"], header["OBJCTALT"], header["SHUTTERS"], header["AOFLAG"]) == (900.0, 1e-12, 123456789012, True)
        assert header["A_LONG_KEYWORD"] == 5 and "NOTHING" not in header
        assert header.comments["FOCALLEN"] == "[mm]"
        comments = "".join(str(line) for line in header["COMMENT"])
        assert "the camera's own DATE-OBS: 1999-01-01T00:00:00.0" in comments and "the camera's own CUPSEQ: 99999" in comments
        assert "own EXPTIME" not in comments
        assert "y" * 90 in comments and list(header["HISTORY"]) == ["bias taken off"]
        assert header.count("DATE-OBS") == header.count("CUPSEQ") == 1
