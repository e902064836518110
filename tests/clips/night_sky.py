"""A simulated night sky as an MJPEG camera, over which a bright streak moves on command, and a robot's status page beside it."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import simplejpeg

WIDTH, HEIGHT, FPS = 640, 360, 10
CROSSING_S = 1.5


def sky(
    number: int, streak: float | None = None, *, noise: float = 4.0, light: float = 30.0, row: float = 0.35, thick: float = 4.0
) -> npt.NDArray[np.uint8]:
    """(H, W) picture `number`: stars, noise, a gradient. `streak`: how far one has come, 0 to 1; its middle's height is `row`."""
    scene = light + STARS
    if streak is not None:
        x, y = streak * WIDTH, (row - 0.1 + 0.2 * streak) * HEIGHT
        along, across = COLUMNS - x, ROWS - y - 0.11 * (COLUMNS - x)
        scene += 220 * np.exp(-((across / thick) ** 2)) * ((along < 0) & (along > -90))
    scene += noise * np.roll(NOISE, 977 * number)
    return scene.clip(0, 255).astype(np.uint8)


def _stars() -> npt.NDArray[np.float32]:
    dice, scene = np.random.default_rng(1), np.zeros((HEIGHT, WIDTH), np.float32) + 15 * ROWS / HEIGHT
    glow = np.array([[0.3, 0.6, 0.3], [0.6, 1, 0.6], [0.3, 0.6, 0.3]], np.float32)
    for y, x, peak in zip(dice.integers(2, HEIGHT - 2, 300), dice.integers(2, WIDTH - 2, 300), dice.exponential(50, 300), strict=True):
        scene[y - 1 : y + 2, x - 1 : x + 2] += np.float32(peak) * glow
    return scene


ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
STARS = _stars()
NOISE = np.random.default_rng(2).normal(0, 1, (HEIGHT, WIDTH)).astype(np.float32)


def jpeg(picture: npt.NDArray[np.uint8]) -> bytes:
    return simplejpeg.encode_jpeg(np.ascontiguousarray(picture)[:, :, None], quality=85, colorspace="GRAY")


class Observatory:
    """`camera` and `robot` are its URLs; `status` is what the robot answers: JSON, or bytes as they are, or an HTTP status."""

    def __init__(self) -> None:
        self.status: Any = {"fault": 0}
        self.begun: float | None = None  # of the streak under way
        quiet = [jpeg(sky(number)) for number in range(20)]
        streaks = [jpeg(sky(100 + number, number / (CROSSING_S * FPS))) for number in range(int(CROSSING_S * FPS) + 1)]
        observatory = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.startswith("/status"):
                    observatory._answer(self)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=cut")
                self.end_headers()
                number, due = 0, time.monotonic()
                try:
                    while True:
                        begun = observatory.begun
                        step = None if begun is None else int((time.monotonic() - begun) * FPS)
                        body = quiet[number % len(quiet)] if step is None or step >= len(streaks) else streaks[step]
                        self.wfile.write(b"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(body), body))
                        number, due = number + 1, due + 1 / FPS
                        time.sleep(max(0.0, due - time.monotonic()))
                except OSError:
                    pass  # the station is gone

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        port = self._server.server_address[1]
        self.camera, self.robot = f"http://127.0.0.1:{port}/stream", f"http://127.0.0.1:{port}/status"

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        status = self.status
        body = status if isinstance(status, bytes) else json.dumps(status).encode()
        handler.send_response(status if isinstance(status, int) else 200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def streak(self) -> float:
        """Let one cross the sky; when it began, by the monotonic clock."""
        self.begun = time.monotonic()
        return self.begun

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._server.shutdown()
        self._server.server_close()
