"""A running camera program as a source of pictures: its output cut into pictures, each with its own metadata.

The program writes a picture to stdout and then its metadata to a pipe of its own; whoever has read a block of
metadata and emptied stdout after it has the whole picture. Which program runs with what is `picamera_programs`' business,
when it runs `picamera`'s.
"""

import contextlib
import mmap
import os
import re
import selectors
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from cupola.core.clock import clock_synced
from cupola.core.errors import CameraBusy, CameraLost, CameraNotFound, CaptureCancelled, CupolaError
from cupola.core.frame import Frame, Packet, PixelFormat
from cupola.drivers.abort import Abort
from cupola.drivers.annexb import ParameterSets, units
from cupola.drivers.feed import Picture
from cupola.drivers.jpeg import BadJpeg, EndFinder, inspect
from cupola.drivers.picamera_facts import facts_of, number, raw_format

_CHUNK = 1 << 20
_POLL_S = 0.5
_TERM_S = 2.0
_KEPT_LINES = 40
_MOST_WAITING = 256 << 20
_RAW_STREAM = re.compile(r"Raw stream: (\d+)x(\d+) stride (\d+) format (\S+)")
_SLICES, _BEFORE_SLICES = (1, 5), (6, 7, 8, 9)  # NAL unit types, ITU-T H.264 table 7-1


class JpegCutter:
    """JPEGs one behind the other."""

    def __init__(self) -> None:
        self._buffer, self._finder = bytearray(), EndFinder()

    def add(self, data: bytes) -> None:
        self._buffer += data

    def take(self, told: int) -> bytes | None:
        if (end := self._finder.find(self._buffer)) is None:
            return None
        picture = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._finder = EndFinder()
        return picture


class AccessUnitCutter:
    """H.264 pictures of one byte stream. The last one is whole when there is metadata for it (`told` blocks wait)."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def add(self, data: bytes) -> None:
        self._buffer += data

    def take(self, told: int) -> bytes | None:
        data, begun, starts = bytes(self._buffer), False, list[int]()
        for start, _ in units(data):
            at = data.index(1, start) + 1
            if at + 1 >= len(data):
                break
            kind = data[at] & 0x1F
            first_slice = kind in _SLICES and bool(data[at + 1] & 0x80)  # first_mb_in_slice is 0: ue(v) begins with a one
            if not starts or (begun and (first_slice or kind in _BEFORE_SLICES)):
                starts.append(start)
                begun = False
            begun = begun or kind in _SLICES
        if not starts or (len(starts) == 1 and not (told >= 1 and begun)):
            return None
        end = starts[1] if len(starts) > 1 else len(data)
        del self._buffer[:end]
        return data[starts[0] : end]


class RawCutter:
    """Frames of one size, which is learned: buffers may be longer than stride x height.

    Metadata comes when its picture is written, so where n blocks wait, there are n pictures, and often the beginning of the next.
    A size is believed when it divides what is there without a rest and is the least or that in whole pages, or is found twice.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._size = self._supposed = self._judged = 0
        self.least = 0  # stride x height, once the program has said it

    def add(self, data: bytes) -> None:
        self._buffer += data

    def take(self, told: int) -> bytes | None:
        if not self._size:
            self._learn(told)
        if not self._size or len(self._buffer) < self._size:
            return None
        picture = bytes(self._buffer[: self._size])
        del self._buffer[: self._size]
        return picture

    def _learn(self, told: int) -> None:
        if not told or not self.least:
            return
        size, rest = divmod(len(self._buffer), told)
        if rest or size < self.least:
            return
        if size in (self.least, -(-self.least // mmap.PAGESIZE) * mmap.PAGESIZE) or (size == self._supposed and told > self._judged):
            self._size = size
        elif told > self._judged:
            self._supposed, self._judged = size, told


class ProgramStream:
    """A `feed.Source`. Opening starts the program; closing ends it and waits until it let the camera go."""

    fps: float | None = None
    recorded = False

    def __init__(self, command: Callable[[int], list[str]], picture: str, sensor_bits: int, model: str, abort: Abort) -> None:
        """`command` makes the argument list for a metadata descriptor; `picture` is jpeg, h264 or raw.

        Raises CameraNotFound when the program cannot be started, CaptureCancelled after `abort`.
        """
        self.model = model
        self._picture, self._sensor_bits, self._abort = picture, sensor_bits, abort
        self._cutter: JpegCutter | AccessUnitCutter | RawCutter = (
            JpegCutter() if picture == "jpeg" else AccessUnitCutter() if picture == "h264" else RawCutter()
        )
        self._sets, self._size = ParameterSets("h264", None), (0, 0)
        self._layout: tuple[int, int, int, PixelFormat] | None = None  # width, height, stride, format of raw
        self._said: deque[str] = deque(maxlen=_KEPT_LINES)
        self._told: deque[dict[str, str]] = deque()
        self._half = {"stderr": b"", "metadata": b""}
        self._facts_from, ours = os.pipe()
        try:
            argv = command(ours)
            # a program that outlives a killed camera process would hold the camera: the kernel ends it with us
            guarded = [*(["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []), *argv]
            self._process = subprocess.Popen(
                guarded, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[ours], bufsize=0, start_new_session=True
            )
        except OSError as problem:
            os.close(self._facts_from)
            raise CameraNotFound(f"The camera program cannot be started: {problem}.") from problem
        except BaseException:
            os.close(self._facts_from)
            raise
        finally:
            os.close(ours)
        self._name = os.path.basename(argv[0])
        assert self._process.stdout and self._process.stderr
        self._out, self._err = self._process.stdout.fileno(), self._process.stderr.fileno()
        for descriptor in (self._out, self._err, self._facts_from):
            os.set_blocking(descriptor, False)
        abort.add(self._terminate)

    def pictures(self) -> Iterator[Picture]:
        """Each exposure with the metadata that belongs to it. Raises CameraLost, CameraBusy or CameraNotFound when the program ends."""
        with selectors.DefaultSelector() as selector:
            for descriptor in (self._facts_from, self._err, self._out):
                selector.register(descriptor, selectors.EVENT_READ)
            open_descriptors = {self._facts_from, self._err, self._out}
            while True:
                ready = {key.fd for key, _ in selector.select(_POLL_S)}
                if self._abort.is_set():
                    return
                if self._err in ready:
                    self._hear(self._read(self._err, selector, open_descriptors))
                if self._facts_from in ready:
                    self._learn(self._read(self._facts_from, selector, open_descriptors))
                if self._out in open_descriptors:
                    self._cutter.add(self._read(self._out, selector, open_descriptors))
                yield from self._whole()
                if self._out not in open_descriptors:
                    self._hear(self._read(self._err, selector, open_descriptors))
                    raise self._ended()

    def close(self) -> None:
        self._terminate()
        try:
            self._process.wait(_TERM_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_TERM_S)
        os.close(self._facts_from)
        assert self._process.stdout and self._process.stderr
        self._process.stdout.close()
        self._process.stderr.close()

    def _terminate(self) -> None:
        """By SIGTERM: SIGINT is looked at between two exposures only, a minute late when those are long."""
        with contextlib.suppress(OSError):
            self._process.terminate()

    def _read(self, descriptor: int, selector: selectors.BaseSelector, still_open: set[int]) -> bytes:
        """All there is now."""
        pieces: list[bytes] = []
        size = 0
        while descriptor in still_open:
            try:
                piece = os.read(descriptor, _CHUNK)
            except BlockingIOError:
                break
            if not piece:
                selector.unregister(descriptor)
                still_open.discard(descriptor)
            pieces.append(piece)
            size += len(piece)
            if size > _MOST_WAITING:
                break
        return b"".join(pieces)

    def _hear(self, text: bytes) -> None:
        *lines, self._half["stderr"] = (self._half["stderr"] + text).split(b"\n")
        for line in lines:
            said = line.decode(errors="replace").strip()
            self._said.append(said)
            if isinstance(self._cutter, RawCutter) and (found := _RAW_STREAM.search(said)):
                width, height, stride = (int(found.group(n)) for n in (1, 2, 3))
                self._layout = (width, height, stride, raw_format(found.group(4), self._sensor_bits))
                self._cutter.least = stride * height

    def _learn(self, text: bytes) -> None:
        """Blocks of `name=value` lines, an empty line behind each."""
        *blocks, self._half["metadata"] = (self._half["metadata"] + text).split(b"\n\n")
        for block in blocks:
            lines = (line.partition("=") for line in block.decode(errors="replace").splitlines())
            self._told.append({name.strip(): value.strip() for name, _, value in lines})

    def _whole(self) -> Iterator[Picture]:
        while self._told and (data := self._cutter.take(len(self._told))) is not None:
            made = self._made(data, self._told.popleft())
            if made is not None:
                yield made

    def _made(self, data: bytes, told: dict[str, str]) -> Picture | None:
        facts: dict[str, Any] = {"seq": 0, "clock_synced": clock_synced(), **facts_of(told)}
        if self._layout is not None:
            return self._frame(data, facts, told)
        if self._picture == "jpeg":
            try:
                size = inspect(data)
            except BadJpeg as reason:
                raise CameraLost(f"{self._name} sent a broken picture: {reason}. It is started again.") from None
            return Packet(codec="jpeg", data=data, width=size.width, height=size.height, **facts)
        keyframe = any(data[data.index(1, start) + 1] & 0x1F == 5 for start, _ in units(data))
        if keyframe:
            data = self._sets.complete(data)
        made = Packet(codec="h264", data=data, width=self._size[0], height=self._size[1], keyframe=keyframe, **facts)
        if not self._size[0]:
            if not keyframe:
                return None
            from dataclasses import replace

            from cupola.drivers.decode import Decoder

            decoder = Decoder("h264")
            decoder.decode(made)
            self._size = decoder.size
            made = replace(made, width=self._size[0], height=self._size[1])
        return made

    def _frame(self, data: bytes, facts: dict[str, Any], told: dict[str, str]) -> Frame:
        import numpy as np

        assert self._layout is not None
        width, height, stride, layout = self._layout
        samples = np.frombuffer(data, np.uint8, stride * height).reshape(height, stride)
        pixels = samples[:, :width] if layout.bits + layout.padding_bits <= 8 else samples.view("<u2")[:, :width]
        pixels = np.ascontiguousarray(pixels)
        pixels.flags.writeable = False
        black = number(told.get("SensorBlackLevels", ""))  # of 16 bits, whatever the sensor has
        kind = PixelFormat(layout.kind, layout.bits, layout.bayer, layout.padding_bits, black_level=round(black or 0) >> (16 - layout.bits))
        temperature = number(told.get("SensorTemperature", ""))
        return Frame(data=pixels, format=kind, temperature_c=temperature, **facts)

    def _ended(self) -> CupolaError:
        if self._abort.is_set():
            return CaptureCancelled(f"{self._name} was ended")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_TERM_S)
        said = next((line for line in reversed(self._said) if "ERROR" in line or "***" in line), "") or next(iter(reversed(self._said)), "")
        said = said.replace("***", "").replace("ERROR:", "").strip()
        if "failed to acquire" in said or "in use" in said or "Pipeline handler in use" in " ".join(self._said):
            return CameraBusy(
                f"The Pi camera is in use by another program ({said}). End it: `ps aux | grep -E 'rpicam|libcamera|picamera2'` names it."
            )
        if "unrecognised option" in said:
            return CameraNotFound(f"{self._name} is too old: {said}. Update it: `sudo apt update && sudo apt full-upgrade`.")
        why = said or f"exit code {self._process.returncode}"
        return CameraLost(f"{self._name} ended: {why}. It is started again; if this repeats, check the ribbon cable and the power supply.")
