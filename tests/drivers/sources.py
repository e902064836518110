"""Cameras for the tests of drivers: real servers in processes of their own, and one that misbehaves as told."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import simplejpeg

from cupola.core.frame import Station, Stop
from cupola.drivers.video import Video
from tests.support.mjpeg_source import picture

SUPPORT = Path(__file__).parents[1] / "support"
VIDEO: dict[str, Any] = {"record": None, "input_format": None, "width": None, "height": None, "fps": None, "timeout_s": 10.0, "transport": "tcp"}


@contextmanager
def program(*command: str) -> Iterator[dict[str, str]]:
    """A camera program; yields what it says when it is ready, and ends it after."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin and process.stdout
    try:
        line = process.stdout.readline()
        assert line, f"{' '.join(command)} did not start; which packages it needs stands at its top"
        yield json.loads(line)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def mjpeg_camera(*options: str) -> contextlib.AbstractContextManager[dict[str, str]]:
    return program(sys.executable, str(SUPPORT / "mjpeg_source.py"), *options)


def rtsp_camera(*options: str) -> contextlib.AbstractContextManager[dict[str, str]]:
    return program("/usr/bin/python3", str(SUPPORT / "rtsp_server.py"), *options)


def jpeg(number: int = 0, width: int = 320, height: int = 240) -> bytes:
    return simplejpeg.encode_jpeg(picture(width, height, number), quality=85)


MULTIPART = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=cut\r\n\r\n"


def part(body: bytes, *, length: int | None = -1, kind: bytes = b"image/jpeg") -> bytes:
    """One part; `length`: -1 tells the true one, None tells none, other numbers lie."""
    told = b"" if length is None else b"Content-Length: %d\r\n" % (len(body) if length == -1 else length)
    return b"--cut\r\nContent-Type: %s\r\n%s\r\n%s\r\n" % (kind, told, body)


class ScriptedServer:
    """A TCP server on 127.0.0.1 that reads a request and does with the connection what the script says."""

    def __init__(self, script: Callable[[socket.socket, bytes], None]) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/stream"
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "ScriptedServer":
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self.ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        while not self.ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5)
                request = b""
                while b"\r\n\r\n" not in request and (piece := connection.recv(4096)):
                    request += piece
                if request:
                    self._script(connection, request)


def sends(*pieces: bytes, then_wait: bool = True) -> Callable[[socket.socket, bytes], None]:
    """A script: send these, then keep the connection open until the client is gone (or close it at once)."""

    def script(connection: socket.socket, request: bytes) -> None:
        for piece in pieces:
            connection.sendall(piece)
        while then_wait and connection.recv(4096):
            pass

    return script


def write_video(path: Path, codec: str = "libx264", frames: int = 50, fps: int = 25, options: dict[str, str] | None = None) -> None:
    """A video with barcodes, 320 x 240; `+faststart` puts an MP4's index first, so that it can be cut."""
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height = 320, 240
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = 10
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture(320, 240, number)), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def video(source: str | Path, **options: Any) -> Video:
    return Video({**VIDEO, "source": str(source), **options}, Station())


def taken(camera: Video, count: int) -> list[Any]:
    """Open, take that many pictures of the stream, close."""
    try:
        camera.open()
        with contextlib.closing(camera.stream(Stop())) as stream:
            return list(islice(stream, count))
    finally:
        camera.close()
