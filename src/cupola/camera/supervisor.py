"""The server's handle on one camera: it keeps what is wanted and makes it so, again and again.

It starts the camera process, listens to its beats, ends it when it misses a deadline, and starts it anew with the same
settings and plan; what else is done about failures is decided in `recovery`. Series of stills are `capture.session`'s,
rows the catalogue's (both behind `Archive`), viewers the hub's.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from cupola.camera.claims import Claims
from cupola.camera.focusing import Focusing
from cupola.camera.messages import BEAT_S, IDLE_BUDGET_S, Mode, info_from, packet_from
from cupola.camera.recovery import CAUSES, Ladder, Rung, Tally, cause_of, in_words, nothing_helped, why
from cupola.camera.seen import Seen
from cupola.camera.settings import CameraSettings, check_against
from cupola.camera.snaps import Snaps
from cupola.camera.spec import Archive, CameraSpec, Problem, configure_head, wanted_head
from cupola.camera.usb import HotPlug, reset_port
from cupola.core.bus import Bus
from cupola.core.clock import utc_now
from cupola.core.errors import NotAllowed, RecordingEnded
from cupola.core.events import CameraConnected, CameraLost, CameraRecovered, CameraRecovery, SettingsApplied
from cupola.core.frame import CameraInfo, Codec, Controls, Generation
from cupola.core.hub import FrameHub
from cupola.process.child import Child
from cupola.process.predecessor import Predecessor
from cupola.process.wire import Head

State = Literal["stopped", "starting", "running", "recovering", "degraded", "stopping"]
MODULE = "cupola.camera.process"
PATIENCE_S = 75.0  # an orphan finishes an exposure of up to a minute, and stores it
START_BUDGET_S = 20.0  # from spawning to the first beat, on slow hardware
CLOSE_S = 5.0
TICK_S = 0.25
PRINTED_LINES = 200  # between two beats


class CameraSupervisor:
    """`run` is its one task; everything else is called from the same event loop."""

    def __init__(
        self,
        spec: CameraSpec,
        *,
        archive: Archive,
        bus: Bus,
        log: Callable[..., None],
        epoch: int,
        connect: bool,
        claims: Claims | None = None,
    ) -> None:
        self.spec, self.name = spec, spec.name
        self._archive, self._bus, self._log = archive, bus, log
        self.settings = CameraSettings(epoch, frozenset() if spec.auto is None else spec.auto.names)
        self.settings.begin(spec.live, spec.still, automatic=spec.auto is not None and spec.auto.on)
        self.hub = FrameHub(self._demand_changed, apart=bool(spec.options.get("record")))
        self.state: State = "stopped"
        self.info: CameraInfo | None = None
        self.problem: Problem | None = None
        self.still_problem: Problem | None = None
        self.beat: Head = {}
        self.beat_at = 0.0
        self.temperature_c: float | None = None
        self.tally = Tally()
        self.usb_port = spec.recovery.usb_port  # what the driver tells stays known while the camera is away
        self.retry_at: float | None = None
        self.serial: str | None = None  # as it was told last
        self.seen = Seen()
        self.focusing = Focusing(self._send)
        self._claims = claims or Claims()
        self._wanted, self._ending = connect, False
        self._nudge = asyncio.Event()
        self._child: Child | None = None
        self._predecessor = Predecessor(
            Path(spec.storage["lock"]), MODULE, name=f'camera "{spec.name}"', work="an exposure", patience_s=PATIENCE_S, say=self._say_of_predecessor
        )
        self._expires = 0.0
        self._looked: float | None = None
        self._lost: Head | None = None
        self._ladder, self._plugs = Ladder(spec.recovery), HotPlug()
        self._down_since: float | None = None
        self._captures: asyncio.Queue[Head] = asyncio.Queue()
        self._snaps = Snaps()
        self._printed: list[str] = []

    def connect(self) -> None:
        """Want the camera open. A back-off that is under way is cut short."""
        self._wanted, self.retry_at = True, None  # to be tried now
        self._nudge.set()

    def disconnect(self) -> None:
        self._wanted = False
        self._nudge.set()

    async def settled(self, seconds: float) -> None:
        """Wait until the camera is open, closed, or failed, whichever was asked for."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.state in ("starting", "stopping") or (
                    self.state == "stopped" or (self.state == "recovering" and self.retry_at is None) if self._wanted else self.state != "stopped"
                ):
                    await asyncio.sleep(0.02)

    def request(self, mode: Mode, controls: Controls, automatic: bool | None = None) -> None:
        """New settings; applied later, visible last. Raises InvalidSetting."""
        if self.info is not None:
            check_against(controls, self.info.controls, self.name)
        settings = self.settings.request(mode, controls, automatic)
        self._send({"type": "settings", "mode": mode, **wanted_head(settings)})

    def plan_changed(self, *, finish: bool = False) -> None:
        """The running series of stills is another one; ask the archive for it. The exposure under way is cancelled, unless it shall `finish`."""
        plan = self._archive.plan(self.name)
        self._send({"type": "plan", "plan": asdict(plan) if plan else None, "finish": finish})

    async def snap(self, exposure_s: float | None) -> int:
        """One still beside everything else; the id of its row. Raises CupolaError."""
        self.require_open()
        if exposure_s is not None and self.info is not None:
            check_against(Controls(exposure_s=exposure_s), self.info.controls, self.name)
        token, row = self._snaps.new()
        self._send({"type": "snap", "token": token, "exposure_s": exposure_s})
        return await row

    def require_open(self) -> CameraInfo:
        """Raise NotAllowed with what to do when the camera is not open."""
        if self.info is None:
            words = {"stopped": "It is closed: connect it first.", "recovering": "It is being restarted: try again when it is back."}
            raise NotAllowed(f'Camera "{self.name}" is not ready. {words.get(self.state, "It is opening: try again in a moment.")}')
        return self.info

    @property
    def restarts(self) -> int:
        return self.tally.restarts.total()

    @property
    def overdue_s(self) -> float:
        """How long ago the task of `run` should have looked at its process, or ended one that missed its deadline.

        0 while recovery is under way or the camera is closed: that has pauses and deadlines of its own, and may wait for a disk.
        """
        if self._looked is None:
            return 0.0
        return max(0.0, time.monotonic() - min(self._looked + TICK_S, self._expires))

    # ── its life ───────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Until `end`: open the camera whenever it is wanted."""
        keeper = asyncio.create_task(self._keep_captures(), name=f"captures of {self.name}")
        try:
            while not self._ending:
                if self._wanted:
                    await self._life()
                else:
                    self.state = "stopped"
                    await self._nudged(None)
        finally:
            await self._captures.join()
            keeper.cancel()

    def end(self) -> None:
        """Close the camera and let `run` return, within 8 s whatever the device does."""
        self._ending = True
        self._nudge.set()

    async def _nudged(self, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._nudge.wait()
        self._nudge.clear()

    async def _life(self) -> None:
        """One camera process, from its start to its end and the pause after it."""
        self.state = "recovering" if self._down_since is not None else "starting"
        self.problem = None if self.state == "starting" else self.problem  # a recording that ended the last time
        self.retry_at, self._lost, self._expires = None, None, time.monotonic() + START_BUDGET_S
        self.beat, self.beat_at = {}, 0.0  # of the process before
        try:
            if (held := await self._predecessor.gone(lambda: self._wanted and not self._ending)) is not None:
                self._say_of_predecessor("ERROR", held)  # the new process will find the camera busy
            next_sequence = await self._archive.prepare(self.name)
            python = {"python": self.spec.python} if self.spec.python else {}
            child = await Child.start(MODULE, name=self.name, on_message=self._heard, on_stderr=self._print, **python)
        except Exception as error:  # whatever it is, it is tried again: the server and its other cameras live on
            await self._pause("failed", f'The process of camera "{self.name}" cannot be started: {error}')
            return
        self._child, self._expires = child, time.monotonic() + START_BUDGET_S
        frozen = self.problem is not None and self.problem.kind == "frozen"
        child.send(configure_head(self.spec, self.settings, next_sequence, "camera_frozen" if frozen else None))
        self._demand_changed(self.hub.demand)
        self.focusing.tell()
        self.plan_changed()
        ending_of = await self._watch(child)
        closing = self._ending or not self._wanted
        self.state = "stopping" if closing else "recovering"
        ending = await child.end(ask_s=CLOSE_S if closing else 0.0)
        self._child, self.info = None, None
        self._claims.release(self.name)
        self._flush_printed()
        await self._captures.join()
        message = why(self.name, ending_of, self._lost, self.beat, await child.wait() if ending != "abandoned" else None)
        self._snaps.lost(message)
        if ending == "abandoned":
            beside = "" if closing else " A new one is started beside it."
            self._report("abandoned", f'The process {child.pid} of camera "{self.name}" cannot be killed: it is stuck in the kernel.{beside}')
        if closing or not self._wanted:
            over = self._lost is not None and self._lost["kind"] == RecordingEnded.kind
            self.problem = Problem(RecordingEnded.kind, message, utc_now()) if over else None
            self.still_problem = self._down_since = None
            self._log("INFO", f'Camera "{self.name}" closed ({message if over else ending}).', event="session_event", camera=self.name)
            return
        await self._pause(cause_of(ending_of, self._lost), message)

    def _say_of_predecessor(self, level: str, message: str) -> None:
        self._log(level, message, event="session_event" if level == "WARNING" else "usb_failure", camera=self.name)

    async def _watch(self, child: Child) -> Literal["wanted", "ended", "hang"]:
        """Until the process ends, misses a deadline, or is no longer wanted."""
        ended = asyncio.ensure_future(
            asyncio.wait({asyncio.ensure_future(child.wait()), asyncio.ensure_future(child.link_lost())}, return_when="FIRST_COMPLETED")
        )
        try:
            while True:
                self._looked = time.monotonic()
                if ended.done():
                    return "ended"
                if self._ending or not self._wanted:
                    return "wanted"
                if self._expired():
                    return "hang"
                nudge = asyncio.ensure_future(self._nudged(TICK_S))
                await asyncio.wait({ended, nudge}, return_when="FIRST_COMPLETED")
                nudge.cancel()
        finally:
            self._looked = None
            ended.cancel()

    def _expired(self) -> bool:
        """Whether the process missed its deadline. One that still beats may add a little, for its driver to be interrupted."""
        now = time.monotonic()
        return now > self._expires and (now - self.beat_at > 2 * BEAT_S or self.beat["left_s"] <= 0)

    def _report(self, cause: str, message: str, retry_in_s: float | None = None) -> None:
        self._bus.publish(CameraLost(camera=self.name, cause=cause, message=message, retry_in_s=retry_in_s))
        self._log("ERROR" if cause != "unreachable" else "WARNING", message, event="usb_failure", camera=self.name, cause=cause)

    def _down(self, cause: str, message: str) -> None:
        self._down_since = self._down_since or time.monotonic()
        self.state = "recovering"
        self.problem = Problem(cause, message, self.problem.since if self.problem is not None else utc_now())

    def _took(self, rung: Rung, attempt: int, cause: str, ok: bool | None = None, message: str = "") -> None:
        """Count a rung of the ladder and tell of it."""
        self.tally.rungs[rung] += 1
        self._bus.publish(CameraRecovery(camera=self.name, rung=rung, attempt=attempt, cause=cause, ok=ok, message=message))
        level = "ERROR" if ok is False or rung == "back_off" else "WARNING"
        self._log(level, in_words(self.name, rung, attempt, ok, message), event="usb_failure", camera=self.name, rung=rung, cause=cause)

    async def _pause(self, cause: str, message: str) -> None:
        """Say what happened, take the next rung, and wait before the next try; a `connect` cuts that short."""
        step = self._ladder.failed(cause, self.usb_port)
        self._down(cause, message)
        self.retry_at = time.monotonic() + step.delay_s
        self._report(cause, message, step.delay_s)
        if step.rung == "usb_reset" and self.usb_port is not None:
            ok, said = await reset_port(self.spec.recovery, self.usb_port)
            self._took("usb_reset", step.attempt, cause, ok, said)
            self.retry_at = time.monotonic() + step.delay_s
        elif step.rung == "back_off" and step.attempt == 1:
            self._took("back_off", 1, cause, message=nothing_helped(self.spec.recovery, self.usb_port))
        elif step.rung == "restart":
            self._took("restart", step.attempt, cause)
        self.tally.restarts[cause] += 1
        by_usb = self.spec.exclusive or self.usb_port is not None
        if await self._plugs.within(self._nudged(step.delay_s), by_usb and step.rung != "usb_reset"):
            self._ladder.begin_anew()
            self._log("INFO", f'A USB device was plugged in: camera "{self.name}" is tried at once.', event="usb_failure", camera=self.name)

    # ── messages of the process ────────────────────────────────────────────

    def _heard(self, head: Head, payload: bytearray) -> None:
        kind = head["type"]
        if kind not in ("packet", "beat", "focus", "log"):
            self._log("DEBUG", f'From the process of camera "{self.name}": {head}', event="session_event", camera=self.name)
        if kind == "packet" and head["mode"] == "record":
            self.hub.record(packet_from(head, payload))
        elif kind == "packet":
            packet = packet_from(head, payload)
            self.seen.newest = packet
            self.settings.of(head["mode"]).saw(packet.applied, packet.generation)
            self.hub.publish(packet)
        elif kind == "beat":
            self._beat(head)
        elif kind == "focus":
            self.focusing.heard(head, payload)
        elif kind == "captured":
            self._captures.put_nowait(head)
        elif kind == "failed":
            self._failed(head)
        elif kind == "applied":
            if self.settings.of(head["mode"]).took(Controls.from_dict(head["applied"]), Generation(*head["generation"])):
                self._bus.publish(SettingsApplied(camera=self.name, mode=head["mode"], generation=tuple(head["generation"]), applied=head["applied"]))
        elif kind == "info":
            self._opened(info_from(head))
        elif kind == "recovery":
            self._recovering(head)
        elif kind == "lost":
            self._lost = head
            self._wanted = self._wanted and head["kind"] != RecordingEnded.kind
        elif kind == "log":
            self._log(head["level"], head["message"], event=head["event"], camera=self.name)

    def _beat(self, head: Head) -> None:
        self._flush_printed()
        self.beat, self.beat_at = head, time.monotonic()
        self._expires = self.beat_at + head["left_s"]
        if head["proved"]:
            self._ladder.begin_anew()
            self.problem = None
        self.seen.beat(head, self.beat_at)

    def _recovering(self, head: Head) -> None:
        """What the camera process does about a failure by itself. After a reopening it tells of the opened camera as at first."""
        cause = CAUSES.get(head["kind"], "failed")
        if head["rung"] == "reopen" and head["ok"] is None:
            self.info, self.retry_at = None, None
            self._down(cause, head["message"])
            self._report(cause, head["message"], 0.0)
        else:
            self._took(head["rung"], head["attempt"], cause, head["ok"], head["message"])

    def _opened(self, info: CameraInfo) -> None:
        if self.spec.exclusive and info.serial and (taken := self._claims.claim(self.name, self.spec.driver, info.serial)):
            self._lost = {"kind": "camera_busy", "message": taken}
            self._send({"type": "close"})
            return
        self.info, self.serial = info, info.serial
        self.hub.opened(info.capabilities)
        self.usb_port = self.spec.recovery.usb_port or info.usb_port
        self._expires = time.monotonic() + IDLE_BUDGET_S  # the long budget for opening ends here
        self.seen.restarted()
        self.state, self.retry_at = "running", None
        self._plugs.open()
        if self._down_since is not None:
            down, self._down_since = time.monotonic() - self._down_since, None
            self._bus.publish(CameraRecovered(camera=self.name, down_s=round(down, 3), attempts=self._ladder.failures))
            self._log("WARNING", f'Camera "{self.name}" is back after {down:.1f} s.', event="camera_recovered", camera=self.name)
        else:
            self._log("INFO", f'Camera "{self.name}" is open: {info.model}.', event="session_event", camera=self.name)
        self._bus.publish(CameraConnected(camera=self.name, model=info.model, serial=info.serial))

    def _failed(self, head: Head) -> None:
        self.still_problem = Problem(head["kind"], head["message"], utc_now())
        self._snaps.failed(head.get("token"), head["kind"], head["message"])
        self._archive.failed(self.name, head)

    async def _keep_captures(self) -> None:
        """Rows are made one by one, in order, and each is waited for."""
        while True:
            head = await self._captures.get()
            try:
                row = await self._archive.captured(self.name, head)
                self.still_problem = None
                self.temperature_c = head["temperature_c"]
                self.settings.still.saw(Controls.from_dict(head["applied"]), Generation(*head["generation"]))
                self._snaps.stored(head["token"], row)
            except Exception as error:  # a mistake about one image must not keep all later ones from their rows
                self._log("ERROR", f'An image of camera "{self.name}" has no row: {error!r}', event="capture", camera=self.name, exception=error)
                self._snaps.failed(head["token"], "error", f"The image is on disk, but has no row: {error!r}")
            finally:
                self._captures.task_done()

    def _demand_changed(self, codecs: frozenset[Codec]) -> None:
        self._send({"type": "live", "codecs": sorted(codecs), "whole": self.hub.whole})

    def _send(self, head: Head) -> None:
        if self._child is not None:
            self._child.send(head)
            self._log("DEBUG", f'To the process of camera "{self.name}": {head}', event="session_event", camera=self.name)

    def _print(self, line: str) -> None:
        if len(self._printed) < PRINTED_LINES:
            self._printed.append(line)

    def _flush_printed(self) -> None:
        """What libraries printed becomes one record: a crash report has a hundred lines."""
        if self._printed:
            lines, self._printed = self._printed, []
            self._log("WARNING", f'Camera "{self.name}" printed:\n' + "\n".join(lines), event="usb_failure", camera=self.name)
