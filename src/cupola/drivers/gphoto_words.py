"""The words a camera has for its settings, and the numbers they mean: shutter speeds, f-numbers, ISO, image formats.

Makers write the same speed as `1/250`, `0.0040s`, `10/25` or `x 250`. Which word is set is the business of `gphoto`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

LONGEST_SPEED_S = 900.0  # what claims to be longer is a code for bulb: Nikon's 429496.7295s
_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
_FRACTION = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)")
_BULB = re.compile(r"\bbulb\b|429496\.7295", re.IGNORECASE)
_RAW = re.compile(r"raw|nef|nrw|cr[23w]\b|arw|dng|raf|orf|rw2", re.IGNORECASE)
_JPEG = re.compile(r"jpe?g|fine|normal|basic|large|medium|small|standard|\+\s*[lms]\b", re.IGNORECASE)
_SMALLER_RAW = re.compile(r"\b[csm]raw", re.IGNORECASE)


def is_bulb(word: str) -> bool:
    """Whether a shutter speed is the one that stays open for as long as it is told."""
    return _BULB.search(word) is not None


def shutter_s(word: str) -> float | None:
    """Seconds of a shutter speed; None for Bulb, Time, Auto, X-sync and other words that are none."""
    text = word.strip().lower().replace(",", ".").removesuffix("s").rstrip(' "')
    if fraction := _FRACTION.fullmatch(text):
        below = float(fraction[2])
        seconds = float(fraction[1]) / below if below else 0.0
    elif _NUMBER.fullmatch(text):
        seconds = float(text)
    else:
        return None
    return seconds if 0 < seconds <= LONGEST_SPEED_S and not is_bulb(word) else None


def f_number(word: str) -> float | None:
    """2.8 of `f/2.8`, `F2.8` or `2.8`; None where no lens tells one (`f/0`, `implicit auto`)."""
    match = re.fullmatch(r"[fF]?/?\s*(\d+(?:\.\d+)?)", word.strip().replace(",", "."))
    value = float(match[1]) if match else 0.0
    return value or None


def iso(word: str) -> float | None:
    """800 of `800` or `ISO 800`; None for Auto."""
    match = re.fullmatch(r"(?:iso\s*)?(\d+)", word.strip().lower())
    value = float(match[1]) if match else 0.0
    return value or None


@dataclass(frozen=True, slots=True)
class Scale:
    """The values a setting may have, each with the camera's word for it, in ascending order."""

    words: Mapping[float, str]

    @classmethod
    def of(cls, choices: Iterable[str], meaning: Callable[[str], float | None]) -> Scale:
        found: dict[float, str] = {}
        for word in choices:
            value = meaning(word)
            if value is not None:
                found.setdefault(value, word)
        return cls(dict(sorted(found.items())))

    @property
    def values(self) -> tuple[float, ...]:
        return tuple(self.words)

    def nearest(self, value: float) -> float:
        """The value that differs least in stops, as a photographer counts."""
        return min(self.words, key=lambda choice: abs(math.log(choice / value)))


def files_of(image_format: str) -> int:
    """How many files one exposure gives with an image format: 2 of `NEF+Fine` or `RAW + Large Fine JPEG`, else 1."""
    return 2 if _RAW.search(image_format) and _JPEG.search(_SMALLER_RAW.sub("raw", image_format)) else 1


def format_choice(wanted: str, choices: Iterable[str]) -> str | None:
    """The camera's word for `raw+jpeg`, `raw` or `jpeg`, the best quality it has of it; None when it has none."""
    fitting = [word for word in choices if _kind(word) == wanted]
    return max(fitting, key=_quality, default=None)


def _kind(word: str) -> str:
    if not _RAW.search(word):
        return "jpeg" if _JPEG.search(word) else "other"
    return "raw+jpeg" if files_of(word) == 2 else "raw"


def _quality(word: str) -> int:
    lower = word.lower()
    points = 4 * ("large" in lower) + 4 * bool(re.search(r"\+\s*l\b", lower)) + 2 * ("fine" in lower) + ("super" in lower or "extra" in lower)
    return points - 8 * bool(_SMALLER_RAW.search(word)) - 2 * ("small" in lower)
