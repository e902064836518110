"""OpenCV, loaded when the first picture needs it (0.1 s, 50 MB), and kept to one thread: the darkroom shares its processor with the cameras."""

from __future__ import annotations

from typing import Any


def opencv() -> Any:
    """The module `cv2`. Raises ImportError where it is not installed."""
    import cv2

    cv2.setNumThreads(1)
    return cv2
