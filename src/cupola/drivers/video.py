"""Network cameras, webcams and video files: whatever already makes a stream of pictures by itself.

This module turns a stream into the driver's verbs. Reading it without pause is the business of `feed`,
connecting and parsing of `mjpeg` (HTTP), `av_source` (everything else) and `recording` (files).
"""

import itertools
import time
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

from cupola.core.errors import CameraLost, CameraNotFound, CameraUnresponsive, CaptureCancelled, CupolaError
from cupola.core.frame import CameraInfo, Capability, Controls, Frame, Packet, PixelFormat, PixelKind, Station, Stop
from cupola.drivers.abort import Abort, without_password
from cupola.drivers.feed import Feed, Picture, Source
from cupola.drivers.mjpeg import HttpAnswer, MultipartSource

_NATIVE = {"jpeg": Capability.NATIVE_JPEG, "h264": Capability.NATIVE_H264, "h265": Capability.NATIVE_H265}
_MULTIPART = "multipart/x-mixed-replace"


class Video:
    """The `video` driver.

    Options: `source` (an RTSP, HTTP or other URL, a device, a file), `record` (a second source that
    stills are taken from), `input_format`, `width`, `height`, `fps` (devices only), `timeout_s`, `transport`.
    """

    driver = "video"

    def __init__(self, options: Mapping[str, Any], station: Station) -> None:
        self._options, self._station = options, station
        self._timeout_s = float(options.get("timeout_s") or 10)
        self._live: Feed | None = None
        self._record: Feed | None = None
        self._info: CameraInfo | None = None
        self._numbers = itertools.count()

    def open(self) -> CameraInfo:
        """Connect and wait for the first picture, `timeout_s` at most.

        Raises CameraNotFound (nothing there, no video, wrong login), CameraBusy (a device in use) and
        CaptureCancelled after `interrupt`.
        """
        if self._info is not None:
            return self._info
        self.close()
        self._live = Feed(partial(self._open_source, self._address()), without_password(self._address()), self._timeout_s)
        self._info = self._described(self._live, self._first(self._live, Stop()))
        return self._info

    def apply(self, wanted: Controls) -> Controls:
        """A stream's exposure is its camera's own business: nothing is taken, nothing is known."""
        return Controls()

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
                if still is not None and still.monotonic_ns >= asked_ns:
                    return self._numbered(still)
        raise CaptureCancelled(f"waiting for a picture of {without_password(self._address())} was cancelled")

    def stream(self, stop: Stop) -> Generator[Frame | Packet, None, None]:
        """Every picture as it comes, passed through where it is JPEG, H.264 or H.265, from a keyframe on."""
        with closing(self._connected().pictures(stop)) as pictures:
            for picture in pictures:
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
            model=feed.source.model,
            width=first.width,
            height=first.height,
            format=PixelFormat(PixelKind.YUV420) if isinstance(first, Packet) else first.format,
            capabilities=native | {Capability.VIDEO, Capability.CONTINUOUS},
            readout_s=1 / feed.source.fps if feed.source.fps else 0.0,
            frame_timeout_s=self._timeout_s,
            noisy=not feed.source.recorded,
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
        return replace(picture, seq=next(self._numbers))
