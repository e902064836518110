"""A root with images of several nights, made as a camera process and the darkroom make them, on a disk of any size."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cupola.core.frame import Station
from cupola.storage import files
from cupola.storage.catalogue import Catalogue
from cupola.storage.kinds import Frames, Kind, Logs, Originals, Products
from cupola.storage.retention import Retention
from cupola.storage.rows import FileKind, FileRow, ImageRow, NewImage
from cupola.storage.space import Free

STATION = Station("test", 49.0, 11.0, 500.0, "UTC")
CAMERA = "north"
FIRST_NIGHT = datetime(2026, 11, 1, 20, 0, tzinfo=UTC)
_HEAD = bytes.fromhex("ffd8ffc00011080010002003012200021101031101ffda000c03010002110311003f00")


def jpeg(sequence: int, size: int) -> bytes:
    """Whole to whoever looks at its markers."""
    return _HEAD + noise(sequence, size - len(_HEAD) - 2).replace(b"\xff", b"\xfe") + b"\xff\xd9"


def noise(sequence: int, size: int) -> bytes:
    """As many bytes, another picture's being others."""
    return (random.Random(sequence).randbytes(1000) * (size // 1000 + 1))[:size]


@dataclass
class Filled:
    """`disk_bytes`: what the root's files may take up, told to retention as the size of the disk; None: the disk it is on."""

    folder: Path
    disk_bytes: int | None = None
    raw_bytes: int = 4000
    jpg_bytes: int = 1000
    catalogue: Catalogue = field(init=False)

    def __post_init__(self) -> None:
        self.root, self.queue, self.logs = self.folder / "images", self.folder / "state" / "queue", self.folder / "logs"
        for folder in (self.root, self.logs):
            folder.mkdir(exist_ok=True, parents=True)
        self.catalogue = Catalogue(self.folder / "state" / "catalogue.sqlite")

    def retention(
        self,
        *,
        keep: float = 0.0,
        least: float = 0.0,
        days: Mapping[str, float | None] | None = None,
        now: datetime | None = None,
        more: tuple[Kind, ...] = (),
    ) -> Retention:
        """`now`: the time, None while the clock is not known to be right."""
        kinds: list[Kind] = [
            Originals(self.catalogue, self.root),
            Frames(self.catalogue, self.root, [CAMERA]),
            Products(self.catalogue, self.root),
            Logs(self.logs, self.root),
            *more,
        ]
        free = {} if self.disk_bytes is None else {"free": lambda _: self.free()}
        return Retention(self.catalogue, self.root, kinds, days=days or {}, keep_free_percent=keep, min_free_percent=least, clock=lambda: now, **free)

    def free(self) -> Free:
        assert self.disk_bytes is not None
        left = self.disk_bytes - sum(path.stat().st_size for base in (self.root, self.logs) for path in base.rglob("*") if path.is_file())
        return Free(max(left, 0), 100 * max(left, 0) / self.disk_bytes, self.disk_bytes)

    def put(self, kind: FileKind, sequence: int, at: datetime, size: int) -> FileRow:
        path, base = {
            "raw": (files.raw_path(self.root, CAMERA, at, sequence, STATION, ".nef"), self.root),
            "jpg": (files.jpg_path(self.root, CAMERA, at, sequence, STATION), self.root),
            "queue": (files.queue_path(self.queue, CAMERA, at, sequence, ".nef"), self.queue),
        }[kind]
        written = files.write_durable(path, jpeg(sequence, size) if kind == "jpg" else noise(sequence, size))
        return FileRow(kind, files.relative_name(path, base), written.bytes, written.sha256)

    def image(self, at: datetime, *, developed: bool = True, original: bool = True, period: int | None = None, synced: bool = True) -> ImageRow:
        """Stored as a camera process stores it, then, if so, developed."""
        sequence = self.catalogue.last_sequence(CAMERA) + 1
        first = self.put("raw", sequence, at, self.raw_bytes) if original else self.put("jpg", sequence, at, self.jpg_bytes)
        row = self.catalogue.add_image(NewImage(CAMERA, sequence, at, files.day_of(at, STATION), (first,), period=period, clock_synced=synced))
        if developed and original:
            row = self.catalogue.add_file(row.id, self.put("jpg", sequence, at, self.jpg_bytes), width=32, height=16)
        return row

    def night(self, number: int, count: int, *, period: int | None = None) -> list[ImageRow]:
        """`count` images of the night with this number, the first being 0."""
        return [self.image(FIRST_NIGHT + timedelta(days=number, minutes=minute), period=period) for minute in range(count)]

    def period(self, number: int, *, state: str = "finished") -> int:
        """A night of the schedule."""
        starts = FIRST_NIGHT + timedelta(days=number)
        with self.catalogue.writing() as writer:
            added = writer.execute(
                "INSERT INTO period (camera, kind, day, starts_at, ends_at, state) VALUES (?, 'night', ?, ?, ?, ?)",
                (CAMERA, starts.date().isoformat(), starts.isoformat(), (starts + timedelta(hours=9)).isoformat(), state),
            )
        assert added.lastrowid is not None
        return added.lastrowid

    def products(self, period: int, number: int, size: int = 500) -> list[Path]:
        """Keogram, video and summary of a night, on disk and in the catalogue."""
        day = (FIRST_NIGHT + timedelta(days=number)).date()
        folder = files.camera_folder(self.root, CAMERA) / f"{day:%Y/%m/%d}"
        made: list[Path] = []
        for kind, name in (("keogram", "keogram.jpg"), ("timelapse", "timelapse.mp4")):
            written = files.write_durable(folder / name, bytes(size))
            with self.catalogue.writing() as writer:
                values = (period, kind, files.relative_name(written.path, self.root), written.bytes, written.sha256)
                writer.execute("INSERT INTO product (period, kind, state, path, bytes, sha256) VALUES (?, ?, 'finished', ?, ?, ?)", values)
            made.append(written.path)
        files.write_durable(folder / "summary.json", b"{}")
        return [*made, folder / "summary.json"]

    def there(self) -> set[str]:
        """Names of the files of images and products below the root."""
        return {files.relative_name(path, self.root) for path in self.root.rglob("*") if path.is_file()}

    def kinds_of(self, images: list[ImageRow]) -> list[str]:
        """Of each image the kinds of files it is listed with: `raw jpg`, `jpg`, or nothing when it is not listed."""
        listed = {row.id: row for row in self.listed()}
        return [" ".join(file.kind for file in listed[image.id].files) if image.id in listed else "" for image in images]

    def listed(self) -> list[ImageRow]:
        found: list[ImageRow] = []
        after = None
        while True:
            rows, after = self.catalogue.images(limit=1000, after=after)
            found += rows
            if after is None:
                return found

    def agrees(self) -> None:
        """Disk and catalogue tell the same, and reconciling finds nothing to do."""
        from cupola.storage.reconcile import Report, reconcile

        assert {file.path for row in self.listed() for file in row.files} == {name for name in self.there() if "/raw/" in name or "/jpg/" in name}
        assert reconcile(self.catalogue, self.root, CAMERA, STATION, full=True, queue=self.queue) == Report()
        assert self.catalogue.integrity_check() == []


def run(retention: Retention) -> list[tuple[str, str, int]]:
    """A whole run; (kind, reason, files) of what went."""
    work = retention.begin()
    while work.step():
        pass
    return [(one.kind, one.reason, one.files) for one in work.report.deleted]
