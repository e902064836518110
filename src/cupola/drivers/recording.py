"""A video file played as if it were a camera: at its pace or a given one, once or again and again."""

from collections.abc import Iterator
from dataclasses import replace

from cupola.core.clock import clock_synced, monotonic_ns, utc_now
from cupola.core.errors import CameraLost, RecordingEnded
from cupola.core.frame import Packet
from cupola.drivers.abort import Abort
from cupola.drivers.av_source import AvSource
from cupola.drivers.feed import Pending, Picture

_DEFAULT_FPS = 25.0
_LONGEST_PAUSE_S = 10.0  # a jump of the file's clock, not a pause somebody wants to sit through


class Recording:
    """The source made of a file. A file cut short is played as far as it goes."""

    recorded = True

    def __init__(self, path: str, abort: Abort, rate_fps: float | None, loop: bool) -> None:
        """Raises CameraNotFound when there is no such file or it is no video."""
        self._path, self._abort, self._rate_fps, self._loop = path, abort, rate_fps, loop
        self._file = AvSource(path, {}, abort)
        self.fps: float | None = rate_fps or self._file.fps
        self.model, self.codec = self._file.model, self._file.codec

    def pictures(self) -> Iterator[Picture | Pending]:
        """Each picture when its time has come, stamped with that time; `pts_s` goes on through every repetition."""
        offset_s, due_s = 0.0, monotonic_ns() / 1e9
        step_s = 1 / (self.fps or _DEFAULT_FPS)
        while True:
            first_s = last_s = None
            for picture in self._file.pictures():
                now_s, before_s = self._file.clock_s, last_s
                pause_s = step_s
                if now_s is not None:
                    first_s = now_s if first_s is None else first_s
                    last_s = now_s
                    if before_s is not None and not self._rate_fps and 0 <= now_s - before_s < _LONGEST_PAUSE_S:
                        pause_s = now_s - before_s
                due_s = max(due_s + pause_s, monotonic_ns() / 1e9 - 1)  # after a standstill go on from here, without a rush
                if self._abort.wait(due_s - monotonic_ns() / 1e9):
                    return
                yield _at_this_moment(picture, offset_s)
            if last_s is None or first_s is None:
                raise CameraLost(f"{self._path} holds no picture that can be read. Check the file.")
            if not self._loop:
                raise RecordingEnded(f"{self._path}: end of the recording. Set loop: true to have it start again.")
            offset_s += last_s - first_s + step_s
            self._file.close()
            self._file = AvSource(self._path, {}, self._abort)

    def close(self) -> None:
        self._file.close()


def _at_this_moment(picture: Picture | Pending, offset_s: float) -> Picture | Pending:
    now = utc_now()
    stamped = replace(picture, opened_at=now, ended_at=now, monotonic_ns=monotonic_ns(), clock_synced=clock_synced())
    if isinstance(stamped, Packet) and stamped.pts_s is not None:
        return replace(stamped, pts_s=stamped.pts_s + offset_s)
    return stamped
