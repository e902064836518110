"""The programs that are measured: a Cupola of its own folder and port, cameras to connect to, and Debian's ustreamer as the peer."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import simplejpeg
import yaml
from tests.support.mjpeg_source import picture

ROOT = Path(__file__).parents[1]
SUPPORT = ROOT / "tests" / "support"
WIDTH, HEIGHT, FPS = 1920, 1080, 30
PICTURES = 30  # different ones; then they repeat
QUALITY = 85  # of the cameras' own JPEGs: about 300 KB each
WITHIN_S = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stopped(process: subprocess.Popen[Any]) -> None:
    """Ask it to end, and end it if it does not."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True, slots=True)
class Running:
    """A started Cupola."""

    process: subprocess.Popen[bytes]
    port: int
    environment: dict[str, str]
    started: float  # time.monotonic() before its start

    @property
    def pid(self) -> int:
        return self.process.pid

    def owner(self) -> dict[str, str]:
        """The header that gives all rights. Raises OSError as long as the server is not there."""
        server = json.loads((Path(self.environment["CUPOLA_RUNTIME_DIR"]) / "server.json").read_text())
        return {"Authorization": f"Bearer {server['token']}"}

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **self.owner()}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def url(self, transport: str) -> str:
        """Of the live view of the camera `bench`, with the owner's token in front of the host."""
        place = f"{self.owner()['Authorization'].removeprefix('Bearer ')}@127.0.0.1:{self.port}"
        return f"ws://{place}/ws/live/bench" if transport == "ws" else f"http://{place}/api/cameras/bench/live.mjpg"

    def wait_open(self) -> None:
        """Raises RuntimeError with the camera's own words when it does not open."""
        end, status = time.monotonic() + WITHIN_S, {}
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                status = self.ask("GET", "/api/cameras/bench")
                if status["state"] == "running":
                    return
            time.sleep(0.05)
        raise RuntimeError(f"the camera did not open within {WITHIN_S:.0f} s: {status.get('problem') or status}")


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "cupola", *words]


@contextlib.contextmanager
def cupola(folder: Path, camera: dict[str, Any], extra: dict[str, str] | None = None, *, wait: bool = True) -> Iterator[Running]:
    """A server with the one camera `bench`, in a new folder below `folder`."""
    home = folder / f"cupola-{free_port()}"
    home.mkdir()
    port = free_port()
    settings = {
        "cameras": [{"name": "bench", **camera}],
        "storage": {"root": str(home / "images")},
        "logging": {"folder": str(home / "logs")},
        "web": {"port": port, "max_viewers": 50},
    }
    (home / "cupola.yaml").write_text(yaml.safe_dump(settings))
    folders = {name: str(home) for name in ("HOME", "XDG_RUNTIME_DIR", "CUPOLA_RUNTIME_DIR")}
    environment = {**os.environ, **folders, "PYTHONPATH": f"{ROOT / 'src'}", **(extra or {})}
    with open(home / "printed", "wb") as printed:
        started = time.monotonic()
        process = subprocess.Popen(command("run", "--config", str(home / "cupola.yaml")), env=environment, stdout=printed, stderr=printed, cwd=home)
        try:
            running = Running(process, port, environment, started)
            if wait:
                running.wait_open()
            yield running
        except (RuntimeError, OSError) as error:
            error.add_note((home / "printed").read_text(errors="replace")[-2000:])
            raise
        finally:
            stopped(process)
            shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def mjpeg_camera(size: str = f"{WIDTH}x{HEIGHT}", fps: int = FPS) -> Iterator[dict[str, Any]]:
    """A network camera; what it says: `url`, and `started`, the monotonic time its frame 0 was due."""
    options = ["--size", size, "--fps", str(fps), "--frames", str(PICTURES)]
    source = subprocess.Popen(
        [sys.executable, str(SUPPORT / "mjpeg_source.py"), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert source.stdin and source.stdout
    try:
        yield json.loads(source.stdout.readline())
    finally:
        source.kill()
        source.wait()
        source.stdin.close()
        source.stdout.close()


def network_driver(url: str) -> dict[str, Any]:
    return {"driver": "video", "video": {"source": url}}


class Webcam:
    """Frames for, and the library of, the stand-in for V4L2 (tests/support/fakev4l2.c)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "webcam"
        self.device = self.folder / "video0"
        if self.folder.exists():
            return
        self.folder.mkdir()
        library = str(self.folder / "fake.so")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, str(SUPPORT / "fakev4l2.c"), "-ldl"], check=True)
        self.device.symlink_to("/dev/null")  # a character device, as a webcam is
        for number in range(PICTURES):
            drawn = picture(WIDTH, HEIGHT, number)
            name = self.folder / f"{number + 1:03d}"
            name.with_suffix(".jpg").write_bytes(simplejpeg.encode_jpeg(drawn, quality=QUALITY))
            packed = av.VideoFrame.from_ndarray(drawn, format="rgb24").reformat(format="yuyv422")
            lines = np.frombuffer(memoryview(packed.planes[0]), np.uint8).reshape(HEIGHT, -1)[:, : 2 * WIDTH]
            name.with_suffix(".yuyv").write_bytes(lines.tobytes())

    def environment(self, form: str) -> dict[str, str]:
        """For a program that opens the device; `form`: MJPEG or YUYV."""
        return {
            "LD_PRELOAD": str(self.folder / "fake.so"),
            "FAKE_PATH": str(self.device),
            "FAKE_DIR": str(self.folder),
            "FAKE_FMT": form,
            "FAKE_W": str(WIDTH),
            "FAKE_H": str(HEIGHT),
            "FAKE_FPS": str(FPS),
        }

    def driver(self) -> dict[str, Any]:
        size = {"width": WIDTH, "height": HEIGHT, "fps": FPS}
        return {"driver": "video", "video": {"source": str(self.device), "input_format": "yuyv", **size}}

    @contextlib.contextmanager
    def ustreamer(self, form: str) -> Iterator[tuple[int, str]]:
        """Debian's ustreamer on the same frames: its pid and the stream's URL."""
        port = free_port()
        words = ["ustreamer", "--device", str(self.device), "-r", f"{WIDTH}x{HEIGHT}", "-m", form, "-f", str(FPS)]
        words += ["-c", "HW" if form == "MJPEG" else "CPU", "-q", "80", "--host", "127.0.0.1", "--port", str(port)]
        server = subprocess.Popen(words, env={**os.environ, **self.environment(form)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + WITHIN_S
            while time.monotonic() < end:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield server.pid, f"http://127.0.0.1:{port}/stream"
        finally:
            stopped(server)


def has_peer() -> bool:
    return shutil.which("ustreamer") is not None
