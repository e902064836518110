"""Makes something of log files: repeats grouped, what took long, restarts, and when nothing was written or taken.

A record is looked at once and forgotten: memory grows with the number of different patterns, up to `GROUPS_MOST`, not with the files.
"""

from __future__ import annotations

import re
import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from cupola.core.clock import iso_utc, parse_utc
from cupola.status.logfiles import read, rotations

if TYPE_CHECKING:
    from cupola.status.logfiles import Record

GROUPS_MOST = 500
LOOKED_AT = 600  # characters of a message
WORDS_MOST = 240  # characters of a pattern, and of an example
CAMERAS_MOST = 8
KEPT = 50  # restarts and gaps of each kind: the newest
SLOW_S = 0.5  # as alarms.processing_s
STARTED, ENDED = "Cupola is at ", "Cupola is closing."
TROUBLE = ("WARNING", "ERROR", "CRITICAL")
STEP_BACK_S = 60.0
GAP_LEAST_S, GAP_TIMES, LAST = 60.0, 3.0, 20  # an interval that is so much longer than the median of the last ones is a gap

_GENERAL = (  # in this order
    (re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z?)?|\b\d\d:\d\d:\d\d\b"), "<time>"),
    (re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s\"'),;]+"), "<address>"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\[?\b(?:\d{1,3}\.){3}\d{1,3}\b\]?(?::\d+)?"), "<address>"),
    (re.compile(r"\[?(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])\]?(?::\d+)?", re.IGNORECASE), "<address>"),
    (re.compile(r"(?<![\w.@+/-])(?!/api/)[\w.@+-]*(?:/[\w.@+~-]+){2,}/?"), "<path>"),  # addresses of ours are kept apart
    (re.compile(r"(?<![\w/}])(?!/api/)/[\w.@+-]+"), "<path>"),
    (re.compile(r"\b0x[0-9a-f]+\b", re.IGNORECASE), "<hex>"),
    (re.compile(r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{8,}\b", re.IGNORECASE), "<hex>"),
    (re.compile(r"(?<![A-Za-z_])-?\d+(?:[.,]\d+)*"), "#"),
)
_TOOK = re.compile(r"(?:\bin|\btook|\btook_s=|\bduration_s=|\btook_ms=|\bduration_ms=)\s*(\d+(?:\.\d+)?)\s*(ms|s|min)?\b")


def generalised(message: str) -> str:
    """What is the same in messages of one kind: of a traceback its first and last line, without numbers, paths, addresses and times."""
    first, *rest = message.split("\n")
    text = f"{first} … {rest[-1].strip()}" if rest else first
    for pattern, word in _GENERAL:
        text = pattern.sub(word, text[:LOOKED_AT])
    return text[:WORDS_MOST]


@dataclass(slots=True)
class Group:
    """Messages of one kind."""

    level: str
    event: str
    pattern: str
    example: str
    first: str
    last: str
    count: int = 0
    cameras: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class Slow:
    """Operations of one kind that took longer than `SLOW_S`, or were told as event=performance; seconds."""

    pattern: str
    count: int
    slow: int
    mean_s: float
    longest_s: float
    longest_at: str


@dataclass(frozen=True, slots=True)
class Restart:
    """A start of the server. `orderly`: it was ended before; `down_s`: how long nothing was written."""

    at: str
    orderly: bool
    down_s: float | None


@dataclass(frozen=True, slots=True)
class Gap:
    """`what`: `log` (the server was not there), `clock` (it was set back by `seconds`), or `images` of `camera`, where one was due."""

    what: str
    begin: str
    end: str
    seconds: float
    camera: str | None = None


class Analysis:
    """Records are added in the order they were written. `since`: older ones are left out."""

    def __init__(self, since: datetime | None = None) -> None:
        self._since = iso_utc(since)[:23] if since else ""
        self.records = self.others = 0
        self.first = self.last = ""
        self.groups: dict[tuple[str, str], Group] = {}
        self._slow: dict[str, Slow] = {}
        self.restarts: deque[Restart] = deque(maxlen=KEPT)
        self.gaps: deque[Gap] = deque(maxlen=KEPT)
        self.camera_failures: dict[str, int] = {}
        self.levels: dict[str, int] = {}
        self._ended = True
        self._last_kept = ""

    def add(self, record: Record) -> None:
        at, message = record["at"], record["message"]
        moment = _moment(at)
        if moment is None:
            return
        if message.startswith(STARTED):
            self._started(at, moment)
        elif message == ENDED:
            self._ended = True
        before = _moment(self._last_kept)
        self._last_kept = at
        if at < self._since:
            return
        if before is not None and (back_s := (before - moment).total_seconds()) > STEP_BACK_S:
            self.gaps.append(Gap("clock", iso_utc(before), at, round(back_s, 1)))
        self.records += 1
        self.first = self.first or at
        self.last = at
        level = record["level"].upper()
        self.levels[level] = self.levels.get(level, 0) + 1
        if level in TROUBLE:
            self._trouble(level, record)
        if record["event"] == "usb_failure" and " cause=" in message:
            self.camera_failures[record["camera"]] = self.camera_failures.get(record["camera"], 0) + 1
        self._took(record)

    def _started(self, at: str, moment: datetime) -> None:
        before = _moment(self._last_kept)
        down_s = None if before is None else round(max(0.0, (moment - before).total_seconds()), 1)
        orderly, self._ended = self._ended, False
        if at >= self._since:
            self.restarts.append(Restart(at, orderly, down_s))
            if before is not None and down_s is not None and down_s > GAP_LEAST_S:
                self.gaps.append(Gap("log", iso_utc(before), at, down_s))

    def _trouble(self, level: str, record: Record) -> None:
        pattern = generalised(record["message"])
        group = self.groups.get((level, pattern))
        if group is None:
            if len(self.groups) >= GROUPS_MOST:
                self.others += 1
                return
            group = self.groups[level, pattern] = Group(level, record["event"], pattern, record["message"][:WORDS_MOST], record["at"], record["at"])
        group.count += 1
        group.last = record["at"]
        if record["camera"] not in ("-", "", *group.cameras) and len(group.cameras) < CAMERAS_MOST:
            group.cameras.append(record["camera"])

    def _took(self, record: Record) -> None:
        found = _TOOK.search(record["message"][:LOOKED_AT])
        if found is None or record["event"] in ("usb_failure", "camera_recovered", "notify"):  # those are spans of silence, not work
            return
        unit = found[2] or ("ms" if "_ms=" in found[0] else "s")
        took_s = float(found[1]) * {"ms": 1e-3, "s": 1.0, "min": 60.0}[unit]
        pattern = generalised(record["message"])
        kind = self._slow.get(pattern)
        if kind is None:
            if len(self._slow) >= GROUPS_MOST:
                return
            kind = self._slow[pattern] = Slow(pattern, 0, 0, 0.0, 0.0, record["at"])
        kind.count += 1
        kind.slow += took_s > SLOW_S or record["event"] == "performance"
        kind.mean_s += (took_s - kind.mean_s) / kind.count
        if took_s > kind.longest_s:
            kind.longest_s, kind.longest_at = took_s, record["at"]

    @property
    def slow(self) -> list[Slow]:
        """The kinds that were slow, the longest first."""
        return sorted((kind for kind in self._slow.values() if kind.slow), key=lambda kind: -kind.longest_s)

    def worst_first(self) -> list[Group]:
        """Errors before warnings, the most frequent first."""
        return sorted(self.groups.values(), key=lambda group: (group.level == "WARNING", -group.count, group.first))

    @property
    def is_log(self) -> bool:
        """Whether there was any record, however old."""
        return bool(self._last_kept)

    @property
    def errors(self) -> int:
        """How many records there were of ERROR or worse."""
        return self.levels.get("ERROR", 0) + self.levels.get("CRITICAL", 0)

    def to_dict(self) -> dict[str, Any]:
        return {
            "from": self.first or None,
            "to": self.last or None,
            "records": self.records,
            "levels": self.levels,
            "errors": [asdict(group) for group in self.worst_first()],
            "errors_left_out": self.others,
            "slow": [asdict(kind) for kind in self.slow],
            "restarts": [asdict(restart) for restart in self.restarts],
            "camera_failures": self.camera_failures,
            "gaps": [asdict(gap) for gap in self.gaps],
        }


def _moment(at: str) -> datetime | None:
    try:
        return parse_utc(at) if at else None
    except ValueError:
        return None


def log_files(folder: Path, since: datetime | None) -> list[Path]:
    """The files of cupola.log that can hold records since then, the oldest first. Raises OSError."""
    files = [Path(path) for path in rotations(str(folder), "cupola.log")]
    return [path for path in files if since is None or datetime.fromtimestamp(path.stat().st_mtime, UTC) >= since]


def analyse(files: list[Path], since: datetime | None) -> Analysis:
    """Of files in the order in which they were written. One that cannot be read raises OSError."""
    analysis = Analysis(since)
    for file in files:
        for record in read(str(file)):
            analysis.add(record)
    return analysis


def gaps_of_images(catalogue: Path, since: datetime) -> Iterator[Gap]:
    """Where an image was due and none was taken, within a series or a night of a camera, from the catalogue, which is only read. Raises sqlite3.Error."""
    with closing(sqlite3.connect(f"{catalogue.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
        before: tuple[str, int | None, int | None] | None = None
        ended, opened = "", ""
        usual: deque[float] = deque(maxlen=LAST)
        for camera, opened_at, ended_at, session, period in connection.execute(
            "SELECT camera, opened_at, ended_at, session, period FROM image WHERE opened_at >= ? AND clock_synced ORDER BY camera, opened_at",
            (iso_utc(since),),
        ):
            now = (camera, session, period)
            same = (
                before is not None and camera == before[0] and ((session, period) != (None, None) and (session == before[1] or period == before[2]))
            )
            if not same:
                usual.clear()
            else:
                each_s = (parse_utc(opened_at) - parse_utc(opened)).total_seconds()
                if len(usual) >= 3 and each_s > max(GAP_LEAST_S, GAP_TIMES * median(usual)):
                    idle_s = (parse_utc(opened_at) - parse_utc(ended or opened)).total_seconds()
                    yield Gap("images", ended or opened, opened_at, round(idle_s, 1), camera)
                else:
                    usual.append(each_s)
            before, opened, ended = now, opened_at, ended_at or ""


def ago(hours: float) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours)
