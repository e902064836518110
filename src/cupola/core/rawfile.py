"""The picture inside of a camera's raw file: every NEF, CR2, CR3 and ARW carries a JPEG the camera developed itself.

Found by its own structure (ITU-T T.81, annex B) instead of the container's, which differs from maker to maker. Decoding the
sensor's samples is LibRaw's business (`darkroom.native`). Standard library only.
"""

from __future__ import annotations

_SOI, _EOI = b"\xff\xd8\xff", b"\xff\xd9"
_SOF = (0xC0, 0xC1, 0xC2)  # what viewers show; C3 is lossless: the sensor's samples in a CR2 or DNG
_SOS = 0xDA
_HEADERS_MOST = 1 << 20  # bytes of headers before the picture: a maker's notes and a thumbnail


def embedded_jpeg(raw: bytes) -> bytes | None:
    """The largest whole JPEG in a raw file's bytes, or None: full size in most, 1616 x 1080 in others."""
    best: tuple[int, int, int] | None = None  # pixels, from, to
    at = raw.find(_SOI)
    while at >= 0:
        found = _jpeg_at(raw, at)
        if found is None:
            at = raw.find(_SOI, at + 1)
            continue
        pixels, end = found
        if best is None or pixels > best[0]:
            best = (pixels, at, end)
        at = raw.find(_SOI, end)
    return None if best is None else raw[best[1] : best[2]]


def _jpeg_at(raw: bytes, start: int) -> tuple[int, int] | None:
    """Pixels and end of the JPEG that begins at `start`; None when it is none, or not one that viewers show."""
    at, pixels = start + 2, 0
    limit = min(len(raw) - 4, start + _HEADERS_MOST)
    while at < limit:
        if raw[at] != 0xFF:
            return None
        marker = raw[at + 1]
        length = int.from_bytes(raw[at + 2 : at + 4], "big")
        if marker < 0xC0 or length < 2:
            return None
        if marker in _SOF:
            pixels = int.from_bytes(raw[at + 5 : at + 7], "big") * int.from_bytes(raw[at + 7 : at + 9], "big")
        elif marker == _SOS:
            end = raw.find(_EOI, at + 2 + length)
            return (pixels, end + 2) if pixels and end >= 0 else None
        at += 2 + length
    return None
