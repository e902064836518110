"""A figure that must not be too high: an alarm when it is for some time, and the end of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cupola.core.events import HostAlarm

AlarmLevel = Literal["WARNING", "ERROR"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Above `steps` (limit and level, the lowest first) for `hold_s` there is an alarm; it is over when the figure is `slack` below for as long."""

    what: str
    words: str
    over: str
    unit: str
    steps: Sequence[tuple[float, AlarmLevel]]
    hold_s: float = 0.0
    slack: float = 0.0


class Alarm:
    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.now: HostAlarm | None = None  # while it lasts
        self._meant: int = 0
        self._meant_since = 0.0
        self._step = 0  # how many limits are passed

    def take_up(self, level: AlarmLevel) -> None:
        """It lasted before a restart, at this level."""
        self._step = self._meant = next((number for number, (_, of) in enumerate(self.limits.steps, 1) if of == level), 0)
        if self._step:
            self.now = self._event(self._step, None)

    def judge(self, value: float, at_s: float) -> HostAlarm | None:
        """The event, if the alarm begins, changes or ends with this figure of the moment `at_s` (monotonic)."""
        limits = self.limits
        step = sum(value > (limit - limits.slack if number < self._step else limit) for number, (limit, _) in enumerate(limits.steps))
        if step != self._meant:
            self._meant, self._meant_since = step, at_s
        if step == self._step or at_s - self._meant_since < limits.hold_s:
            return None
        was, self._step = self._step, step
        event = self._event(step or was, value, active=step > 0)
        self.now = event if step else None
        return event

    def _event(self, step: int, value: float | None, *, active: bool = True) -> HostAlarm:
        limit, level = self.limits.steps[step - 1]
        return HostAlarm(
            what=self.limits.what,
            level=level,
            active=active,
            value=None if value is None else round(value, 2),
            limit=limit,
            unit=self.limits.unit,
            message=self.limits.words if active else self.limits.over,
        )
