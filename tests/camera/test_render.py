"""What the live view makes of a raw picture."""

from __future__ import annotations

import numpy as np
import pytest
import simplejpeg

from cupola.camera.render import LiveRenderer
from cupola.core.clock import utc_now
from cupola.core.frame import Controls, Frame, PixelFormat, PixelKind


@pytest.mark.parametrize("kind", [PixelKind.MONO, PixelKind.BAYER])
def test_a_saturated_picture_is_white(kind: PixelKind) -> None:
    layout = PixelFormat(kind, bits=12, bayer="RGGB" if kind is PixelKind.BAYER else None)
    frame = Frame(1, utc_now(), utc_now(), 0, np.full((96, 128), 4095, np.uint16), layout, Controls(0.1))
    jpeg, width, height = LiveRenderer(quality=90, width_max=None).jpeg(frame)
    assert (width, height) == (128, 96)
    assert simplejpeg.decode_jpeg(jpeg).min() > 250
