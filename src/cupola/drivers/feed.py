"""One thread that reads a source without pause, so that what is taken from it is never old.

A source left unread for a minute delivers minute-old pictures from its buffers. The feed keeps the
newest picture (of H.264 and H.265: everything since the last keyframe, which a decoder needs) while
nobody takes any, and a short queue while somebody does. Connecting and parsing belong to the sources.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from cupola.core.errors import CameraLost, CameraUnresponsive, CaptureCancelled, CupolaError
from cupola.core.frame import Frame, Packet, Stop
from cupola.drivers.abort import Abort

Picture = Frame | Packet

_POLL_S = 0.02  # how soon a stop is noticed
_MOST_FRAMES, _MOST_JPEGS, _MOST_OF_A_GROUP = 3, 250, 600  # pictures kept for a consumer that is slow; a source that stalled sends many at once
_MOST_BYTES = 24 << 20
_JOIN_S = 3.0
_OPENING_GRACE_S = 1.0  # the source's own timeout has the better message


@dataclass(frozen=True, slots=True)
class Pending:
    """A picture that becomes a frame when it is taken: converting costs milliseconds, and mostly nobody takes it."""

    make: Callable[..., Frame] | None  # of the facts below; None: `lasting` has to be asked for it
    nbytes: int
    opened_at: datetime
    ended_at: datetime
    monotonic_ns: int
    clock_synced: bool
    dropped_before: int = 0
    # For a picture in memory that is gone with the next one; called by the feed's thread when somebody takes pictures. None: it is broken.
    lasting: Callable[[], Callable[..., Frame] | None] | None = None

    def frame(self) -> Frame:
        assert self.make is not None  # the feed keeps no other
        return self.make(
            seq=0,
            opened_at=self.opened_at,
            ended_at=self.ended_at,
            monotonic_ns=self.monotonic_ns,
            clock_synced=self.clock_synced,
            dropped_before=self.dropped_before,
        )


class Source(Protocol):
    """Something that delivers pictures one after the other, opened and read by one thread."""

    model: str
    fps: float | None
    recorded: bool  # not from a sensor now: the same picture may come again

    def pictures(self) -> Iterator[Picture | Pending]:
        """Each picture as soon as it is complete; `seq` is left at 0. Ends when the source does; raises CupolaError."""
        ...

    def close(self) -> None:
        """Called by the same thread, after `pictures`."""
        ...


def is_keyframe(picture: Picture | Pending) -> bool:
    return picture.keyframe if isinstance(picture, Packet) else True


def _stands_alone(picture: Picture | Pending) -> bool:
    return not isinstance(picture, Packet) or picture.codec == "jpeg"


def _size(picture: Picture | Pending) -> int:
    if isinstance(picture, Packet):
        return len(picture.data)
    if isinstance(picture, Pending):
        return picture.nbytes
    return picture.data.nbytes + sum(plane.nbytes for plane in picture.chroma or ())


class Feed:
    """Opens and reads a source from construction until `close`; one consumer at a time takes pictures from it.

    The source is opened in the feed's thread too, as connecting blocks as well: whoever waits here is
    back within 20 ms of a stop, whatever the source does.
    """

    def __init__(self, opener: Callable[[Abort], Source], name: str, timeout_s: float) -> None:
        self.source: Source | None = None
        self._opener, self._abort, self.name, self._timeout_s = opener, Abort(), name, timeout_s
        self._changed = threading.Condition()
        self._kept: deque[Picture | Pending] = deque()
        self._bytes = 0
        self._first = 0  # number of _kept[0], counted from the feed's start
        self._cursor: int | None = None  # next one the consumer takes; None: nobody takes any
        self._lost = 0
        self._await_keyframe = False
        self._ended: CupolaError | None = None
        self._silent_after = time.monotonic() + timeout_s + _OPENING_GRACE_S
        self._interrupted = False
        self._thread = threading.Thread(target=self._run, name=f"feed {name}", daemon=True)
        self._thread.start()

    def pictures(self, stop: Stop) -> Generator[Picture, None, None]:
        """From the newest keyframe on, each picture once, until `stop` is set or `interrupt` called.

        Raises CameraLost when the source ended, CameraUnresponsive after `timeout_s` of silence.
        What had to be dropped because the consumer was slow is counted in `dropped_before`.
        """
        with self._changed:
            self._interrupted = False
            self._keep_last_group_only()
            self._cursor, self._lost = self._first, 0
        try:
            while (picture := self._next(stop)) is not None:
                yield picture.frame() if isinstance(picture, Pending) else picture
        finally:
            with self._changed:
                self._cursor = None
                self._keep_last_group_only()

    def newest(self, stop: Stop) -> Picture:
        """The first picture there is, waiting for it; raises CaptureCancelled on stop or interrupt, else as `pictures`."""
        with contextlib.closing(self.pictures(stop)) as taken:
            for picture in taken:
                return picture
        raise CaptureCancelled(f"waiting for a picture of {self.name} was cancelled")

    @property
    def newest_kept(self) -> Picture | Pending | None:
        """The last picture there is, whoever takes it."""
        with self._changed:
            return self._kept[-1] if self._kept else None

    @property
    def ended(self) -> bool:
        return self._ended is not None

    def interrupt(self) -> None:
        """Make a waiting consumer return; the source goes on."""
        with self._changed:
            self._interrupted = True
            self._changed.notify_all()

    def close(self) -> None:
        self._abort.set()
        self.interrupt()
        self._thread.join(_JOIN_S)

    def _next(self, stop: Stop) -> Picture | Pending | None:
        with self._changed:
            while not (stop.is_set() or self._interrupted):
                if self._cursor is not None and self._cursor < self._first + len(self._kept):
                    picture = self._kept[self._cursor - self._first]
                    self._cursor += 1
                    if _stands_alone(picture):
                        self._drop_oldest()  # the others stay until the next keyframe: a decoder may still need them
                    lost, self._lost = self._lost, 0
                    return replace(picture, dropped_before=picture.dropped_before + lost) if lost else picture
                if self._ended:
                    raise self._ended
                if time.monotonic() > self._silent_after:
                    raise CameraUnresponsive(
                        f"{self.name} has sent no picture for {self._timeout_s:g} s. Cupola connects again; if it repeats, check network and power."
                    )
                self._changed.wait(_POLL_S)
        return None

    def _run(self) -> None:
        ended: CupolaError = CameraLost(f"{self.name} ended its stream. Cupola connects again by itself.")
        try:
            self.source = self._opener(self._abort)
            for picture in self.source.pictures():
                self._take(picture)
                if self._abort.is_set():
                    break
        except CupolaError as error:
            ended = error
        except Exception as error:  # the edge of this thread: the consumer has to hear of it
            ended = CameraLost(f"{self.name} cannot be read any more: {type(error).__name__}: {error}. Cupola connects again by itself.")
        finally:
            if self.source is not None:
                self.source.close()
            with self._changed:
                self._ended = ended
                self._changed.notify_all()

    def _take(self, picture: Picture | Pending) -> None:
        if isinstance(picture, Pending) and picture.lasting is not None:
            with self._changed:
                if self._cursor is None:  # whoever comes takes the next one
                    self._silent_after = time.monotonic() + self._timeout_s
                    return
            make = picture.lasting()
            if make is None:
                with self._changed:
                    self._lost += 1
                return
            picture = replace(picture, make=make, lasting=None)
        self._keep(picture)

    def _keep(self, picture: Picture | Pending) -> None:
        with self._changed:
            self._silent_after = time.monotonic() + self._timeout_s
            if self._await_keyframe and not is_keyframe(picture):
                self._lost += 1
                return
            self._await_keyframe = False
            self._kept.append(picture)
            self._bytes += _size(picture)
            if is_keyframe(picture):
                self._forget_before(self._last_keyframe() if self._cursor is None else min(self._last_keyframe(), self._cursor))
            if self._too_much():
                self._shrink()
            self._changed.notify_all()

    def _too_much(self) -> bool:
        if len(self._kept) <= 1:
            return False
        newest = self._kept[-1]
        most = _MOST_FRAMES if not isinstance(newest, Packet) else _MOST_JPEGS if newest.codec == "jpeg" else _MOST_OF_A_GROUP
        return len(self._kept) > most or self._bytes > _MOST_BYTES

    def _shrink(self) -> None:
        """What the consumer has already goes first, then all before the last keyframe, then all until the next one."""
        if self._cursor is not None:
            self._forget_before(self._cursor)
        if self._too_much():
            self._forget_before(self._last_keyframe())
        if self._too_much():
            self._forget_before(self._first + len(self._kept))
            self._await_keyframe = True

    def _keep_last_group_only(self) -> None:
        self._forget_before(self._last_keyframe())
        if self._kept and not is_keyframe(self._kept[0]):
            self._forget_before(self._first + len(self._kept))
            self._await_keyframe = True

    def _last_keyframe(self) -> int:
        """Number of the newest keyframe kept; of the oldest picture when there is none."""
        return self._first + next((n for n in range(len(self._kept) - 1, -1, -1) if is_keyframe(self._kept[n])), 0)

    def _forget_before(self, number: int) -> None:
        while self._first < number:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._bytes -= _size(self._kept.popleft())
        self._first += 1
        if self._cursor is not None and self._cursor < self._first:
            self._cursor = self._first
            self._lost += 1
