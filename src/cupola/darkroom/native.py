"""A camera's own raw file (NEF, CR2, CR3, ARW) that came without a JPEG beside it becomes a JPEG.

With `rawpy` (LibRaw) installed the sensor's samples are developed, with the white balance the camera noted. Without it the
picture is the JPEG that the camera put inside of the raw file. Sensors' FITS files are the business of `develop`.
"""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any

from cupola.core.errors import StorageFailed
from cupola.core.rawfile import embedded_jpeg
from cupola.darkroom.develop import encode_jpeg
from cupola.storage.files import telling
from cupola.storage.jpeg import jpeg_size


def develop_native(path: Path, quality: int) -> tuple[bytes, int, int]:
    """The JPEG, its width and height. Raises StorageFailed when the file cannot be read or holds no picture."""
    with telling(path, "read"):
        content = path.read_bytes()
    rawpy = _rawpy()
    developed = None if rawpy is None else _through_libraw(rawpy, content, quality)
    if developed is not None:
        return developed
    preview = embedded_jpeg(content)
    if preview is None:
        advice = "Install rawpy to develop it" if rawpy is None else "It is cut short, or of a kind that LibRaw does not know"
        raise StorageFailed(f"{path} holds no picture that can be shown. {advice}; or have the camera write raw + JPEG.")
    width, height = jpeg_size(preview)
    return preview, width, height


def _rawpy() -> Any:
    try:
        return importlib.import_module("rawpy")
    except ImportError:
        return None


def _through_libraw(rawpy: Any, content: bytes, quality: int) -> tuple[bytes, int, int] | None:
    """None for a file LibRaw does not know, such as a camera's newer than the library."""
    try:
        with rawpy.imread(io.BytesIO(content)) as raw:
            picture = raw.postprocess(use_camera_wb=True, output_bps=8)
    except rawpy.LibRawError:
        return None
    height, width = picture.shape[:2]
    return encode_jpeg(picture, quality), width, height
