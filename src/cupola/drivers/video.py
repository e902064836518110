"""Network cameras, webcams and video files: whatever already makes a stream of pictures by itself.

This module turns a stream into the driver's verbs. Reading it without pause is the business of `feed`,
connecting and parsing of `mjpeg` (HTTP), `av_source` (everything else) and `recording` (files), a webcam's controls of `v4l2`.
"""

import itertools
import re
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from cupola.core.errors import CameraLost, CameraNotFound, CameraUnresponsive, CaptureCancelled, CupolaError
from cupola.core.frame import CameraInfo, Capability, ControlRange, Controls, Frame, Packet, PixelFormat, PixelKind, Station, Stop
from cupola.drivers.abort import Abort, without_password
from cupola.drivers.feed import Feed, Picture, Source
from cupola.drivers.found import Found
from cupola.drivers.mjpeg import HttpAnswer, MultipartSource
from cupola.drivers.usb import port_of_video

if TYPE_CHECKING:
    from cupola.drivers.v4l2 import Device

_NATIVE = {"jpeg": Capability.NATIVE_JPEG, "h264": Capability.NATIVE_H264, "h265": Capability.NATIVE_H265}
_MULTIPART = "multipart/x-mixed-replace"
_LATE_PICTURES = 2  # a webcam's new exposure or gain shows in the third picture after the change at the latest


class Video:
    """The `video` driver.

    Options: `source` (an RTSP, HTTP or other URL, a device, a file), `record` (a second source that
    stills are taken from), `timeout_s`, `transport`; of devices only `input_format`, `width`, `height`, `fps` and
    the controls `dynamic_frame_rate`, `white_balance_k`, `focus`, `power_line_hz`.
    """

    driver = "video"

    def __init__(self, options: Mapping[str, Any], station: Station) -> None:
        self._options, self._station = options, station
        self._timeout_s = float(options.get("timeout_s") or 10)
        self._live: Feed | None = None
        self._record: Feed | None = None
        self._info: CameraInfo | None = None
        self._device: Device | None = None
        self._applied = Controls()
        self._changed_ns = self._late = 0
        self._numbers = itertools.count()

    def open(self) -> CameraInfo:
        """Connect and wait for the first picture, `timeout_s` at most.

        Raises CameraNotFound (nothing there, no video, wrong login), CameraBusy (a device in use) and
        CaptureCancelled after `interrupt`.
        """
        if self._info is not None:
            return self._info
        self.close()
        self._prepare_device()
        self._live = Feed(partial(self._open_source, self._address()), without_password(self._address()), self._timeout_s)
        first = self._first(self._live, Stop())
        self._fix_controls()
        self._info = self._described(self._live, first)
        return self._info

    def apply(self, wanted: Controls) -> Controls:
        """A webcam takes exposure and gain where it has them; any other stream's are its camera's own business, and not known.

        Raises CameraLost when the webcam is gone.
        """
        if self._device is None or self._info is None or not self._info.controls:
            return Controls()
        from cupola.drivers import v4l2

        try:
            taken = v4l2.apply(self._device, wanted)
        except OSError as problem:
            raise CameraLost(f"{self._address()} is gone: {problem.strerror}. Cupola connects again by itself.") from problem
        if taken != self._applied:
            self._applied, self._changed_ns, self._late = taken, time.monotonic_ns(), _LATE_PICTURES
        return taken

    def expose(self, stop: Stop) -> Frame | Packet:
        """The first picture that is complete after this call, from `record` when that is set.

        JPEG comes as it was sent; H.264 and H.265 are decoded to a YUV420 frame.
        Raises CaptureCancelled, CameraLost, CameraUnresponsive.
        """
        asked_ns = time.monotonic_ns()
        feed = self._for_stills(stop)
        decoder = None
        with closing(feed.pictures(stop)) as pictures:
            for picture in pictures:
                still: Picture | None = picture
                if isinstance(picture, Packet) and picture.codec != "jpeg":
                    if decoder is None:
                        from cupola.drivers.decode import Decoder

                        decoder = Decoder(picture.codec)
                    still = decoder.decode(picture)
                if self._is_late(picture):
                    continue
                if still is not None and still.monotonic_ns >= asked_ns:
                    return self._numbered(still)
        raise CaptureCancelled(f"waiting for a picture of {without_password(self._address())} was cancelled")

    def stream(self, stop: Stop) -> Generator[Frame | Packet, None, None]:
        """Every picture as it comes, passed through where it is JPEG, H.264 or H.265, from a keyframe on."""
        with closing(self._connected().pictures(stop)) as pictures:
            for picture in pictures:
                if not self._is_late(picture):
                    yield self._numbered(picture)

    def interrupt(self) -> None:
        """A waiting `expose` or `stream` ends at once and the connection stays; an `open` is given up."""
        for feed in (self._live, self._record):
            if feed is not None:
                feed.interrupt()

    def close(self) -> None:
        feeds = (self._record, self._live)
        self._live = self._record = self._info = None
        for feed in feeds:
            if feed is not None:
                feed.close()
        device, self._device = self._device, None
        if device is not None:
            device.close()

    def _prepare_device(self) -> None:
        """Open a webcam beside its stream, for its controls; anything it says is left to whoever opens the stream."""
        self._applied, self._late = Controls(), 0
        if "://" in self._address() or not sys.platform.startswith("linux"):
            return
        from cupola.drivers import v4l2

        try:
            self._device = device = v4l2.Device(self._address())
            if not self._options.get("input_format") and v4l2.prefers_mjpeg(device, self._options.get("width"), self._options.get("height")):
                self._options = {**self._options, "input_format": "mjpeg"}
        except OSError:
            return
        if re.fullmatch(r"/dev/video\d+", self._address()) and (name := v4l2.stable_name(self._address())):
            print(f"{self._address()} may be another camera after a restart. Write source: {name}", file=sys.stderr)

    def _fix_controls(self) -> None:
        """What the options say of a webcam's controls; only now, as before its first picture it could be another program's."""
        if self._device is None:
            return
        from cupola.drivers import v4l2

        try:
            v4l2.prepare(self._device, self._options)
        except OSError as problem:
            self.close()
            raise CameraNotFound(f"{self._address()} is gone: {problem.strerror}. Is it plugged in?") from problem
        self._changed_ns, self._late = time.monotonic_ns(), _LATE_PICTURES

    def _is_late(self, picture: Picture) -> bool:
        """Whether a picture may still have been taken with the settings of before."""
        if not self._late:
            return False
        if picture.monotonic_ns > self._changed_ns:
            self._late -= 1
        return True

    def _controls(self) -> dict[str, ControlRange]:
        if self._device is None or self._options.get("record"):
            return {}
        from cupola.drivers import v4l2

        try:
            return v4l2.ranges(self._device)
        except OSError:
            return {}

    def _address(self) -> str:
        return str(self._options["source"])

    def _open_source(self, address: str, abort: Abort) -> Source:
        if address.startswith(("http://", "https://")):
            answer = HttpAnswer(address, self._timeout_s, abort)
            if answer.content_type == _MULTIPART:
                return MultipartSource(answer)
            answer.close()
            if answer.content_type.startswith(("text/html", "image/")):
                what = "one picture" if answer.content_type.startswith("image/") else "a web page"
                raise CameraNotFound(
                    f"{answer.shown} is {what}, not a stream. Look for the address of its MJPEG or RTSP stream in the camera's manual."
                )
        from cupola.drivers.av_source import AvSource, kind_of
        from cupola.drivers.recording import Recording

        if kind_of(address) == "file":
            return Recording(address, abort, None, loop=True)
        return AvSource(address, self._options, abort)

    def _first(self, feed: Feed, stop: Stop) -> Picture:
        """The first picture of a feed just made; what goes wrong until then is CameraNotFound, and the feed is closed."""
        try:
            return feed.newest(stop)
        except CupolaError as problem:
            self.close() if feed is self._live else self._close_record()
            if isinstance(problem, CameraUnresponsive):
                raise CameraNotFound(
                    f"{feed.name} sent no complete picture within {self._timeout_s:g} s. Check that the camera is on and its stream settings; "
                    "a larger timeout_s gives it more time."
                ) from problem
            if isinstance(problem, CameraLost):
                raise CameraNotFound(str(problem)) from problem
            raise

    def _close_record(self) -> None:
        record, self._record = self._record, None
        if record is not None:
            record.close()

    def _described(self, feed: Feed, first: Picture) -> CameraInfo:
        assert feed.source is not None  # it has delivered a picture
        native = frozenset({_NATIVE[first.codec]}) if isinstance(first, Packet) else frozenset[Capability]()
        return CameraInfo(
            driver=self.driver,
            model=self._device.card if self._device is not None else feed.source.model,
            width=first.width,
            height=first.height,
            format=PixelFormat(PixelKind.YUV420) if isinstance(first, Packet) else first.format,
            capabilities=native | {Capability.VIDEO, Capability.CONTINUOUS},
            controls=self._controls(),
            readout_s=1 / feed.source.fps if feed.source.fps else 0.0,
            frame_timeout_s=self._timeout_s,
            noisy=not feed.source.recorded,
            usb_port=port_of_video(self._address()) if self._device is not None else None,
        )

    def _connected(self) -> Feed:
        if self._live is None:
            raise CameraLost(f"{without_password(self._address())} is not connected. Connect it first.")
        return self._live

    def _for_stills(self, stop: Stop) -> Feed:
        live, address = self._connected(), self._options.get("record")
        if not address:
            return live
        if self._record is None or self._record.ended:
            self._close_record()
            self._record = Feed(partial(self._open_source, str(address)), without_password(str(address)), self._timeout_s)
            self._first(self._record, stop)
        return self._record

    def _numbered(self, picture: Picture) -> Picture:
        return replace(picture, seq=next(self._numbers), applied=self._applied)


def discover() -> list[Found]:
    """The webcams of this machine. Network cameras do not announce themselves in a way all of them share."""
    if not sys.platform.startswith("linux"):
        return []
    from cupola.drivers import v4l2

    return v4l2.discover()
