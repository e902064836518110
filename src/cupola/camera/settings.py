"""Settings of one camera: requested, applied by the hardware, visible in a picture. Three different things."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from cupola.camera.messages import Mode
from cupola.core.errors import InvalidSetting
from cupola.core.frame import ControlRange, Controls, Generation

UNITS = {"exposure_s": " s", "gain": "", "f_number": ""}


@dataclass(slots=True)
class ModeSettings:
    """What is known for one mode, each with the generation of the request it answers."""

    requested: Controls
    generation: Generation
    applied: Controls | None = None
    applied_generation: Generation | None = None
    visible: Controls | None = None
    visible_generation: Generation | None = None

    def saw(self, applied: Controls, generation: Generation) -> None:
        """A picture of this mode arrived."""
        self.visible, self.visible_generation = applied, generation


@dataclass(slots=True)
class CameraSettings:
    """Both modes, with one count of requests. `epoch` is the server's start, so no generation ever repeats."""

    epoch: int
    live: ModeSettings = field(init=False)
    still: ModeSettings = field(init=False)
    _requests: int = 0

    def begin(self, live: Controls, still: Controls) -> None:
        """The settings of the configuration are the first request."""
        self.live = ModeSettings(live, Generation(self.epoch, 0))
        self.still = ModeSettings(still, Generation(self.epoch, 0))

    def of(self, mode: Mode) -> ModeSettings:
        return self.live if mode == "live" else self.still

    def request(self, mode: Mode, controls: Controls) -> ModeSettings:
        """Add a request to what was wanted before. What is not given stays as it was."""
        self._requests += 1
        settings = self.of(mode)
        settings.requested = controls.over(settings.requested)
        settings.generation = Generation(self.epoch, self._requests)
        return settings


def check_against(controls: Controls, ranges: Mapping[str, ControlRange], camera: str) -> None:
    """Raise InvalidSetting for the first value that the camera cannot take."""
    for name, value in asdict(controls).items():
        if value is None:
            continue
        limits = ranges.get(name)
        if limits is None:
            known = ", ".join(ranges) or "none: it sets itself"
            raise InvalidSetting(name, f'Camera "{camera}" has no setting {name}. It has: {known}.')
        unit = UNITS[name]
        if not limits.minimum <= value <= limits.maximum:
            raise InvalidSetting(
                name, f'{name} {value:g}{unit} is outside of what camera "{camera}" can do: {limits.minimum:g} to {limits.maximum:g}{unit}.'
            )
