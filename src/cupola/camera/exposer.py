"""The one thread that touches one camera.

It decides what the camera does next (a snap, a planned still, live frames, nothing), applies the
settings that belong to it (`applying`), and hands each picture on without waiting. A camera that fails is first
interrupted and opened again here; restarting the process is `supervisor`'s. Encoding for the live view
lives in `live`, writing in `storer`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

from cupola.camera.applying import APPLY_BUDGET_S, Applying
from cupola.camera.auto_stills import AutoStills
from cupola.camera.deadline import Deadline
from cupola.camera.frozen import FrozenWatch
from cupola.camera.messages import MODES, Mode, Plan, failure_facts
from cupola.camera.orders import Order, Sinks, Snap, still_of
from cupola.camera.series import Series
from cupola.core.errors import CameraFrozen, CameraLost, CaptureCancelled, ExposureFailed, RecordingEnded
from cupola.core.frame import Camera, CameraInfo, Capability, Controls, Frame, Generation, KeepsStills, Packet, Stop

OPEN_BUDGET_S = 45.0
INTERRUPT_AFTER_S = 0.3  # a stop that the driver has not noticed by then is followed by interrupt()
ORPHAN_FINISHES_S = 60.0
NATIVE = {Capability.NATIVE_JPEG, Capability.NATIVE_H264, Capability.NATIVE_H265}


class Exposer(threading.Thread):
    """Owns the driver. What is public may be called from any thread and returns at once.

    `stills` and `live` say which of the two this exposer serves: a network camera with a stream of its own for recording has one for each.
    A camera that failed is opened again, `reopen` times in a row, before the thread ends with its `failure`. `trouble` ended an earlier process.
    """

    def __init__(
        self,
        camera: Camera,
        sinks: Sinks,
        on_open: Callable[[CameraInfo], None],
        *,
        stills: bool = True,
        live: bool = True,
        reopen: int = 0,
        watch: FrozenWatch | None = None,
        auto: AutoStills | None = None,
        trouble: str | None = None,
    ) -> None:
        super().__init__(name="driver", daemon=True)
        self._camera, self._sinks, self._on_open = camera, sinks, on_open
        self._serves_stills, self._serves_live = stills, live
        self._changed = threading.Condition()
        self._settings = Applying(camera, sinks.tell)
        self._auto = auto or AutoStills(None, None)
        self._series = Series()
        self._snaps: deque[Snap] = deque()
        self._watched = self._test_shots = False
        self._closing = False
        self._order: Order | None = None
        self._halt = Stop()
        self._stopped_at: float | None = None
        self._most_reopened, self._reopened = reopen, 0
        self._newest_still: Frame | Packet | None = None  # of a camera whose live view is its stills
        self._info: CameraInfo | None = None
        self.deadline = Deadline()
        self.opened = False
        self.frames = self.dropped = 0
        self.trouble = trouble  # the kind of error it failed with, until a picture shows that it is over
        self._frozen = watch or FrozenWatch(None)
        self.last_opened_ns = 0
        self.failure: Exception | None = None

    # ── what others ask of it ──────────────────────────────────────────────

    def want(self, mode: Mode, generation: Generation, controls: Controls, automatic: frozenset[str] = frozenset()) -> None:
        """New settings; of stills also which are `automatic`. An exposure under way with older ones is interrupted at once."""
        with self._changed:
            self._settings.want(mode, generation, controls)
            if mode == "still":
                self._auto.names = automatic
            theirs = self._order is not None and (self._order.mode == mode or self._capable(Capability.CONTINUOUS))
            if theirs and self._info is not None and self._info.controls:
                self._cancel()
            self._changed.notify_all()

    def set_plan(self, plan: Plan | None, *, finish: bool = False) -> None:
        """Another series or none; the exposure under way of the one before is cancelled, unless it shall `finish`."""
        with self._changed:
            ended = self._series.set(plan, time.monotonic())
            if ended and not finish and self._order is not None and self._order.plan is not None:
                self._cancel()
            self._changed.notify_all()

    def snap(self, snap: Snap) -> None:
        with self._changed:
            self._snaps.append(snap)
            self._changed.notify_all()

    def watch(self, watched: bool, test_shots: bool = False) -> None:
        """Whether live frames (or those for recording) are wanted by anyone; `test_shots`: also of a camera that has to make exposures for them."""
        with self._changed:
            if watched and not self._watched and self._newest_still is not None:
                self._sinks.live(self._newest_still, "still")
            self._watched, self._test_shots = watched, test_shots
            if not watched and self._order is not None and self._order.mode == "live" and not self._continuous_now():
                self._cancel()
            self._changed.notify_all()

    def stored(self, session: int | None, ok: bool) -> None:
        """A still handed over earlier is on disk, or is not; room for another one either way."""
        with self._changed:
            self._series.stored(session, ok)
            self._changed.notify_all()

    def close_soon(self, *, finish: bool) -> None:
        """End the thread; `finish` an exposure first if it has less than a minute to go."""
        with self._changed:
            self._closing = True
            phase = self.deadline.phase
            left = (phase.exposure_s or 0.0) - (time.monotonic() - phase.since)
            exposing_still = self._order is not None and self._order.mode == "still"
            if not (finish and exposing_still and left <= ORPHAN_FINISHES_S):
                self._cancel()
            self._changed.notify_all()

    def poke(self) -> None:
        """Called now and then: a stop not yet noticed is followed by interrupt(), and so is a missed deadline, once."""
        with self._changed:
            ignored = self._stopped_at is not None and time.monotonic() - self._stopped_at > INTERRUPT_AFTER_S
        missed = self.deadline.missed()
        if missed:
            self._sinks.tell({"type": "recovery", "rung": "interrupt", "attempt": 1, "ok": None, **failure_facts(self.deadline.failure())})
        if ignored or missed:
            self._camera.interrupt()

    def poke_until_ended(self, until: float) -> None:
        """Wait for the thread to end, at most until a moment of the monotonic clock."""
        while self.is_alive() and time.monotonic() < until:
            self.poke()
            self.join(0.1)

    @property
    def next_opening_in_s(self) -> float | None:
        with self._changed:
            return None if self._series.plan is None else self._series.wait_s(time.monotonic())

    # ── the thread ─────────────────────────────────────────────────────────

    def run(self) -> None:
        try:
            self._open()
            while (order := self._next_order()) is not None:
                try:
                    self._obey(order)
                except Exception as error:
                    self._reopen(order, error)
        except Exception as error:
            self.failure = error
        finally:
            self.deadline.enter("closing", APPLY_BUDGET_S)
            try:
                self._sinks.settle()
                self._camera.close()
            except Exception as error:
                self.failure = self.failure or error
            self.deadline.enter("closed", None)

    def _open(self) -> None:
        self.deadline.enter("opening", OPEN_BUDGET_S)
        try:
            info = self._camera.open()
        except CaptureCancelled:
            if self.deadline.late:
                raise self.deadline.failure() from None
            raise
        self.deadline.learn(info.readout_s)
        self._info = info
        self._frozen.opened(info)
        self._auto.opened(info)
        self.opened = True
        self._on_open(info)

    def _reopen(self, order: Order, error: Exception) -> None:
        """Close and open a camera that failed, in this process; raises `error` when that was tried enough, or fails."""
        if self._closing or isinstance(error, RecordingEnded) or self._reopened >= self._most_reopened:
            raise error
        self._reopened, self.opened = self._reopened + 1, False
        facts = failure_facts(error)
        self.trouble = facts["kind"]
        news = {"type": "recovery", "rung": "reopen", "attempt": self._reopened, **facts}
        self._sinks.tell({**news, "ok": None})
        self._take_again(order)
        self._settings.forget()
        try:
            self.deadline.enter("closing", APPLY_BUDGET_S)
            self._camera.close()
            self._open()
        except Exception as again:
            self._sinks.tell({**news, "ok": False})
            raise error from again
        self._sinks.tell({**news, "ok": True})

    def _obey(self, order: Order) -> None:
        try:
            self._settings.apply(order, self.deadline, self._info)
            if order.apply_only:
                return
            if self._capable(Capability.CONTINUOUS) or (order.mode == "live" and self._capable(Capability.VIDEO)):
                self._stream(order)
            else:
                self._expose(order)
        except ExposureFailed as failure:
            if order.plan is None and order.snap is None:
                raise  # a live view or settings that fail: a failing camera
            self._tell_failed(order, failure)
        except CaptureCancelled:
            if self.deadline.late:
                raise self.deadline.failure() from None
            self._take_again(order)  # interrupted by new settings: with those, now
        finally:
            if self._halt.is_set() and self._info is not None and self._info.finishes_exposures:
                self.deadline.goes_on()
            with self._changed:
                self._order, self._stopped_at = None, None

    def _take_again(self, order: Order) -> None:
        with self._changed:
            if order.snap is not None:
                self._snaps.appendleft(order.snap)
            if order.plan is not None:
                self._series.again(order.plan, time.monotonic())

    def _tell_failed(self, order: Order, failure: ExposureFailed) -> None:
        self._sinks.tell({"type": "failed", "kind": failure.kind, "message": str(failure), "session": order.session, "token": order.token})
        with self._changed:
            if order.plan is not None:
                self._series.failed(order.plan, time.monotonic())

    def _next_order(self) -> Order | None:
        """Waits until there is something to do; None when the thread shall end."""
        with self._changed:
            while not self._closing:
                now = time.monotonic()
                order = self._choose(now)
                if order is not None:
                    self._order, self._halt = order, Stop()
                    return order
                waiting = self._series.active and self._serves_stills
                full = waiting and not self._sinks.has_room()
                self.deadline.enter("storing" if full else "waiting" if waiting else "idle", None)
                self._changed.wait(min(1.0, max(0.001, self._series.wait_s(now))) if waiting and not full else 0.5)
            return None

    def _choose(self, now: float) -> Order | None:
        generation, controls = self._settings.wanted("still")
        if self._serves_stills and self._sinks.has_room() and not self._capable(Capability.CONTINUOUS):
            if self._snaps:
                snap = self._snaps.popleft()
                controls = Controls(exposure_s=snap.exposure_s).over(self._auto.controls(controls, None))
                return Order("still", controls, generation, snap=snap, automatic=snap.exposure_s is None)
            if self._series.due(now):
                controls = self._auto.controls(controls, self._series.plan)
                return Order("still", controls, generation, plan=self._series.plan, automatic=True)
        wanted = self._watched and (self._capable(Capability.VIDEO) or self._test_shots)
        if self._continuous_now() or (self._serves_live and wanted and self._live_fits(now)):
            generation, controls = self._settings.wanted("live")
            if self._capable(Capability.CONTINUOUS):  # one stream has one set of settings: live's, and still's where live has none
                controls = controls.over(self._settings.wanted("still")[1])
            return Order("live", controls, generation)
        for mode in MODES:  # with nothing else to do, new settings go to the hardware, so that what it takes is known
            generation, controls = self._settings.wanted(mode)
            if (self._serves_live if mode == "live" else self._serves_stills) and not self._settings.told(mode):
                if mode == "still":
                    controls = self._auto.controls(controls, self._series.plan)
                return Order(mode, controls, generation, apply_only=True)
        return None

    def _continuous_now(self) -> bool:
        """Whether a source whose frames come by themselves has to be read: always if they come encoded (cheap), else on demand."""
        if self._info is None or not self._capable(Capability.CONTINUOUS):
            return False
        wanted = self._serves_stills and (bool(self._snaps) or self._series.active)
        return wanted or self._watched or (self._serves_live and bool(NATIVE & self._info.capabilities))

    def _live_fits(self, now: float) -> bool:
        """Whether a live frame can be had before the next still is due."""
        if not self._sinks.has_room():
            return True  # a disk that stalls holds up the stills, never the live view
        if not self._serves_stills or not self._series.active:
            return not (self._snaps and self._serves_stills)
        period = (self._settings.wanted("live")[1].exposure_s or self._settings.taken.exposure_s or 0.0) + self.deadline.readout_s
        return period + 0.1 < self._series.wait_s(now) and not self._snaps

    def _capable(self, capability: Capability) -> bool:
        return self._info is not None and capability in self._info.capabilities

    # ── exposures ──────────────────────────────────────────────────────────

    def _expose(self, order: Order) -> None:
        exposure_s = self._settings.taken.exposure_s or 0.0
        opened = time.monotonic()
        with self._changed:
            self._series.opened(order.plan, opened, exposure_s)
        self.deadline.enter("exposing", exposure_s + self.deadline.patience_s(self._info), order.mode, exposure_s)
        picture = self._camera.expose(self._halt)
        readout_s = time.monotonic() - opened - exposure_s
        self.deadline.learn(readout_s)
        self._auto.read_out(readout_s)
        self._deliver(picture, order)
        if order.mode == "live" and isinstance(self._camera, KeepsStills):
            self._camera.stored(picture.seq)  # a test shot: nobody else will

    def _stream(self, order: Order) -> None:
        """Live frames until something else is due. Stills of a continuous source are taken out of the stream."""
        continuous = self._capable(Capability.CONTINUOUS)
        exposure_s = self._settings.taken.exposure_s or 0.0
        budget = exposure_s + self.deadline.patience_s(self._info)
        self.deadline.enter("live", budget, "live", exposure_s)
        with closing(self._camera.stream(self._halt)) as pictures:
            for picture in pictures:
                self.deadline.enter("live", budget, "live", exposure_s)
                if self._halt.is_set():
                    return
                if continuous:
                    order = self._follow(order)
                self._deliver(picture, order)
                if continuous:
                    self._take_still(picture)
                with self._changed:
                    goes_on = self._continuous_now() if continuous else self._watched and self._live_fits(time.monotonic())
                    if self._closing or not goes_on:
                        return
        if self.deadline.late:
            raise self.deadline.failure()
        if not self._halt.is_set():
            raise CameraLost("The camera's stream ended by itself. It is opened anew.")

    def _follow(self, order: Order) -> Order:
        """A source without controls of its own obeys any request as it is: its stream is not interrupted for one."""
        generation, controls = self._settings.wanted(order.mode)
        self._settings.tell(order.mode, generation, True)
        return replace(order, generation=generation, controls=controls)

    def _take_still(self, picture: Frame | Packet) -> None:
        """Hand a continuous source's picture to the storer if one is due; only a keyframe is a picture of its own."""
        if not self._serves_stills or (isinstance(picture, Packet) and not picture.keyframe):
            return
        with self._changed:
            if not self._sinks.has_room():
                return
            generation, _ = self._settings.wanted("still")
            snap = self._snaps.popleft() if self._snaps else None
            now = time.monotonic()
            plan = self._series.plan if snap is None and self._series.due(now) else None
            if snap is None and plan is None:
                return
            if plan is not None:
                self._series.taken()
                self._series.opened(plan, now, 0.0)
        self._settings.tell("still", generation, snap is None)
        still = still_of(replace(picture, generation=generation), plan, snap.token if snap else None)
        self._sinks.still(still)

    def _deliver(self, picture: Frame | Packet, order: Order) -> None:
        self._frozen.look(picture, order.mode, time.monotonic())
        picture = replace(picture, generation=order.generation)
        self.frames += 1
        self.dropped += picture.dropped_before
        self.last_opened_ns = picture.monotonic_ns
        if self.trouble != CameraFrozen.kind or self._frozen.moving:
            self._reopened, self.trouble = 0, None
        if order.mode == "still":
            if order.plan is not None:
                with self._changed:
                    self._series.taken()
            correction = self._auto.measured(picture, self._settings.taken) if order.automatic else None
            self._sinks.still(still_of(picture, order.plan, order.token, correction))
        if isinstance(picture, Packet) and picture.native is not None:
            picture = replace(picture, native=None)  # viewers get the JPEG, and tens of megabytes are let go
        if not self._capable(Capability.VIDEO):
            self._newest_still = picture
        if self._watched:
            self._sinks.live(picture, order.mode)

    def _cancel(self) -> None:
        """Lock held."""
        if not self._halt.is_set():
            self._halt.set()
            self._stopped_at = time.monotonic()
