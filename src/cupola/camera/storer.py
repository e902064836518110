"""The storing worker: stills become originals on disk, durably, in the order they were taken.

Sequence numbers are given here, on success only, so that they have no gaps. Writing blocks nobody
but itself: when the disk is slower than the camera, a few stills wait in memory, then the exposer does.
On a disk that is nearly full, originals and then images are left out (`storage.space.Thrift`).
"""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from cupola import __version__
from cupola.camera.exposer import NATIVE
from cupola.camera.messages import facts_of
from cupola.camera.orders import Still
from cupola.core.errors import BadImage, CupolaError, StorageFull
from cupola.core.frame import CameraInfo, Frame, Packet, PixelKind, Station
from cupola.process.wire import Head
from cupola.storage.files import WrittenFile, day_of, jpg_path, queue_path, raw_path, write_durable
from cupola.storage.space import EVERY, Rung, Thrift, free_space

QUEUE = 4  # stills in memory
STILL_QUALITY = 95  # JPEG of a source that delivers decoded video


class Storer(threading.Thread):
    """`offer` never blocks; `has_room` tells whether the next exposure should be taken."""

    def __init__(
        self,
        *,
        camera: str,
        station: Station,
        root: Path,
        queue: Path,
        keep_originals: bool,
        thrift: Thrift,
        next_sequence: int,
        tell: Callable[[Head], None],
        on_stored: Callable[[Still, bool], None],
    ) -> None:
        super().__init__(name="storer", daemon=True)
        self._camera, self._station, self._root, self._queue_folder = camera, station, root, queue
        self._keep_originals, self._thrift = keep_originals, thrift
        self._rung: Rung = "all"
        self._offered = 0
        self._sequence = next_sequence
        self._tell, self._on_stored = tell, on_stored
        self._changed = threading.Condition()
        self._stills: deque[Still] = deque()
        self._settled = threading.Event()
        self._settled.set()
        self._cold, self._expecting = True, False
        self._closed = False
        self._info: CameraInfo | None = None

    def offer(self, still: Still) -> None:
        with self._changed:
            self._stills.append(still)
            self._settled.clear()
            self._changed.notify()

    def opened(self, info: CameraInfo) -> None:
        with self._changed:
            self._info = info
            self._changed.notify()

    def expect_stills(self) -> None:
        """Stills are coming: what encodes them is loaded beside the first exposure, not after it."""
        with self._changed:
            self._expecting = True
            self._changed.notify()

    def _shall_load(self) -> bool:
        return self._cold and self._expecting and self._info is not None and not NATIVE & self._info.capabilities

    def has_room(self) -> bool:
        return len(self._stills) < QUEUE

    def settle(self, seconds: float) -> None:
        """Wait until everything offered so far is on disk or failed, and that was told; at most so long."""
        self._settled.wait(seconds)

    def close(self) -> None:
        """Store what is waiting, then end."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def run(self) -> None:
        while True:
            with self._changed:
                while not (self._stills or self._closed or self._shall_load()):
                    self._changed.wait()
                if self._closed and not self._stills:
                    return
                still = self._stills[0] if self._stills else None
                load, self._cold = self._shall_load(), self._cold and not self._shall_load()
            if load:
                from cupola.storage.originals import load_encoder

                with contextlib.suppress(ImportError):  # said when an image needs it; not every one does
                    load_encoder()
            if still is None:
                continue
            ok = self._store(still)
            with self._changed:
                self._stills.popleft()
            self._on_stored(still, ok)
            with self._changed:
                if not self._stills:
                    self._settled.set()

    def _store(self, still: Still) -> bool:
        whose: Mapping[str, Any] = {"session": still.session, "token": still.token}
        day = still.day or day_of(still.picture.opened_at, self._station)
        try:
            self._look_at_space()
            if self._passed_over(still):
                return False
            began = time.monotonic()
            kind, written, native = self._write(still, day)
            took_s = time.monotonic() - began
        except CupolaError as error:
            self._tell({"type": "failed", "kind": error.kind, "message": str(error), **whose})
            return False
        except ImportError as error:  # under another interpreter than the server's
            advice = f"On a Raspberry Pi: `sudo apt install python3-{(error.name or 'astropy').partition('.')[0]}`."
            self._tell({"type": "failed", "kind": "error", "message": f"{sys.executable} lacks what encodes this image ({error}). {advice}", **whose})
            return False
        except Exception as error:  # an encoder's refusal must not end the storing of all later images
            self._tell({"type": "failed", "kind": "error", "message": f"The image could not be encoded: {error!r}.", **whose})
            return False
        file = _file(kind, written)
        temperature = still.picture.temperature_c if isinstance(still.picture, Frame) else None
        if temperature is not None and not math.isfinite(temperature):
            temperature = None  # a sensor's way to say that it has no reading, which no message can carry
        facts = facts_of(still.picture)
        beside = None if native is None else _file("raw", native)
        known = {"temperature_c": temperature, "correction": still.correction, "day": day, "period": still.period, "took_s": round(took_s, 4)}
        self._tell({"type": "captured", "sequence": self._sequence, "file": file, "native": beside, **known, **facts, **whose})
        self._sequence += 1
        return True

    def _look_at_space(self) -> None:
        """Raises StorageFull when nothing more is to be stored."""
        free = free_space(self._root)
        self._rung = self._thrift.rung(free.percent)
        if self._rung == "none":
            raise StorageFull(
                f"Only {free.percent:.1f} % of the disk with {self._root} is free; no image is stored below {self._thrift.min_free_percent:g} % "
                "(storage.min_free_percent). Make room: storing goes on by itself."
            )

    def _passed_over(self, still: Still) -> bool:
        """Whether the disk is so full that this one of its series is not stored; the server tells the owner."""
        if still.token is not None:
            return False
        self._offered += 1
        return self._offered % EVERY[self._rung] != 0

    def _write(self, still: Still, day: str) -> tuple[str, WrittenFile, WrittenFile | None]:
        """Kind and facts of the file that was written, and those of the camera's raw file beside it, if there is one."""
        picture = still.picture
        if isinstance(picture, Packet):
            return self._write_packet(picture, day)
        if picture.format.kind in (PixelKind.YUV420, PixelKind.YUV422):
            from cupola.camera.render import encode_plain

            return "jpg", write_durable(self._jpg(picture.opened_at, day), encode_plain(picture, STILL_QUALITY)), None
        from cupola.storage.originals import encode_original

        assert self._info is not None
        data = encode_original(
            picture,
            camera=self._camera,
            sequence=self._sequence,
            station=self._station,
            info=self._info,
            software=f"Cupola {__version__}",
            session=still.session,
            correction=still.correction,
        )
        if not (self._keep_originals and self._rung == "all"):
            return "queue", write_durable(queue_path(self._queue_folder, self._camera, picture.opened_at, self._sequence), data), None
        return "raw", write_durable(raw_path(self._root, self._camera, picture.opened_at, self._sequence, self._station, day=day), data), None

    def _write_packet(self, packet: Packet, day: str) -> tuple[str, WrittenFile, WrittenFile | None]:
        """A JPEG; or a camera's raw file with its JPEG, both or none; or a raw file alone, which the darkroom develops."""
        native = packet.native
        if native is None:
            return "jpg", write_durable(self._jpg(packet.opened_at, day), _whole_jpeg(packet)), None
        path = raw_path(self._root, self._camera, packet.opened_at, self._sequence, self._station, native.suffix, day)
        if not native.paired:
            return "raw", write_durable(path, native.data), None
        picture = _whole_jpeg(packet)
        if self._rung != "all":
            return "jpg", write_durable(self._jpg(packet.opened_at, day), picture), None
        raw = write_durable(path, native.data)
        try:
            return "jpg", write_durable(self._jpg(packet.opened_at, day), picture), raw
        except CupolaError:
            raw.path.unlink(missing_ok=True)  # its number goes to the next image
            raise

    def _jpg(self, opened_at: datetime, day: str) -> Path:
        return jpg_path(self._root, self._camera, opened_at, self._sequence, self._station, day)


def _file(kind: str, written: WrittenFile) -> Head:
    return {"kind": kind, "path": str(written.path), "bytes": written.bytes, "sha256": written.sha256}


def _whole_jpeg(packet: Packet) -> bytes:
    """The packet's own bytes, if they decode: a still that is announced must be a picture."""
    if packet.codec == "jpeg":
        import simplejpeg  # pyright: ignore[reportMissingTypeStubs]

        try:
            simplejpeg.decode_jpeg(bytes(packet.data), min_height=1, min_width=1, min_factor=8, strict=True)
        except ValueError as error:
            raise BadImage(f"The camera sent a damaged JPEG ({error}); it was not stored. If this repeats, check the link to the camera.") from None
        return packet.data
    from cupola.camera.render import encode_plain
    from cupola.drivers.decode import Decoder

    frame = Decoder(packet.codec).still(packet)
    if frame is None:
        raise BadImage("A keyframe of the camera could not be decoded; it was not stored.")
    return encode_plain(frame, STILL_QUALITY)
