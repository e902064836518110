"""libgphoto2's virtual Nikon, and what it lacks: ISO, live view, bulb and faults, as a fake of exactly those calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

OPTIONS: dict[str, Any] = {"serial": None, "port": None, "keep_on_card": False, "bulb": "auto", "sync_clock": True}


def night_jpeg(width: int = 640, height: int = 480, seed: int = 1) -> bytes:
    noise = np.random.default_rng(seed).normal(24, 6, (height, width, 3)).clip(0, 255).astype(np.uint8)
    return simplejpeg.encode_jpeg(noise, quality=85)


def virtual_nikon(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """A card with one JPEG for the virtual camera to take again and again. libgphoto2 reads the variable when it opens the camera."""
    card = folder / "card"
    card.mkdir()
    (card / "a.jpg").write_bytes(night_jpeg())
    monkeypatch.setenv("VCAMERADIR", str(card))
    return card
