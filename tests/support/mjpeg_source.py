"""An MJPEG camera over HTTP on 127.0.0.1 whose frames carry their number as a barcode in the pixels.

Run:   mjpeg_source.py [--size 640x360] [--fps 25] [--frames 100] [--port 0] [--no-length]
       /stream        multipart MJPEG from the frame of "now" on, none left out; --no-length: parts without Content-Length
       /frame/N.jpg   the very bytes of frame N
Prints one line of JSON when it is ready, with its address and when frame 0 was due (CLOCK_MONOTONIC, s); ends when its standard input does, or on SIGTERM.

Barcode: 19 cells in the top-left corner, each 1/20 of the width and 1/15 of the height: white guard, black
guard, 16 bits (least first), even parity. It survives JPEG, H.264 and scaling.
"""

import argparse
import http.server
import json
import socketserver
import sys
import threading
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg

BITS, COLUMNS, ROWS, BOUNDARY = 16, 20, 15, b"frameboundary"
SCENES = 100  # different ones, behind any number of barcodes


def draw_barcode(picture: npt.NDArray[np.uint8], number: int) -> None:
    """Write a number into the top-left corner of an (H, W) or (H, W, 3) picture, in place."""
    height, width = picture.shape[:2]
    bits = [number >> k & 1 for k in range(BITS)]
    for position, bit in enumerate([1, 0, *bits, sum(bits) & 1]):
        picture[: height // ROWS, width * position // COLUMNS : width * (position + 1) // COLUMNS] = 255 if bit else 0


def read_barcode(picture: npt.NDArray[Any]) -> int | None:
    """The number drawn into a picture of any size, or None when there is no valid one."""
    height, width = picture.shape[:2]
    top, bottom = height // ROWS // 4, max(height // ROWS // 4 + 1, height // ROWS * 3 // 4)
    levels = [float(picture[top:bottom, int(width * (k + 0.3) / COLUMNS) : int(width * (k + 0.7) / COLUMNS) + 1].mean()) for k in range(BITS + 3)]
    white, black = levels[:2]
    if white - black < 60:
        return None
    bits = [int(level > (white + black) / 2) for level in levels[2:]]
    return None if sum(bits) & 1 else sum(bit << k for k, bit in enumerate(bits[:BITS]))


def picture(width: int, height: int, number: int) -> npt.NDArray[np.uint8]:
    """An (H, W, 3) picture: soft shapes, some noise, the barcode of `number`."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    scene = 120 + 60 * np.sin(columns / 37 + number / 9)[..., None] * np.cos(rows / 29)[..., None] * np.array([1, 0.7, 0.4], np.float32)
    noise = np.random.default_rng(number).normal(0, 3, (height, width, 1)).astype(np.float32)
    drawn: npt.NDArray[np.uint8] = (scene + noise).clip(0, 255).astype(np.uint8)
    draw_barcode(drawn, number)
    return drawn


class Handler(http.server.BaseHTTPRequestHandler):
    frames: list[bytes]
    fps: float
    with_length: bool
    started = time.monotonic()

    def do_GET(self) -> None:
        if self.path == "/stream":
            self._stream()
        elif self.path.startswith("/frame/"):
            self._whole(self.frames[int(self.path[7:-4])])
        else:
            self.send_error(404)

    def _whole(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=" + BOUNDARY.decode())
        self.end_headers()
        number = int((time.monotonic() - self.started) * self.fps)
        try:
            while True:
                time.sleep(max(0.0, self.started + number / self.fps - time.monotonic()))
                jpeg = self.frames[number % len(self.frames)]
                length = b"Content-Length: %d\r\n" % len(jpeg) if self.with_length else b""
                self.wfile.write(b"--%s\r\nContent-Type: image/jpeg\r\n%s\r\n%s\r\n" % (BOUNDARY, length, jpeg))
                number += 1
        except OSError:
            return

    def log_message(self, format: str, *args: Any) -> None:
        return


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--fps", type=float, default=25)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--no-length", action="store_true")
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    scenes = [picture(width, height, number) for number in range(min(args.frames, SCENES))]
    Handler.frames = []
    for number in range(args.frames):
        draw_barcode(scenes[number % SCENES], number)
        Handler.frames.append(simplejpeg.encode_jpeg(scenes[number % SCENES], quality=85))
    Handler.fps, Handler.with_length, Handler.started = args.fps, not args.no_length, time.monotonic()
    server = Server(("127.0.0.1", args.port), Handler)
    print(json.dumps({"url": f"http://127.0.0.1:{server.server_port}/stream", "started": Handler.started}), flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
