"""Notices a camera that still delivers, but always the same picture.

A living sensor is noisy: no two pictures of it are the same to the last bit, unless they are white (a noon
sky) or black (a lens cap) all over. So the same pixels or bytes again and again mean that a library, a
driver or a camera hands out one old buffer; as does a clock or a count that stands still. A camera that
delivers nothing at all is not this module's business: it misses its deadline.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from cupola.camera.messages import Mode
from cupola.core.errors import CameraFrozen
from cupola.core.frame import CameraInfo, Frame, Packet, PixelKind

IN_A_ROW: dict[Mode, int] = {"live": 10, "still": 3}  # so many of the same, besides the time they have to last
SPARSE, ROWS, TAIL = 64, 64, 4096  # SPARSE² pixels, or TAIL bytes, tell most pictures apart; ROWS full rows the others
CLIPPED_SHARE = 0.98  # the rest may be the edge between a white sky and the black around a fisheye's circle


@dataclass(slots=True)
class _Track:
    """The newest pictures of one mode."""

    sparse: int = 0
    dense: int | None = None
    same: int = 0  # pictures in a row that look like the newest
    same_since: float = 0.0
    unlike: int = 0  # pictures in a row that did not look like the one before
    stamps: tuple[object, ...] = ()
    standing: int = 0  # pictures in a row whose time or number is the newest's
    standing_since: float = 0.0


class FrozenWatch:
    """Looks at each picture of one camera, in 0.1 ms. `after_s`: how long the same picture may last; None: for ever."""

    def __init__(self, after_s: float | None) -> None:
        self._after_s = after_s
        self._noisy = True
        self._tracks: dict[Mode, _Track] = {}

    def opened(self, info: CameraInfo) -> None:
        """The camera was opened, maybe again: what it showed before is remembered, but how long is counted anew."""
        self._noisy = info.noisy
        for track in self._tracks.values():
            track.same = track.standing = track.unlike = 0

    @property
    def moving(self) -> bool:
        """Whether the newest pictures all differed, in enough of a row to believe in a camera that was frozen."""
        return any(track.unlike >= IN_A_ROW[mode] for mode, track in self._tracks.items())

    def look(self, picture: Frame | Packet, mode: Mode, now_s: float) -> None:
        """Raise CameraFrozen when this is one too many of the same; `now_s` by the monotonic clock."""
        if self._after_s is None:
            return
        track = self._tracks.setdefault(mode, _Track())
        repeated = self._repeats(track, picture)
        if repeated and track.same:
            track.same += 1
        else:
            track.same, track.same_since = 1, now_s
        if self._stands(track, picture) and track.standing:
            track.standing += 1
        else:
            track.standing, track.standing_since = 1, now_s
        track.unlike = 0 if repeated or track.standing > 1 else track.unlike + 1
        if track.standing >= IN_A_ROW[mode] and now_s - track.standing_since >= self._after_s:
            raise CameraFrozen(
                f"The camera's clock stands still: {track.standing} pictures in {now_s - track.standing_since:.0f} s have the same time or number. "
                "It is opened anew."
            )
        if track.same >= IN_A_ROW[mode] and now_s - track.same_since >= self._after_s:
            if clipped(picture):
                track.same, track.same_since, track.unlike = 1, now_s, IN_A_ROW[mode]
                return
            raise CameraFrozen(
                f"The camera is frozen: the last {track.same} pictures, over {now_s - track.same_since:.0f} s, are the same to the last bit. "
                "It is opened anew. If this repeats, check its power and cable."
            )

    def _repeats(self, track: _Track, picture: Frame | Packet) -> bool:
        """Whether a picture shows what the one before did. Only pictures that look alike at a glance are looked at closely."""
        if not self._noisy or (isinstance(picture, Packet) and picture.codec != "jpeg"):
            return False  # a video encoder may well say "as before" about a quiet scene
        sparse = _glance(picture)
        if sparse != track.sparse:
            track.sparse, track.dense = sparse, None
            return False
        before, track.dense = track.dense, _closely(picture)
        return before is None or before == track.dense

    @staticmethod
    def _stands(track: _Track, picture: Frame | Packet) -> bool:
        before, track.stamps = track.stamps, (picture.seq, picture.monotonic_ns, picture.pts_s if isinstance(picture, Packet) else None)
        return any(new is not None and new == old for new, old in zip(track.stamps, before, strict=False))


def _glance(picture: Frame | Packet) -> int:
    if isinstance(picture, Packet):
        return zlib.crc32(memoryview(picture.data)[-TAIL:], len(picture.data))
    step_y, step_x = max(1, picture.height // SPARSE), max(1, picture.width // SPARSE)
    return zlib.crc32(_samples(picture)[::step_y, ::step_x].tobytes())


def _closely(picture: Frame | Packet) -> int:
    return zlib.crc32(picture.data if isinstance(picture, Packet) else _rows(picture).tobytes())


def _samples(frame: Frame) -> Any:
    return np.asarray(frame.data)


def _rows(frame: Frame) -> Any:
    return _samples(frame)[:: max(1, frame.height // ROWS)]


def clipped(picture: Frame | Packet) -> bool:
    """Whether a picture is white or black (nearly) all over, so that its noise cannot be seen."""
    if isinstance(picture, Packet):
        import simplejpeg  # pyright: ignore[reportMissingTypeStubs]

        samples, black, white = simplejpeg.decode_jpeg(picture.data, colorspace="GRAY"), 4, 230
    else:
        form = picture.format
        samples, most = _rows(picture) >> form.padding_bits, (1 << form.bits) - 1
        black = form.black_level  # above it there is noise to be seen
        if form.kind in (PixelKind.YUV420, PixelKind.YUV422):
            black = 18  # video's black is 16
        elif form.kind is PixelKind.RGB:
            black = 4
        white = round(0.9 * most)  # sensors saturate below their converter's most, each column at its own level
    return bool(np.mean((samples <= black) | (samples >= white)) >= CLIPPED_SHARE)
