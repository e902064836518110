"""The video of a night: each image is encoded when it comes, and from then on only its packet is kept.

The video lies on disk in fragments of EVERY frames. A fragment is a fragmented MP4 of its own, closed: it begins with a keyframe, by an encoder of
its own (a new one costs less than a frame), and is durable before it counts. So a fragment is the same bytes whenever it is made, a kill costs at most
the frames of the open one, and one that is lost or torn is made again from its images. At the end the packets are copied into one MP4 that plays
while it loads: the place for its index is set aside in front, so that nothing has to be moved.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from math import ceil, log2, sqrt
from pathlib import Path
from typing import Any, BinaryIO, Self

from cupola.core.errors import StorageFailed
from cupola.darkroom.growth import EVERY, Kind, LeftOut, Picture, Shot, read_picture
from cupola.storage.files import TMP, WrittenFile, ensure_folder, place_durable, telling, write_durable

LINES_MAX = 2160
# H.264 level 5.2 (ITU-T H.264, table A-1), the highest that phones play: macroblocks of a frame, of a second, and along one side
FRAME_BLOCKS, SECOND_BLOCKS = 36_864, 2_073_600
SIDE_BLOCKS = int(sqrt(8 * FRAME_BLOCKS))
# One frame in, one packet out, no frame kept back: what keeps x264 small (about 100 MB at 6.4 megapixels).
CODEC = "libx264"
# The wide dead zone leaves out the noise of a night sky, which is three fifths of the bytes and a quarter of the time. Faint stars lose a little light (0.73 for
# 0.78 of it at 20 to 40 levels). `stitchable`: what a file says once of all its frames does not name the quantizer, in which fragments differ.
X264 = {"preset": "ultrafast", "tune": "zerolatency", "bf": "0", "g": str(EVERY), "x264-params": "deadzone-inter=32:deadzone-intra=32:stitchable=1"}
# Bytes of a macroblock at quantizer 25 in a night with noise. Where a scene has more, the quantizer rises with the 0.4th power of it, as that of x264's own
# constant rate factor does; x264 would look at each frame at half size for that, which is a quarter to a third of its time.
USUAL_BYTES, USUAL_QUANTIZER, COARSER = 6.0, 25, 0.4
QUANTIZER_MAX = 45
INDEX_BYTES = 32  # of a frame in the file's index, at most; what is not used stays empty


@dataclass(frozen=True, slots=True)
class Settings:
    make: bool
    fps: int
    width: int | None
    crf: int


@dataclass(frozen=True, slots=True)
class Fragment:
    """One on disk. `images`: the paths its frames were made of; `quantizer`: x264's step for them, six more of which double it."""

    name: str
    sha256: str
    images: list[str]
    quantizer: int
    bytes: int


class Encoder:
    """Makes one fragment, in memory: `content` may be taken at any time, `close` adds what is missing to its end."""

    def __init__(self, size: tuple[int, int], settings: Settings, quantizer: int) -> None:
        import av

        self.images: list[str] = []
        self.quantizer = quantizer
        self._size, self._buffer, self._pace = size, io.BytesIO(), Fraction(1, settings.fps)
        movie = {"movflags": "frag_every_frame+empty_moov+default_base_moof", "fflags": "+bitexact"}
        self._container = av.open(self._buffer, "w", format="mp4", options=movie)
        self._stream = self._container.add_stream(CODEC, rate=settings.fps, options={**X264, "qp": str(quantizer)})
        self._stream.width, self._stream.height, self._stream.pix_fmt = *size, "yuv420p"
        context = self._stream.codec_context
        context.thread_count, context.time_base = 1, self._pace
        # what OpenCV's I420 is: ITU-R BT.601, 16 to 235; the picture itself is sRGB
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = 1, 6, 1, 13

    def add(self, picture: Picture, path: Path) -> None:
        import av
        import cv2

        width, height = self._size
        shown: Any = picture
        if picture.shape[1] - width > 1 or picture.shape[0] - height > 1:
            shown = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
        planes: Any = cv2.cvtColor(shown[:height, :width], cv2.COLOR_RGB2YUV_I420)
        frame = av.VideoFrame.from_numpy_buffer(planes, "yuv420p")
        frame.pts, frame.time_base = len(self.images), self._pace
        self.images.append(str(path))
        self._container.mux(self._stream.encode(frame))

    def content(self) -> bytes:
        return self._buffer.getvalue()

    def close(self) -> bytes:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._buffer.getvalue()


class Timelapse:
    """The encoder of the open fragment, and a list of the closed ones, which lie in `folder`."""

    kind: Kind = "timelapse"
    shows_words = True

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._shape: tuple[int, ...] | None = None  # of the images
        self._fragments: list[Fragment] = []
        self._open: Encoder | None = None
        self._tail: bytes | None = None  # the last fragment, closed early

    @property
    def made_with(self) -> dict[str, Any]:
        import av

        return {**asdict(self._settings), "encoder": av.__version__, "options": X264}

    @property
    def frames(self) -> int:
        return sum(len(fragment.images) for fragment in self._fragments) + (len(self._open.images) if self._open else 0)

    def add(self, picture: Picture, shot: Shot) -> None:
        """One frame more. Raises LeftOut for an image of another size."""
        if self._shape is None:
            self._shape = picture.shape
        elif picture.shape != self._shape:
            raise LeftOut(f"it has {picture.shape[1]} x {picture.shape[0]} pixels, not {self._shape[1]} x {self._shape[0]} as those before")
        if self._open is None:
            self._open = _encoder(self._size, self._settings, self._quantizer)
        self._open.add(picture, shot.path)

    @property
    def _size(self) -> tuple[int, int]:
        assert self._shape is not None
        return video_size(self._shape[1], self._shape[0], self._settings.width, self._settings.fps)

    @property
    def _quantizer(self) -> int:
        """Of the fragment that comes next."""
        before = self._fragments[-1] if self._fragments else None
        return quantizer_after(before, self._settings.crf, self._size)

    def state(self) -> tuple[dict[str, Any], None]:
        """Closes the open fragment if it is full, and writes it; frames of one that is not full are not part of the state. Raises StorageFull,
        StorageFailed; the next call tries again.
        """
        if self._open is not None and len(self._open.images) >= EVERY:
            if self._tail is None:
                self._tail = self._open.close()
            name = f"{len(self._fragments):06d}.mp4"
            written = write_durable(self._folder / name, self._tail)
            self._fragments.append(Fragment(name, written.sha256, self._open.images, self._open.quantizer, written.bytes))
            self._open = self._tail = None
        return {"shape": self._shape, "fragments": [asdict(fragment) for fragment in self._fragments]}, None

    def restore(self, facts: dict[str, Any], pixels: Picture | None) -> None:
        fragments = [Fragment(**fragment) for fragment in facts["fragments"]]
        self._shape, self._fragments = None if facts["shape"] is None else tuple(facts["shape"]), fragments

    def preview(self, target: Path) -> bool:
        """The video so far; the newest image may be missing."""
        return self._copy_to(target.with_name(target.name + TMP), target)

    def write(self, target: Path) -> WrittenFile:
        """The whole video, durable. Ends the open fragment, so nothing can be added afterwards."""
        tmp = target.with_name(target.name + TMP)
        ensure_folder(target.parent)
        self._tail = None if self._open is None else self._open.close()
        if not self._copy_to(tmp, None):
            raise StorageFailed(f"No frame is left for {target}: its images and what was made of them are gone.")
        return place_durable(tmp, target)

    def _copy_to(self, tmp: Path, target: Path | None) -> bool:
        """All frames as one MP4 in `tmp`, renamed to `target`; False, and no file, without any."""
        import av

        stream, number, pace = None, 0, Fraction(1, self._settings.fps)
        options = {"moov_size": str(INDEX_BYTES * self.frames + 8192), "fflags": "+bitexact"}
        with telling(tmp, "write"):
            try:
                with tmp.open("wb") as file, _Sink(file) as sink, av.open(sink, "w", format="mp4", options=options) as movie:
                    for content in self._contents():
                        with av.open(io.BytesIO(content), "r") as fragment:
                            source = fragment.streams.video[0]
                            if stream is None:
                                stream = movie.add_stream_from_template(source)
                                stream.time_base = pace
                            for packet in fragment.demux(source):
                                if packet.dts is None:  # only says that this was all
                                    continue
                                packet.time_base, packet.pts, packet.dts, packet.duration = pace, number, number, 1
                                packet.stream = stream
                                movie.mux(packet)
                                number += 1
                if stream is not None and target is not None:
                    tmp.replace(target)
            except BaseException:
                tmp.unlink(missing_ok=True)
                raise
        if stream is None:
            tmp.unlink(missing_ok=True)
        return stream is not None

    def _contents(self) -> Iterator[bytes]:
        """Every fragment with a frame, in order, made again where what is on disk is not what was written."""
        for number, fragment in enumerate(self._fragments):
            path = self._folder / fragment.name
            content = path.read_bytes() if path.is_file() else b""
            if hashlib.sha256(content).hexdigest() != fragment.sha256:
                content = self._mend(number)
            if content:
                yield content
        if self._tail is not None:
            yield self._tail
        elif self._open is not None and len(self._open.images) > 1:  # the muxer keeps a frame back until it knows the next one's time
            yield self._open.content()

    def _mend(self, number: int) -> bytes:
        """A fragment's content, made again from those of its images that are still there; empty without any."""
        fragment = self._fragments[number]
        encoder = _encoder(self._size, self._settings, fragment.quantizer)
        for path in map(Path, fragment.images):
            with suppress(LeftOut):
                encoder.add(read_picture(path), path)
        content = encoder.close() if encoder.images else b""
        written = write_durable(self._folder / fragment.name, content)
        self._fragments[number] = replace(fragment, sha256=written.sha256, images=encoder.images)
        return content


class _Sink:
    """A file for FFmpeg to write to. Its own ones swallow what goes wrong at the end, and of ours it does not pass the reason on: this does."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._failure: OSError | None = None
        self.seek, self.tell = file.seek, file.tell

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self._failure = error
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._failure is not None:
            raise self._failure


def quantizer_after(before: Fragment | None, crf: int, size: tuple[int, int]) -> int:
    """For the frames after a fragment of that size: `crf`, or more where much moves, as far as the bytes of those before tell."""
    if before is None or not before.images:
        return crf
    bytes_a_block = before.bytes / len(before.images) / _blocks(*size) * 2 ** ((before.quantizer - USUAL_QUANTIZER) / 6)
    return max(crf, min(crf + round(6 * COARSER * log2(max(bytes_a_block / USUAL_BYTES, 1.0))), QUANTIZER_MAX))


def _encoder(size: tuple[int, int], settings: Settings, quantizer: int) -> Encoder:
    """Raises LeftOut where PyAV came without x264, as its wheel for armv7 does."""
    import av

    if CODEC not in av.codecs_available:
        raise LeftOut(f"PyAV has no {CODEC} on this machine, so there is no video; set products.timelapse.make: false")
    return Encoder(size, settings, quantizer)


def video_size(width: int, height: int, wanted: int | None, fps: int) -> tuple[int, int]:
    """Of the video of images of that size: even, as large as H.264's level 5.2 and LINES_MAX allow, or as wide as `wanted`, but never enlarged."""
    if wanted is not None:
        scale = min(1.0, wanted / width)
    else:
        scale = min(1.0, LINES_MAX / height, 16 * SIDE_BLOCKS / max(width, height))
        while scale > 0.01 and _blocks(width * scale, height * scale) > min(FRAME_BLOCKS, SECOND_BLOCKS // fps):
            scale *= 0.995
    return max(2, int(width * scale) & ~1), max(2, int(height * scale) & ~1)


def _blocks(width: float, height: float) -> int:
    return ceil(width / 16) * ceil(height / 16)
