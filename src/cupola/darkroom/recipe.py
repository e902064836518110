"""What is to be done with a camera's pictures, in plain types that cross to the darkroom's process.

The owner's words for it, with bounds and explanations, are `config.develop`'s; their defaults are the same. Each step is a
function of its own: calibrating in `calibrate`, tones in `tone`, turning and cropping in `geometry`, text in `overlay`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

STEPS = 1  # raised whenever the same recipe gives another picture than before


@dataclass(frozen=True, slots=True)
class Stretch:
    """`black` and `white` are fractions of the sensor's range."""

    method: Literal["auto", "linear", "asinh"] = "auto"
    target: float = 0.25
    black_percent: float = 0.0
    white_percent: float = 100.0
    softening: float = 0.02

    @property
    def black(self) -> float:
        return self.black_percent / 100

    @property
    def white(self) -> float:
        return self.white_percent / 100


@dataclass(frozen=True, slots=True)
class Circle:
    """Pixels of the whole picture, before it is turned."""

    x: float
    y: float
    radius: float


@dataclass(frozen=True, slots=True)
class Crop:
    """Pixels of the picture after it was turned and flipped."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Overlay:
    lines: tuple[str, ...] = ()
    corner: Literal["top_left", "top_right", "bottom_left", "bottom_right"] = "bottom_left"
    size_percent: float = 2.0
    north_deg: float | None = None
    east: Literal["left", "right"] = "left"


@dataclass(frozen=True, slots=True)
class Recipe:
    darks: bool = True
    flat: str | None = None
    hot_pixels: bool = True
    white_balance: Literal["auto", "gains"] = "auto"
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    stretch: Stretch = field(default_factory=Stretch)
    circle: Circle | None = None
    rotate_deg: float = 0.0
    flip: Literal["none", "horizontal", "vertical"] = "none"
    crop: Crop | None = None
    overlay: Overlay = field(default_factory=Overlay)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """What `config.develop` gives; keys that are missing have their defaults. Raises TypeError for unknown ones."""
        given = dict(values)
        if "gains" in given:
            given["gains"] = tuple(given["gains"])
        if "stretch" in given:
            given["stretch"] = Stretch(**given["stretch"])
        if given.get("circle") is not None:
            given["circle"] = Circle(**given["circle"])
        if given.get("crop") is not None:
            given["crop"] = Crop(**given["crop"])
        if "overlay" in given:
            overlay = dict(given["overlay"])
            given["overlay"] = Overlay(**{**overlay, "lines": tuple(overlay.get("lines", ()))})
        return cls(**given)

    @property
    def shapes_picture(self) -> bool:
        """Whether something is left to do with a picture that a camera has developed itself."""
        text = self.overlay.lines or self.overlay.north_deg is not None
        return bool(text or self.circle or self.crop or self.rotate_deg % 360 or self.flip != "none")

    def digest(self) -> str:
        """Twelve digits that tell this recipe, done by this Cupola, from others."""
        text = json.dumps({"steps": STEPS, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]
