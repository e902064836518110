"""The keogram: one line of pixels of each image, side by side along the time of the night.

The axis is true: a column is so many seconds, from the window's beginning to its end, whether images came or not. Columns without any are
hatched; where no interval says when one was due, the pace of the images before does. Marks below are at local time; where the clocks change, an hour is missing or twice there, and the columns go on evenly.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from math import cos, hypot, radians, sin
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import numpy as np

from cupola.core.clock import iso_utc
from cupola.darkroom.growth import JPEG_QUALITY, Kind, LeftOut, Picture, Shot, Window, put
from cupola.storage.files import WrittenFile, write_durable

BAND = 26  # rows of the time axis
STEPS_MIN = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720)
LABEL_PX = 72  # two labels are at least so far apart
READOUT_S = 5.0  # between two exposures that follow each other; a longer pause is a gap
PAUSE = 2.5  # times the pause before: so much longer, and it is a gap, where no interval is set
MOMENT_S = 10.0  # so late after a night's end its last image may open
HATCH = (24, 44)  # shades of grey that no sky has in stripes


@dataclass(frozen=True, slots=True)
class Settings:
    make: bool
    angle_deg: float
    width: int


class Keogram:
    """(width, line, 3) pixels, so that a column lies in one piece, and which columns have any; whatever the number of images."""

    kind: Kind = "keogram"
    shows_words = False

    def __init__(self, settings: Settings, window: Window) -> None:
        self._settings, self._window = settings, window
        self._span_s = max((window.ends_at - window.starts_at).total_seconds(), 1.0)
        self._shape: tuple[int, int] | None = None  # of the images
        self._columns = np.zeros((0, 0, 3), np.uint8)
        self._covered = np.zeros(settings.width, np.bool_)
        self._line: tuple[np.ndarray, np.ndarray] = (np.zeros(0, int), np.zeros(0, int))
        self._before_s: float | None = None  # of the window, when the newest image was opened
        self._pauses_s: list[float] = []  # between the newest three

    @property
    def made_with(self) -> dict[str, Any]:
        window = self._window
        return {**asdict(self._settings), "window": [iso_utc(window.starts_at), iso_utc(window.ends_at), window.interval_s, window.timezone]}

    def add(self, picture: Picture, shot: Shot) -> None:
        """Raises LeftOut for an image of another size, or from outside of the window."""
        first = self._column(shot.opened_at)
        lasts_s = 1.25 * max(self._window.interval_s or 0.0, (shot.exposure_s or 0.0) + READOUT_S)
        last = self._column(shot.opened_at + timedelta(seconds=lasts_s))
        if shot.opened_at < self._window.ends_at + timedelta(seconds=MOMENT_S):
            first = min(first, self._settings.width - 1)
        if last < 0 or first >= self._settings.width:
            raise LeftOut("it was taken outside of the hours of the keogram")
        shape = cast("tuple[int, int]", picture.shape[:2])
        if self._shape is None:
            self._begin(shape)
        elif shape != self._shape:
            raise LeftOut(f"it has {shape[1]} x {shape[0]} pixels, not {self._shape[1]} x {self._shape[0]} as those before")
        if self._window.interval_s is None:
            self._bridge(shot.opened_at, max(first, 0))
        covered = slice(max(first, 0), min(last, self._settings.width - 1) + 1)
        self._columns[covered] = picture[self._line]
        self._covered[covered] = True

    def _bridge(self, opened_at: datetime, first: int) -> None:
        """Without an interval, the image before holds until this one, unless this one comes much later than the pace of those before has it."""
        now_s = (opened_at - self._window.starts_at).total_seconds()
        pause_s = None if self._before_s is None else now_s - self._before_s
        if pause_s is not None and self._pauses_s and 0 < pause_s <= PAUSE * min(self._pauses_s):
            before = max(self._column(self._window.starts_at + timedelta(seconds=self._before_s or 0.0)), 0)
            self._columns[before:first] = self._columns[before]
            self._covered[before:first] = True
        self._pauses_s = [*self._pauses_s[-1:], pause_s] if pause_s is not None else []
        self._before_s = now_s

    def _begin(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._line = line_through(shape, self._settings.angle_deg)
        self._columns = np.zeros((self._settings.width, len(self._line[0]), 3), np.uint8)

    def _column(self, moment: datetime) -> int:
        return int((moment - self._window.starts_at).total_seconds() / self._span_s * self._settings.width // 1)

    def state(self) -> tuple[dict[str, Any], Picture | None]:
        facts = {"shape": self._shape, "covered": np.packbits(self._covered).tobytes().hex(), "before_s": self._before_s, "pauses_s": self._pauses_s}
        return facts, self._columns if self._shape else None

    def restore(self, facts: dict[str, Any], pixels: Picture | None) -> None:
        if facts["shape"] is None or pixels is None:
            return
        covered = np.unpackbits(np.frombuffer(bytes.fromhex(facts["covered"]), np.uint8), count=self._settings.width)
        shape = (int(facts["shape"][0]), int(facts["shape"][1]))
        if pixels.shape != (self._settings.width, len(line_through(shape, self._settings.angle_deg)[0]), 3):
            raise ValueError("its pixels have another size")
        self._begin(shape)
        self._columns, self._covered = pixels, covered.astype(np.bool_)
        self._before_s, self._pauses_s = facts["before_s"], list(facts["pauses_s"])

    def picture(self) -> Picture:
        """(line + BAND, width, 3): the columns, and the time axis below them."""
        width, height = self._columns.shape[:2]
        whole = np.zeros((height + BAND, width, 3), np.uint8)
        whole[:height] = self._columns.transpose(1, 0, 2)
        rows, gaps = np.arange(height)[:, np.newaxis], np.flatnonzero(~self._covered)
        whole[:height, gaps] = np.where((rows + gaps) % 12 < 6, *HATCH)[:, :, np.newaxis]
        _draw_axis(whole[height:], self._window)
        return whole

    def preview(self, target: Path) -> bool:
        if self._shape is not None:
            put(target, self._jpeg())
        return self._shape is not None

    def write(self, target: Path) -> WrittenFile:
        return write_durable(target, self._jpeg())

    def _jpeg(self) -> bytes:
        import simplejpeg

        return simplejpeg.encode_jpeg(self.picture(), JPEG_QUALITY, "RGB", "444")


def line_through(shape: tuple[int, int], angle_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels on the line through the middle of a picture (height, width), clockwise from the vertical, from its upper end to its lower one."""
    height, width = shape
    across, down = sin(radians(angle_deg)), cos(radians(angle_deg))
    if down < -1e-9:
        across, down = -across, -down
    half = min(
        (width - 1) / 2 / abs(across) if abs(across) > 1e-9 else hypot(width, height),
        (height - 1) / 2 / abs(down) if abs(down) > 1e-9 else hypot(width, height),
    )
    steps = np.linspace(-half, half, int(2 * half) + 1)
    rows = np.rint((height - 1) / 2 + down * steps).astype(int)
    columns = np.rint((width - 1) / 2 - across * steps).astype(int)
    return np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)


def marks(window: Window, width: int) -> list[tuple[int, str]]:
    """Where a keogram of that width has its marks, and the local time at each: `22:00`."""
    span_s, zone = max((window.ends_at - window.starts_at).total_seconds(), 1.0), ZoneInfo(window.timezone)
    step = next((step for step in STEPS_MIN if step * 60 / span_s * width >= LABEL_PX), STEPS_MIN[-1])
    found: list[tuple[int, str]] = []
    moment = window.starts_at.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while moment < window.ends_at:
        local = moment.astimezone(zone)
        if (60 * local.hour + local.minute) % step == 0:
            found.append((int((moment - window.starts_at).total_seconds() / span_s * width), f"{local:%H:%M}"))
        moment += timedelta(minutes=1)
    return found


def _draw_axis(band: Picture, window: Window) -> None:
    import cv2

    width = band.shape[1]
    for column, text in marks(window, width):
        band[:6, column] = 255
        across = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)[0][0]
        if column - across // 2 >= 0 and column + across // 2 < width:
            cv2.putText(band, text, (column - across // 2, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (220, 220, 220), 1, cv2.LINE_AA)
