"""A camera's own raw file (NEF, CR2, CR3, ARW) that came without a JPEG beside it becomes a picture.

With `rawpy` (LibRaw) installed the sensor's samples are developed, with the white balance the camera noted. Without it the
picture is the JPEG that the camera put inside of the raw file. Sensors' FITS files are the business of `develop`.
"""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cupola.core.errors import StorageFailed
from cupola.core.rawfile import embedded_jpeg
from cupola.storage.files import telling

Bytes = npt.NDArray[np.uint8]


def native_picture(path: Path) -> Bytes | bytes:
    """(H, W, 3) uint8 RGB, or the JPEG that is inside. Raises StorageFailed when the file cannot be read or holds no picture."""
    with telling(path, "read"):
        content = path.read_bytes()
    rawpy = _rawpy()
    developed = None if rawpy is None else _through_libraw(rawpy, content)
    if developed is not None:
        return developed
    preview = embedded_jpeg(content)
    if preview is None:
        advice = "Install rawpy to develop it" if rawpy is None else "It is cut short, or of a kind that LibRaw does not know"
        raise StorageFailed(f"{path} holds no picture that can be shown. {advice}; or have the camera write raw + JPEG.")
    return preview


def _rawpy() -> Any:
    try:
        return importlib.import_module("rawpy")
    except ImportError:
        return None


def _through_libraw(rawpy: Any, content: bytes) -> Bytes | None:
    """None for a file LibRaw does not know, such as a camera's newer than the library."""
    try:
        with rawpy.imread(io.BytesIO(content)) as raw:
            return raw.postprocess(use_camera_wb=True, output_bps=8)
    except rawpy.LibRawError:
        return None
