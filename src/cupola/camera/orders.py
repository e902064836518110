"""What the driver thread is asked to do, and where its pictures go: the vocabulary of `exposer`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cupola.camera.messages import Mode, Plan
from cupola.core.frame import CameraInfo, Controls, Frame, Generation, Packet
from cupola.process.wire import Head


@dataclass(frozen=True, slots=True)
class Snap:
    token: int
    exposure_s: float | None


@dataclass(frozen=True, slots=True)
class Order:
    """The next thing to do: apply these settings and, unless that is all, take pictures with them.

    `plan` or `snap` is set for a still, neither for live frames.
    """

    mode: Mode
    controls: Controls
    generation: Generation
    plan: Plan | None = None
    snap: Snap | None = None
    apply_only: bool = False
    automatic: bool = False  # auto exposure had a say in the controls

    @property
    def session(self) -> int | None:
        return self.plan.session if self.plan else None

    @property
    def token(self) -> int | None:
        return self.snap.token if self.snap else None


class Own:
    """The camera's own values of the controls that some order has set: what an order leaves open is as the camera had it, not as another had it."""

    def __init__(self) -> None:
        self._values = Controls()

    def completed(self, controls: Controls, info: CameraInfo | None) -> Controls:
        """The controls of an order, with all of those that orders have set so far."""
        if info is not None:
            named = {name: info.controls[name].default for name, value in controls.to_dict().items() if value is not None and name in info.controls}
            self._values = self._values.over(Controls(**named))
        return controls.over(self._values)


@dataclass(frozen=True, slots=True)
class Still:
    """A picture to be stored, and on whose behalf."""

    picture: Frame | Packet
    session: int | None
    token: int | None
    day: str | None = None  # as of Plan
    period: int | None = None
    correction: float | None = None  # stops by which developing should brighten it; None without auto exposure


def still_of(picture: Frame | Packet, plan: Plan | None, token: int | None, correction: float | None = None) -> Still:
    """A picture taken for a plan or a snap, with all that the storer and the catalogue have to know."""
    if plan is None:
        return Still(picture, None, token, correction=correction)
    return Still(picture, plan.session, token, plan.day, plan.period, correction)


class Sinks:
    """Where an exposer's pictures and news go; all of them return at once, but `settle`: that waits a moment for stills on their way to disk."""

    def __init__(
        self,
        *,
        tell: Callable[[Head], None],
        live: Callable[[Frame | Packet, Mode], None],
        still: Callable[[Still], None],
        has_room: Callable[[], bool],
        settle: Callable[[], None],
    ) -> None:
        self.tell, self.live, self.still, self.has_room, self.settle = tell, live, still, has_room, settle
