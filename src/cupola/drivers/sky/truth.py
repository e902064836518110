"""The truth beside each frame: a JSON file that says where stars and streaks really are, for measuring detectors.

Written by a thread of its own, after the frame was handed over. What is in the sky is `scene`'s.
"""

import json
import math
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from cupola.core.clock import iso_utc
from cupola.core.frame import Controls
from cupola.drivers.sky.scene import Picture, Scene, Streak

_STAR_PIXELS = 12.0  # whose noise a star's light has to beat: 4 pi sigma² of a Gaussian of 0.85 px, with the centre's rounding


class TruthWriter:
    """One folder, one file a frame: `<opened_at compact>_<seq>.json`. Positions in pixels, (0, 0) the centre of the top left one."""

    def __init__(self, folder: Path, scene: Scene) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._scene = folder, scene
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="truth")
        self._last: Future[None] | None = None

    def write(self, seq: int, opened_at: datetime, sky_s: float, applied: Controls, picture: Picture, other_e2: float, streaks: list[Streak]) -> None:
        """Queue a frame's file. `other_e2` is the variance of dark and reading."""
        if self._last is not None and self._last.done():
            self._last.result()  # a folder that cannot be written is an error worth stopping for
        self._last = self._thread.submit(self._write, seq, opened_at, sky_s, applied, picture, other_e2, streaks)

    def close(self) -> None:
        """Wait for what is queued."""
        self._thread.shutdown()

    def _write(
        self, seq: int, opened_at: datetime, sky_s: float, applied: Controls, picture: Picture, other_e2: float, streaks: list[Streak]
    ) -> None:
        stars, background = picture.stars, picture.background_e
        flux = stars.flux_e
        snr = flux / np.sqrt(np.maximum(flux + _STAR_PIXELS * (background + other_e2), 1e-9))
        width, height = self._scene.lens.width, self._scene.lens.height
        kept = np.flatnonzero((snr > 1.0) & (stars.x >= 0) & (stars.x <= width - 1) & (stars.y >= 0) & (stars.y <= height - 1))
        table: dict[str, Any] = {
            "seq": seq,
            "opened_at": iso_utc(opened_at),
            "sky_time_s": round(sky_s, 6),
            "exposure_s": applied.exposure_s,
            "gain": applied.gain,
            "sun_altitude_deg": round(picture.lamps.sun.altitude_deg, 4),
            "moon_altitude_deg": round(picture.lamps.moon.altitude_deg, 4),
            "moon_phase_angle_deg": round(picture.lamps.phase_angle_deg, 2),
            "sky_background_e": round(background, 3),
            "stars": [
                {
                    "hip": int(stars.hip[i]),
                    "x": round(float(stars.x[i]), 3),
                    "y": round(float(stars.y[i]), 3),
                    "flux_e": round(float(flux[i]), 1),
                    "magnitude": round(float(stars.magnitude[i]), 3),
                    "snr": round(float(snr[i]), 2),
                }
                for i in kept
            ],
            "streaks": [
                {
                    "kind": s.kind,
                    "x0": round(s.x0, 2),
                    "y0": round(s.y0, 2),
                    "x1": round(s.x1, 2),
                    "y1": round(s.y1, 2),
                    "length_px": round(math.hypot(s.x1 - s.x0, s.y1 - s.y0), 1),
                    "flux_e": round(s.flux_e, 1),
                    "magnitude": round(s.magnitude, 2),
                }
                for s in streaks
            ],
        }
        path = self._folder / f"{opened_at:%Y%m%dT%H%M%SZ}_{seq:06d}.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(table, allow_nan=False))
        temporary.replace(path)
