"""Follows a camera of another station: says how much of the picture moves, and keeps every tenth frame.

    python examples/moving.py redis://viewer:PASSWORD@HOST:6379 roof sky --into frames

Needs Cupola (`pip install cupola`), which brings redis, numpy and simplejpeg; a running server it does not need.
"""

import argparse
from pathlib import Path

import numpy as np
import simplejpeg

from cupola.stream import frames

FORGETS = 0.1  # share of each frame in the background: a parked car belongs to it after some dozen frames
LEVELS = 25  # of 255: what differs by less is noise

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("url")
parser.add_argument("station")
parser.add_argument("camera")
parser.add_argument("--into", type=Path, default=Path("frames"))
parser.add_argument("--count", type=int, help="end after so many frames")
options = parser.parse_args()
options.into.mkdir(parents=True, exist_ok=True)

background = None
for number, frame in enumerate(frames(options.url, station=options.station, camera=options.camera), 1):
    grey = frame.array.mean(axis=2, dtype=np.float32)
    if background is None or background.shape != grey.shape:
        background = grey.copy()
    moving = np.abs(grey - background) > LEVELS
    background += FORGETS * (grey - background)
    print(f"{frame.time:%H:%M:%S.%f} frame {frame.sequence}: {moving.mean():.1%} moving, {frame.missing} missing before it", flush=True)
    if number % 10 == 0:
        picture = frame.array.copy()
        picture[moving] = (255, 0, 0)
        (options.into / f"{frame.sequence:08d}.jpg").write_bytes(simplejpeg.encode_jpeg(picture, quality=85))
    if number == options.count:
        break
