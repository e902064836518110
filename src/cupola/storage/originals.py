"""Originals of sensors: FITS, Rice-compressed, losslessly, and the facts in their headers.

Owns what a header says and how it is read back. Where the file lies and how it becomes durable is
the business of `files`. astropy and numpy are imported inside the functions that need them (0.4 s, 24 MB); the header
alone is read without it, so the server can adopt an original cheaply.

Measured on a 6.4 MP 12-bit frame with photon noise (one x86-64 core; up to 200 ms when others use the machine): 112 to 120 ms
in tiles of 16 to 256 rows, 125 as one tile, about twice as much with a tile a row. 112 of it is astropy's Rice code in C,
which lets the interpreter lock go: with tiles of 64 rows no other thread waited longer than 6 ms. fitsio imports in 10 ms,
but took twice as long (223 to 310 ms) and held the lock all the while, which would stop the driver's thread.

Reading the same frame: 80 ms through astropy's table, of which the C decoder takes 59. The tiles of a file of ours are handed to
that decoder directly, by two threads where there are two processors: 63 ms of processor time, about 35 by the clock. (imagecodecs
has the same decoder at the same speed in 45 MB; fitsio is GPL and has no wheel for aarch64.)
"""

from __future__ import annotations

import array
import importlib
import io
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cupola.core.clock import parse_utc
from cupola.core.errors import StorageFailed
from cupola.core.frame import CameraInfo, Controls, Frame, HeaderCard, PixelFormat, PixelKind, Station
from cupola.storage.files import telling

if TYPE_CHECKING:
    from cupola.core.frame import Pixels

Value = str | int | float | bool
TILE_ROWS = 64
_BLOCK, _CARD, _TEXT = 2880, 80, 68


@dataclass(frozen=True, slots=True)
class Facts:
    """What an original's header tells. `width` and `height` in pixels; times in UTC; `format` as stored, padding gone."""

    opened_at: datetime
    ended_at: datetime
    clock_synced: bool
    camera: str
    sequence: int
    session: int | None
    width: int
    height: int
    format: PixelFormat
    applied: Controls
    temperature_c: float | None
    model: str
    correction: float | None = None  # stops by which developing should brighten it


@dataclass(frozen=True, slots=True)
class Original:
    """An original with its pixels: (H, W) uint8 or uint16, or (H, W, 3) uint8 for RGB."""

    data: Pixels
    facts: Facts


def encode_original(
    frame: Frame,
    *,
    camera: str,
    sequence: int,
    station: Station,
    info: CameraInfo,
    software: str,
    session: int | None = None,
    correction: float | None = None,
) -> bytes:
    """The bytes of a `.fits.fz` file with the frame's pixels and facts.

    Takes (H, W) uint8 or uint16 of MONO and BAYER and (H, W, 3) uint8 of RGB (stored as a cube of three planes);
    raises ValueError for anything else (YUV is kept as JPEG). Bits below the sensor's own are shifted out, unless a
    driver says so wrongly and they are in use. The frame's own header follows ours; where both have a keyword ours stands,
    and what the camera said otherwise is kept as a COMMENT.
    """
    import numpy as np

    fits = _fits()
    colour = frame.format.kind is PixelKind.RGB
    if colour:
        fits_in = frame.data.ndim == 3 and frame.data.shape[2] == 3 and frame.data.dtype == np.uint8
    else:
        fits_in = frame.format.kind in (PixelKind.MONO, PixelKind.BAYER) and frame.data.ndim == 2
    if not fits_in:
        raise ValueError(f"a {frame.format.kind} frame of shape {frame.data.shape} {frame.data.dtype} cannot be an original")
    pixels, bits, black = _without_padding(frame)
    if colour:
        pixels = np.ascontiguousarray(np.moveaxis(pixels, 2, 0))
    header = fits.Header()
    for key, (value, comment) in _cards(frame, camera, sequence, station, info, software, session, bits, black).items():
        header[key] = (value, comment)
    if correction is not None:
        header["EVCORR"] = (round(correction, 4), "[stop] to be brightened by when developed")
    _add_cards_of_camera(header, frame.header)
    tile = (1,) * (pixels.ndim - 2) + (min(TILE_ROWS, frame.height), frame.width)
    image = fits.CompImageHDU(pixels, header, compression_type="RICE_1", tile_shape=tile)
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(file, checksum=True)
    return file.getvalue()


def load_encoder() -> None:
    """Import now what `encode_original` imports on its first call: up to two seconds on small hardware."""
    _fits()


def _fits() -> Any:
    return importlib.import_module("astropy.io.fits")  # has no types, and is heavy: only on first use


def _without_padding(frame: Frame) -> tuple[Pixels, int, int]:
    """Pixels, significant bits and black level with the empty low bits shifted out."""
    import numpy as np

    f = frame.format
    if f.padding_bits and not int(np.bitwise_or.reduce(frame.data, axis=None)) & ((1 << f.padding_bits) - 1):
        return cast("Pixels", frame.data >> f.padding_bits), f.bits, f.black_level
    return frame.data, f.bits + f.padding_bits, f.black_level << f.padding_bits


def _cards(
    frame: Frame, camera: str, sequence: int, station: Station, info: CameraInfo, software: str, session: int | None, bits: int, black: int
) -> dict[str, tuple[Value, str]]:
    """Keywords of FITS 4.0 and, where it has none, those that capture programs for astronomy agree on; CUP… are ours."""
    f = frame.format
    cards: dict[str, tuple[Value | None, str]] = {
        "DATE-OBS": (_fits_time(frame.opened_at), "shutter opened"),
        "DATE-END": (_fits_time(frame.ended_at), "exposure ended"),
        "TIMESYS": ("UTC", "time scale of all dates"),
        "TIMESYNC": (frame.clock_synced, "the computer's clock was synchronised"),
        "EXPTIME": (frame.applied.exposure_s, "[s] exposure, as applied"),
        "GAIN": (frame.applied.gain, "gain or ISO, as applied, the camera's own scale"),
        "FNUMBER": (frame.applied.f_number, "focal ratio of the lens, as applied"),
        "CCD-TEMP": (frame.temperature_c, "[degC] sensor temperature"),
        "CUPCOOL": (frame.cooler_percent, "[%] power of the sensor's cooler"),
        "XBINNING": (f.binning, "[pixel] sensor pixels in one, across"),
        "YBINNING": (f.binning, "[pixel] sensor pixels in one, down"),
        "BAYERPAT": (f.bayer if f.kind is PixelKind.BAYER else None, "colours of the first 2x2 pixels"),
        "ROWORDER": ("TOP-DOWN", "the first row is the top of the picture"),
        "BLKLEVEL": (black, "[adu] black level"),
        "CUPBITS": (bits, "significant bits of a sample"),
        "CUPKIND": (f.kind.value, "mono, bayer or rgb"),
        "CUPROI": (",".join(map(str, f.roi)) if f.roi else None, "[pixel] x,y,width,height on the sensor"),
        "INSTRUME": (info.model, "camera model"),
        "CAMERAID": (info.serial, "camera serial number"),
        "OBSERVAT": (station.name, "station"),
        "SITELAT": (station.latitude, "[deg] north positive"),
        "SITELONG": (station.longitude, "[deg] east positive"),
        "SITEELEV": (station.elevation_m, "[m] above sea level"),
        "CUPCAM": (camera, "camera's name in Cupola"),
        "CUPSEQ": (sequence, "camera's image number"),
        "CUPSESS": (session, "series of images it belongs to"),
        "SWCREATE": (software, "program that wrote this file"),
    }
    return {key: _card(value, comment) for key, (value, comment) in cards.items() if value is not None and not _endless(value)}


def _add_cards_of_camera(header: Any, cards: Iterable[HeaderCard]) -> None:
    ours = set(header)
    for key, value, comment in cards:
        if _endless(value):
            continue
        if key in ("COMMENT", "HISTORY"):
            header.add_comment(_ascii(str(value))) if key == "COMMENT" else header.add_history(_ascii(str(value)))
            continue
        value, comment = _card(value, _ascii(comment))
        if key not in ours:
            header[key if len(key) <= 8 else f"HIERARCH {key}"] = (value, comment)
        elif header[key] != value:
            header.add_comment(f"the camera's own {key}: {value}")


def _endless(value: Value) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _card(value: Value, comment: str) -> tuple[Value, str]:
    """Text as one card of 80 characters holds it: printable ASCII, and a comment as far as there is room."""
    if not isinstance(value, str):
        return value, comment
    text = _ascii(value)
    while len(text.replace("'", "''")) > _TEXT:
        text = text[:-1]
    return text, comment[: max(_TEXT - 3 - max(len(text.replace("'", "''")), 8), 0)]


def _ascii(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def _fits_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


def read_original(path: Path, *, writeable: bool = False) -> Original:
    """The pixels and facts of a file that `encode_original` made.

    Pixels come as stored: padding shifted out, so `facts.format.padding_bits` is 0; read-only, unless they are wanted `writeable`. Raises StorageFailed
    when the file is not there, cut short, damaged (its checksums are compared) or not ours.
    """
    load_encoder()
    with telling(path, "read"):
        content = path.read_bytes()
    try:
        header, start = _image_header(content)
        facts = _facts(header)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            data = _rice_tiles(content, header, start)
            if data is None:
                with _fits().open(io.BytesIO(content)) as hdus:
                    data = cast("Pixels", hdus[1].data)
    except (OSError, ValueError, TypeError, KeyError, IndexError, RuntimeError, Warning) as error:
        raise _damaged(path, str(error)) from error
    if facts.format.kind is PixelKind.RGB:
        import numpy as np

        data = cast("Pixels", np.ascontiguousarray(np.moveaxis(data, 0, 2)))
    if not writeable:
        data.flags.writeable = False
    return Original(data, facts)


def read_facts(path: Path) -> Facts:
    """The header alone, after comparing the length and checksums of the whole file: fast, without astropy. Raises StorageFailed."""
    with telling(path, "read"):
        content = path.read_bytes()
    try:
        return _facts(_image_header(content)[0])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, str(error)) from error


def image_cards(path: Path) -> Mapping[str, Value]:
    """The header's cards of any file laid out like an original, after comparing length and checksum; without astropy. Raises StorageFailed."""
    with telling(path, "read"):
        content = path.read_bytes()
    try:
        return _image_header(content)[0]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, reason: str) -> StorageFailed:
    return StorageFailed(f"{path} is not a whole original of Cupola: {reason}. It was cut short or changed after it was written; check the disk.")


def _rice_tiles(content: bytes, h: Mapping[str, Value], start: int) -> Pixels | None:
    """The pixels of the table of tiles at `start`; None when it is not laid out as `encode_original` does, or astropy has changed.

    (H, W), or (3, H, W) of RGB. A table of FITS 4.0, chapter 10: a row a tile with length and place in the heap behind the rows.
    """
    import numpy as np

    try:
        codec = importlib.import_module("astropy.io.fits.hdu.compressed._compression")
        decompress: Callable[[bytes, int, int, int], bytes] = codec.decompress_rice_1_c
    except (ImportError, AttributeError):
        return None
    axes = [int(h[f"ZNAXIS{n}"]) for n in range(1, int(h["ZNAXIS"]) + 1)]
    tile = [int(h[f"ZTILE{n}"]) for n in range(1, len(axes) + 1)]
    bytes_a_sample, block, zero = int(h.get("ZVAL2", 0)), int(h.get("ZVAL1", 0)), int(h.get("BZERO", 0))
    ours = (
        h["ZCMPTYPE"] == "RICE_1" and h["TFIELDS"] == 1 and int(h["NAXIS1"]) == 8 and (h.get("ZNAME1"), h.get("ZNAME2")) == ("BLOCKSIZE", "BYTEPIX")
    )
    kind = (int(h["ZBITPIX"]), bytes_a_sample, zero)
    if not ours or kind not in ((8, 1, 0), (16, 2, 1 << 15)) or tile[0] != axes[0] or any(n != 1 for n in tile[2:]):
        return None
    dtype = np.dtype(np.uint8 if bytes_a_sample == 1 else np.uint16)
    width, height, planes = axes[0], axes[1], math.prod(axes[2:])
    pixels = np.empty((planes * height, width), dtype)
    tops = [(plane * height + row, min(tile[1], height - row)) for plane in range(planes) for row in range(0, height, tile[1])]
    rows = int(h["NAXIS2"])
    heap = start + int(h.get("THEAP", 8 * rows))
    places = np.frombuffer(content, ">i4", 2 * rows, start).reshape(rows, 2).tolist()
    if len(tops) != rows:
        raise ValueError(f"it has {rows} tiles instead of {len(tops)}")

    def decode(number: int) -> None:
        (top, high), (length, at) = tops[number], places[number]
        samples = np.frombuffer(decompress(content[heap + at : heap + at + length], block, bytes_a_sample, high * width), dtype)
        # A sample of 16 bit is stored less 32768 as two's complement, so that its highest bit is turned over.
        np.bitwise_xor(samples.reshape(high, width), zero, out=pixels[top : top + high])

    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as threads:
        for _ in threads.map(decode, range(rows)):
            pass
    return cast("Pixels", pixels if planes == 1 and len(axes) == 2 else pixels.reshape(planes, height, width))


def _image_header(content: bytes) -> tuple[Mapping[str, Value], int]:
    """Cards of the second header-and-data unit, the compressed image, and where its data begins; ValueError when the file is cut or altered."""
    first, end = _header(content, 0)
    if first.get("SIMPLE") is not True or first.get("NAXIS") != 0:
        raise ValueError("it does not begin as one")
    header, start = _header(content, end)
    size = int(header["NAXIS1"]) * int(header["NAXIS2"]) + int(header["PCOUNT"])
    stop = start + -(-size // _BLOCK) * _BLOCK
    if len(content) < stop:
        raise ValueError(f"{len(content)} bytes are left of {stop}")
    if "CHECKSUM" not in header or not _sum_is_zero(content[end:stop]):
        raise ValueError("its checksum differs")
    return header, start


def _sum_is_zero(unit: bytes) -> bool:
    """FITS 4.0, appendix J: the 32-bit ones' complement sum of a unit with a CHECKSUM card is all ones (minus zero)."""
    if (numpy := sys.modules.get("numpy")) is not None:  # 1 ms for 5 MB instead of 60, where it is loaded; the server does without
        total = int(numpy.frombuffer(unit, ">u4").sum(dtype="u8"))
    else:
        words = array.array("I", unit)
        if sys.byteorder == "little":
            words.byteswap()
        total = sum(words)
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total == 0xFFFFFFFF


def _header(content: bytes, start: int) -> tuple[dict[str, Value], int]:
    """Cards of the header at `start`, and where its data begins."""
    cards: dict[str, Value] = {}
    for at in range(start, len(content) - _CARD + 1, _CARD):
        card = content[at : at + _CARD].decode("ascii", "replace")
        key = card[:8].rstrip()
        if key == "END":
            return cards, start + -(-(at + _CARD - start) // _BLOCK) * _BLOCK
        if card[8:10] == "= ":
            cards[key] = _value(card[10:])
    raise ValueError("its header has no end")


def _value(text: str) -> Value:
    text = text.strip()
    if text.startswith("'"):
        return text[1:].replace("''", "\0").split("'", 1)[0].rstrip().replace("\0", "'")
    word = text.split("/", 1)[0].strip()
    if word in ("T", "F"):
        return word == "T"
    try:
        return int(word)
    except ValueError:
        return float(word or "nan")


def _facts(h: Mapping[str, Value]) -> Facts:
    def number(key: str) -> float | None:
        return float(h[key]) if key in h else None

    roi = cast("tuple[int, int, int, int]", tuple(int(n) for n in str(h["CUPROI"]).split(","))) if "CUPROI" in h else None
    return Facts(
        opened_at=parse_utc(f"{h['DATE-OBS']}+00:00"),
        ended_at=parse_utc(f"{h['DATE-END']}+00:00"),
        clock_synced=bool(h["TIMESYNC"]),
        camera=str(h["CUPCAM"]),
        sequence=int(h["CUPSEQ"]),
        session=int(h["CUPSESS"]) if "CUPSESS" in h else None,
        width=int(h["ZNAXIS1"]),
        height=int(h["ZNAXIS2"]),
        format=PixelFormat(
            PixelKind(str(h["CUPKIND"])),
            bits=int(h["CUPBITS"]),
            bayer=str(h["BAYERPAT"]) if "BAYERPAT" in h else None,
            black_level=int(h["BLKLEVEL"]),
            roi=roi,
            binning=int(h["XBINNING"]),
        ),
        applied=Controls(number("EXPTIME"), number("GAIN"), number("FNUMBER")),
        temperature_c=number("CCD-TEMP"),
        model=str(h.get("INSTRUME", "")),
        correction=number("EVCORR"),
    )
