"""Whole JPEGs are measured, damaged ones refused."""

import numpy as np
import pytest
import simplejpeg

from cupola.storage.jpeg import jpeg_size

_WHOLE: bytes = simplejpeg.encode_jpeg(np.random.default_rng(1).integers(0, 255, (48, 70, 3), np.uint8), quality=80)


def test_width_and_height_are_those_of_the_picture() -> None:
    assert jpeg_size(_WHOLE) == (70, 48)
    assert jpeg_size(_WHOLE + b"trailing bytes of a camera") == (70, 48)


def test_the_preview_inside_does_not_count() -> None:
    preview: bytes = simplejpeg.encode_jpeg(np.zeros((8, 16, 3), np.uint8))
    app1 = b"\xff\xe1" + (len(preview) + 2).to_bytes(2) + preview
    assert jpeg_size(_WHOLE[:2] + app1 + _WHOLE[2:]) == (70, 48)
    with pytest.raises(ValueError, match="end is missing"):
        jpeg_size(_WHOLE[:2] + app1 + _WHOLE[2:-10])


def test_a_jpeg_cut_anywhere_is_refused() -> None:
    for length in range(0, len(_WHOLE) - 1, 7):
        with pytest.raises(ValueError):
            jpeg_size(_WHOLE[:length])
