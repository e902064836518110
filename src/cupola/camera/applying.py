"""What is wanted of the hardware, what it took, and who was told of it.

Kept by one driver thread for its camera; `want` comes from other threads, under the exposer's lock. Which picture is taken with
which settings is the exposer's; what auto exposure chooses is `auto_stills`'.
"""

from __future__ import annotations

from collections.abc import Callable

from cupola.camera.deadline import Deadline
from cupola.camera.messages import MODES, Mode
from cupola.camera.orders import Order, Own
from cupola.core.frame import Camera, CameraInfo, Controls, Generation
from cupola.process.wire import Head

APPLY_BUDGET_S = 10.0


class Applying:
    """`taken` is everything the hardware has now, as far as it tells."""

    def __init__(self, camera: Camera, tell: Callable[[Head], None]) -> None:
        self._camera, self._tell = camera, tell
        self._wanted: dict[Mode, tuple[Generation, Controls]] = {mode: (Generation(), Controls()) for mode in MODES}
        self._asked: Controls | None = None  # of the hardware, last
        self._told: dict[Mode, tuple[Generation, Controls]] = {}
        self._own = Own()
        self.taken = Controls()

    def want(self, mode: Mode, generation: Generation, controls: Controls) -> None:
        self._wanted[mode] = (generation, controls)

    def wanted(self, mode: Mode) -> tuple[Generation, Controls]:
        return self._wanted[mode]

    def forget(self) -> None:
        """The camera is opened anew: nothing is known of its settings."""
        self._asked, self.taken = None, Controls()
        self._told.clear()

    def apply(self, order: Order, deadline: Deadline, info: CameraInfo | None) -> None:
        """Give the hardware what the order wants, unless it has that already, and tell what it took. Raises as the driver does."""
        wanted = self._own.completed(order.controls, info)
        if self._asked != wanted:
            deadline.enter("applying", APPLY_BUDGET_S)
            self._asked = None  # unknown, should this be cut short
            self.taken = self._camera.apply(wanted)
            self._asked = wanted
        self.tell(order.mode, order.generation, order.snap is None)

    def told(self, mode: Mode) -> bool:
        """Whether the newest request of this mode was answered."""
        return mode in self._told and self._told[mode][0] == self._wanted[mode][0]

    def tell(self, mode: Mode, generation: Generation, theirs: bool) -> None:
        """Answer a request once, and whenever something else was taken for it; a snap (not `theirs`) has settings of its own."""
        answer = (generation, self.taken)
        if theirs and self._told.get(mode) != answer:
            self._told[mode] = answer
            self._tell({"type": "applied", "mode": mode, "generation": generation, "applied": self.taken.to_dict()})
