"""The camera process: `python -m cupola.camera.process --link=FD`, started by `supervisor`.

Four threads beside the main one, which reads the server's messages: the driver thread (`exposer`; two
for a source with a stream of its own for recording, which has a second live worker, too), the live worker, the storing worker, and the
outbox, which sends what the others have to tell and a beat every quarter of a second.

When the server is gone, the exposure is finished if it has less than a minute to go, what was taken is
stored, the device closed. The next server finds the files.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from cupola.camera.auto_stills import AutoStills
from cupola.camera.exposer import ORPHAN_FINISHES_S, Exposer
from cupola.camera.frozen import FrozenWatch
from cupola.camera.live import LiveWorker
from cupola.camera.messages import BEAT_S, EXIT_LOST, IDLE_BUDGET_S, MODES, Mode, Plan, failure_facts, info_head
from cupola.camera.orders import Sinks, Snap, Still
from cupola.camera.storer import Storer
from cupola.core.errors import CameraBusy, CameraLost, CupolaError
from cupola.core.frame import Camera, CameraInfo, Capability, Codec, Controls, Frame, Generation, KeepsStills, Packet, Station, native_of
from cupola.process.wire import Head, Link, WireError
from cupola.storage.space import Lock, Thrift

SETTLE_S = 3.0
DRAIN_S = 30.0  # for the storing of what was already taken


class Outbox(threading.Thread):
    """Sends in order what any thread has to tell, without making it wait, and the beats."""

    def __init__(self, link: Link, make_beat: Callable[[], Head]) -> None:
        super().__init__(name="outbox", daemon=True)
        self._link = link
        self._messages: queue.SimpleQueue[Head | None] = queue.SimpleQueue()
        self._make_beat = make_beat

    def tell(self, head: Head) -> None:
        self._messages.put(head)

    def run(self) -> None:
        due = time.monotonic()
        while True:
            try:
                head = self._messages.get(timeout=max(0.0, due - time.monotonic()))
                if head is None:
                    return
            except queue.Empty:
                due = time.monotonic() + BEAT_S
                head = self._make_beat()
            try:
                self._link.send(head)
            except OSError:
                return

    def close(self) -> None:
        """Send what is waiting, then end."""
        self._messages.put(None)
        self.join(2.0)


class DriverLog(logging.Handler):
    """Passes on what drivers tell through the standard library's logging: they know no other way out of this process."""

    def __init__(self, tell: Callable[[Head], None]) -> None:
        super().__init__(logging.INFO)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell({"type": "log", "level": record.levelname, "event": "session_event", "message": record.getMessage()})


class CameraProcess:
    """What the server's `configure` set up."""

    def __init__(self, link: Link, head: Head) -> None:
        self._link = link
        self._outbox = Outbox(link, self._beat)
        self.finish = False
        storage: Mapping[str, Any] = head["storage"]
        station = Station(**head["station"])
        self._lock = Lock(Path(storage["lock"]))
        self._storer = Storer(
            camera=head["camera"],
            station=station,
            root=Path(storage["root"]),
            queue=Path(storage["queue"]),
            keep_originals=storage["keep_originals"],
            thrift=Thrift(storage["min_free_percent"], storage["keep_free_percent"]),
            next_sequence=head["next_sequence"],
            tell=self._outbox.tell,
            on_stored=self._stored,
        )
        self._codecs: frozenset[Codec] = frozenset()
        self._focusing = False
        self._live = LiveWorker(link.send, self.log, **head["live"])
        drivers = logging.getLogger("cupola.drivers")
        drivers.setLevel(logging.INFO)
        drivers.addHandler(DriverLog(self._outbox.tell))
        module, _, name = str(head["driver"]).partition(":")
        driver = getattr(importlib.import_module(module), name)
        options: dict[str, Any] = head["options"]
        sinks = Sinks(tell=self._outbox.tell, live=self._live.offer, still=self._storer.offer, has_room=self._storer.has_room, settle=self._settle)
        record = options.get("record")
        main: Camera = driver(options, station)
        self._keeper = main if isinstance(main, KeepsStills) else None
        recovery: Mapping[str, Any] = head["recovery"]
        reopen, after_s = int(recovery["reopen"]), recovery["frozen_after_s"]
        self._info: CameraInfo | None = None
        auto: Mapping[str, Any] = head["auto_exposure"] or {"limits": None, "region": None}
        self._exposer = Exposer(
            main,
            sinks,
            self._opened,
            stills=not record,
            reopen=reopen,
            watch=FrozenWatch(after_s),
            auto=AutoStills(auto["limits"], auto["region"]),
            trouble=recovery["trouble"],
        )
        self._exposers = [self._exposer]
        self._record: LiveWorker | None = None
        if record:
            second: Camera = driver({**options, "source": record, "record": None}, station)
            view: Mapping[str, Any] = {**head["live"], "width_max": None}
            recording = self._record = LiveWorker(link.send, self.log, **view)

            def offer(picture: Frame | Packet, _: Mode) -> None:
                recording.offer(picture, "record")

            sinks = Sinks(tell=self._outbox.tell, live=offer, still=self._storer.offer, has_room=self._storer.has_room, settle=self._settle)
            self._exposers.append(Exposer(second, sinks, self._second_opened, live=False, reopen=reopen, watch=FrozenWatch(after_s)))
        for mode in MODES:
            self._want({"mode": mode, **head[mode + "_settings"]})

    def start(self) -> None:
        """Raises CameraBusy when another camera process still holds this camera's lock."""
        if not self._lock.acquire():
            raise CameraBusy("An earlier process still holds this camera; it is given time to finish.")
        for thread in (self._outbox, self._storer, self._live, self._record, *self._exposers):
            if thread is not None:
                thread.start()

    def obey(self, head: Head) -> bool:
        """One message of the server; False when it is time to close."""
        kind = head["type"]
        if kind == "settings":
            self._want(head)
        elif kind == "live":
            self._codecs = frozenset(head["codecs"])
            self._live.set_codecs(self._codecs, whole=head["whole"] and self._record is None)
            if self._record is not None:
                self._exposers[-1].watch(head["whole"])
            self._watch()
        elif kind == "focus":
            self._focus(head["region"])
        elif kind == "plan":
            if head["plan"]:
                self._storer.expect_stills()
            self._exposers[-1].set_plan(Plan(**head["plan"]) if head["plan"] else None, finish=head["finish"])
        elif kind == "snap":
            self._storer.expect_stills()
            self._exposers[-1].snap(Snap(head["token"], head["exposure_s"]))
        return kind != "close"

    def _focus(self, region: Head | None) -> None:
        focus = None
        if region is not None:
            from cupola.camera.focus import FocusView  # brings in numpy, which a camera that encodes by itself does without

            focus = FocusView(**region)
        self._focusing = focus is not None
        self._live.set_focus(focus)
        self._watch()

    def _watch(self) -> None:
        self._exposer.watch(bool(self._codecs) or self._focusing, test_shots=self._focusing)

    def _want(self, head: Mapping[str, Any]) -> None:
        for exposer in self._exposers:
            exposer.want(head["mode"], Generation(*head["generation"]), Controls.from_dict(head["controls"]), frozenset(head["automatic"]))

    def _opened(self, info: CameraInfo) -> None:
        self._info = info
        self._live.of_exposures = Capability.VIDEO not in info.capabilities
        self._storer.opened(info)
        self._outbox.tell(info_head(info))

    def _second_opened(self, info: CameraInfo) -> None:
        """The camera is open once its main stream is; told again when this one came back."""
        assert self._record is not None
        self._record.set_codecs(frozenset({native_of(info.capabilities)}), whole=True)
        if self._exposers[-1].trouble and self._info is not None:
            self._outbox.tell(info_head(self._info))

    def _stored(self, still: Still, ok: bool) -> None:
        self._exposers[-1].stored(still.session, ok)
        if ok and self._keeper is not None:
            self._keeper.stored(still.picture.seq)

    def _settle(self) -> None:
        """Before the camera is closed: its card is emptied of what is stored."""
        if self._keeper is not None:
            self._storer.settle(SETTLE_S)

    @property
    def running(self) -> bool:
        return all(exposer.is_alive() for exposer in self._exposers) and self._dead is None

    @property
    def _dead(self) -> str | None:
        """A worker that ended by itself: a mistake that would leave a camera without live pictures, or without images, that seems well."""
        return next((worker.name for worker in (self._storer, self._live, self._record) if worker is not None and not worker.is_alive()), None)

    def _beat(self) -> Head:
        """The phase with the least time left is the one that counts."""
        now = time.monotonic()
        for exposer in self._exposers:
            exposer.poke()
        phases = [exposer.deadline.phase for exposer in self._exposers]
        left, phase = min(((exposer.deadline.left_s(IDLE_BUDGET_S), exposer.deadline.phase) for exposer in self._exposers), key=lambda pair: pair[0])
        shown = phases[0] if len(phases) == 1 or phases[1].name in ("idle", "closed", "live") else phases[1]
        return {
            "type": "beat",
            "phase": shown.name,
            "age_s": now - shown.since,
            "exposure_s": shown.exposure_s,
            "mode": shown.mode,
            "left_s": left,
            "hangs_in": phase.name,
            "next_opening_in_s": self._exposers[-1].next_opening_in_s,
            "frames": self._exposer.frames,
            "proved": any(exposer.frames for exposer in self._exposers) and all(exposer.opened and not exposer.trouble for exposer in self._exposers),
            "encoded": self._live.encoded,
            "dropped": sum(exposer.dropped for exposer in self._exposers) + self._live.dropped,
            "last_opened_ns": max(exposer.last_opened_ns for exposer in self._exposers),
        }

    def log(self, level: str, event: str, message: str) -> None:
        self._outbox.tell({"type": "log", "level": level, "event": event, "message": message})

    def close(self) -> int:
        """Let the device go, store what was taken, say why if something failed. The process's exit code."""
        dead = self._dead
        for exposer in self._exposers:
            exposer.close_soon(finish=self.finish)
        patience = time.monotonic() + (ORPHAN_FINISHES_S + DRAIN_S if self.finish else DRAIN_S)
        for exposer in self._exposers:
            exposer.poke_until_ended(patience)
        self._live.close()
        if self._record is not None:
            self._record.close()
        self._storer.close()
        self._storer.join(DRAIN_S)
        failure = next((exposer.failure for exposer in self._exposers if exposer.failure is not None), None)
        if failure is None and dead is not None:
            failure = CameraLost(f'The thread "{dead}" of the camera process ended. What it printed is in the log.')
        if failure is not None:
            self._outbox.tell({"type": "lost", **failure_facts(failure)})
        self._outbox.close()
        self._lock.release()
        return EXIT_LOST if failure is not None else 0


Why = Literal["close", "lost", "orphaned"]


def _listen(link: Link, events: queue.SimpleQueue[Head | Why]) -> None:
    """The server's messages, then the news that it is gone."""
    with contextlib.suppress(WireError):
        while (received := link.receive()) is not None:
            events.put(received[0])
    events.put("orphaned")


def main(argv: list[str]) -> int:
    link = Link.from_argv(argv)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    received = link.receive()
    if received is None:
        return 0
    try:
        process = CameraProcess(link, received[0])
        process.start()
    except Exception as error:
        facts = failure_facts(error)
        if not isinstance(error, CupolaError):
            facts["message"] = f"The driver cannot be loaded: {error!r}."
        with contextlib.suppress(OSError):
            link.send({"type": "lost", **facts})
        return EXIT_LOST
    events: queue.SimpleQueue[Head | Why] = queue.SimpleQueue()

    def asked_to_end(number: int, frame: object) -> None:
        events.put("close")

    signal.signal(signal.SIGTERM, asked_to_end)
    threading.Thread(target=_listen, args=(link, events), name="listen", daemon=True).start()
    while process.running:
        try:
            event = events.get(timeout=0.1)
        except queue.Empty:
            continue
        if isinstance(event, str):
            process.finish = event == "orphaned"
            break
        if not process.obey(event):
            break
    code = process.close()
    sys.stdout.flush()
    # a vendor's library may leave threads behind that would hold the exit
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
