"""From finished pixels to the bytes of a file, and back to a small picture.

A JPEG says in a comment what it was made by, so that a picture of an older recipe can be told from one of today's.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from cupola.darkroom.opencv import opencv

Bytes = npt.NDArray[np.uint8]

_SOI, _APP0, _COM = b"\xff\xd8", b"\xff\xe0", b"\xff\xfe"
_MARK = b"Cupola "


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
