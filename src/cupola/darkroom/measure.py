"""What is measured on every image: stars and their size, the sky's brightness, sharpness, streaks.

`measure` is a pure function of a frame and what the frame before left behind. `Measurer` keeps that for each camera in the darkroom's
process, makes a crop of every streak, and sees to it that a measurement that fails keeps no image from being developed. How stars and
streaks are found is the business of `stars` and `streaks`; what becomes of the numbers, of `storage.measurements`.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from cupola.core.frame import PixelFormat, PixelKind
from cupola.darkroom.develop import develop, encode_jpeg
from cupola.darkroom.field import CELL, Field, opencv
from cupola.darkroom.stars import Stars, find_stars
from cupola.darkroom.streaks import Previous, Streak, find_streaks
from cupola.storage.files import write_durable

if TYPE_CHECKING:
    from cupola.core.frame import Pixels

GainScale = Literal["linear", "tenth_db"]
Measured = dict[str, Any]

NIGHT_FROM_S = 0.1  # a sky that needs no longer exposure shows no stars
SMALLEST_PX = 2 * CELL
CAMERAS = 8  # whose frame before is kept; 0.8 MB each at 6.4 MP
MARGIN_PX = 48  # of a crop around its streak
CROP_QUALITY = 90
LINEAR = PixelFormat(PixelKind.MONO, bits=16)
_NOISE_QUANTILE = 4.16  # of a normal distribution: its 99.5 % quantile of |x| over its median


def measure(
    linear_raw: Pixels,
    layout: PixelFormat,
    exposure_s: float | None,
    previous: Previous,
    *,
    gain: float | None = None,
    scale: GainScale | None = None,
) -> Measured:
    """The numbers of one image; brings `previous` of its camera up to date.

    `linear_raw`: (H, W) uint8 or uint16 for MONO and BAYER, in ADU, padding still in place when `layout` says so; (H, W, 3) uint8 for RGB,
    of which the luma is taken and made linear. Returns

    - `stars`: how many; None for an exposure shorter than NIGHT_FROM_S,
    - `hfr`: their median half-flux radius in pixels (None without a bright one),
    - `sky`: its relative brightness in magnitudes, the greater the darker: -2.5 log10 of the open sky's median level above black, as a share of
      what the sensor holds, a second, divided by the gain as a factor where `scale` says what a gain means. Zero is a sky that
      saturates in a second without gain. Comparable between images of one camera and lens; no magnitudes a square arcsecond. None without an
      exposure, and for a sky that is saturated or not above black,
    - `sharpness`: how far the finest details (2 pixels) stand out of the noise, over the sky's level; for comparing images of one scene,
    - `streaks`: a dict each, as `streaks.Streak`.

    A picture that is less than SMALLEST_PX wide or high has none of them. Raises ValueError for what is no such picture.
    """
    if min(linear_raw.shape[:2]) < SMALLEST_PX:
        return {"stars": None, "hfr": None, "sky": None, "sharpness": None, "streaks": []}
    if layout.kind is PixelKind.RGB:
        linear_raw, layout = linear_luma(opencv().cvtColor(linear_raw, opencv().COLOR_RGB2GRAY)), LINEAR
    field = Field.of(linear_raw, layout)
    level = float(np.median(field.background[field.sky])) if field.sky.any() else 0.0
    answer: Measured = {
        "stars": None,
        "hfr": None,
        "sky": _sky(field, level, exposure_s, gain, scale),
        "sharpness": _sharpness(field, level),
        "streaks": [],
    }
    if exposure_s is None or exposure_s >= NIGHT_FROM_S:
        stars, streaks = find(field, previous)
        answer |= {
            "stars": len(stars),
            "hfr": None if stars.hfr is None else round(stars.hfr, 3),
            "streaks": [streak.as_dict() for streak in streaks],
        }
    return answer


def find(field: Field, previous: Previous) -> tuple[Stars, list[Streak]]:
    """The stars and the streaks of a frame, told from each other; brings `previous` up to date."""
    stars = find_stars(field)
    streaks = find_streaks(field, stars, previous)
    return stars.kept(~_on_streaks(stars, streaks)), streaks


def _sky(field: Field, level: float, exposure_s: float | None, gain: float | None, scale: GainScale | None) -> float | None:
    share = level / field.white
    if not exposure_s or not 0 < share < 0.98:
        return None
    factor = 1.0
    if gain and scale == "linear":
        factor = gain
    elif gain is not None and scale == "tenth_db":
        factor = 10 ** (gain / 200)
    return round(float(-2.5 * np.log10(share / exposure_s / factor)), 3)


def _sharpness(field: Field, level: float) -> float | None:
    """From the Laplacian of the frame in blocks of 2 x 2 pixels: what its strongest half percent has more than noise would give it."""
    if level <= 0:
        return None
    cv2 = opencv()
    height, width = field.pixels.shape
    middle = field.pixels[height // 16 * 4 : -(height // 16 * 4), width // 16 * 4 : -(width // 16 * 4)]
    small = cv2.resize(middle, (middle.shape[1] // 2, middle.shape[0] // 2), interpolation=cv2.INTER_AREA)
    detail = np.abs(cv2.Laplacian(small, cv2.CV_32F)[::2, ::2]).ravel()
    strong, usual = np.partition(detail, (len(detail) // 2, len(detail) * 995 // 1000))[[len(detail) * 995 // 1000, len(detail) // 2]]
    return round(max(0.0, float(strong - _NOISE_QUANTILE * usual)) * float(field.gains.mean()) / level, 5)


def _on_streaks(stars: Stars, streaks: list[Streak]) -> Any:
    """Which stars are the unevenness of a streak: near one, and with more light beside them."""
    bad = np.zeros(len(stars), bool)
    for streak in streaks:
        dx, dy, length = streak.x1 - streak.x0, streak.y1 - streak.y0, max(streak.length, 1e-6)
        along = ((stars.x - streak.x0) * dx + (stars.y - streak.y0) * dy) / length
        aside = np.abs((stars.x - streak.x0) * dy - (stars.y - streak.y0) * dx) / length
        reach = 8 + streak.width + 0.04 * length  # its curve
        bad |= (along > -8) & (along < length + 8) & (aside < reach) & ~stars.alone
    return bad


@cache
def _to_linear() -> Any:
    """(256,) uint16: the light of an 8-bit value (IEC 61966-2-1)."""
    value = np.arange(256) / 255
    return np.rint(65535 * np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)).astype(np.uint16)


def linear_luma(luma: Any) -> Pixels:
    """(H, W) uint16 from (H, W) uint8 as a camera's JPEG has it."""
    return cast("Pixels", _to_linear()[luma])


class Measurer:
    """One for the darkroom's process. `problems`: failures in words, once for each kind, until they are taken."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._previous: OrderedDict[str, Previous] = OrderedDict()
        self._told: set[str] = set()
        self._crops: list[bytes] = []

    def measure(
        self, pixels: Pixels, layout: PixelFormat, *, camera: str, exposure_s: float | None, gain: float | None = None, scale: GainScale | None = None
    ) -> Measured:
        """As `measure`, of the next frame of a camera; empty when that fails. Crops of its streaks are kept until `save`."""
        self._crops = []
        previous = self._previous.setdefault(camera, Previous())
        self._previous.move_to_end(camera)
        if len(self._previous) > CAMERAS:
            self._previous.popitem(last=False)
        try:
            answer = measure(pixels, layout, exposure_s, previous, gain=gain, scale=scale)
            json.dumps(answer, allow_nan=False)  # a number that is none would stop the server's side
            self._crops = [crop(pixels, layout, streak) for streak in answer["streaks"]]
        except Exception as error:  # whatever it is, it keeps no image from being developed
            self._previous.pop(camera, None)
            self._failed(f'camera "{camera}"', error)
            return {}
        return answer

    def save(self, measured: Measured, image: Path) -> None:
        """Write the crops of the frame measured last, durably, for the image file `<day>/jpg/<stem>.jpg`: `<day>/streaks/<stem>_1.jpg` …

        Each streak gets the path of its crop as `crop`, None where it could not be written.
        """
        for number, (streak, content) in enumerate(zip(measured.get("streaks", []), self._crops, strict=False), 1):
            path = image.parent.parent / "streaks" / f"{image.stem}_{number}.jpg"
            try:
                write_durable(path, content)
                streak["crop"] = str(path)
            except Exception as error:
                streak["crop"] = None
                self._failed(image.name, error)
        self._crops = []

    def taken(self) -> list[str]:
        """The problems since the last time."""
        problems, self.problems = self.problems, []
        return problems

    def _failed(self, what: str, error: Exception) -> None:
        kind = type(error).__name__
        if kind not in self._told:
            self._told.add(kind)
            self.problems.append(f"An image of {what} could not be measured; it is developed all the same. {kind}: {error}")


def crop(pixels: Pixels, layout: PixelFormat, streak: Measured) -> bytes:
    """A JPEG of the part of a frame around a streak, developed for itself."""
    height, width = pixels.shape[:2]
    left, right = sorted((streak["x0"], streak["x1"]))
    top, bottom = sorted((streak["y0"], streak["y1"]))
    x0, y0 = max(0, int(left) - MARGIN_PX) & ~1, max(0, int(top) - MARGIN_PX) & ~1
    x1, y1 = min(width, (int(right) + MARGIN_PX) | 1), min(height, (int(bottom) + MARGIN_PX) | 1)
    return encode_jpeg(develop(pixels[y0:y1, x0:x1], layout), CROP_QUALITY)
