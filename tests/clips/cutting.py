"""A station with a pre-roll on a camera whose frames carry their numbers, and what is found in its clips."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import httpx
import psutil
from tests.drivers.sources import mjpeg_camera
from tests.support.mjpeg_source import draw_barcode, picture, read_barcode
from tests.support.station import as_owner, eventually, free_port, station_at

FPS = 25
FRAMES = 1000  # the source's, over and over
CONFIG = """
cameras:
  - name: gate
    driver: video
    video: {{source: "{source}", record: {record}}}
    preroll: {{seconds: {seconds}, before_s: 3, after_s: 2, longest_s: 30}}
storage: {{root: {root}, min_free_percent: 0, reserve_mb: 1}}
clips: {{at_once: 32}}
logging: {{folder: logs}}
web: {{port: {port}}}
"""


@dataclass
class Cutting:
    folder: Path
    http: httpx.Client

    @property
    def server(self) -> psutil.Process:
        """The station's own process."""
        return psutil.Process(json.loads((self.folder / "runtime" / "server.json").read_text())["pid"])

    def child(self, module: str) -> psutil.Process | None:
        """The server's child that runs `module`."""
        return next((child for child in self.server.children() if module in child.cmdline()), None)

    def ring(self) -> dict[str, Any]:
        return self.http.get("/api/cameras/gate").json()["preroll"]

    def until_ring_holds(self, seconds: float) -> None:
        eventually(lambda: self.ring()["seconds"] >= seconds, 40)

    def trigger(self, **wanted: Any) -> dict[str, Any]:
        answer = self.http.post("/api/cameras/gate/trigger", json=wanted)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def clip(self, number: int) -> dict[str, Any]:
        return self.http.get(f"/api/clips/{number}").json()

    def recording(self) -> int:
        """How many clips are not finished, of the newest hundred."""
        return sum(clip["state"] == "recording" for clip in self.http.get("/api/clips", params={"limit": 100}).json()["items"])

    def finished(self, number: int, seconds: float = 90) -> dict[str, Any]:
        return eventually(lambda: (clip := self.clip(number))["state"] != "recording" and clip, seconds)

    def video(self, number: int, **wanted: str) -> Path:
        """The clip as it is served, until the next one is asked for."""
        path = self.folder / "clip.mp4"
        path.write_bytes(self.http.get(f"/api/clips/{number}/video", params=wanted).raise_for_status().content)
        return path

    def frames(self, number: int) -> list[int | None]:
        """The numbers in the clip's pictures."""
        return numbers(self.video(number))


def numbers(path: Path) -> list[int | None]:
    with av.open(str(path)) as container:
        return [read_barcode(frame.to_ndarray(format="gray")) for frame in container.decode(video=0)]


@contextmanager
def cutting(folder: Path, source: str, *, record: str | None = None, seconds: float = 6, root: str = "images") -> Iterator[Cutting]:
    """A station of its own in `folder`; again in the same folder, the same station."""
    (folder / "home").mkdir(exist_ok=True)
    (folder / "runtime" / "server.json").unlink(missing_ok=True)
    port = free_port()
    (folder / "cupola.yaml").write_text(CONFIG.format(source=source, record=json.dumps(record), seconds=seconds, root=root, port=port))
    with (
        station_at(folder, "--config", "cupola.yaml"),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=as_owner(folder), trust_env=False, timeout=30) as http,
    ):
        eventually(lambda: _up(http), 40)
        yield Cutting(folder, http)


def _up(http: httpx.Client) -> bool:
    try:
        return http.get("/api/cameras/gate").json()["state"] == "running"
    except httpx.TransportError:
        return False


@contextmanager
def busy_machine() -> Iterator[None]:
    """Every core is wanted by another program, all the while."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def film(path: Path, seconds: int, codec: str = "libx264", size: tuple[int, int] = (640, 360)) -> Path:
    """H.264 (or H.265) at 25 frames a second, numbered, a keyframe each second."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=FPS)
        (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
        keyframes = {"g": str(FPS), "keyint_min": str(FPS), "sc_threshold": "0", "threads": "1"}
        if codec == "libx265":
            keyframes = {"x265-params": f"log-level=error:keyint={FPS}:min-keyint={FPS}:scenecut=0:bframes=0:pools=1"}
            stream.codec_context.codec_tag = "hvc1"
        stream.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "24", **keyframes}
        image = picture(*size, 0).copy()
        for number in range(seconds * FPS):
            draw_barcode(image, number)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def assert_grown(content: bytes) -> None:
    """This MP4 was written while its packets came: behind its index lies what is left of the room that was kept for it."""
    boxes, at = list[tuple[bytes, int]](), 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        boxes.append((content[at + 4 : at + 8], size))
        at += size
    assert [kind for kind, _ in boxes[:3]] == [b"ftyp", b"moov", b"free"] and boxes[-1][0] == b"mdat" and boxes[2][1] > 1000, boxes


def gaps(found: list[int | None], *, turning: bool = True) -> list[tuple[int | None, int | None]]:
    """Neighbours whose numbers do not follow each other. `turning`: they begin anew after FRAMES, as the JPEG camera's do, and a film's do not."""
    return [(a, b) for a, b in pairwise(found) if a is None or b is None or b != ((a + 1) % FRAMES if turning else a + 1)]


def moment(clip: dict[str, Any]) -> float:
    """When a clip was triggered, by the monotonic clock."""
    return time.monotonic() - (datetime.now(UTC) - datetime.fromisoformat(clip["triggered_at"])).total_seconds()


def due(started: float, number: int, near: float) -> float:
    """When the frame of this number was due, by the monotonic clock: of all the times that it came round, the one nearest to `near`."""
    first = started + number / FPS
    return first + round((near - first) * FPS / FRAMES) * FRAMES / FPS


def numbered(*options: str) -> AbstractContextManager[dict[str, str]]:
    """A JPEG camera."""
    return mjpeg_camera("--size", "640x360", "--fps", str(FPS), "--frames", str(FRAMES), *options)
