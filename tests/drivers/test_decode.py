"""Pixels of decoded pictures: full range whatever the source's, as JPEG has them."""

import numpy as np
import pytest
from av import VideoFrame

from cupola.core.clock import monotonic_ns, utc_now
from cupola.drivers.decode import Pixels

FACTS = {"seq": 0, "clock_synced": True}


@pytest.mark.parametrize("form", ["yuv420p", "yuv422p", "nv12", "yuyv422", "uyvy422"])
def test_limited_range_is_stretched_as_bt601_says(form: str) -> None:
    levels = np.arange(256, dtype=np.uint8)
    picture = VideoFrame(256, 100, "yuv422p")
    for plane, row in zip(picture.planes, (levels, levels[::2], levels[::-2]), strict=True):
        lines = np.zeros((100, plane.line_size), np.uint8)
        lines[:, : len(row)] = row
        plane.update(lines.tobytes())
    now = utc_now()
    frame = Pixels().frame(picture.reformat(format=form), opened_at=now, ended_at=now, monotonic_ns=monotonic_ns(), **FACTS)
    assert frame.chroma is not None
    luma = np.clip((levels.astype(float) - 16) * 255 / 219, 0, 255)
    assert np.abs(frame.data - luma).max() <= 1
    for plane, row in zip(frame.chroma, (levels[::2], levels[::-2]), strict=True):
        chroma = (np.clip(row.astype(float), 16, 240) - 128) * 255 / 224 + 128
        assert np.abs(plane - chroma).max() <= 1
    assert frame.chroma[0][0, 64] == 128, "grey stays grey"


def test_full_range_is_left_alone() -> None:
    picture = VideoFrame(64, 48, "yuvj420p")
    for plane, level in zip(picture.planes, (3, 250, 8), strict=True):
        plane.update(bytes([level]) * plane.buffer_size)
    now = utc_now()
    frame = Pixels().frame(picture, opened_at=now, ended_at=now, monotonic_ns=monotonic_ns(), **FACTS)
    assert frame.chroma is not None
    assert [np.unique(plane).tolist() for plane in (frame.data, *frame.chroma)] == [[3], [250], [8]]
