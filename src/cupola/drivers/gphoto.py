"""DSLRs and mirrorless cameras on USB, through libgphoto2.

This module turns a camera body into the driver's verbs. The library's calls cannot be interrupted, so a thread of its own
makes them (`desk`), and a call that is cancelled leaves that thread to finish: bulb is closed at once, a shutter speed of the
camera's own runs its course, and its late file is deleted before the next exposure. A picture stays on the card until it is
stored on disk; what is on the card when the camera is opened is never touched. One exposure is the business of `gphoto_shot`,
settings of `gphoto_settings`, choosing the camera of `gphoto_find`, what is wrong with it of `gphoto_checks`.
"""

from __future__ import annotations

import itertools
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future, wait
from datetime import timedelta
from typing import Any, TypeVar

from cupola.core.clock import clock_synced, utc_now
from cupola.core.errors import BadImage, CameraLost, CameraUnresponsive, CaptureCancelled, CupolaError, ExposureFailed
from cupola.core.frame import CameraInfo, Capability, Controls, Native, Packet, PixelFormat, PixelKind, Station, Stop
from cupola.core.rawfile import embedded_jpeg
from cupola.drivers import gphoto_checks, gphoto_shot
from cupola.drivers.desk import Desk
from cupola.drivers.gphoto_body import Body, CardFile, library
from cupola.drivers.gphoto_find import discover as discover
from cupola.drivers.gphoto_find import find, serial_of
from cupola.drivers.gphoto_settings import Dials, deleting, prepare
from cupola.drivers.gphoto_shot import Deleting, Shot, Wish
from cupola.drivers.jpeg import BadJpeg, inspect
from cupola.drivers.usb import opened_port

_POLL_S = 0.02
_OPEN_S = 40.0
_PATIENCE_S = 120.0  # of a call beyond the longest exposure; whoever asked gives up sooner
_CLOSE_S = 4.0
_SILENCE_S = 20.0  # a raw file and a JPEG of 80 MB over a slow USB, and the patience for a camera that tells of none
_DARK_MOST_S = 300.0  # of a camera's own dark frame, after bulb
_JPEG = (".jpg", ".jpeg")
_NOMINAL = (6000, 4000)  # of a camera that does not tell the size of its pictures before the first one
_log = logging.getLogger(__name__)
T = TypeVar("T")


class Gphoto:
    """The `gphoto` driver.

    Options: `serial` or `port` (`usb:001,005`), neither for the only camera; `image_format` (raw+jpeg, raw, jpeg),
    `capture_target` (card, ram), `keep_on_card`, `bulb` (auto, never), `sync_clock`.
    """

    def __init__(self, options: Mapping[str, Any], station: Station) -> None:
        self._options = options
        self._numbers = itertools.count(1)
        self._interrupted = threading.Event()
        self._desk: Desk | None = None
        self._leaving: Future[None] | None = None  # when the camera is let go that was closed last
        self._body: Body | None = None
        self._dials: Dials | None = None
        self._info: CameraInfo | None = None
        self._files, self._dark_frame, self._preview = 1, False, False
        self._deleting: Deleting = "downloaded"
        self._on_card: dict[int, tuple[CardFile, ...]] = {}  # of each picture that is not stored yet, by its number
        self._stored: deque[CardFile] = deque()
        self._applied = Controls()
        self._reopen = False  # after an exposure that failed

    # ── the driver's verbs ─────────────────────────────────────────────────

    def open(self) -> CameraInfo:
        """Claim the camera, set its clock, image format and target. Raises also LibraryMissing and ConfigError.

        After a close in the middle of an exposure this waits until that has ended.
        """
        if self._info is None:
            gp = library()
            self._interrupted.clear()
            self._desk = Desk("gphoto")
            try:
                self._info = self._wait(self._desk.do(lambda: self._begin(gp)), None, _OPEN_S)
            except BaseException:
                self.close()
                raise
        return self._info

    def apply(self, wanted: Controls) -> Controls:
        """The nearest values the camera has; what it took. Waits for an exposure that was cancelled but runs its course."""
        self._interrupted.clear()
        self._applied = self._wait(self._work(lambda: self._set(wanted)), None)
        return self._applied

    def expose(self, stop: Stop) -> Packet:
        """One exposure: the camera's JPEG, its raw file beside it; of a raw file alone the JPEG from inside of it.

        After `stop` or an interrupt it is back within 0.1 s, whatever the camera still does. `opened_at` is when the camera
        was told, some hundredths of a second before its shutter opens.
        """
        stop.check()
        self._interrupted.clear()
        given_up = threading.Event()
        try:
            shot = self._wait(self._work(lambda: self._take(given_up)), stop)
        except CaptureCancelled:
            given_up.set()
            raise
        if shot is None:
            raise CaptureCancelled("the exposure was cancelled")
        picture = self._packet(shot)
        self._on_card[picture.seq] = shot.to_delete
        return picture

    def stored(self, seq: int) -> None:
        """The still of this number is on disk: delete it from the card. Any thread; returns at once."""
        self._stored.extend(self._on_card.pop(seq, ()))
        if self._stored and (desk := self._desk) is not None:
            desk.do(self._empty_card)

    def stream(self, stop: Stop) -> Generator[Packet, None, None]:
        """The camera's live view, its mirror up, where it has one; else its stills, one after the other."""
        self._interrupted.clear()
        self._opened()
        try:
            while not (stop.is_set() or self._interrupted.is_set()):
                try:
                    picture = self._look(stop) if self._preview else self.expose(stop)
                except CaptureCancelled:
                    return
                self.stored(picture.seq)  # nobody will
                yield picture
        finally:
            if self._preview and self._body is not None:
                self._interrupted.clear()
                self._wait(self._work(self._mirror_down), None)

    def interrupt(self) -> None:
        self._interrupted.set()

    def close(self) -> None:
        """Let the camera go; one that is still exposing lets itself go when it has finished."""
        desk, self._desk = self._desk, None
        self._info = None
        if desk is not None:
            self._leaving = desk.close(self._end, _CLOSE_S)
        self._on_card.clear()  # another card may be in when it is opened again

    # ── in the thread of the desk ──────────────────────────────────────────

    def _begin(self, gp: Any) -> CameraInfo:
        if self._leaving is not None:
            wait([self._leaving])
        body = self._body = find(gp, self._options)
        told = list(gphoto_checks.notes(body))
        if self._options.get("sync_clock", True) and (clock := gphoto_checks.set_clock(body)):
            told.append(clock)
        self._make_ready(body)
        assert self._dials is not None
        size = re.search(r"(\d+)\s*x\s*(\d+)", str(body.value("imagesize") or ""))
        width, height = (int(size[1]), int(size[2])) if size else _NOMINAL
        capabilities = {Capability.STILLS, Capability.NATIVE_JPEG}
        capabilities |= {Capability.BULB} if self._dials.can_bulb else set()
        capabilities |= {Capability.VIDEO} if self._preview else set()
        return CameraInfo(
            driver="gphoto",
            model=body.model,
            serial=serial_of(body),
            usb_port=opened_port(),
            width=width,
            height=height,
            format=PixelFormat(PixelKind.YUV422),
            capabilities=frozenset(capabilities),
            controls=self._dials.ranges,
            readout_s=gphoto_shot.READOUT_S,
            frame_timeout_s=_SILENCE_S + (max(self._dials.longest_speed_s, _DARK_MOST_S) if self._dark_frame else 0.0),
            finishes_exposures=True,
            notes=tuple(told),
            shutter_count=gphoto_checks.shutter_count(body),
        )

    def _make_ready(self, body: Body) -> None:
        self._files = prepare(body, self._options)
        self._deleting = deleting(body, self._options)
        self._dark_frame = gphoto_checks.dark_frame(body)
        self._preview = body.can_preview()
        self._dials = Dials(body, self._options.get("bulb", "auto"))
        self._applied = self._dials.read()

    def _set(self, wanted: Controls) -> Controls:
        self._revive()
        assert self._dials is not None
        return self._dials.apply(wanted)

    def _revive(self) -> None:
        """After a failed exposure the connection is made anew: some cameras answer nothing else after one."""
        if not self._reopen or self._body is None:
            return
        had = self._applied
        self._body.close()
        try:
            self._body.open()
            self._make_ready(self._body)
        except CupolaError as error:
            raise CameraLost(f"{self._body.who} does not open again after an exposure that failed. {error}") from error
        self._reopen = False
        assert self._dials is not None
        self._applied = self._dials.apply(had)

    def _take(self, given_up: threading.Event) -> Shot | None:
        self._revive()
        assert self._body is not None and self._dials is not None
        self._empty_card()
        exposure_s = self._applied.exposure_s or 0.0
        dark_s = exposure_s if self._dark_frame else 0.0
        wish = Wish(exposure_s, self._dials.bulb_s is not None, self._files, self._deleting, dark_s)
        try:
            shot = gphoto_shot.take(self._body, wish, given_up)
        except ExposureFailed:
            self._reopen = True
            raise
        if shot is not None and given_up.is_set():  # during the download
            self._stored.extend(shot.to_delete)
        return shot

    def _empty_card(self) -> None:
        """Delete what is stored. After an exposure that failed this waits until the camera is open anew."""
        while self._stored and self._body is not None and not self._reopen:
            file = self._stored.popleft()
            try:
                self._body.delete(file)
            except CupolaError as error:
                _log.warning("%s is stored, and stays on the card as well: %s", file.name, error)

    def _mirror_down(self) -> None:
        if self._body is not None:
            self._body.set("viewfinder", 0)

    def _end(self) -> None:
        self._empty_card()
        self._stored.clear()
        body, self._body = self._body, None
        if body is not None:
            body.close()

    # ── in the caller's ────────────────────────────────────────────────────

    def _opened(self) -> Desk:
        if self._desk is None or self._info is None:
            raise CameraLost("The camera is not open. Connect it first.")
        return self._desk

    def _work(self, work: Callable[[], T]) -> Future[T]:
        return self._opened().do(work)

    def _wait(self, future: Future[T], stop: Stop | None, patience_s: float | None = None) -> T:
        """What the desk made of it; CaptureCancelled as soon as `stop` is set or the driver is interrupted."""
        longest_s = self._applied.exposure_s or 0.0
        if self._dials is not None:
            longest_s = max(longest_s, self._dials.longest_speed_s)
        until = time.monotonic() + (patience_s or 2 * longest_s + _PATIENCE_S)
        try:
            while True:
                try:
                    return future.result(_POLL_S)
                except TimeoutError:
                    if future.done():
                        raise
                if self._interrupted.is_set() or (stop is not None and stop.is_set()):
                    future.cancel()
                    raise CaptureCancelled("the exposure was cancelled")
                if time.monotonic() > until:
                    future.cancel()
                    who = self._body.who if self._body is not None else "The camera"
                    raise CameraUnresponsive(f"{who} did not answer in time. Switch it off and on; check cable and battery.")
        finally:
            del future  # an error holds this frame; with the future, which holds the error, that would keep all of it until a garbage collection

    def _look(self, stop: Stop) -> Packet:
        """One picture of the live view, stamped with the moment it was asked for: the camera does not tell when it was seen."""
        asked, asked_ns = utc_now(), time.monotonic_ns()

        def look() -> bytes:
            assert self._body is not None
            return self._body.preview()

        data = self._wait(self._work(look), stop)
        try:
            width, height = inspect(data)
        except BadJpeg as reason:
            raise BadImage(f"The camera's live view is no picture: {reason}.") from None
        return Packet(next(self._numbers), asked, asked, asked_ns, "jpeg", data, width, height, clock_synced=clock_synced())

    def _packet(self, shot: Shot) -> Packet:
        """The picture of an exposure's files."""
        jpeg = next((data for name, data in shot.files if name.lower().endswith(_JPEG)), None)
        raw = next(((name, data) for name, data in shot.files if not name.lower().endswith(_JPEG)), None)
        native = None
        if raw is not None:
            name, content = raw
            native = Native("." + name.rpartition(".")[2].lower(), content, paired=jpeg is not None)
            jpeg = jpeg or embedded_jpeg(content)
        if jpeg is None:
            raise ExposureFailed("The camera's raw file holds no picture that could be shown. Set image_format: raw+jpeg.")
        try:
            width, height = inspect(jpeg)
        except BadJpeg as reason:
            raise ExposureFailed(f"The camera's JPEG is damaged: {reason}. If this repeats, check the cable.") from None
        return Packet(
            seq=next(self._numbers),
            opened_at=shot.opened_at,
            ended_at=shot.opened_at + timedelta(seconds=self._applied.exposure_s or 0.0),
            monotonic_ns=shot.monotonic_ns,
            codec="jpeg",
            data=jpeg,
            width=width,
            height=height,
            applied=self._applied,
            clock_synced=shot.synced,
            native=native,
        )
