"""What can be told about a JPEG without decoding it: its size, whether it is whole, where it ends.

Pictures of an MJPEG source are handed on untouched, so this is all that stands between a broken
one and every viewer. `decodes` is the thorough and dear check for those who can afford it.
"""

import re
from typing import NamedTuple

MOST_PIXELS = 250_000_000  # who decodes one that lies takes gigabytes of memory for a kilobyte
SOI, EOI = b"\xff\xd8", b"\xff\xd9"
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # ITU T.81 table B.1: C4 = DHT, C8 reserved, CC = DAC
_SOS = 0xDA
_STANDALONE = frozenset(range(0xD0, 0xD8)) | {0x01}  # RSTn and TEM have no length
_MARK_IN_SCAN = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]", re.DOTALL)  # in compressed data FF is followed by 00, or is a mark


class BadJpeg(ValueError):
    """Why these bytes are no complete JPEG."""


class JpegSize(NamedTuple):
    width: int
    height: int


def inspect(data: bytes) -> JpegSize:
    """The size of a whole JPEG; raises BadJpeg when its structure is broken or its end is missing.

    Reads the headers only and looks for the end mark; zeros and line ends after it are forgiven,
    as cameras pad. Damage inside the compressed data goes unnoticed.
    """
    if data[:2] != SOI:
        raise BadJpeg("it does not begin like a JPEG")
    size, scan = _walk_headers(data)
    if size is None or scan is None:
        raise BadJpeg("it ends within its headers")
    end = data.rfind(EOI)
    if end < scan or data[end + 2 :].strip(b"\0\r\n"):
        raise BadJpeg("it is cut off: its end mark is missing")
    return size


def _walk_headers(data: bytes) -> tuple[JpegSize | None, int | None]:
    """(size, offset of the compressed data), each None when not reached."""
    at, size = 2, None
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise BadJpeg(f"its headers are broken at byte {at}")
        kind = data[at + 1]
        if kind == 0xFF or kind in _STANDALONE:
            at += 1 if kind == 0xFF else 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2:
            raise BadJpeg(f"its headers are broken at byte {at}")
        if kind in _SOF and at + 9 <= len(data):
            size = JpegSize(int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big"))
            if not (size.width and size.height):
                raise BadJpeg("it says it has no width or height")
            if size.width * size.height > MOST_PIXELS:
                raise BadJpeg(f"it says it has {size.width} x {size.height} pixels, more than any camera")
        at += 2 + length
        if kind == _SOS:
            return size, at if at <= len(data) else None
    return size, None


def decodes(data: bytes) -> bool:
    """Whether every block of the picture can be decoded without a complaint of the decoder."""
    import simplejpeg

    try:
        simplejpeg.decode_jpeg(data, colorspace="GRAY", fastdct=True, strict=True)
    except ValueError:
        return False
    return True


class EndFinder:
    """Finds where a growing JPEG ends, reading each byte once.

    Needed for streams that separate pictures by a boundary only: the end mark tells that a picture is
    complete one frame interval before the next boundary does. Embedded thumbnails have end marks of
    their own inside a header, so headers are stepped over by their length.
    """

    def __init__(self) -> None:
        self._at = 2  # next byte to look at, after SOI
        self._in_scan = False

    def find(self, data: bytes | bytearray) -> int | None:
        """The offset just behind the end mark, or None while it has not come. `data` starts at SOI and only grows."""
        while True:
            if self._in_scan:
                mark = _MARK_IN_SCAN.search(data, self._at)
                if mark is None:
                    self._at = max(self._at, len(data) - 1)  # the first half of a mark may be there
                    return None
                self._at, self._in_scan = mark.start(), False
            if self._at + 2 > len(data):
                return None
            kind = data[self._at + 1]
            if kind == 0xD9:
                return self._at + 2
            if self._at + 4 > len(data):
                return None
            self._at += 2 + int.from_bytes(data[self._at + 2 : self._at + 4], "big")
            self._in_scan = kind == _SOS
