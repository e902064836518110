"""Pixels from what a source delivers encoded, for those who need pixels: a still, a viewer who wants JPEG.

The camera process's worker runs a `Decoder` beside a stream that is otherwise passed through. Importing
this module brings in FFmpeg (38 MB), so do it when the first picture has to be decoded.
"""

from typing import Any, Literal

import av
import numpy as np
import numpy.typing as npt
from av import VideoFrame
from av.codec.context import Flags
from av.error import FFmpegError
from av.video.reformatter import Interpolation, VideoReformatter

from cupola.core.frame import Frame, Packet, PixelFormat, PixelKind

_SHARED_FACTS = ("seq", "opened_at", "ended_at", "monotonic_ns", "applied", "clock_synced", "generation", "dropped_before")
_MOST_REORDERED = 32  # pictures a decoder may hold back (H.264 and H.265 allow 16)
_NAMES = {"h264": "h264", "h265": "hevc", "jpeg": "mjpeg"}
_YUV420 = frozenset({"yuv420p", "yuvj420p", "nv12", "nv21", "yuv420p10le", "p010le"})
_YUV422 = frozenset({"yuv422p", "yuvj422p", "yuyv422", "uyvy422", "yvyu422", "yuv422p10le"})
_GRAY16 = {"gray9le": 9, "gray10le": 10, "gray12le": 12, "gray14le": 14, "gray16le": 16, "gray16be": 16}
_GRAY8 = frozenset({"gray", "monob", "monow"})
_FULL_RANGE, _BT601 = 2, 5  # AVCOL_RANGE_JPEG, SWS_CS_ITU601
_LIKE_BT601 = frozenset({2, 5, 6})  # AVCOL_SPC_UNSPECIFIED, BT470BG, SMPTE170M
PACKED = frozenset({"yuyv422", "uyvy422", "yvyu422"})
_8_BIT = dict.fromkeys(("yuv420p", "nv12", "nv21"), "yuv420p") | dict.fromkeys(("yuv422p", *PACKED), "yuv422p")
_LINES = 64
_LUMA = (235, 298, 128)  # 255/219 · 256; offsets round, and leave grey at 128 where it was
_CHROMA = (240, 291, 304)  # 255/224 · 256


class Decoder:
    """One stream's decoder. Feed it every packet in order; it starts, and starts again after an error, at a keyframe."""

    def __init__(self, codec: Literal["h264", "h265", "jpeg"], pixels: "Pixels | None" = None) -> None:
        self._codec = codec
        self._context: Any = None
        self._pixels = pixels or Pixels()
        self._count = 0
        self._begun: dict[int, Packet] = {}  # packets whose picture has not come out yet, by their number

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, known from the first keyframe on; (0, 0) before."""
        return (self._context.width, self._context.height) if self._context else (0, 0)

    def decode(self, packet: Packet) -> Frame | None:
        """The newest picture that this packet completes, with the facts of the packet it came in.

        None before the first keyframe, after a broken packet until the next one, and while pictures are reordered.
        """
        if self._context is None:
            if not packet.keyframe:
                return None
            self._context = av.CodecContext.create(_NAMES[self._codec], "r")
            self._context.thread_count = 1
            self._context.flags |= Flags.low_delay
            self._begun.clear()
        self._count += 1
        raw = av.Packet(packet.data)
        raw.pts = self._count
        self._begun[self._count] = packet
        if len(self._begun) > _MOST_REORDERED:
            del self._begun[min(self._begun)]
        try:
            pictures = self._context.decode(raw)
        except FFmpegError:
            self._context = None
            return None
        return self._newest(pictures, packet)

    def still(self, keyframe: Packet) -> Frame | None:
        """The picture of a keyframe on its own; None when it is broken. The decoder starts anew afterwards."""
        frame = self.decode(keyframe)
        if frame is None and self._context is not None:
            try:
                frame = self._newest(self._context.decode(None), keyframe)
            except FFmpegError:
                frame = None
        self._context = None
        return frame

    def _newest(self, pictures: list[VideoFrame], packet: Packet) -> Frame | None:
        origin = [self._begun.pop(picture.pts or 0, packet) for picture in pictures]
        if not pictures or pictures[-1].is_corrupt:
            return None
        return self._pixels.frame(pictures[-1], **{field: getattr(origin[-1], field) for field in _SHARED_FACTS})


class Pixels:
    """Turns PyAV's pictures into frames. Kept for a stream, as setting up a conversion costs more than converting."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def frame(self, picture: VideoFrame, **facts: Any) -> Frame:
        """A frame of a picture; `facts` are the frame's other fields.

        Grey stays grey (uint8, or uint16 with its bits), 4:2:0 and 4:2:2 become planes, everything else RGB.
        YUV is always full range with BT.601 coefficients, as in JPEG (JFIF): sources of limited range are stretched.
        """
        name, width, height = picture.format.name, picture.width, picture.height
        if name in _GRAY16:
            wide = picture if name.endswith("le") else self._reformatter.reformat(picture, format="gray16le")
            return Frame(data=_plane(wide, 0, width, height, np.dtype("<u2")), format=PixelFormat(PixelKind.MONO, _GRAY16[name]), **facts)
        if name in _GRAY8:
            grey = picture if name == "gray" else self._reformatter.reformat(picture, format="gray")
            return Frame(data=_plane(grey, 0, width, height), format=PixelFormat(PixelKind.MONO), **facts)
        if name in _YUV420 or name in _YUV422:
            kind, target = (PixelKind.YUV420, "yuvj420p") if name in _YUV420 else (PixelKind.YUV422, "yuvj422p")
            limited = name in _8_BIT and picture.color_range != _FULL_RANGE and picture.colorspace in _LIKE_BT601
            planar = self.planar(picture) if limited else self._as_in_jpeg(picture, target)
            across, down = (width + 1) // 2, (height + 1) // 2 if kind is PixelKind.YUV420 else height
            luma, u, v = _plane(planar, 0, width, height), _plane(planar, 1, across, down), _plane(planar, 2, across, down)
            if limited:
                luma, u, v = _stretched(luma, *_LUMA), _stretched(u, *_CHROMA), _stretched(v, *_CHROMA)
            return Frame(data=luma, chroma=(u, v), format=PixelFormat(kind), **facts)
        return self.rgb(picture, **facts)

    def rgb(self, picture: VideoFrame, **facts: Any) -> Frame:
        """As RGB, whatever it is."""
        rgb, width, height = self._reformatter.reformat(picture, format="rgb24"), picture.width, picture.height
        return Frame(data=_plane(rgb, 0, width * 3, height).reshape(height, width, 3), format=PixelFormat(PixelKind.RGB), **facts)

    def planar(self, picture: VideoFrame) -> VideoFrame:
        """8-bit 4:2:0 or 4:2:2 of any order as planes, nothing else changed; a packed one's are in memory of their own."""
        return self._reformatter.reformat(picture, format=_8_BIT[picture.format.name], threads=1)

    def _as_in_jpeg(self, picture: VideoFrame, target: str) -> VideoFrame:
        full = picture.format.name.startswith("yuvj") or picture.color_range == _FULL_RANGE
        if full and picture.format.name in (target, target.replace("yuvj", "yuv")):
            return picture
        return self._reformatter.reformat(
            picture, format=target, interpolation=Interpolation.POINT, threads=1, dst_colorspace=_BT601, dst_color_range=_FULL_RANGE
        )  # sizes stay, so the interpolation only chooses swscale's path: this one and one thread cost the least


class RgbPixels(Pixels):
    """For who wants RGB of every source."""

    def frame(self, picture: VideoFrame, **facts: Any) -> Frame:
        return self.rgb(picture, **facts)


def _stretched(samples: npt.NDArray[np.uint8], most: int, factor: int, offset: int) -> npt.NDArray[np.uint8]:
    """Samples of limited range 16…`most` as full range: (sample - 16) · factor / 256 + offset. Within a level of swscale, in half its time.

    A few lines at a time, which stay in the cache.
    """
    stretched = np.empty_like(samples)
    for top in range(0, len(samples), _LINES):
        wide = np.clip(samples[top : top + _LINES], 16, most).astype(np.uint16)
        wide -= 16
        wide *= factor
        wide += offset
        wide >>= 8
        stretched[top : top + _LINES] = wide
    stretched.flags.writeable = False
    return stretched


def _plane(picture: VideoFrame, index: int, across: int, down: int, kind: np.dtype[Any] = np.dtype(np.uint8)) -> npt.NDArray[Any]:  # noqa: B008
    """One plane without the padding of its lines, read-only; it shares the picture's memory when there is no padding."""
    plane = picture.planes[index]
    lines = np.frombuffer(memoryview(plane), np.uint8)[: plane.line_size * down].reshape(down, plane.line_size)
    samples = np.ascontiguousarray(lines[:, : across * kind.itemsize]).view(kind)
    samples.flags.writeable = False
    return samples
