"""Settings of one camera: requested, applied by the hardware, visible in a picture. Three different things."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from cupola.camera.messages import MODES, Mode
from cupola.core.errors import InvalidSetting
from cupola.core.frame import ControlRange, Controls, Generation

UNITS = {"exposure_s": " s", "gain": "", "f_number": ""}


@dataclass(slots=True)
class ModeSettings:
    """What is known for one mode, each with the generation of the request it answers.

    `automatic` are the controls that auto exposure chooses. They are not requested; `applied` says what it chose last.
    """

    requested: Controls
    generation: Generation
    automatic: frozenset[str] = frozenset()
    first: Controls = field(default_factory=Controls)  # what automatic controls begin with
    applied: Controls | None = None
    applied_generation: Generation | None = None
    visible: Controls | None = None
    visible_generation: Generation | None = None

    @property
    def begin_with(self) -> Controls:
        """What a camera process is started with: automatic controls go on where they were."""
        known = (self.applied or self.first).to_dict()
        return self.requested.over(Controls.from_dict({name: known[name] for name in self.automatic}))

    def took(self, applied: Controls, generation: Generation) -> bool:
        """The hardware has these settings; whether that answers a request, and is not one more choice of auto exposure for it."""
        answers = generation != self.applied_generation
        self.applied, self.applied_generation = applied, generation
        return answers

    def saw(self, applied: Controls, generation: Generation) -> None:
        """A picture of this mode arrived."""
        self.visible, self.visible_generation = applied, generation


@dataclass(slots=True)
class CameraSettings:
    """Both modes, with one count of requests. `epoch` counts the server's starts, so no generation ever repeats.

    `can_automatic`: the controls of stills that auto exposure can choose.
    """

    epoch: int
    can_automatic: frozenset[str] = frozenset()
    live: ModeSettings = field(init=False)
    still: ModeSettings = field(init=False)
    _requests: int = 0

    def begin(self, live: Controls, still: Controls, *, automatic: bool = False) -> None:
        """The settings of the configuration are the first request; those of automatic controls are where they begin."""
        self.live = ModeSettings(live, Generation(self.epoch, 0))
        names = self.can_automatic if automatic else frozenset[str]()
        self.still = ModeSettings(_without(still, names), Generation(self.epoch, 0), names, still)

    def of(self, mode: Mode) -> ModeSettings:
        return self.live if mode == "live" else self.still

    def request(self, mode: Mode, controls: Controls, automatic: bool | None = None) -> ModeSettings:
        """Add a request to what was wanted before. What is not given stays as it was.

        A control that is given is not automatic any more. `automatic`: all others of stills are from now on, or none is, and what
        was chosen last stays.
        """
        self._requests += 1
        settings = self.of(mode)
        names = settings.automatic
        if automatic is not None and mode == "still":
            names = self.can_automatic if automatic else frozenset[str]()
        given = {name for name, value in controls.to_dict().items() if value is not None}
        freed, names = settings.automatic - names, names - given
        chosen = (settings.applied or settings.first).to_dict()
        kept = settings.requested.over(Controls.from_dict({name: chosen[name] for name in freed}))
        settings.requested, settings.automatic = _without(controls.over(kept), names), names
        settings.generation = Generation(self.epoch, self._requests)
        return settings


def _without(controls: Controls, names: frozenset[str]) -> Controls:
    return replace(controls, **dict.fromkeys(names))


def check_against(controls: Controls, ranges: Mapping[str, ControlRange], camera: str) -> None:
    """Raise InvalidSetting for the first value that the camera cannot take."""
    for name, words in _refusals(controls, ranges, camera):
        raise InvalidSetting(name, words)


def out_of_reach(settings: CameraSettings, ranges: Mapping[str, ControlRange], camera: str) -> list[str]:
    """What is wanted of an open camera that it cannot do, in sentences: the configuration, and requests to a closed camera, are not checked before."""
    found: list[str] = []
    for mode in MODES:
        value = settings.of(mode)
        for name, words in _refusals(value.requested, ranges, camera):
            taken = None if value.applied is None else value.applied.to_dict()[name]
            instead = "" if taken is None else f" It takes {taken:g}{UNITS[name]} instead."
            found.append(f"{'Live view' if mode == 'live' else 'Stills'}: {words}{instead}")
    return found


def _refusals(controls: Controls, ranges: Mapping[str, ControlRange], camera: str) -> Iterator[tuple[str, str]]:
    for name, value in controls.to_dict().items():
        if value is None:
            continue
        limits = ranges.get(name)
        if limits is None:
            known = ", ".join(ranges) or "none: it sets itself"
            yield name, f'Camera "{camera}" has no setting {name}. It has: {known}.'
        elif not limits.minimum <= value <= limits.maximum:
            unit = UNITS[name]
            yield name, f'{name} {value:g}{unit} is outside of what camera "{camera}" can do: {limits.minimum:g} to {limits.maximum:g}{unit}.'
