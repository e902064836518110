"""Events on their way to subscribers: spooled first, told then.

Between `Bus.publish` and its subscribers, so that nobody outside knows of an event that a power cut could still take back. A disk that does not
answer must not blind the station: after `HOLD_S` an event is told all the same, and spooled once that works. What is waiting in memory then
is what the guarantee does not cover; how much that may be is bounded, and what was lost is said in the stream itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cupola.core.clock import iso_utc
from cupola.core.errors import StorageFailed, StorageFull
from cupola.core.events import Event, HostAlarm
from cupola.storage.to_stream import ANNOUNCED, What
from cupola.stream.format import EVENT_MAX
from cupola.stream.spool import Spool

HOLD_S = 1.0
RETRY_S = 1.0
CLOSE_S = 4.0
WAITING_MOST = 5000  # events in memory while the disk, or the cap, takes none
BATCH = 256
AGAIN = 0.9  # of the cap: below that a spool that was full takes events again
NOT_STREAMED = frozenset({"camera_changed"})  # what GET /api/cameras answers, told while somebody looks: a state, not an event


@dataclass(slots=True)
class Lost:
    """Events that are not in the stream."""

    events: int = 0
    first: datetime | None = None
    last: datetime | None = None

    def add(self, at: datetime) -> None:
        self.events += 1
        self.first, self.last = self.first or at, at


class Journal:
    """`offer` in the server's loop; a thread of its own appends. `cap_bytes` of the whole spool of events. `woken` is called after each append."""

    def __init__(self, spool: Spool, cap_bytes: int, hand_out: Callable[[Event], None], log: Callable[..., None]) -> None:
        self.spool, self.cap_bytes = spool, cap_bytes
        self.problem: str | None = None  # why nothing is spooled now
        self.lost_total = 0
        self.woken: Callable[[], None] = lambda: None
        self._hand_out, self._log = hand_out, log
        self._held: deque[Event] = deque()  # offered, not handed out
        self._told_early = 0  # of those that wait for the disk, how many were handed out without it
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inbox: queue.SimpleQueue[Event | Lost | None] = queue.SimpleQueue()
        self._waiting = 0  # events in the inbox and in the thread's hands
        self._lost, self._mutex = Lost(), threading.Lock()
        self._room = threading.Event()
        self.failed: BaseException | None = None  # what the thread died of: a mistake of ours
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="event spool", daemon=True)

    def start(self) -> None:
        """In the server's loop; what was offered before follows now."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        if self._held:
            self._timer = self._loop.call_later(HOLD_S, self._overdue)

    def offer(self, event: Event) -> bool:
        """Take an event to hand it out later, in its turn; False for one that is not streamed and told at once."""
        if event.kind in NOT_STREAMED or self._closing:
            return False
        with self._mutex:
            full = self._waiting >= WAITING_MOST
            self._waiting += not full
        if full:
            self._lost.add(event.at)
            self.lost_total += 1
            self._overdue()  # told in its turn
            return False
        self._say_lost()
        self._held.append(event)
        self._inbox.put(event)
        if self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(HOLD_S, self._overdue)
        return True

    def _say_lost(self) -> None:
        """In the stream, in the place of what is missing there."""
        if self._lost.events:
            self._inbox.put(self._lost)
            self._lost = Lost()

    def room(self) -> None:
        """Some of the spool was freed. Any thread."""
        self._room.set()

    def close(self) -> None:
        """Spool what was offered, as far as the disk allows, and end. Not in the loop's thread."""
        self._closing = True
        self._inbox.put(None)
        self._room.set()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_S)
        if self._waiting:
            words = f"{self._waiting} events were not spooled when Cupola closed, and are not in the stream of Redis. {self.problem or ''}".strip()
            self._log("ERROR", words, event="storage")

    # ── in the loop ────────────────────────────────────────────────────────

    def _durable(self, count: int) -> None:
        """So many more are on disk."""
        early = min(count, self._told_early)
        self._told_early -= early
        for _ in range(count - early):
            self._hand_out(self._held.popleft())
        self._say_lost()
        if not self._held and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _overdue(self) -> None:
        self._timer = None
        while self._held:
            event = self._held.popleft()
            self._told_early += 1
            self._hand_out(event)

    # ── in the thread ──────────────────────────────────────────────────────

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self.failed = error

    def _work(self) -> None:
        while True:
            batch = [self._inbox.get()]
            while len(batch) < BATCH and batch[-1] is not None:
                try:
                    batch.append(self._inbox.get_nowait())
                except queue.Empty:
                    break
            if not self._spool([item for item in batch if item is not None]) or batch[-1] is None:
                return

    def _spool(self, items: list[Event | Lost]) -> bool:
        """Append, however long that takes; False where it cannot be and the program ends."""
        records = [(self._packed(item), 1) for item in items]
        events = sum(not isinstance(item, Lost) for item in items)
        while True:
            try:
                if self.spool.bytes >= self.cap_bytes * (1.0 if self.problem is None else AGAIN):
                    raise StorageFull(
                        f"The spool of events holds {self.spool.bytes / 1e6:.0f} MB, all that redis.spool_mb allows. Receivers empty it."
                    )
                if records:
                    self.spool.append(records)
            except (StorageFull, StorageFailed) as error:
                if self.problem is None:
                    self._log("ERROR", f"Events wait in memory before they are spooled for Redis: {error}", event="storage")
                self.problem = str(error)
                self._room.wait(RETRY_S)
                if self._closing:
                    return False
                self._room.clear()
                continue
            if self.problem is not None:
                self._log("INFO", "Events are spooled for Redis again.", event="storage")
                self.problem = None
            with self._mutex:
                self._waiting -= events
            if self._loop is not None and events:
                self._tell_loop(events)
            self.woken()
            return True

    def _tell_loop(self, count: int) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody listens any more
            self._loop.call_soon_threadsafe(self._durable, count)

    def _packed(self, item: Event | Lost) -> bytes:
        """As it stands in the stream; of what is missing, an alarm that says so."""
        if not isinstance(item, Lost):
            payload = item.model_dump_json().encode()
            if len(payload) <= EVENT_MAX:
                return payload
            self._log("ERROR", f"An event {item.kind} of {len(payload)} bytes is too large for the stream of Redis.", event="storage")
            self.lost_total += 1
            item = Lost(1, item.at, item.at)
        assert item.first is not None and item.last is not None
        message = f"{item.events} events from {iso_utc(item.first)} to {iso_utc(item.last)} are missing here: the spool had no room for them."
        return HostAlarm(what="redis_events_lost", level="ERROR", active=False, value=float(item.events), message=message).model_dump_json().encode()


def key_of(payload: bytes) -> tuple[What, int] | None:
    """What of the catalogue's notes an event of the spool is about."""
    if not payload.startswith(b"{") or not any(kind.encode() in payload for kind in ANNOUNCED):
        return None
    event: dict[str, Any] = json.loads(payload)
    return (event["kind"], event["id"]) if event["kind"] in ANNOUNCED else None
