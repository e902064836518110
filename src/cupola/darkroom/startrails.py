"""Startrails: the brightest value of all images at each pixel, of those whose sky is dark enough.

The darkest sky of the night is not known before its end, and no image is kept to wait for it. So what was gathered is dropped as soon as a sky comes
that is darker by more than the margin: at dusk that happens some times, at moonset perhaps once more, and what is left is washed out by the margin at most.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cupola.darkroom.growth import JPEG_QUALITY, Kind, LeftOut, Picture, Shot, put, read_picture
from cupola.storage.files import WrittenFile, write_durable

STEP = 12  # every so many pixels one is looked at for the sky's brightness, in green
QUANTILE = 0.9  # stars cover far less than a tenth, clouds and glow that matter more
STAR_ABOVE = 30  # of 255, over its surroundings: what is brighter is a star when gaps are filled


@dataclass(frozen=True, slots=True)
class Settings:
    make: bool
    brightness_margin: float | None
    fill_gaps_px: int


class Startrails:
    """One picture, and with gaps filled the stars of the newest image."""

    kind: Kind = "startrails"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._trails: Picture | None = None
        self._darkest = self._brightest = 0.0  # sky of the images in it, shares of white
        self.taken = 0
        self._before: Picture | None = None  # stars of the image before, widened
        self._before_path: str | None = None

    @property
    def made_with(self) -> dict[str, Any]:
        return asdict(self._settings)

    def add(self, picture: Picture, shot: Shot) -> None:
        """Take the image, or see that its sky is too bright. Raises LeftOut for one of another size."""
        if self._trails is not None and picture.shape != self._trails.shape:
            height, width = self._trails.shape[:2]
            raise LeftOut(f"it has {picture.shape[1]} x {picture.shape[0]} pixels, not {width} x {height} as those before")
        sky, margin = sky_of(picture), self._settings.brightness_margin
        if self._trails is None or (margin is not None and sky < self._brightest - margin):
            self._trails, self.taken = picture.copy(), 0
            self._darkest = self._brightest = sky
        elif margin is not None and sky > self._darkest + margin:
            self._before = self._before_path = None  # the next one does not follow on this
            return
        else:
            import cv2

            cv2.max(self._trails, picture, self._trails)
            self._darkest, self._brightest = min(self._darkest, sky), max(self._brightest, sky)
        self.taken += 1
        if self._settings.fill_gaps_px:
            self._fill(picture)
            self._before_path = str(shot.path)

    def _fill(self, picture: Picture) -> None:
        """Light what lies near a star of this image and near one of the image before: the gap between the two ends of its trail."""
        import cv2

        stars = widened_stars(picture, self._settings.fill_gaps_px)
        if self._before is not None and self._trails is not None:
            cv2.max(self._trails, cv2.min(self._before, stars, self._before), self._trails)
        self._before = stars

    def state(self) -> tuple[dict[str, Any], Picture | None]:
        facts = {"darkest": self._darkest, "brightest": self._brightest, "taken": self.taken, "before": self._before_path}
        return facts, self._trails

    def restore(self, facts: dict[str, Any], pixels: Picture | None) -> None:
        self._darkest, self._brightest, self.taken = float(facts["darkest"]), float(facts["brightest"]), int(facts["taken"])
        self._trails, self._before_path = pixels, facts["before"]
        if self._before_path is not None and self._settings.fill_gaps_px:
            with suppress(LeftOut):  # it is gone: one gap stays
                self._before = widened_stars(read_picture(Path(self._before_path)), self._settings.fill_gaps_px)

    def preview(self, target: Path) -> bool:
        if self._trails is not None:
            put(target, self._jpeg(self._trails))
        return self._trails is not None

    def write(self, target: Path) -> WrittenFile:
        assert self._trails is not None, "startrails without an image"
        return write_durable(target, self._jpeg(self._trails))

    @staticmethod
    def _jpeg(trails: Picture) -> bytes:
        import simplejpeg

        return simplejpeg.encode_jpeg(trails, JPEG_QUALITY, "RGB", "420")


def sky_of(picture: Picture) -> float:
    """How bright the brighter parts of the sky are, 0…1: a tenth of the picture is brighter."""
    sparse = picture[STEP // 2 :: STEP, STEP // 2 :: STEP, 1]
    return round(float(np.quantile(sparse, QUANTILE)) / 255, 4)


def widened_stars(picture: Picture, radius_px: int) -> Picture:
    """The stars alone, on black, each wider by `radius_px`."""
    import cv2

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    above = cv2.subtract(grey, cv2.blur(grey, (31, 31)))
    stars = cv2.bitwise_and(picture, picture, mask=cv2.compare(above, STAR_ABOVE, cv2.CMP_GT))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1, 2 * radius_px + 1))
    return cv2.dilate(stars, disc)
