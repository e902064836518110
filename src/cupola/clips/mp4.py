"""From a clip's journal to an MP4 that every browser plays, and the record of what is in it.

H.264 and H.265 are copied as they are; JPEGs become H.264. Times are those of the frames: of the source's clock where it has one and
it keeps step with ours, else of the shutter. The index lies in front; the file has its name only when it is durable. The MP4 that
grows while packets still come is `growing`'s.
"""

from __future__ import annotations

import io
import math
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from fractions import Fraction
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

import av
import av.error

from cupola.clips import journal
from cupola.core.clock import iso_utc, parse_utc
from cupola.process.wire import Head
from cupola.storage.files import TMP, ensure_folder, sync_folder, telling

TICKS = 90_000  # a second, the usual clock of video
STEP_S = 1.0  # a source's clock that is off by more than this between two packets was set anew
GAP = 2.5  # times the usual distance of frames, and
GAP_S = 0.3  # at least this: something is missing
RATE_OF = 25  # pictures
LATE_S = 1.0  # pictures that came less late than this are not worth a word
CRF, PRESET = "21", "ultrafast"  # a third of `superfast`'s time
INDEX_IN_FRONT = {"movflags": "+faststart"}
KEYFRAME_S = 2.0
PROGRESS = 30


class NothingToShow(ValueError):
    """A journal without a picture."""


def make(book: Path, target: Path, after_s: float, progress: Callable[[int], None]) -> Head:
    """Write `target`, which was to go on for `after_s` from the first trigger; the record: frames, duration_s, before_got_s, after_got_s, missing, codec, width, height, bytes.

    Raises NothingToShow, StorageFull, StorageFailed; av.error.FFmpegError for packets that no container takes.
    """
    clip = next((head for head, _ in journal.read(book)), {})
    heads = [head for head, _ in from_keyframe(journal.read(book))]
    if not heads:
        raise NothingToShow("No picture came while the clip was recorded.")
    ensure_folder(target.parent)
    tmp = target.with_name(target.name + TMP)
    with telling(target, "write"):
        try:
            jpegs = heads[0]["codec"] == "jpeg"
            made = encode(from_keyframe(journal.read(book)), tmp, progress) if jpegs else _copy(book, heads, tmp, progress)
            size = seal(tmp, target)
        finally:
            tmp.unlink(missing_ok=True)
    return {**record(clip, after_s, *made), "bytes": size}


def seal(tmp: Path, target: Path) -> int:
    """Make a written file durable, and give it its name; its bytes. Raises OSError."""
    with tmp.open("rb+") as file:
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
    os.replace(tmp, target)
    sync_folder(target.parent)
    return size


def record(clip: Head, after_s: float, heads: list[Head], stamps: list[int], unreadable: Sequence[int]) -> Head:
    """What a clip says of itself, from its packets' heads and the ticks at which they are shown."""
    codec, usual_s = str(heads[0]["codec"]), _usual_s(heads)
    return {
        "codec": "h264" if codec == "jpeg" else codec,
        "width": heads[0]["width"] & ~1 if codec == "jpeg" else heads[0]["width"],
        "height": heads[0]["height"] & ~1 if codec == "jpeg" else heads[0]["height"],
        "frames": len(heads) - len(unreadable),
        "duration_s": round((max(stamps) - min(stamps)) / TICKS + usual_s, 3),
        "before_got_s": round((clip["trigger_ns"] - heads[0]["monotonic_ns"]) / 1e9, 3),
        "after_got_s": round((heads[-1]["monotonic_ns"] - clip["trigger_ns"]) / 1e9, 3),
        "missing": [
            *_missing(clip, heads, usual_s, after_s),
            *({"at": heads[n]["opened_at"], "seconds": usual_s, "frames": 1, "why": "unreadable"} for n in unreadable),
        ],
    }


def from_keyframe(records: Iterator[tuple[Head, bytes]]) -> Iterator[tuple[Head, bytes]]:
    """A journal's packets. What cannot be shown before the first keyframe is left out."""
    begun = False
    for head, data in records:
        begun = begun or (head["type"] != "clip" and head["keyframe"])
        if begun:
            yield head, data


class Clock:
    """When each packet is shown, in ticks from the first one."""

    def __init__(self) -> None:
        self._start: Head | None = None  # the packet at `_base`, since which the source's clock was not set
        self._before: Head = {}
        self._base = 0.0
        self._last = 0

    def stamp(self, head: Head) -> int:
        """Of the next packet."""
        at = 0.0
        if self._start is None:
            self._start = head
        else:
            ours = (head["monotonic_ns"] - self._before["monotonic_ns"]) / 1e9
            theirs = math.nan if None in (head["pts_s"], self._before["pts_s"]) else head["pts_s"] - self._before["pts_s"]
            if abs(theirs - ours) < STEP_S:
                at = self._base + (head["pts_s"] - self._start["pts_s"])
            else:  # no clock of its own, or one that was set anew
                at = self._base = self._last / TICKS + max(ours, 0.001)
                self._start = head
        self._before, self._last = head, round(at * TICKS)
        return self._last


def _usual_s(heads: list[Head]) -> float:
    steps = [(b["monotonic_ns"] - a["monotonic_ns"]) / 1e9 for a, b in pairwise(heads)]
    return round(statistics.median(steps), 6) if steps else 0.04


def _missing(clip: Head, heads: list[Head], usual_s: float, after_s: float) -> list[Head]:
    """Each gap: when it began, its seconds, how many frames if that is known, why."""
    gaps: list[Head] = []
    noticed_s = max(GAP * usual_s, GAP_S)
    opened_ns = clip["trigger_ns"] - clip["before_s"] * 1e9
    short_s = (heads[0]["monotonic_ns"] - opened_ns) / 1e9
    if short_s > noticed_s:
        at = parse_utc(heads[0]["opened_at"]) - timedelta(seconds=short_s)
        gaps.append({"at": iso_utc(at), "seconds": round(short_s, 3), "frames": None, "why": "before the pre-roll begins"})
    for number, (a, b) in enumerate(pairwise(heads)):
        step_s, left_out = (b["monotonic_ns"] - a["monotonic_ns"]) / 1e9, b["dropped_before"]
        if not left_out and step_s <= noticed_s:
            continue
        late = not left_out and _made_up(heads, number, step_s, usual_s)
        if not late or step_s > LATE_S:
            why = "left out" if left_out else "came late" if late else "nothing came"
            gaps.append({"at": a["opened_at"], "seconds": round(step_s - usual_s, 3), "frames": 0 if late else left_out or None, "why": why})
    short_s = after_s - (heads[-1]["monotonic_ns"] - clip["trigger_ns"]) / 1e9
    if short_s > noticed_s:
        gaps.append({"at": heads[-1]["ended_at"], "seconds": round(short_s, 3), "frames": None, "why": "the recording ended early"})
    return gaps


def _made_up(heads: list[Head], last: int, step_s: float, usual_s: float) -> bool:
    """Whether after a pause as many more pictures came as it lacked, sooner than in its own length: they were late, none is missing."""
    begun_ns = heads[last]["monotonic_ns"]
    if last >= RATE_OF:
        usual_s = _usual_s(heads[last - RATE_OF : last + 1])  # that of the whole clip has the pause's hurried pictures in it
    for count, head in enumerate(heads[last + 1 :], 1):
        passed_s = (head["monotonic_ns"] - begun_ns) / 1e9
        if count * usual_s >= passed_s - GAP * usual_s:
            return True
        if passed_s > 2 * step_s + LATE_S:
            break
    return False


Made = tuple[list[Head], list[int], list[int]]  # heads of the packets, the ticks at which each is shown, numbers of those that are no picture


def _copy(book: Path, heads: list[Head], tmp: Path, progress: Callable[[int], None]) -> Made:
    """Packets as they came. Annex B becomes what MP4 wants in the muxer; pictures shown out of order get decoding times before them."""
    clock = Clock()
    stamps = [clock.stamp(head) for head in heads]
    in_order = sorted(stamps)
    delay = max(0, *(shown - stamp for shown, stamp in zip(in_order, stamps, strict=True)))
    decoded, stream = -delay - 1, None
    with av.open(str(tmp), "w", format="mp4", options=INDEX_IN_FRONT) as container:
        for number, (stamp, (head, data)) in enumerate(zip(stamps, from_keyframe(journal.read(book)), strict=False)):
            stream = stream or add_stream(container, head["codec"], data)
            decoded = max(decoded + 1, in_order[number] - delay)
            mux(container, stream, data, max(stamp, decoded), decoded, keyframe=head["keyframe"])
            if number % 200 == 199:
                progress(number)
    return heads, stamps, []


def add_stream(container: Any, codec: str, keyframe: bytes) -> Any:
    """A stream of packets as they came, which `keyframe` tells how to decode."""
    name = {"h264": "h264", "h265": "hevc"}[codec]
    with av.open(io.BytesIO(keyframe), format=name) as probe:
        stream = container.add_stream_from_template(probe.streams.video[0])
        if name == "hevc":
            stream.codec_context.codec_tag = "hvc1"  # what Safari wants to see; the parameter sets lie in the index
    stream.time_base = Fraction(1, TICKS)
    return stream


def mux(container: Any, stream: Any, data: bytes, shown: int, decoded: int, *, keyframe: bool) -> None:
    packet = av.Packet(data)
    packet.stream, packet.time_base = stream, stream.time_base
    packet.pts, packet.dts, packet.is_keyframe = shown, decoded, keyframe
    container.mux(packet)


def encode(packets: Iterator[tuple[Head, bytes]], tmp: Path, progress: Callable[[int], None]) -> Made:
    """JPEGs to H.264, as fast as they come. Raises NothingToShow, OSError, av.error.FFmpegError."""
    beginning = list(islice(packets, RATE_OF))
    first = beginning[0][0]
    rate = Fraction(max(1.0, min(1 / max(_usual_s([head for head, _ in beginning]), 0.001), 240.0))).limit_denominator(1000)
    decoder, clock, last = av.CodecContext.create("mjpeg", "r"), Clock(), -1
    heads, stamps, unreadable = list[Head](), list[int](), list[int]()
    with av.open(str(tmp), "w", format="mp4", options=INDEX_IN_FRONT) as container:
        stream = _encoder(container, rate, first["width"], first["height"], "yuvj420p")
        context = stream.codec_context
        for number, (head, data) in enumerate(chain(beginning, packets)):
            heads.append(head)
            stamps.append(clock.stamp(head))
            try:
                pictures = decoder.decode(av.Packet(data))
            except av.error.FFmpegError:
                pictures = []
            if not pictures:
                unreadable.append(number)
                continue
            picture = pictures[0].reformat(context.width, context.height, "yuvj420p")
            last = max(last + 1, stamps[-1])
            picture.pts, picture.time_base = last, context.time_base
            container.mux(stream.encode(picture))
            if number % PROGRESS == PROGRESS - 1:
                progress(number)
        if len(unreadable) == len(heads):
            raise NothingToShow("None of the clip's pictures can be decoded.")
        container.mux(stream.encode(None))
    return heads, stamps, unreadable


def _encoder(container: Any, rate: Fraction, width: int, height: int, pixels: str) -> Any:
    stream = container.add_stream("libx264", rate=rate)
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = width & ~1, height & ~1, pixels
    context.time_base, context.gop_size, context.thread_count = Fraction(1, TICKS), max(1, round(KEYFRAME_S * rate)), 1
    context.options = {"preset": PRESET, "crf": CRF, "bf": "0"}
    return stream


def copy(source: Path, target: Path, progress: Callable[[int], None]) -> Head:
    """Write `target`, an H.264 copy of a clip with the same times: its frames and bytes. Raises as `make` does."""
    tmp, frames = target.with_name(target.name + TMP), 0
    with telling(target, "write"):
        try:
            with av.open(str(source)) as original, av.open(str(tmp), "w", format="mp4", options=INDEX_IN_FRONT) as container:
                theirs = original.streams.video[0]
                theirs.thread_count = 1
                stream = _encoder(container, theirs.average_rate or Fraction(25), theirs.width, theirs.height, "yuv420p")
                context = stream.codec_context
                for picture in original.decode(theirs):
                    shown = round(float(picture.pts * picture.time_base) * TICKS) if picture.pts is not None and picture.time_base else frames
                    picture = picture.reformat(context.width, context.height, "yuv420p")
                    picture.pts, picture.time_base = shown, context.time_base
                    container.mux(stream.encode(picture))
                    frames += 1
                    if frames % PROGRESS == 0:
                        progress(frames)
                if not frames:
                    raise NothingToShow("None of the clip's pictures can be decoded.")
                container.mux(stream.encode(None))
            size = seal(tmp, target)
        finally:
            tmp.unlink(missing_ok=True)
    return {"frames": frames, "bytes": size}
