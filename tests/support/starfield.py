"""A camera whose stars have a width that is known for each picture, as if somebody turned the focuser. Not a stand-in for a real one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
import simplejpeg

from cupola.core.frame import CameraInfo, Capability, ControlRange, Controls, Frame, Packet, Station, Stop
from tests.support.testcard import TestCard

SIZE = 640
PLACES = [(column, row) for row in (200, 320, 440) for column in (200, 320, 440)]


def sky(deviation: float, seed: int) -> np.ndarray:
    """(H, W) uint8: nine Gaussian stars, a background and some noise."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    light = np.random.default_rng(seed).normal(30, 2, (SIZE, SIZE)).astype(np.float32)
    for x, y in PLACES:
        light += 150 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * deviation**2))
    return light.clip(0, 255).astype(np.uint8)


class Starfield(TestCard):
    """Options: widths (standard deviation of the stars in picture 1, 2, …; the last one stays), form (raw, jpeg, h264), video (false: stills only)."""

    def __init__(self, options: Mapping[str, Any], station: Station) -> None:
        super().__init__({**options, "width": SIZE, "height": SIZE}, station)
        self._widths, self._form, self._video = options["widths"], options.get("form", "raw"), options.get("video", True)
        self._controls = Controls(exposure_s=0.05)

    def open(self) -> CameraInfo:
        self._skies = [sky(width, number) for number, width in enumerate(self._widths)]
        if self._form == "h264":
            self._encoder: Any = av.CodecContext.create("libx264", "w")
            self._encoder.width = self._encoder.height = SIZE
            self._encoder.pix_fmt, self._encoder.time_base = "yuv420p", Fraction(1, 20)
            self._encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "12", "bf": "0", "repeat-headers": "1"}
            self._encoder.gop_size = 5
        native = {"raw": set[Capability](), "jpeg": {Capability.NATIVE_JPEG}, "h264": {Capability.NATIVE_H264}}[self._form]
        continuous = self._form != "raw" and self._video
        ways = {Capability.VIDEO, Capability.CONTINUOUS} if continuous else {Capability.STILLS, *([Capability.VIDEO] if self._video else [])}
        controls = {} if continuous else {"exposure_s": ControlRange(0.01, 10, 0.05)}
        return replace(super().open(), model="Stars", capabilities=frozenset(ways | native), controls=controls, noisy=False)

    def expose(self, stop: Stop) -> Frame | Packet:
        frame = super().expose(stop)
        assert isinstance(frame, Frame)
        data = self._skies[min(self._seq, len(self._skies)) - 1]
        data.flags.writeable = False
        if self._form == "raw":
            return replace(frame, data=data)
        packet = Packet(frame.seq, frame.opened_at, frame.ended_at, frame.monotonic_ns, "jpeg", b"", SIZE, SIZE, applied=frame.applied)
        if self._form == "jpeg":
            return replace(packet, data=simplejpeg.encode_jpeg(data[..., np.newaxis], quality=95, colorspace="GRAY"))
        (encoded,) = self._encoder.encode(av.VideoFrame.from_ndarray(data, format="gray").reformat(format="yuv420p"))
        return replace(packet, codec="h264", data=bytes(encoded), keyframe=encoded.is_keyframe)
