"""The one thread that touches one camera.

It decides what the camera does next (a snap, a planned still, live frames, nothing), applies the
settings that belong to it, and hands each picture on without waiting. Encoding for the live view
lives in `live`, writing in `storer`, restarting in `supervisor`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace

from cupola.camera.messages import MODES, Mode, Plan
from cupola.core.errors import CaptureCancelled
from cupola.core.frame import Camera, CameraInfo, Capability, Controls, Frame, Generation, Packet, Stop
from cupola.process.wire import Head

MIN_BUDGET_S = 2.0
OPEN_BUDGET_S = 45.0
APPLY_BUDGET_S = 10.0
INTERRUPT_AFTER_S = 0.3  # a stop that the driver has not noticed by then is followed by interrupt()
ORPHAN_FINISHES_S = 60.0
NATIVE = {Capability.NATIVE_JPEG, Capability.NATIVE_H264, Capability.NATIVE_H265}


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


@dataclass(frozen=True, slots=True)
class Still:
    """A picture to be stored, and on whose behalf."""

    picture: Frame | Packet
    session: int | None
    token: int | None


@dataclass(frozen=True, slots=True)
class Phase:
    """What the thread is doing. When `budget_s` is over, it hangs; None: it is not in the driver."""

    name: str
    since: float
    budget_s: float | None
    mode: Mode | None = None
    exposure_s: float | None = None


class Sinks:
    """Where an exposer's pictures and news go; all of them return at once."""

    def __init__(
        self,
        *,
        tell: Callable[[Head], None],
        live: Callable[[Frame | Packet, Mode], None],
        still: Callable[[Still], None],
        has_room: Callable[[], bool],
    ) -> None:
        self.tell, self.live, self.still, self.has_room = tell, live, still, has_room


class Exposer(threading.Thread):
    """Owns the driver. What is public may be called from any thread and returns at once.

    `stills` and `live` say which of the two this exposer serves: a network camera with a stream of its
    own for recording has one exposer for each.
    """

    def __init__(self, camera: Camera, sinks: Sinks, on_open: Callable[[CameraInfo], None], *, stills: bool = True, live: bool = True) -> None:
        super().__init__(name="driver", daemon=True)
        self._camera, self._sinks, self._on_open = camera, sinks, on_open
        self._serves_stills, self._serves_live = stills, live
        self._changed = threading.Condition()
        self._wanted: dict[Mode, tuple[Generation, Controls]] = {mode: (Generation(), Controls()) for mode in MODES}
        self._asked: Controls | None = None  # of the hardware, last
        self._taken = Controls()
        self._told: dict[Mode, Generation] = {}
        self._plan: Plan | None = None
        self._next_opening = 0.0
        self._in_flight = 0
        self._snaps: deque[Snap] = deque()
        self._watched = False
        self._closing = False
        self._order: Order | None = None
        self._halt = Stop()
        self._stopped_at: float | None = None
        self._readout_s = 0.0
        self._info: CameraInfo | None = None
        self.phase = Phase("opening", time.monotonic(), OPEN_BUDGET_S)
        self.frames = 0
        self.dropped = 0
        self.last_opened_ns = 0
        self.failure: Exception | None = None

    # ── what others ask of it ──────────────────────────────────────────────

    def want(self, mode: Mode, generation: Generation, controls: Controls) -> None:
        """New settings. An exposure under way with older ones is interrupted at once."""
        with self._changed:
            self._wanted[mode] = (generation, controls)
            theirs = self._order is not None and (self._order.mode == mode or self._capable(Capability.CONTINUOUS))
            if theirs and self._info is not None and self._info.controls:
                self._cancel()
            self._changed.notify_all()

    def set_plan(self, plan: Plan | None) -> None:
        with self._changed:
            replaced, self._plan = self._plan, plan
            self._in_flight = 0
            self._next_opening = time.monotonic() + (plan.first_in_s if plan else 0.0)
            if replaced is not None and self._order is not None and self._order.plan is not None:
                self._cancel()
            self._changed.notify_all()

    def snap(self, snap: Snap) -> None:
        with self._changed:
            self._snaps.append(snap)
            self._changed.notify_all()

    def watch(self, watched: bool) -> None:
        """Whether live frames are wanted by anyone."""
        with self._changed:
            self._watched = watched
            if not watched and self._order is not None and self._order.mode == "live" and not self._continuous_now():
                self._cancel()
            self._changed.notify_all()

    def stored(self, session: int | None, ok: bool) -> None:
        """A still handed over earlier is on disk, or is not; room for another one either way."""
        with self._changed:
            if self._plan is not None and session == self._plan.session:
                self._in_flight = max(0, self._in_flight - 1)
                if ok and self._plan.remaining is not None:
                    self._plan = replace(self._plan, remaining=self._plan.remaining - 1)
            self._changed.notify_all()

    def close_soon(self, *, finish: bool) -> None:
        """End the thread; `finish` an exposure first if it has less than a minute to go."""
        with self._changed:
            self._closing = True
            phase = self.phase
            left = (phase.exposure_s or 0.0) - (time.monotonic() - phase.since)
            exposing_still = self._order is not None and self._order.mode == "still"
            if not (finish and exposing_still and left <= ORPHAN_FINISHES_S):
                self._cancel()
            self._changed.notify_all()

    def poke(self) -> None:
        """Second rung of cancelling, called now and then: a stop not yet noticed is followed by interrupt()."""
        with self._changed:
            overdue = self._stopped_at is not None and time.monotonic() - self._stopped_at > INTERRUPT_AFTER_S
        if overdue:
            self._camera.interrupt()

    def poke_until_ended(self, until: float) -> None:
        """Wait for the thread to end, at most until a moment of the monotonic clock."""
        while self.is_alive() and time.monotonic() < until:
            self.poke()
            self.join(0.1)

    @property
    def next_opening_in_s(self) -> float | None:
        with self._changed:
            return None if self._plan is None else max(0.0, self._next_opening - time.monotonic())

    # ── the thread ─────────────────────────────────────────────────────────

    def run(self) -> None:
        try:
            self._info = self._camera.open()
            self._readout_s = self._info.readout_s
            self._on_open(self._info)
            while (order := self._next_order()) is not None:
                self._obey(order)
        except Exception as error:
            self.failure = error
        finally:
            self._enter("closing", APPLY_BUDGET_S)
            try:
                self._camera.close()
            except Exception as error:
                self.failure = self.failure or error
            self._enter("closed", None)

    def _obey(self, order: Order) -> None:
        try:
            self._apply(order)
            if order.apply_only:
                return
            if self._capable(Capability.CONTINUOUS) or order.mode == "live":
                self._stream(order)
            else:
                self._expose(order)
        except CaptureCancelled:
            with self._changed:
                # interrupted by new settings: taken again with those, now
                if order.snap is not None:
                    self._snaps.appendleft(order.snap)
                if order.plan is not None:
                    self._next_opening = time.monotonic()
        finally:
            with self._changed:
                self._order, self._stopped_at = None, None

    def _next_order(self) -> Order | None:
        """Waits until there is something to do; None when the thread shall end."""
        with self._changed:
            while not self._closing:
                now = time.monotonic()
                order = self._choose(now)
                if order is not None:
                    self._order, self._halt = order, Stop()
                    return order
                waiting = self._plan is not None and not self._exhausted() and self._serves_stills
                full = waiting and not self._sinks.has_room()
                self.phase = Phase("storing" if full else "waiting" if waiting else "idle", now, None)
                self._changed.wait(min(1.0, max(0.001, self._next_opening - now)) if waiting and not full else 0.5)
            return None

    def _choose(self, now: float) -> Order | None:
        generation, controls = self._wanted["still"]
        if self._serves_stills and self._sinks.has_room():
            if self._snaps and not self._capable(Capability.CONTINUOUS):
                snap = self._snaps.popleft()
                return Order("still", Controls(exposure_s=snap.exposure_s).over(controls), generation, snap=snap)
            if self._plan is not None and not self._exhausted() and now >= self._next_opening and not self._capable(Capability.CONTINUOUS):
                return Order("still", controls, generation, plan=self._plan)
        if self._continuous_now() or (self._serves_live and self._watched and self._live_fits(now)):
            generation, controls = self._wanted["live"]
            if self._capable(Capability.CONTINUOUS):  # one stream has one set of settings: live's, and still's where live has none
                controls = controls.over(self._wanted["still"][1])
            return Order("live", controls, generation)
        for mode in MODES:  # with nothing else to do, new settings go to the hardware, so that what it takes is known
            generation, controls = self._wanted[mode]
            if self._serves(mode) and self._told.get(mode) != generation:
                return Order(mode, controls, generation, apply_only=True)
        return None

    def _serves(self, mode: Mode) -> bool:
        return self._serves_live if mode == "live" else self._serves_stills

    def _continuous_now(self) -> bool:
        """Whether a source whose frames come by themselves has to be read: always if they come encoded (cheap), else on demand."""
        if self._info is None or not self._capable(Capability.CONTINUOUS):
            return False
        wanted = self._serves_stills and (bool(self._snaps) or (self._plan is not None and not self._exhausted()))
        return wanted or (self._serves_live and (self._watched or bool(NATIVE & self._info.capabilities)))

    def _live_fits(self, now: float) -> bool:
        """Whether a live frame can be had before the next still is due."""
        if not self._sinks.has_room():
            return True  # a disk that stalls holds up the stills, never the live view
        if not self._serves_stills or self._plan is None or self._exhausted():
            return not (self._snaps and self._serves_stills)
        period = (self._wanted["live"][1].exposure_s or self._taken.exposure_s or 0.0) + self._readout_s
        return now + period + 0.1 < self._next_opening and not self._snaps

    def _exhausted(self) -> bool:
        plan = self._plan
        return plan is not None and plan.remaining is not None and plan.remaining - self._in_flight <= 0

    def _capable(self, capability: Capability) -> bool:
        return self._info is not None and capability in self._info.capabilities

    # ── settings ───────────────────────────────────────────────────────────

    def _apply(self, order: Order) -> None:
        if self._asked != order.controls:
            self._enter("applying", APPLY_BUDGET_S)
            self._taken = self._camera.apply(order.controls)
            self._asked = order.controls
        self._tell_applied(order.mode, order.generation, order.snap is None)

    def _tell_applied(self, mode: Mode, generation: Generation, theirs: bool) -> None:
        if theirs and self._told.get(mode) != generation:
            self._told[mode] = generation
            self._sinks.tell({"type": "applied", "mode": mode, "generation": generation, "applied": self._taken.to_dict()})

    # ── exposures ──────────────────────────────────────────────────────────

    def _expose(self, order: Order) -> None:
        exposure_s = self._taken.exposure_s or 0.0
        opened = time.monotonic()
        self._schedule_next(order.plan, opened, exposure_s)
        assert self._info is not None
        self._enter("exposing", exposure_s + max(MIN_BUDGET_S, 3 * self._readout_s, self._info.frame_timeout_s), "still", exposure_s)
        picture = self._camera.expose(self._halt)
        self._learn_readout(time.monotonic() - opened - exposure_s)
        self._deliver(picture, order)

    def _schedule_next(self, plan: Plan | None, opened: float, exposure_s: float) -> None:
        if plan is None:
            return
        with self._changed:
            if plan.interval_s is None:
                self._next_opening = opened + exposure_s + plan.delay_s
            else:  # on the grid of the first opening; an opening that was missed is not made up for
                late = max(0.0, opened - self._next_opening)
                self._next_opening = opened - (late % plan.interval_s) + plan.interval_s

    def _learn_readout(self, seconds: float) -> None:
        """Follows a slower readout at once and a faster one slowly: the deadline depends on it."""
        self._readout_s = max(seconds, 0.95 * self._readout_s + 0.05 * seconds, 0.0)

    def _stream(self, order: Order) -> None:
        """Live frames until something else is due. Stills of a continuous source are taken out of the stream."""
        continuous = self._capable(Capability.CONTINUOUS)
        exposure_s = self._taken.exposure_s or 0.0
        info = self._info
        assert info is not None
        budget = exposure_s + max(MIN_BUDGET_S, 3 * self._readout_s, info.frame_timeout_s)
        self._enter("live", budget, "live", exposure_s)
        with closing(self._camera.stream(self._halt)) as pictures:
            for picture in pictures:
                self._enter("live", budget, "live", exposure_s)
                if self._halt.is_set():
                    return
                if continuous:
                    order = self._follow(order)
                    self._take_still(picture)
                self._deliver(picture, order)
                with self._changed:
                    goes_on = self._continuous_now() if continuous else self._watched and self._live_fits(time.monotonic())
                    if self._closing or not goes_on:
                        return

    def _follow(self, order: Order) -> Order:
        """A source without controls of its own obeys any request as it is: its stream is not interrupted for one."""
        generation, controls = self._wanted[order.mode]
        self._tell_applied(order.mode, generation, True)
        return replace(order, generation=generation, controls=controls)

    def _take_still(self, picture: Frame | Packet) -> None:
        """Hand a continuous source's picture to the storer if one is due; only a keyframe is a picture of its own."""
        if not self._serves_stills or (isinstance(picture, Packet) and not picture.keyframe):
            return
        with self._changed:
            if not self._sinks.has_room():
                return
            generation, _ = self._wanted["still"]
            snap = self._snaps.popleft() if self._snaps else None
            plan = self._plan if snap is None and not self._exhausted() and time.monotonic() >= self._next_opening else None
            if snap is None and plan is None:
                return
            if plan is not None:
                self._in_flight += 1
        self._schedule_next(plan, time.monotonic(), 0.0)
        self._tell_applied("still", generation, snap is None)
        still = Still(replace(picture, generation=generation), plan.session if plan else None, snap.token if snap else None)
        self._sinks.still(still)

    def _deliver(self, picture: Frame | Packet, order: Order) -> None:
        picture = replace(picture, generation=order.generation)
        self.frames += 1
        self.dropped += picture.dropped_before
        self.last_opened_ns = picture.monotonic_ns
        if order.mode == "still":
            if order.plan is not None:
                with self._changed:
                    self._in_flight += 1
            self._sinks.still(Still(picture, order.plan.session if order.plan else None, order.snap.token if order.snap else None))
        if self._serves_live and self._watched:
            self._sinks.live(picture, order.mode)

    def _enter(self, name: str, budget_s: float | None, mode: Mode | None = None, exposure_s: float | None = None) -> None:
        self.phase = Phase(name, time.monotonic(), budget_s, mode, exposure_s)

    def _cancel(self) -> None:
        """Lock held."""
        if not self._halt.is_set():
            self._halt.set()
            self._stopped_at = time.monotonic()
