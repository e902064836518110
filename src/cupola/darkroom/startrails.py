"""Startrails: the brightest value of all images at each pixel, of those whose sky is dark enough.

The darkest sky of the night is not known before its end, and no image is kept to wait for it. So what was gathered is dropped as soon as a sky comes
that is darker by more than the margin: at dusk that happens some times, at moonset perhaps once more, and what is left is washed out by the margin at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cupola.darkroom.growth import JPEG_QUALITY, Kind, LeftOut, Picture, Shot, put
from cupola.storage.files import WrittenFile, write_durable

STEP = 12  # every so many pixels one is looked at for the sky's brightness, in green
LIT = 16  # of 255: what is darker lies outside of the lens's circle
QUANTILE = 0.9  # stars cover far less than a tenth, clouds and glow that matter more
STAR_ABOVE = 30  # of 255, over its surroundings: what is brighter is a star when gaps are filled
STARS_MAX = 1000
Stars = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Settings:
    make: bool
    brightness_margin: float | None
    fill_gaps_px: int


class Startrails:
    """One picture, and with gaps filled the stars of the newest image."""

    kind: Kind = "startrails"
    shows_words = False

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._trails: Picture | None = None
        self._darkest = self._brightest = 0.0  # sky of the images in it, shares of white
        self.taken = 0
        self._before = np.zeros((0, 6))  # the stars of the image before, if that was taken

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
            self._before = self._before[:0]  # the next one does not follow on this
            return
        else:
            import cv2

            cv2.max(self._trails, picture, self._trails)
            self._darkest, self._brightest = min(self._darkest, sky), max(self._brightest, sky)
        self.taken += 1
        if self._settings.fill_gaps_px:
            self._join(stars_of(picture))

    def _join(self, stars: Stars) -> None:
        """Draw a line from each star of the image before to the same one of this image, as bright as the fainter of both."""
        import cv2

        assert self._trails is not None
        lines = np.zeros_like(self._trails)
        for one, other in pairs(self._before, stars, self._settings.fill_gaps_px):
            begin, end = ((round(16 * float(star[0])), round(16 * float(star[1]))) for star in (one, other))
            colour = [float(value) for value in np.minimum(one[3:], other[3:])]
            # with smoothed edges OpenCV's lines come out a pixel wider than they are called
            cv2.line(lines, begin, end, colour, max(1, round(min(one[2], other[2])) - 1), cv2.LINE_AA, shift=4)
        cv2.max(self._trails, lines, self._trails)
        self._before = stars

    def state(self) -> tuple[dict[str, Any], Picture | None]:
        facts = {"darkest": self._darkest, "brightest": self._brightest, "taken": self.taken, "stars": self._before.tolist()}
        return facts, self._trails

    def restore(self, facts: dict[str, Any], pixels: Picture | None) -> None:
        self._darkest, self._brightest, self.taken = float(facts["darkest"]), float(facts["brightest"]), int(facts["taken"])
        self._trails, self._before = pixels, np.array(facts["stars"], float).reshape(-1, 6)

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
    """How bright the brighter parts of the sky are, 0…1: a tenth of what is not black is brighter.

    Black corners around a fisheye's circle do not count: twilight along a tenth of the horizon would hide among them.
    """
    sparse = picture[STEP // 2 :: STEP, STEP // 2 :: STEP, 1]
    lit = sparse[sparse > LIT]
    return round(float(np.quantile(lit if lit.size > sparse.size / 10 else sparse, QUANTILE)) / 255, 4)


def stars_of(picture: Picture) -> Stars:
    """The stars of an image, or pieces of their trails, STARS_MAX at most: (N, 6) with column and row of the middle, thickness, red, green, blue."""
    import cv2

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    above = cv2.subtract(grey, cv2.blur(grey, (31, 31)))
    _, mask = cv2.threshold(above, STAR_ABOVE, 255, cv2.THRESH_BINARY)
    _, _, stats, middles = cv2.connectedComponentsWithStats(mask)
    stats, middles = stats[1:], middles[1:]  # the first is what is no star
    largest = np.argsort(-stats[:, cv2.CC_STAT_AREA], kind="stable")[:STARS_MAX]
    stats, middles = stats[largest], middles[largest]
    thickness = stats[:, cv2.CC_STAT_AREA] / np.maximum(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    columns, rows = np.rint(middles).astype(int).T
    return np.column_stack([middles, thickness, picture[rows, columns]]).astype(float)


def pairs(before: Stars, now: Stars, reach_px: float) -> Iterator[tuple[Stars, Stars]]:
    """The same star in two images: each is the other's nearest, and not farther than that."""
    if not len(before) or not len(now):
        return
    apart = np.hypot(before[:, None, 0] - now[None, :, 0], before[:, None, 1] - now[None, :, 1])
    forth, back = apart.argmin(axis=1), apart.argmin(axis=0)
    for one, other in enumerate(forth):
        if back[other] == one and apart[one, other] <= reach_px:
            yield before[one], now[other]
