"""Pictures taken earlier, played as if a camera took them now: a folder of images, or a video file.

A video file is played by the same parts as any other stream (`video`, `recording`); reading one image is
the business of `images`. This module owns the order and the pace of a folder.
"""

import itertools
import logging
import os
import threading
import time
from collections.abc import Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cupola.core.clock import clock_synced, utc_now
from cupola.core.errors import CameraLost, CameraNotFound, CaptureCancelled, RecordingEnded
from cupola.core.frame import Camera, CameraInfo, Capability, Controls, Frame, Packet, PixelFormat, PixelKind, Station, Stop
from cupola.drivers.abort import Abort
from cupola.drivers.feed import Source
from cupola.drivers.images import ENDINGS, Unreadable, read
from cupola.drivers.video import Video

_FOLDER_FPS = 1.0
_POLL_S = 0.02
_log = logging.getLogger(__name__)


class Replay:
    """The `replay` driver. Options: `path` (a folder or a video file), `rate_fps` (None: its own pace; a folder's is 1), `loop`."""

    def __init__(self, options: Mapping[str, Any], station: Station) -> None:
        self._options, self._station = options, station
        self._player: Camera | None = None

    def open(self) -> CameraInfo:
        """Raises CameraNotFound when there is nothing at `path`, no image in it, or none that can be read."""
        if self._player is None:
            path = Path(str(self._options["path"])).expanduser()
            if not path.exists():
                raise CameraNotFound(f"There is no {path} to replay. Check the path.")
            self._player = Folder(path, self._options) if path.is_dir() else Film({**self._options, "source": str(path)}, self._station)
        return self._player.open()

    def apply(self, wanted: Controls) -> Controls:
        """The pictures are taken already: nothing can be set."""
        return Controls()

    def expose(self, stop: Stop) -> Frame | Packet:
        """The next image of the folder, or the picture the film shows now. Raises as `Camera.expose` does."""
        return self._opened().expose(stop)

    def stream(self, stop: Stop) -> Generator[Frame | Packet, None, None]:
        """The images or the film at their pace; without `loop`, the end raises RecordingEnded."""
        return self._opened().stream(stop)

    def interrupt(self) -> None:
        if (player := self._player) is not None:
            player.interrupt()

    def close(self) -> None:
        if self._player is not None:
            self._player.close()

    def _opened(self) -> Camera:
        if self._player is None:
            raise CameraLost(f"{self._options['path']} is not open. Connect the camera first.")
        return self._player


class Film(Video):
    """A video file at its own pace or `rate_fps`."""

    driver = "replay"

    def _open_source(self, address: str, abort: Abort) -> Source:
        from cupola.drivers.recording import Recording

        return Recording(address, abort, self._options.get("rate_fps"), loop=bool(self._options.get("loop", True)))


class Folder:
    """The images of a folder by name, each once a round. Those that cannot be read are passed over and counted, and named once."""

    def __init__(self, path: Path, options: Mapping[str, Any]) -> None:
        self._path = path
        self._pace_s = 1 / float(options.get("rate_fps") or _FOLDER_FPS)
        self._loop = bool(options.get("loop", True))
        self._numbers = itertools.count()
        self._interrupted = threading.Event()
        self._info: CameraInfo | None = None
        self._names: list[str] = []
        self._unreadable: set[str] = set()  # those that were named
        self._next = 0
        self._not_before = 0.0

    def open(self) -> CameraInfo:
        if self._info is None:
            self._names = self._list()
            self._next, self._not_before = 0, 0.0
            first = self._first_readable()
            self._info = CameraInfo(
                driver="replay",
                model=f"{len(self._names)} images of {self._path.name}",
                width=first.width,
                height=first.height,
                format=PixelFormat(PixelKind.YUV420) if isinstance(first, Packet) else first.format,
                capabilities=frozenset(
                    {Capability.VIDEO, Capability.CONTINUOUS} | ({Capability.NATIVE_JPEG} if isinstance(first, Packet) else set())
                ),
                readout_s=self._pace_s,
                frame_timeout_s=2 * self._pace_s + 2,
                noisy=False,
            )
        return self._info

    def apply(self, wanted: Controls) -> Controls:
        return Controls()

    def expose(self, stop: Stop) -> Frame | Packet:
        self._interrupted.clear()
        picture = self._in_turn(stop)
        if picture is None:
            raise CaptureCancelled("waiting for the next image was cancelled")
        return picture

    def stream(self, stop: Stop) -> Generator[Frame | Packet, None, None]:
        self._interrupted.clear()
        while (picture := self._in_turn(stop)) is not None:
            yield picture

    def interrupt(self) -> None:
        self._interrupted.set()

    def close(self) -> None:
        self._info = None

    def _list(self) -> list[str]:
        try:
            names = sorted(name for name in os.listdir(self._path) if name.lower().endswith(ENDINGS) and not name.startswith("."))
        except OSError as problem:
            raise CameraNotFound(f"{self._path} cannot be read: {problem.strerror}. Check its permissions.") from problem
        if not names:
            raise CameraNotFound(f"{self._path} holds no images. Put some there ({', '.join(ENDINGS)}), or name a video file.")
        return names

    def _first_readable(self) -> Frame | Packet:
        first_reason = ""
        for name in self._names:
            try:
                return read(self._path / name)
            except Unreadable as reason:
                first_reason = first_reason or f"{name}: {reason}"
        raise CameraNotFound(f"None of the {len(self._names)} images in {self._path} can be read; {first_reason}. Check the files.")

    def _in_turn(self, stop: Stop) -> Frame | Packet | None:
        """The next image that can be read, once it is due; None when stopped or interrupted before."""
        if self._info is None:
            raise CameraLost(f"{self._path} is not open. Connect the camera first.")
        while (left_s := self._not_before - time.monotonic()) > 0 and not (stop.is_set() or self._interrupted.is_set()):
            stop.wait(min(left_s, _POLL_S))
        skipped = 0
        while not (stop.is_set() or self._interrupted.is_set()):
            if self._next == len(self._names):
                if not self._loop:
                    raise RecordingEnded(f"{self._path}: all {len(self._names)} images were shown. Set loop: true to have them start again.")
                self._next = 0
            name = self._names[self._next]
            self._next += 1
            try:
                picture = read(self._path / name)
            except Unreadable as reason:
                skipped += 1
                if name not in self._unreadable:
                    self._unreadable.add(name)
                    _log.warning("%s is passed over: %s. Check the file.", self._path / name, reason)
                if skipped >= len(self._names):
                    raise CameraLost(f"None of the images in {self._path} can be read any more; {name}: {reason}. Check the files.") from None
                continue
            due_s, now_s = self._not_before, time.monotonic()
            self._not_before = (due_s if now_s - due_s < self._pace_s else now_s) + self._pace_s
            now = utc_now()
            return replace(
                picture,
                seq=next(self._numbers),
                opened_at=now,
                ended_at=now,
                monotonic_ns=time.monotonic_ns(),
                clock_synced=clock_synced(),
                dropped_before=skipped,
            )
        return None
