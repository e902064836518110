"""A station's side of Redis: what is spooled, sent and shown live, in threads of their own, and how all of it is doing.

Four threads: events into their spool (`journal`), stills and clips into theirs, both spools into their streams (`sender`), live packets (`live`).
Everything public is called from the server's loop, but where it says otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from cupola.config.redis import Redis as RedisBlock
from cupola.core.bus import Bus
from cupola.core.clock import iso_utc, utc_now
from cupola.core.errors import StorageFailed, StorageFull
from cupola.core.events import ClipSaved, Event, ImageDeveloped
from cupola.core.frame import Packet
from cupola.storage.catalogue import Catalogue
from cupola.storage.rows import captured_event
from cupola.storage.to_stream import ANNOUNCED, Note, ToStream
from cupola.stream.filling import Filling
from cupola.stream.format import key, pack_status
from cupola.stream.images import Images
from cupola.stream.journal import Journal, key_of
from cupola.stream.link import Pause, Target, connect, failures, words_of
from cupola.stream.live import Live, Superseded
from cupola.stream.sender import Events, Files, Sender
from cupola.stream.spool import Spool
from cupola.stream.words import in_words

CONFIRM_S = 1.0
STATUS_S = 5.0
CLOSE_S = 3.0
TAKE_RETRY_S = 2.0
State = Literal["starting", "connected", "unreachable", "closed"]


class Publisher:
    """Opened by its constructor: the spools are there, and `bus` goes through them. Raises StorageFull and StorageFailed."""

    def __init__(self, block: RedisBlock, station: str, state: Path, root: Path, catalogue: Catalogue, bus: Bus, log: Callable[..., None]) -> None:
        self.station, self.target = block.station or station, Target(block.url.get_secret_value(), block.ca)
        self.cap_bytes = block.spool_mb * 1_000_000
        self.document: Callable[[], dict[str, Any]] = dict  # what is told as status
        self._log, self._bus, self._catalogue, self._notes = log, bus, catalogue, ToStream(catalogue)
        folder = state.absolute() / "spool"
        spool = Spool(folder / "log")
        try:
            images = Spool(folder / "images")
            self.images = Images(images, folder / "images" / "files", root.absolute(), self._notes, self.cap_bytes - self.cap_bytes // 10, log)
        except BaseException:
            spool.close()
            raise
        for words in (*spool.found, *images.found):
            log("ERROR", words, event="storage")
        self.journal = Journal(spool, self.cap_bytes // 10, bus.hand_out, log)
        self.senders = {
            "log": Sender(key(self.station, "log"), Events(spool, self._notes, self.journal.room), log),
            "images": Sender(key(self.station, "images"), Files(self.images, self.wake), log),
        }
        self.live = Live(self.station, block.live, block.live_keep)
        self.state: State = "starting"
        self.problem: str | None = None
        self.live_problem: str | None = None
        self.since = time.monotonic()  # of the state
        self._closing = threading.Event()
        self._to_take, self._to_send = threading.Event(), threading.Event()
        self.journal.woken = self.images.woken = self._to_send.set
        self._status_text: tuple[str, str] | None = None
        self.filling = Filling(self.cap_bytes // 10, self.cap_bytes - self.cap_bytes // 10)
        self._failed: BaseException | None = None
        self._clients: list[Any] = []
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=name, daemon=True)
            for name, work in (("image spool", self._take), ("redis", self._send), *((("redis live", self._show),) if block.live else ()))
        ]
        catalogue.streams = True
        bus.first = self.journal.offer

    # ── life ───────────────────────────────────────────────────────────────

    async def take_up(self) -> None:
        """Announce what an earlier server made durable and did not come to announce. Before the cameras start."""
        for event in await asyncio.to_thread(self._unannounced):
            self._bus.publish(event)

    def _unannounced(self) -> list[Event]:
        spooled = {found for entry in self.journal.spool.read(self.journal.spool.freed + 1) if (found := key_of(entry.payload)) is not None}
        events: list[Event] = []
        after, none = 0, list[Note]()
        while notes := self._notes.notes(ANNOUNCED, after, 500):
            after = notes[-1].id
            for note in notes:
                if (note.what, note.about) not in spooled:
                    event = self._event_of(note)
                    events += [event] if event is not None else []
                    none += [note] if event is None else []
        self._notes.done((note.what, note.about) for note in none)
        return events

    def _event_of(self, note: Note) -> Event | None:
        if note.what == "clip_saved":
            clip = self._notes.clip(note)
            if clip is None or clip.path is None:
                return None
            return ClipSaved(
                camera=clip.camera, id=clip.id, label=clip.label, path=clip.path, duration_s=clip.duration_s or 0.0, frames=clip.frames or 0
            )
        image = self._notes.image(note)
        if image is None or not image.files:
            return None
        if note.what == "image_captured":
            return captured_event(image, image.files[0].path)
        jpg = image.file("jpg")
        return None if jpg is None else ImageDeveloped(camera=image.camera, id=image.id, sequence=image.sequence, path=jpg.path, took_ms=None)

    def start(self) -> None:
        self.journal.start()
        for thread in self._threads:
            thread.start()

    async def run(self) -> None:
        """Until cancelled: watches the threads, and how the spool fills. Raises what one of them died of."""
        self.start()
        while True:
            if (failed := self._failed or self.journal.failed) is not None:
                raise failed
            self.filling.look(time.monotonic(), *self._held)
            document = self.document()
            if document:
                self._status_text = json.dumps(document, separators=(",", ":")), iso_utc(utc_now())
            self.wake()
            await asyncio.sleep(CONFIRM_S)

    def wake(self) -> None:
        """There may be something to spool. Any thread."""
        self._to_take.set()

    def look(self, name: str) -> Callable[[Packet], None]:
        """What the hub of a camera whose live pictures are streamed calls."""
        return self.live.taker(name)

    def close(self) -> None:
        """Spool what was announced, and end. Blocks; not in the loop."""
        self._bus.first = lambda event: False
        self._closing.set()
        for event in (self._to_take, self._to_send, self.live.arrived):
            event.set()
        self.journal.close()
        for client in self._clients:  # so that nobody waits for an answer any more
            with contextlib.suppress(*failures()):
                client.connection_pool.disconnect()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(CLOSE_S)
        self._set_state("closed", None)
        self.journal.spool.close()
        self.images.spool.close()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # a mistake of ours, which must not pass unseen: `run` raises it
            self._failed = error

    # ── threads ────────────────────────────────────────────────────────────

    def _take(self) -> None:
        while not self._closing.is_set():
            self._to_take.wait()
            self._to_take.clear()
            try:
                while not self._closing.is_set() and self.images.take():
                    pass
            except (StorageFull, StorageFailed) as error:
                if self.images.problem is None:
                    self._log("ERROR", f"Stills and clips wait before they are spooled for Redis: {error}", event="storage")
                self.images.problem = str(error)
                self._closing.wait(TAKE_RETRY_S)
                self._to_take.set()

    def _send(self) -> None:
        pause, client = Pause(), self._client("")
        while not self._closing.is_set():
            try:
                for sender in self.senders.values():
                    sender.resume(client)
                self._connected()
                pause.reset()
                self._drain(client)
            except Exception as error:  # of the network, the disk, or an answer as nobody expects: none of it may end the station
                self._set_state("unreachable", self._words_of(error))
                client.close()
                self._closing.wait(pause.next_s())
        client.close()

    def _client(self, which: str) -> Any:
        self._clients.append(client := connect(self.target, f"cupola-{self.station}{which}"))
        return client

    def _words_of(self, error: Exception) -> str:
        if isinstance(error, StorageFull | StorageFailed | Superseded):
            return str(error)
        if isinstance(error, failures()):
            return words_of(error, self.target)
        words = f"Redis at {self.target.words} answers in a way that is not understood: {error!r}."
        if words not in (self.problem, self.live_problem) and not self._closing.is_set():
            self._log("ERROR", words, event="session_event", exception=error)
        return words

    def _connected(self) -> None:
        if self.problem is not None:
            self._log("INFO", f"Redis at {self.target.words} takes everything again.", event="session_event")
        self._set_state("connected", None)

    def _set_state(self, state: State, problem: str | None) -> None:
        if problem is not None and problem != self.problem:
            self._log("WARNING", problem, event="session_event")
        if state != self.state:
            self.state, self.since = state, time.monotonic()
        self.problem = problem

    def _drain(self, client: Any) -> None:
        """Send as long as the connection holds."""
        confirm_due = told_due = 0.0
        while not self._closing.is_set():
            self._to_send.clear()
            moved = [sender.send(client) for sender in self.senders.values()]
            now = time.monotonic()
            if now >= confirm_due:
                for sender in self.senders.values():
                    sender.confirm(client)
                confirm_due = time.monotonic() + CONFIRM_S
            if now >= told_due and (told := self._status_text) is not None:
                client.hset(key(self.station, "status"), mapping=pack_status(*told, self.journal.spool.incarnation))
                told_due = time.monotonic() + STATUS_S
            if not any(moved):
                self._to_send.wait(CONFIRM_S)

    def _show(self) -> None:
        pause, client = Pause(), self._client("-live")
        while not self._closing.is_set():
            try:
                self.live.resume(client)
                self.live_problem = None
                pause.reset()
                while not self._closing.is_set():
                    if not self.live.send(client):
                        self.live.arrived.wait()
            except Exception as error:
                self.live.lost()
                words = self._words_of(error)
                if words != self.live_problem and words != self.problem:
                    self._log("WARNING", f"Live pictures are not streamed: {words}", event="session_event")
                self.live_problem = words
                client.close()
                self._closing.wait(pause.next_s())
        client.close()

    # ── how it is doing ────────────────────────────────────────────────────

    @property
    def _held(self) -> tuple[int, int]:
        return self.journal.spool.bytes, self.images.linked_bytes

    @property
    def fill_percent(self) -> float:
        """Of the fuller of both spools."""
        return self.filling.percent(*self._held)

    @property
    def full_in_s(self) -> float | None:
        """When the spool will be full if it goes on filling as in the last minutes; None while it does not."""
        return self.filling.full_in_s

    @property
    def waited_for(self) -> list[tuple[str, str]]:
        """Of each stream of which something waits: its key, and the group of receivers that has confirmed least, if there is any."""
        return [(sender.key, sender.behind) for sender in self.senders.values() if sender.source.spool.depth and sender.behind is not None]

    @property
    def lost(self) -> int:
        """Events, stills and clips that are not in the streams, since the start."""
        return self.journal.lost_total + self.images.lost_total

    def report(self) -> dict[str, Any]:
        """For status, metrics and page; JSON types."""
        now = time.time()
        streams: dict[str, Any] = {}
        for name, sender in self.senders.items():
            spool = sender.source.spool
            streams[name] = {
                "spool_records": spool.depth,
                "unsent_records": sender.unsent,
                "spool_bytes": spool.bytes if name == "log" else self.images.linked_bytes,
                "oldest_seconds": None if spool.oldest_s is None or not spool.depth else round(max(0.0, now - spool.oldest_s), 3),
                "published": sender.published,
                "incarnation": spool.incarnation,
                "behind": sender.behind,
                "lost": self.journal.lost_total if name == "log" else self.images.lost_total,
            }
        full_in_s = self.full_in_s
        report: dict[str, Any] = {
            "state": self.state,
            "server": self.target.words,
            "station": self.station,
            "problem": self.problem or self.journal.problem or self.images.problem or self.live_problem,
            "fill_percent": round(self.fill_percent, 1),
            "full_in_seconds": None if full_in_s is None else round(full_in_s),
            "waiting_in_archive": self.images.waiting,
            "streams": streams,
            "live": dict(self.live.counts),
        }
        return {**report, "words": in_words(report)}
