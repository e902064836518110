"""Making catalogue and disk agree again after a crash, for one camera.

Run by the server before the camera's process is started, so nothing of this camera is being written. Nothing
that could be a picture is ever deleted: leftovers of writers that died are (`.tmp`), and copies in the queue
of images that are developed. Retention may be at work meanwhile: what it deletes is neither taken up nor missed. How files become durable lies in `files`, what rows are in `catalogue`.
"""

import os
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path

from cupola.core.errors import CupolaError, StorageFailed, StorageFull
from cupola.core.frame import Station
from cupola.storage import files
from cupola.storage.catalogue import Catalogue
from cupola.storage.files import ORIGINAL_SUFFIX, TMP, relative_name, telling
from cupola.storage.jpeg import jpeg_size
from cupola.storage.originals import Facts, read_facts
from cupola.storage.periods import Periods
from cupola.storage.retention import doomed
from cupola.storage.rows import FileKind, FileRow, ImageRow, NewImage

LOST_IN_QUEUE = "Its original was lost from the queue before it was developed (the queue is in memory: was the power cut?)."


@dataclass(frozen=True, slots=True)
class Adopted:
    """A file that is in the catalogue now; its image as it is with it, and as it was without (None: it had no row)."""

    file: FileRow
    image: ImageRow
    was: ImageRow | None


@dataclass(slots=True)
class Report:
    """What was done. Paths are relative to the root, or to the queue; `problems` are sentences for the owner."""

    deleted_tmp: list[str] = field(default_factory=list[str])
    deleted_queue: list[str] = field(default_factory=list[str])
    adopted: list[Adopted] = field(default_factory=list[Adopted])
    flagged_missing: list[str] = field(default_factory=list[str])
    found_again: list[str] = field(default_factory=list[str])
    problems: list[str] = field(default_factory=list[str])


def reconcile(
    catalogue: Catalogue, root: Path, camera: str, station: Station, *, full: bool, queue: Path | None = None, darkroom_busy: bool = False
) -> Report:
    """Delete `.tmp` files, adopt images without a row, flag rows whose file is gone or has another size.

    `full` looks at every day; otherwise from the day before the camera's newest row on (all days when it has none). `queue` is
    the folder above the cameras' queues. With `darkroom_busy` a `.tmp` of a JPEG that the darkroom may be writing is
    left. A file that is cut short, damaged or not named by Cupola is reported and left where it is. Content is not
    compared with its sha256. Raises StorageFull and StorageFailed when the catalogue or the disk do not allow it.
    """
    work = _Work(catalogue, root, camera, station, queue, darkroom_busy)
    work.announced = full and catalogue.created
    known_days = catalogue.newest_days(camera)
    since = "" if full or known_days is None else (date.fromisoformat(min(known_days)) - timedelta(days=1)).isoformat()
    work.days(since)
    if queue is not None:
        work.queued()
    work.missing(since)
    return work.report


class _Work:
    def __init__(self, catalogue: Catalogue, root: Path, camera: str, station: Station, queue: Path | None, darkroom_busy: bool) -> None:
        self.catalogue, self.root, self.camera, self.station = catalogue, root, camera, station
        self.queue, self.darkroom_busy = queue, darkroom_busy
        self.report = Report()
        self.announced = False  # what is found was announced by an earlier catalogue

    def days(self, since: str) -> None:
        # the doomed are read after the rows: what retention takes in between is among one of the two, or gone already
        known = self.catalogue.known_files(self.camera, since).keys() | doomed(self.catalogue)
        for day, folder in _day_folders(files.camera_folder(self.root, self.camera)):
            if day < since:
                continue
            if not self.darkroom_busy:  # the darkroom's products lie in the day's folder
                self._delete_tmp(folder, self.root)
            for kind in ("raw", "jpg"):  # originals first, so that a JPEG finds its image
                self._delete_tmp(folder / kind, self.root)
                for path in _files(folder / kind):
                    if relative_name(path, self.root) not in known:
                        self._adopt(kind, path, self.root, day)

    def queued(self) -> None:
        assert self.queue is not None
        folder = files.camera_folder(self.queue, self.camera)
        self._delete_tmp(folder, self.queue)
        known = self.catalogue.known_files(self.camera)
        for path in _files(folder):
            name = relative_name(path, self.queue)
            if name in known:
                continue
            image = self._image_named(path)
            if image is not None and (image.acknowledged or image.developed):
                with telling(path, "delete"):
                    path.unlink()
                self.report.deleted_queue.append(name)
            else:
                self._adopt("queue", path, self.queue, None)

    def missing(self, since: str) -> None:
        for name, row in self.catalogue.known_files(self.camera, since).items():
            base = self.queue if row.kind == "queue" else self.root
            if base is None:
                continue
            size = _size(base, name)
            gone = size != row.bytes
            if gone and size is not None:
                self.report.problems.append(
                    f"{base / name} has {size} bytes instead of {row.bytes}: something changed or cut it. Restore it from a backup."
                )
            if gone == row.missing:
                continue
            with self.catalogue.writing():
                if not self.catalogue.flag_missing(name, gone):
                    continue  # retention was here meanwhile: no row, no file
                if gone and row.kind == "queue" and (image := self._image_named(base / name)) is not None:
                    self.catalogue.develop_failed(image.id, LOST_IN_QUEUE, final=True)
            (self.report.flagged_missing if gone else self.report.found_again).append(name)

    def _delete_tmp(self, folder: Path, base: Path) -> None:
        for path in _files(folder, tmp=True):
            if self.darkroom_busy and folder.name == "jpg" and (image := self._image_named(path)) is not None and not image.developed:
                continue
            with telling(path, "delete"):
                path.unlink(missing_ok=True)
            self.report.deleted_tmp.append(relative_name(path, base))

    def _image_named(self, path: Path) -> ImageRow | None:
        """The row of the image whose name the file bears."""
        try:
            opened_at, sequence = files.parse_stem(files.stem_of(path))
        except ValueError:
            return None
        image = self.catalogue.image_of(self.camera, sequence)
        return image if image is not None and image.opened_at.replace(microsecond=0) == opened_at else None

    def _adopt(self, kind: FileKind, path: Path, base: Path, day: str | None) -> None:
        """Make the file a file of its image, or an image of its own; report what cannot be."""
        try:
            facts, size = _look_into(kind, path)
            name, image = relative_name(path, base), self._image_named(path)
            if image is not None and (has := image.file(kind)) is not None and not has.missing:
                if has.path == name:  # the darkroom was first
                    return
                raise StorageFailed(f"{path} has the name of image {image.id}, which has {has.path} already. Move one of them away.")
            if facts and (facts.camera != self.camera or files.image_stem(facts.opened_at, facts.sequence) != files.stem_of(path)):
                raise StorageFailed(
                    f'{path} says inside that it is image {facts.sequence} of camera "{facts.camera}". It was moved or renamed: move it back.'
                )
            files.settle(path)  # its writer may have died before it synced the folder
            row = FileRow(kind, name, path.stat().st_size, files.sha256_of(path))
            if image is not None:
                width, height = size or (None, None)
                was, image = self.catalogue.extend(image.id, row, width=width, height=height, announced=self.announced)
                self.report.adopted.append(Adopted(row, image, was))
            else:
                image = self.catalogue.add_image(self._new_image(row, path, facts, size, day), announced=self.announced)
                self.report.adopted.append(Adopted(row, image, None))
        except StorageFull:
            raise
        except CupolaError as error:
            self.report.problems.append(str(error))

    def _new_image(self, row: FileRow, path: Path, facts: Facts | None, size: tuple[int, int] | None, day: str | None) -> NewImage:
        opened_at, sequence = files.parse_stem(files.stem_of(path))
        opened_at = facts.opened_at if facts else opened_at
        period = None
        if facts is None or facts.session is not None:  # no single still, as far as can be known
            period = Periods(self.catalogue).at(self.camera, opened_at)
        if day is None:
            day = files.day_of(opened_at, self.station) if period is None else period.day
        number = None if period is None or period.day != day else period.id
        width, height = size or (None, None)
        new = NewImage(self.camera, sequence, opened_at, day, (row,), width=width, height=height, period=number)
        if facts is None:
            return new
        return replace(
            new,
            ended_at=facts.ended_at,
            clock_synced=facts.clock_synced,
            exposure_s=facts.applied.exposure_s,
            gain=facts.applied.gain,
            f_number=facts.applied.f_number,
            temperature_c=facts.temperature_c,
            width=facts.width,
            height=facts.height,
            session=self._session_of(facts),
            correction=facts.correction,
        )

    def _session_of(self, facts: Facts) -> int | None:
        """The session the header names, unless the number belongs to another one: a new catalogue counts from 1 again."""
        session = None if facts.session is None else self.catalogue.session(facts.session)
        ours = session is not None and session.camera == self.camera and session.started_at <= facts.opened_at
        return facts.session if ours else None


def _look_into(kind: FileKind, path: Path) -> tuple[Facts | None, tuple[int, int] | None]:
    """Facts of our FITS, width and height of a JPEG; raises StorageFailed when the file is damaged, empty or named by somebody else."""
    try:
        files.parse_stem(files.stem_of(path))
    except ValueError as error:
        raise StorageFailed(f"{path} does not have the name of an image of Cupola; it is left alone. Move it elsewhere.") from error
    if path.name.endswith(ORIGINAL_SUFFIX):
        return read_facts(path), None
    if kind == "jpg" or path.suffix.lower() in (".jpg", ".jpeg"):
        with telling(path, "read"):
            content = path.read_bytes()
        try:
            return None, jpeg_size(content)
        except ValueError as error:
            raise StorageFailed(
                f"{path} is not a whole JPEG: {error}. It was cut short or changed; delete it, or restore it from a backup."
            ) from error
    if not _size(path.parent, path.name):
        raise StorageFailed(f"{path} is empty. Delete it, or restore it from a backup.")
    return None, None


def _size(base: Path, name: str) -> int | None:
    """Bytes of a regular file; None when there is none."""
    path = base / name
    with telling(path, "look at"):
        try:
            return path.stat().st_size if path.is_file() else None
        except FileNotFoundError:
            return None


def _files(folder: Path, *, tmp: bool = False) -> list[Path]:
    """Regular files of a folder, by name: the `.tmp` ones, or the others. No links, no hidden files, none whose name is no text, as a damaged
    file system may have them; none when it is not there."""
    with telling(folder, "list"):
        if not folder.is_dir():
            return []
        found = [path for path in folder.iterdir() if _is_ours(path.name) and path.is_file() and not path.is_symlink()]
    return sorted(path for path in found if path.name.endswith(TMP) == tmp)


def _is_ours(name: str) -> bool:
    """Neither hidden, nor bytes that are no UTF-8: those neither the catalogue nor the log can take."""
    return not name.startswith(".") and os.fsencode(name) == name.encode(errors="replace")


def _day_folders(folder: Path) -> list[tuple[str, Path]]:
    """(`2026-11-21`, its folder) for every day a camera has, in order."""
    with telling(folder, "list"):
        found = [path for path in folder.glob("[0-9][0-9][0-9][0-9]/[0-9][0-9]/[0-9][0-9]") if path.is_dir()]
    return sorted(("-".join(path.parts[-3:]), path) for path in found)
