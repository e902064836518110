"""The process that looks for motion in one camera's pictures, so that neither the server nor the camera's own process decodes for it.

From the server:

    watch    watched: a list of sensitivity, region, mask
    picture  n, facts of the packet; the payload is its data      →  seen: n
    close                                                         →  the process ends

and whenever there is something to tell: `moved`: which (number in the list), at_ns (the picture's shutter), share, box; or share null: it is
still again. JPEGs are decoded at a fraction of their size. Of H.264 and H.265 every picture has to be decoded, without the loop
filter; few of them are looked at.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cupola.camera.messages import packet_from
from cupola.clips.change import Detector
from cupola.core.frame import Controls, Packet
from cupola.process.wire import Link, WireError, serve_server

NICENESS = 5
WIDTH = 320  # pictures are looked at at this width or little more
RATE = 5.0  # pictures a second


class Eye:
    """Small grey pictures of a stream; None for one that is not due or cannot be decoded."""

    def __init__(self) -> None:
        self._context: Any = None
        self._reformatter: Any = None
        self._form: tuple[object, ...] | None = None
        self._due_ns = 0

    def grey(self, packet: Packet) -> npt.NDArray[np.uint8] | None:
        due = packet.monotonic_ns >= self._due_ns
        try:
            small = self._jpeg(packet.data) if packet.codec == "jpeg" else self._video(packet, due)
        except ValueError:  # FFmpeg's errors are that, too
            self._context = None
            return None
        if small is not None:
            self._due_ns = max(self._due_ns + round(1e9 / RATE), packet.monotonic_ns - round(0.5e9 / RATE))
        return small

    def _jpeg(self, data: bytes) -> npt.NDArray[np.uint8]:
        import simplejpeg

        return simplejpeg.decode_jpeg(data, colorspace="GRAY", fastdct=True, fastupsample=True, min_width=WIDTH, strict=False)[:, :, 0]

    def _video(self, packet: Packet, due: bool) -> npt.NDArray[np.uint8] | None:
        import av
        from av.video.reformatter import Interpolation, VideoReformatter

        form = (packet.codec, packet.width, packet.height)
        if self._context is None or self._form != form:
            if not packet.keyframe:
                return None
            self._context = av.CodecContext.create({"h264": "h264", "h265": "hevc"}[packet.codec], "r")
            self._context.thread_count = 1
            self._context.options = {"skip_loop_filter": "all"}
            self._reformatter, self._form = VideoReformatter(), form
        pictures = self._context.decode(av.Packet(packet.data))
        if not pictures or not due:
            return None
        width = min(WIDTH, packet.width)
        height = max(2, round(packet.height * width / packet.width))
        small = self._reformatter.reformat(pictures[-1], width=width, height=height, format="gray", interpolation=Interpolation.AREA)
        return small.to_ndarray()


def serve(link: Link) -> int:
    """Until the server says so or is gone."""
    if (first := link.receive()) is None:
        return 0
    watched = [Detector(**one) for one in first[0]["watched"]]
    moving = [False] * len(watched)
    eye, applied = Eye(), Controls()
    try:
        while (message := link.receive()) is not None and message[0]["type"] != "close":
            head, data = message
            packet = packet_from(head, bytes(data))
            grey = eye.grey(packet)
            if grey is not None:
                if packet.applied != applied:
                    applied = packet.applied
                    for detector in watched:
                        detector.forget()
                for which, detector in enumerate(watched):
                    moving[which] = _tell(link.send, which, packet.monotonic_ns, detector, grey, moving[which])
            link.send({"type": "seen", "n": head["n"]})
    except (OSError, WireError):
        pass  # the server is gone
    return 0


def _tell(send: Callable[[dict[str, Any]], None], which: int, at_ns: int, detector: Detector, grey: npt.NDArray[np.uint8], moving: bool) -> bool:
    change = detector.look(grey)
    if change is not None:
        send({"type": "moved", "which": which, "at_ns": at_ns, "share": round(change.share, 6), "box": change.box})
    elif moving:
        send({"type": "moved", "which": which, "at_ns": at_ns, "share": None, "box": None})
    return change is not None


if __name__ == "__main__":
    sys.exit(serve_server(serve, NICENESS))
