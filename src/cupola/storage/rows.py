"""What the catalogue knows, as plain types: images, their files, sessions. How it is stored lies in `catalogue`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from cupola.core.events import ImageCaptured

FileKind = Literal["raw", "jpg", "queue"]
SessionState = Literal["running", "finished", "stopped", "replaced"]


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file of an image.

    `raw` and `jpg` have their `path` relative to storage.root; `queue`, an original that is kept only until it
    is developed, relative to the queue's folder. `missing`: it was there, and is gone or has another size.
    """

    kind: FileKind
    path: str
    bytes: int
    sha256: str
    missing: bool = False


@dataclass(frozen=True, slots=True)
class NewImage:
    """What the server tells the catalogue about an image whose files are durable. `day` is `2026-11-21`."""

    camera: str
    sequence: int
    opened_at: datetime
    day: str
    files: tuple[FileRow, ...]
    ended_at: datetime | None = None
    clock_synced: bool = True
    exposure_s: float | None = None
    gain: float | None = None
    f_number: float | None = None
    temperature_c: float | None = None
    width: int | None = None
    height: int | None = None
    session: int | None = None
    period: int | None = None
    correction: float | None = None  # see ImageRow


@dataclass(frozen=True, slots=True)
class ImageRow:
    """An image of the catalogue.

    `acknowledged`: its original, or its JPEG, is durable under storage.root; only such images are listed. One whose original
    lies in the queue is not, until it is developed; nor is one that retention deleted, whose row stays without files. `period`: the night or day of the schedule it belongs to.
    `correction`: stops by which developing brightens it, so that it is as bright as exposed on target. `failure` is why the last try to develop it failed, `gave_up` that
    there will be no other.
    """

    id: int
    camera: str
    sequence: int
    opened_at: datetime
    ended_at: datetime | None
    clock_synced: bool
    exposure_s: float | None
    gain: float | None
    f_number: float | None
    temperature_c: float | None
    width: int | None
    height: int | None
    session: int | None
    day: str
    acknowledged: bool
    developed: bool
    failure: str | None
    gave_up: bool
    attempts: int
    period: int | None
    correction: float | None
    files: tuple[FileRow, ...]

    def file(self, kind: FileKind) -> FileRow | None:
        """The image's file of a kind, if it has one."""
        return next((file for file in self.files if file.kind == kind), None)


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A series of stills. `done` counts its images in the catalogue, `failed` the exposures that gave none."""

    id: int
    camera: str
    plan: Mapping[str, Any]
    done: int
    failed: int
    state: SessionState
    started_at: datetime
    ended_at: datetime | None


def captured_event(row: ImageRow, path: str) -> ImageCaptured:
    """The announcement of an image whose file at `path` is durable and whose row is committed."""
    return ImageCaptured(
        camera=row.camera,
        id=row.id,
        sequence=row.sequence,
        opened_at=row.opened_at,
        exposure_s=row.exposure_s,
        gain=row.gain,
        session=row.session,
        day=row.day,
        period=row.period,
        path=path,
    )
