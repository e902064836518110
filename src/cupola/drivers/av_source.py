"""Everything FFmpeg reads: RTSP, V4L2, video files, other network streams. MJPEG over HTTP has `mjpeg`, which is faster.

JPEG, H.264 and H.265 are passed through as packets; any other codec is decoded to frames.
"""

import errno
import os
import select
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Literal
from urllib.parse import urlsplit

import av
import av.error
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer

from cupola.core.clock import clock_synced, monotonic_ns, utc_now
from cupola.core.errors import CameraBusy, CameraLost, CameraNotFound, CameraUnresponsive, CaptureCancelled, CupolaError
from cupola.core.frame import Codec, Frame, Packet
from cupola.drivers.abort import Abort, Connections, connect, without_password
from cupola.drivers.annexb import ParameterSets
from cupola.drivers.decode import PACKED, Decoder, Pixels
from cupola.drivers.feed import Pending, Picture
from cupola.drivers.jpeg import BadJpeg, inspect
from cupola.drivers.mjpeg import unreachable

_PASSED_THROUGH: dict[str, Codec] = {"mjpeg": "jpeg", "h264": "h264", "hevc": "h265"}
_TO_ANNEX_B = {"h264": "h264_mp4toannexb", "h265": "hevc_mp4toannexb"}
_V4L2_FORMATS = {"mjpeg": "mjpeg", "yuyv": "yuyv422", "h264": "h264"}
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935}
_MAX_BAD_IN_A_ROW = 50
_DEVICE_POLL_S = 0.1
_UNKNOWN_DEVICE_POLL_S = 0.004
LOW_LATENCY = {"flags": "low_delay", "max_delay": "0", "analyzeduration": "100000", "fpsprobesize": "0"}  # no nobuffer: it drops the first keyframe

Kind = Literal["network", "device", "file"]


def kind_of(address: str) -> Kind:
    """What an address names: a URL, a character device, or else a file."""
    if "://" in address:
        return "network" if not address.startswith("file://") else "file"
    try:
        return "device" if stat.S_ISCHR(os.stat(address).st_mode) else "file"
    except OSError:
        return "device" if address.startswith("/dev/") else "file"


class AvSource:
    """One opened input of FFmpeg: `codec` says what is passed through (None: frames)."""

    recorded = False

    def __init__(self, address: str, options: Mapping[str, Any], abort: Abort) -> None:
        """Open it. `options`: transport, timeout_s, and for devices input_format, width, height, fps.

        Raises CameraNotFound or CameraBusy with what to check, CaptureCancelled after `abort`.
        """
        self.address, self.kind, self._abort = address, kind_of(address), abort
        self.shown = without_password(address)
        self._timeout_s = float(options.get("timeout_s") or 10)
        self._container = self._open(options)
        try:
            self._stream = next((s for s in self._container.streams.video if not s.disposition & 0x400), None)  # 0x400: a cover picture
            if self._stream is None or self._stream.codec_context is None:
                raise CameraNotFound(f"{self.shown} holds no video. Check the address.")
            context = self._stream.codec_context
            self.width, self.height = context.width, context.height
            self.codec: Codec | None = _PASSED_THROUGH.get(context.name)
            self.fps = float(self._stream.average_rate or self._stream.guessed_rate or 0) or None
            self.model = f"{self._container.format.name.split(',')[0]} {context.name}"
            self.clock_s: float | None = None  # decoding time of the picture last delivered, on the source's clock
            self._annex_b: Any = None
            if self.codec is None:
                self._pixels, self._unpacking = Pixels(), Pixels()  # for whoever takes a picture, and for this thread
            elif self.codec != "jpeg":
                self._prepare_annex_b(self.codec, context.extradata)
            self._device = self._device_descriptor() if self.kind == "device" else None
        except BaseException:
            self.close()
            raise

    def pictures(self) -> Iterator[Picture | Pending]:
        """Each picture once it is complete, from the first keyframe on; a file's end ends it."""
        started = False
        bad = 0
        for packet in self._packets():
            try:
                for picture in self._made_of(packet):
                    started = started or (picture.keyframe if isinstance(picture, Packet) else True)
                    if started:
                        yield replace(picture, dropped_before=bad) if bad else picture
                        bad = 0
            except (BadJpeg, av.error.FFmpegError) as reason:
                bad += 1
                if bad >= _MAX_BAD_IN_A_ROW:
                    raise CameraLost(
                        f"{self.shown} sent {bad} broken pictures in a row; the last one: {reason}. Cupola connects again; if this repeats, "
                        "check the network and restart the camera."
                    ) from None

    def close(self) -> None:
        self._container.close()

    def _open(self, options: Mapping[str, Any]) -> InputContainer:
        chosen: dict[str, str] = {}
        file_format = None
        connecting: AbstractContextManager[None] = nullcontext()
        if self.kind == "network":
            chosen = {**LOW_LATENCY, **({"rtsp_transport": str(options.get("transport") or "tcp")} if self.address.startswith("rtsp") else {})}
            connecting = self._reach()
        elif not os.path.exists(self.address.removeprefix("file://")):
            advice = "Is the camera plugged in? `cupola cameras` lists what is." if self.kind == "device" else "Check the path."
            raise CameraNotFound(f"There is no {self.address}. {advice}")
        elif self.kind == "device":
            file_format = "v4l2"
            chosen = _device_options(options)
        started_s = time.monotonic()
        try:
            with connecting:
                started_s = time.monotonic()
                return av.open(self.address, format=file_format, options=chosen, timeout=(self._timeout_s, self._timeout_s))
        except (OSError, av.error.FFmpegError, ValueError) as problem:
            late = time.monotonic() - started_s >= self._timeout_s  # FFmpeg calls that many things
            raise self._open_problem(TimeoutError() if late else problem, options) from problem

    def _reach(self) -> AbstractContextManager[None]:
        """Connect once by ourselves: FFmpeg can neither be interrupted while connecting nor say well why it failed. Returns what to open it in."""
        parts = urlsplit(self.address)
        try:
            port = parts.port or _PORTS.get(parts.scheme)
        except ValueError:
            raise CameraNotFound(f"{self.shown} has no valid port. Check the address.") from None
        if parts.scheme not in _PORTS or not parts.hostname or port is None:
            return nullcontext()
        host = parts.hostname
        try:
            connect(host, port, self._timeout_s, self._abort).close()
        except OSError as problem:
            if self._abort.is_set():
                raise CaptureCancelled(f"opening {self.shown} was cancelled") from None
            raise CameraNotFound(f"{self.shown} {unreachable(problem, host, self._timeout_s)}") from problem
        self._connections = Connections(host, port)
        return self._connections.opening(self._abort)

    def _open_problem(self, problem: Exception, options: Mapping[str, Any]) -> CupolaError:
        if self._abort.is_set():
            return CaptureCancelled(f"opening {self.shown} was cancelled")
        if getattr(problem, "errno", None) == errno.EBUSY:
            return CameraBusy(f"{self.shown} is in use by another program. Close it (`fuser {self.shown}` names it), then connect again.")
        why, advice = self._reason(problem, options)
        return CameraNotFound(f"{self.shown} {why}. {advice}")

    def _reason(self, problem: Exception, options: Mapping[str, Any]) -> tuple[str, str]:
        """What happened, and what to do about it."""
        match problem:
            case av.error.HTTPUnauthorizedError() | av.error.HTTPForbiddenError():
                has_login = self.kind == "network" and urlsplit(self.address).username is not None
                return "wants a login", "Check user and password in the address." if has_login else "Write it as rtsp://user:password@host/…"
            case av.error.HTTPNotFoundError():
                return "is not there, though its host is (404)", "Check the path of the address in the camera's manual."
            case av.error.ExitError() | TimeoutError():
                return f"did not send any video within {self._timeout_s:g} s", "Check that the camera is on; a larger timeout_s gives it more time."
            case PermissionError() if self.kind == "device":
                return "may not be read", "Add Cupola's user to the group video (`sudo usermod -aG video USER`) and log in again."
            case PermissionError():
                return "may not be read", "Check its permissions."
            case _:
                said = getattr(problem, "strerror", None) or str(problem)
        if self.kind == "device":
            wanted = ", ".join(f"{key} {options[key]}" for key in ("input_format", "width", "height", "fps") if options.get(key))
            return f"delivers no video with {wanted or 'its defaults'} ({said})", f"`v4l2-ctl --list-formats-ext -d {self.shown}` lists what it can."
        if self.kind == "file":
            return f"is not a video, or was cut off before its index ({said})", "Check the file."
        return f"does not answer with video ({said})", "Check the address."

    def _packets(self) -> Iterator["av.Packet[Any]"]:
        while True:
            if self._device is not None and not select.select([self._device], [], [], _DEVICE_POLL_S)[0]:
                if self._abort.is_set():
                    return
                continue
            try:
                for packet in self._container.demux(self._stream):
                    if packet.size:
                        yield packet
                    elif self.kind == "file":
                        yield packet  # the empty one at the end: what the decoder still holds
                    if self._device is not None or self._abort.is_set():
                        break
                else:
                    return
            except av.error.BlockingIOError:
                if self._abort.wait(_UNKNOWN_DEVICE_POLL_S):
                    return
            except av.error.ExitError:
                raise CameraUnresponsive(
                    f"{self.shown} has sent nothing for {self._timeout_s:g} s. Cupola connects again; check its power."
                ) from None
            except av.error.FFmpegError as problem:
                if self.kind == "file":
                    return
                raise CameraLost(f"{self.shown} is gone: {problem.strerror}. Cupola connects again by itself.") from problem
            if self._abort.is_set():
                return

    def _made_of(self, packet: "av.Packet[Any]") -> Iterator[Picture | Pending]:
        at_ns, now = monotonic_ns(), utc_now()
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is not None and packet.time_base:
            self.clock_s = float(stamp * packet.time_base)
        if self.codec is None:
            if self.kind == "device":
                yield Pending(None, packet.size, now, now, at_ns, clock_synced(), lasting=partial(self._lasting, packet))
                return
            for picture in packet.decode():
                yield Pending(partial(self._pixels.frame, picture), _nbytes(picture), now, now, at_ns, clock_synced())
            return
        if not packet.size:
            return
        if packet.is_corrupt:
            raise BadJpeg("it is cut off")
        pts_s = float(packet.pts * packet.time_base) if packet.pts is not None and packet.time_base else None
        for whole in self._annex_b.filter(packet) if self._annex_b else (packet,):
            data = bytes(whole)
            if self.codec == "jpeg":
                size = inspect(data)
                if size != (self.width, self.height):
                    raise BadJpeg(f"it is {size.width} x {size.height} where the stream says {self.width} x {self.height}")
            elif whole.is_keyframe:
                data = self._sets.complete(data)
            keyframe = self.codec == "jpeg" or whole.is_keyframe
            made = Packet(0, now, now, at_ns, self.codec, data, self.width, self.height, keyframe, pts_s, clock_synced=clock_synced())
            if keyframe and not self.width:  # a camera that tells its size in the pictures only
                decoder = Decoder(self.codec)
                decoder.decode(made)
                self.width, self.height = decoder.size
                made = replace(made, width=self.width, height=self.height)
            yield made

    def _lasting(self, packet: "av.Packet[Any]") -> Callable[..., Frame] | None:
        """What makes a frame of a webcam's picture, from memory of our own; None when it is broken.

        The picture came in memory that goes with the device, and crashes whoever reads it after the camera is unplugged.
        The usual packed ones are taken apart with the copying, which costs no more.
        """
        context = self._stream.codec_context if self._stream is not None else None
        try:
            if context is not None and context.pix_fmt in PACKED:
                pictures = [self._unpacking.planar(picture) for picture in packet.decode()]
            else:
                own: av.Packet[Any] = av.Packet(bytes(packet))
                pictures = context.decode(own) if context is not None else []
        except av.error.FFmpegError:
            return None
        return partial(self._pixels.frame, pictures[-1]) if pictures else None

    def _prepare_annex_b(self, codec: Literal["h264", "h265"], extradata: bytes | None) -> None:
        self._sets = ParameterSets(codec, extradata)
        if extradata and extradata[0] == 1:  # avcC and hvcC begin with version 1, Annex B with a start code
            self._annex_b = BitStreamFilterContext(_TO_ANNEX_B[codec], self._stream)

    def _device_descriptor(self) -> int | None:
        """FFmpeg's open descriptor of the device, to wait on it: a read of its own would block without end."""
        wanted = os.stat(self.address).st_rdev
        for name in os.listdir("/proc/self/fd"):
            try:
                status = os.stat(f"/proc/self/fd/{name}")
            except OSError:
                continue
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == wanted:
                return int(name)
        return None


def _nbytes(picture: "av.VideoFrame") -> int:
    return sum(plane.buffer_size for plane in picture.planes)


def _device_options(options: Mapping[str, Any]) -> dict[str, str]:
    chosen: dict[str, str] = {}
    if options.get("input_format"):
        chosen["input_format"] = _V4L2_FORMATS[options["input_format"]]
    if options.get("width") and options.get("height"):
        chosen["video_size"] = f"{options['width']}x{options['height']}"
    if options.get("fps"):
        chosen["framerate"] = str(options["fps"])
    return chosen
