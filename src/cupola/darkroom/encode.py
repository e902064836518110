"""From finished pixels to the bytes of a file, and back to a small picture.

A JPEG says in a comment what it was made by, so that a picture of an older recipe can be told from one of today's. Where words were written on
it, it also has what was beneath them, as small JPEGs: what is made of many images must not gather their words.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from cupola.darkroom.opencv import opencv

Bytes = npt.NDArray[np.uint8]

BLOCK = 16  # of a 4:2:0 JPEG: what is outside of the blocks with words does not know of them
_SOI, _APP0, _APP9, _SOS, _COM = b"\xff\xd8", b"\xff\xe0", b"\xff\xe9", 0xDA, b"\xff\xfe"
_MARK = b"Cupola "
_BENEATH = b"Cupola beneath\0"  # begins each of the APP9 segments, whose contents together are the pieces
_PIECE = struct.Struct(">HHI")  # column, row, bytes of the JPEG that follows
_SEGMENT_MAX = 65535 - 2 - len(_BENEATH)


def encode_jpeg(picture: Bytes, quality: int) -> bytes:
    """JPEG of a developed picture: 4:2:0 for colour, one plane for mono."""
    import simplejpeg

    if picture.ndim == 2:
        return simplejpeg.encode_jpeg(picture[:, :, np.newaxis], quality, "GRAY", "Gray")
    return simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality, "RGB", "420")


def thumbnail(jpeg: bytes, *, width: int = 320, quality: int = 80) -> bytes:
    """A small JPEG, at most `width` pixels wide. Raises ValueError when `jpeg` is none.

    The decoder leaves out what is not needed (scales of n/8); the rest of the way is a mean over blocks.
    """
    import simplejpeg

    picture = simplejpeg.decode_jpeg(jpeg, "RGB", min_width=width, fastdct=True)
    height, now = picture.shape[:2]
    if now > width:
        rows = np.linspace(0, height, max(1, round(height * width / now)), endpoint=False).astype(int)
        columns = np.linspace(0, now, width, endpoint=False).astype(int)
        sums = np.add.reduceat(np.add.reduceat(picture, rows, axis=0, dtype=np.uint32), columns, axis=1)
        counts = np.outer(np.diff(rows, append=height), np.diff(columns, append=now))
        picture = (sums // counts[:, :, np.newaxis]).astype(np.uint8)
    return simplejpeg.encode_jpeg(picture, quality, "RGB", "420")


def with_note(jpeg: bytes, note: dict[str, Any]) -> bytes:
    """The JPEG with `note` as a comment (ITU-T T.81, B.2.4.5) behind its JFIF header: the same picture to every reader."""
    text = _MARK + json.dumps(note, separators=(",", ":")).encode()
    at = _behind_jfif(jpeg)
    return jpeg[:at] + _COM + (len(text) + 2).to_bytes(2, "big") + text + jpeg[at:]


def note_of(jpeg: bytes) -> dict[str, Any]:
    """What `with_note` wrote; empty for a JPEG without."""
    at = _behind_jfif(jpeg)
    if not jpeg.startswith(_SOI) or jpeg[at : at + 2] != _COM or not jpeg[at + 4 :].startswith(_MARK):
        return {}
    try:
        found = json.loads(jpeg[at + 4 + len(_MARK) : at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")])
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def with_beneath(jpeg: bytes, pieces: Iterable[tuple[int, int, bytes]]) -> bytes:
    """The JPEG with others in application segments (ITU-T T.81, B.2.4.6), which readers pass over: column and row of each, and what was there."""
    content = b"".join(_PIECE.pack(column, row, len(piece)) + piece for column, row, piece in pieces)
    chunks = [content[at : at + _SEGMENT_MAX] for at in range(0, len(content), _SEGMENT_MAX)]
    at = _behind_jfif(jpeg)
    return jpeg[:at] + b"".join(_APP9 + (len(chunk) + 2 + len(_BENEATH)).to_bytes(2, "big") + _BENEATH + chunk for chunk in chunks) + jpeg[at:]


def beneath_of(jpeg: bytes) -> list[tuple[int, int, bytes]]:
    """What `with_beneath` wrote; nothing for a JPEG without. Raises ValueError when it is damaged."""
    content, pieces, at = b"".join(_segments(jpeg)), list[tuple[int, int, bytes]](), 0
    while at < len(content):
        try:
            column, row, length = _PIECE.unpack_from(content, at)
        except struct.error:
            raise ValueError("what is beneath its overlay is damaged") from None
        at += _PIECE.size + length
        pieces.append((column, row, content[at - length : at]))
    return pieces


def uncover(picture: Bytes, jpeg: bytes) -> None:
    """Put what was beneath the words back into the decoded picture of a JPEG, (H, W, 3) RGB. Raises ValueError when it is damaged."""
    import simplejpeg

    for column, row, piece in beneath_of(jpeg):
        pixels = simplejpeg.decode_jpeg(piece, "RGB")
        height, width = pixels.shape[:2]
        picture[row : row + height, column : column + width] = pixels


def _segments(jpeg: bytes) -> Iterator[bytes]:
    at = 2
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF and jpeg[at + 1] != _SOS:
        length = int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if jpeg[at : at + 2] == _APP9 and jpeg.startswith(_BENEATH, at + 4):
            yield jpeg[at + 4 + len(_BENEATH) : at + 2 + length]
        at += 2 + max(length, 2)


def _behind_jfif(jpeg: bytes) -> int:
    return 4 + int.from_bytes(jpeg[4:6], "big") if jpeg[2:4] == _APP0 else 2


def encode_png16(picture: npt.NDArray[np.uint16]) -> bytes:
    """PNG with 16 bit a colour, lossless; about two seconds for 6.4 MP."""
    cv2 = opencv()
    in_order = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".png", in_order, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise ValueError(f"a picture of {picture.shape} could not be encoded as PNG")
    return encoded.tobytes()
