"""The Raspberry Pi's own cameras, through its camera programs or through picamera2.

This module turns either into the driver's verbs and keeps the settings true: a picture counts only when its own
metadata says that it was taken with what was wanted. The programs and their output are `picamera_programs` and
`picamera_stream`, picamera2 is `picamera2_session`; reading without pause is `feed`'s business.
"""

import contextlib
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from cupola.core.errors import CameraLost, CameraNotFound, CameraUnresponsive, CaptureCancelled
from cupola.core.frame import CameraInfo, Capability, ControlRange, Controls, Frame, Packet, PixelFormat, PixelKind, Station, Stop
from cupola.drivers import picamera_programs as programs
from cupola.drivers.abort import Abort
from cupola.drivers.feed import Feed, Picture, Source
from cupola.drivers.found import Found
from cupola.drivers.picamera2_session import Picamera2Session, models
from cupola.drivers.picamera_facts import obeys
from cupola.drivers.picamera_stream import ProgramStream

_NATIVE = {"jpeg": Capability.NATIVE_JPEG, "h264": Capability.NATIVE_H264}
_START_S = 8.0  # a session's first picture comes this much after its exposure, on the slowest Pi
_SURE_UNTIL_S = 1.0  # `apply` waits for a picture with an exposure up to this, to tell what the sensor made of it
_MOST_SKIPPED = 6  # pictures without the wanted settings; after that the sensor cannot do better
_AHEAD_S = 1.0
_WAITS_S = _START_S / 2  # for the end of an exposure begun before it was asked for; with more to go a new start is as quick, and surer
_ENDS_S = 3.0  # the session before a new start, at most
_LATE_MOST_NS = 5_000_000_000  # for encoding and sending a picture, on the slowest Pi
_SLACK_NS = 10_000_000  # exposures that touch, told in whole lines


class PiCamera:
    """The `picamera` driver.

    Options: `index`, `backend` (programs or picamera2), `picture` (jpeg, h264 or raw), `width`, `height`, `fps`, `quality`,
    `white_balance` (red and blue gain), `focus_dioptres`, `defect_correction`, `timeout_s`.
    """

    driver = "picamera"

    def __init__(self, options: Mapping[str, Any], station: Station) -> None:
        self._options, self._station = dict(options), station
        self._timeout_s = float(options["timeout_s"])
        self._wanted = self._applied = Controls()
        self._feed: Feed | None = None
        self._session: Picamera2Session | None = None
        self._start: Callable[[Controls, Abort], Source] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._info: CameraInfo | None = None
        self._skipped = 0
        self._started_ns = 0  # when the stream was started
        self._late_ns = 0  # from then until a picture was here
        self._closed_ns = 0  # when the shutter of the picture last delivered closed
        self._numbers = itertools.count()

    def open(self) -> CameraInfo:
        """Start the camera with its automatic exposure and wait for the first picture.

        Raises CameraNotFound, CameraBusy, LibraryMissing (with what to install), CaptureCancelled after `interrupt`.
        """
        if self._info is not None:
            return self._info
        self.close()
        try:
            model, exposure_s, gain = self._prepare()
            first = self._started()
        except BaseException:
            self.close()
            raise
        self._info = self._described(model, exposure_s, gain, first)
        if note := programs.star_eater(model):
            print(f"Pi camera {self._options['index']}: {note}", file=sys.stderr)
        return self._info

    def apply(self, wanted: Controls) -> Controls:
        """Start the stream anew with these settings. Up to 1 s of exposure, what a picture says it was taken with; else what was asked for.

        Raises as `open` does.
        """
        limits = self._opened().controls
        clipped = {name: limits[name].nearest(value) for name, value in wanted.to_dict().items() if value is not None and name in limits}
        merged = Controls.from_dict(clipped).over(self._wanted)
        if merged != self._wanted:
            self._wanted = merged
            if merged.exposure_s is not None and merged.exposure_s > _SURE_UNTIL_S:
                self._restart()
            else:
                self._applied = self._started().applied
                return self._applied
        return self._wanted if (self._wanted.exposure_s or 0.0) > _SURE_UNTIL_S else self._applied

    def expose(self, stop: Stop) -> Frame | Packet:
        """The first picture with the settings last applied whose shutter opened after this call.

        The sensor opens its shutter again by itself: in a series of exposures of 1 s and more, one that opened just
        before the call and after the last picture's end counts, so that no exposure is thrown away. One that was begun
        long before and has long to go is broken off by starting anew: waiting for its end would take up to twice the exposure.
        Raises CaptureCancelled, CameraLost, CameraUnresponsive.
        """
        asked_ns = time.monotonic_ns()
        exposure_s = self._wanted.exposure_s or 0.0
        ahead_s = min(_AHEAD_S, exposure_s / 2) if exposure_s >= 1 else 0.0
        if exposure_s > _SURE_UNTIL_S:
            under_way_s = self._under_way_s()
            if under_way_s - self._late_ns / 1e9 > ahead_s and exposure_s - under_way_s > _WAITS_S:
                self._restart()
        late_ns = self._late_ns if ahead_s else 0  # who asks directly behind a picture asks so long after its end
        earliest_ns = max(asked_ns - late_ns - round(ahead_s * 1e9), min(asked_ns, self._closed_ns - _SLACK_NS))
        decoder = None
        with closing(self._running().pictures(stop)) as pictures:
            for picture in pictures:
                if not self._obeys(picture):
                    continue
                still: Picture | None = picture
                if isinstance(picture, Packet) and picture.codec != "jpeg":
                    if decoder is None:
                        from cupola.drivers.decode import Decoder

                        decoder = Decoder("h264")
                    still = decoder.decode(picture)
                if still is not None and still.monotonic_ns >= earliest_ns:
                    taken = self._numbered(still)
                    self._late_ns = min(max(0, time.monotonic_ns() - self._closed_ns), _LATE_MOST_NS)
                    return taken
        raise CaptureCancelled("the exposure of the Pi camera was cancelled")

    def stream(self, stop: Stop) -> Generator[Frame | Packet, None, None]:
        """Every picture with the settings last applied, as it comes."""
        begun = False
        with closing(self._running().pictures(stop)) as pictures:
            for picture in pictures:
                if self._obeys(picture) and (begun or isinstance(picture, Frame) or picture.keyframe):
                    begun = True
                    yield self._numbered(picture)

    def interrupt(self) -> None:
        """A waiting call ends at once; the camera goes on."""
        if (feed := self._feed) is not None:
            feed.interrupt()

    def close(self) -> None:
        feed, session, folder = self._feed, self._session, self._folder
        self._feed = self._session = self._folder = self._info = self._start = None
        self._wanted = self._applied = Controls()
        if feed is not None:
            feed.close()
        if session is not None:
            session.close()
        if folder is not None:
            folder.cleanup()

    def _prepare(self) -> tuple[str, tuple[float, float], tuple[float, float]]:
        """Find the camera and make `_start`; its model and the ranges of exposure and gain."""
        options, index = self._options, int(self._options["index"])
        if options["picture"] == "h264" and programs.without_h264():
            raise CameraNotFound("A Raspberry Pi 5 has no H.264 encoder. Set picture: jpeg for this camera.")
        self._folder = tempfile.TemporaryDirectory(prefix="cupola-picamera-")
        target = Path(self._folder.name) / "tuning.json"
        if options["backend"] == "picamera2":
            tuning = None if options["defect_correction"] else programs.tuning_without_correction(self._model_picamera2(index), target)
            session = self._session = Picamera2Session(index, options, tuning)
            self._start = session.stream
            return session.model, session.exposure_range_s, session.gain_range
        camera = programs.chosen(index)
        tuning = None if options["defect_correction"] else programs.tuning_without_correction(camera.model, target)
        bits = camera.mode_for(options.get("width"), options.get("height")).bits if options["picture"] == "raw" else 8

        def start(controls: Controls, abort: Abort) -> Source:
            return ProgramStream(
                lambda fd: programs.command_line(options, camera, controls, fd, tuning), options["picture"], bits, camera.model, abort
            )

        self._start = start
        return camera.model, camera.exposure_range_s, camera.gain_range

    @staticmethod
    def _model_picamera2(index: int) -> str:
        """The sensor's name before it is opened: its tuning is named by it."""
        found = models()
        return found[index] if index < len(found) else ""

    def _restart(self) -> None:
        if self._feed is not None:
            self._feed.close()
        start, controls = self._start, self._wanted
        if start is None:
            raise CameraLost("The Pi camera is not open. Connect it first.")
        self._skipped, self._started_ns = 0, time.monotonic_ns()
        patience_s = self._timeout_s + 3 * (controls.exposure_s or 0.0)
        self._feed = Feed(lambda abort: start(controls, abort), f"Pi camera {self._options['index']}", patience_s)

    def _under_way_s(self) -> float:
        """How long ago the exposure under way was begun, taken or not: its shutter opens when that of the one before closes."""
        newest = self._running().newest_kept
        closed_ns = newest.monotonic_ns + round((newest.ended_at - newest.opened_at).total_seconds() * 1e9) if newest is not None else 0
        return (time.monotonic_ns() - max(self._started_ns, self._closed_ns, closed_ns)) / 1e9

    def _started(self) -> Picture:
        """Start the stream with what is wanted and wait for the first picture that has it."""
        self._restart()
        assert self._feed is not None
        try:
            with closing(self._feed.pictures(Stop())) as pictures:
                for picture in pictures:
                    if self._obeys(picture):
                        self._applied = picture.applied
                        return picture
        except CameraUnresponsive as problem:
            raise CameraNotFound(
                f"Pi camera {self._options['index']} delivered no picture within {self._timeout_s:g} s. Check its ribbon cable at both ends and the "
                "power supply (`dmesg | grep -i -E 'imx|ov5647|unicam|cfe'`)."
            ) from problem
        except CameraLost as problem:
            if self._info is None:
                raise CameraNotFound(str(problem)) from problem
            raise
        raise CaptureCancelled("starting the Pi camera was cancelled")

    def _obeys(self, picture: Picture) -> bool:
        if obeys(picture.applied, self._wanted) or self._skipped >= _MOST_SKIPPED:
            return True
        self._skipped += 1
        return False

    def _described(self, model: str, exposure_s: tuple[float, float], gain: tuple[float, float], first: Picture) -> CameraInfo:
        capabilities = {Capability.STILLS, Capability.VIDEO}
        if isinstance(first, Packet):
            capabilities.add(_NATIVE[first.codec])
        shortest, longest = exposure_s
        lowest, highest = gain
        own = first.applied
        exposure = min(max(own.exposure_s or shortest, shortest), longest)
        controls = {
            "exposure_s": ControlRange(shortest, longest, exposure),
            "gain": ControlRange(lowest, highest, min(max(own.gain or lowest, lowest), highest), scale="linear"),
        }
        return CameraInfo(
            driver=self.driver,
            model=model,
            width=first.width,
            height=first.height,
            format=PixelFormat(PixelKind.YUV420) if isinstance(first, Packet) else first.format,
            capabilities=frozenset(capabilities),
            controls=controls,
            readout_s=1 / float(self._options["fps"]),
            frame_timeout_s=_ENDS_S + _START_S,
        )

    def _opened(self) -> CameraInfo:
        if self._info is None:
            raise CameraLost("The Pi camera is not open. Connect it first.")
        return self._info

    def _running(self) -> Feed:
        self._opened()
        assert self._feed is not None
        return self._feed

    def _numbered(self, picture: Picture) -> Picture:
        closed = round((picture.ended_at - picture.opened_at).total_seconds() * 1e9)
        self._closed_ns = picture.monotonic_ns + closed
        return replace(picture, seq=next(self._numbers))


def discover() -> list[Found]:
    """The Pi cameras `rpicam-hello` lists. Raises LibraryMissing where it is not installed."""
    found: list[Found] = []
    with contextlib.suppress(CameraNotFound):
        for camera in programs.listed():
            mode = max(camera.modes, key=lambda m: (m.width * m.height, m.bits), default=None)
            words = [
                f"{camera.width} x {camera.height}",
                *([f"{mode.bits} bit"] if mode else []),
                f"exposures up to {camera.exposure_range_s[1]:g} s",
            ]
            options: dict[str, Any] = {"index": camera.index}
            found.append(Found("picamera", camera.model, None, camera.path, tuple(words), options, programs.star_eater(camera.model)))
    return found
