"""Exposure, f-number and ISO of one camera body, in numbers: what it can take, and setting it.

Words and numbers are translated by `gphoto_words`. What the camera lacks stays out of `ranges`, so that nobody asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cupola.core.errors import ConfigError
from cupola.core.frame import ControlRange, Controls
from cupola.drivers.gphoto_body import Body
from cupola.drivers.gphoto_shot import Deleting
from cupola.drivers.gphoto_words import Scale, f_number, files_of, format_choice, is_bulb, iso, shutter_s

BULB_MOST_S = 3600.0
_NAMES: Mapping[str, tuple[tuple[str, ...], Callable[[str], float | None]]] = {
    # Nikon has its fractions exact in the second one
    "exposure_s": (("shutterspeed2", "shutterspeed"), shutter_s),
    "gain": (("iso", "isospeed"), iso),
    "f_number": (("aperture", "f-number"), f_number),
}


@dataclass(frozen=True, slots=True)
class _Setting:
    name: str
    meaning: Callable[[str], float | None]
    scale: Scale
    bulb_word: str | None


class Dials:
    """The settings that are `Controls`, as the body has them when this is built."""

    def __init__(self, body: Body, bulb: Literal["auto", "never"]) -> None:
        self._body = body
        self._settings = {control: found for control in _NAMES if (found := _setting(body, control)) is not None}
        shutter = self._settings.get("exposure_s")
        self.can_bulb = (
            bulb == "auto" and shutter is not None and shutter.bulb_word is not None and (body.has("eosremoterelease") or body.has("bulb"))
        )
        self.bulb_s: float | None = None  # the exposure to come, when it is one of bulb

    @property
    def longest_speed_s(self) -> float:
        shutter = self._settings.get("exposure_s")
        return shutter.scale.values[-1] if shutter else 0.0

    @property
    def ranges(self) -> dict[str, ControlRange]:
        """Limits of what can be set. With bulb, exposures beyond the longest shutter speed are free, so there are no choices to list."""
        now = self.read()
        found: dict[str, ControlRange] = {}
        for control, setting in self._settings.items():
            values = setting.scale.values
            current = getattr(now, control)
            default = current if current is not None and values[0] <= current <= values[-1] else values[len(values) // 2]
            if control == "exposure_s" and self.can_bulb:
                found[control] = ControlRange(values[0], max(BULB_MOST_S, values[-1]), default)
            else:
                found[control] = ControlRange(values[0], values[-1], default, values, "linear" if control == "gain" else None)
        return found

    def read(self) -> Controls:
        """What the hardware has now; None of what it does not tell."""
        values = {control: setting.meaning(str(self._body.value(setting.name))) for control, setting in self._settings.items()}
        if self.bulb_s is not None:
            values["exposure_s"] = self.bulb_s
        return Controls.from_dict(values)

    def apply(self, wanted: Controls) -> Controls:
        """Set the nearest the camera has, longer ones than its longest by bulb; what it took then."""
        for control, value in wanted.to_dict().items():
            setting = self._settings.get(control)
            if value is None or setting is None:
                continue
            if control == "exposure_s":
                self.bulb_s = value if self.can_bulb and value > self.longest_speed_s else None
                if self.bulb_s is not None:
                    self._set(setting.name, str(setting.bulb_word))
                    continue
            self._set(setting.name, setting.scale.words[setting.scale.nearest(value)])
        return self.read()

    def _set(self, name: str, word: str) -> None:
        if str(self._body.value(name)) != word:
            self._body.set(name, word)


def _setting(body: Body, control: str) -> _Setting | None:
    names, meaning = _NAMES[control]
    for name in names:
        words = body.choices(name)
        scale = Scale.of(words, meaning)
        if scale.words:
            return _Setting(name, meaning, scale, next((word for word in words if is_bulb(word)), None))
    return None


def prepare(body: Body, options: Mapping[str, Any]) -> int:
    """Set image format and capture target as configured, and autofocus off; how many files an exposure gives.

    Raises ConfigError, with the camera's own choices, for what it does not have.
    """
    target = options.get("capture_target")
    if target is not None:
        _choose(body, "capture_target", str(target), ("capturetarget",), _target_choice)
    wanted = options.get("image_format")
    if wanted is not None:
        _choose(body, "image_format", str(wanted), ("imageformat", "imagequality"), format_choice)
    body.set("autofocus", "Off")  # before each exposure; the lens stays as it was focused by hand
    return max((files_of(str(value)) for name in ("imageformat", "imagequality") if (value := body.value(name)) is not None), default=1)


def deleting(body: Body, options: Mapping[str, Any]) -> Deleting:
    """When pictures are deleted from the camera, which depends on where it puts them now."""
    if options.get("keep_on_card", False):
        return "never"
    return "stored" if "card" in str(body.value("capturetarget")).lower() else "downloaded"


def _target_choice(wanted: str, choices: list[str]) -> str | None:
    return next((word for word in choices if wanted in word.lower()), None)


def _choose(body: Body, key: str, wanted: str, names: tuple[str, ...], choice_of: Callable[[str, list[str]], str | None]) -> None:
    offered: list[str] = []
    for name in names:
        choices = body.choices(name)
        word = choice_of(wanted, choices)
        if word is not None and (str(body.value(name)) == word or (body.set(name, word) and str(body.value(name)) == word)):
            return
        offered += choices
    has = f"It offers: {', '.join(offered)}" if offered else "It offers no choice over USB"
    raise ConfigError(f"{body.who} cannot be set to {key}: {wanted}. {has}. Change {key}, or leave it out to keep what is set on the camera.")
