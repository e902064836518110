"""A writer as Cupola's processes are, to be killed, and a judge of what it left.

Even images keep their original, odd ones only queue it; a line on stdout is the acknowledgement. Run as
`python -m tests.torture.storage_writer FOLDER COUNT`.
"""

import hashlib
import os
import random
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cupola.core.frame import Station
from cupola.storage import files
from cupola.storage.catalogue import Catalogue
from cupola.storage.reconcile import reconcile
from cupola.storage.rows import FileKind, FileRow, NewImage

CAMERA = "north"
STATION = Station("test", 49.0, 11.0, 500.0, "Europe/Berlin")
_HEAD = bytes.fromhex("ffd8ffc00011080010002003012200021101031101ffda000c03010002110311003f00")


def content(kind: str, sequence: int, size: int = 30_000) -> bytes:
    """What the file of an image must hold: known to the judge without asking the writer."""
    noise = random.Random(f"{kind} {sequence}").randbytes(size)
    return noise if kind == "raw" else _HEAD + noise.replace(b"\xff", b"\xfe") + b"\xff\xd9"


def opened_at(sequence: int) -> datetime:
    return datetime(2026, 11, 21, 10, 0, tzinfo=UTC) + timedelta(minutes=20 * sequence)  # soon passes noon: a new day's folders


def _put(kind: FileKind, path: Path, base: Path, sequence: int) -> FileRow:
    written = files.write_durable(path, content("jpg" if kind == "jpg" else "raw", sequence))
    return FileRow(kind, files.relative_name(path, base), written.bytes, written.sha256)


def _acknowledge(row: FileRow) -> None:
    os.write(1, f"{row.path} {row.sha256}\n".encode())


def write(folder: Path, count: int) -> None:
    """Store `count` images below `folder`, counting on from what the catalogue has."""
    root, queue = folder / "root", folder / "queue"
    with Catalogue(folder / "state" / "catalogue.sqlite") as catalogue:
        first = catalogue.last_sequence(CAMERA) + 1
        for sequence in range(first, first + count):
            at = opened_at(sequence)
            kept = sequence % 2 == 0
            if kept:
                path, base = files.raw_path(root, CAMERA, at, sequence, STATION, ".nef"), root
            else:
                path, base = files.queue_path(queue, CAMERA, at, sequence, ".nef"), queue
            original = _put("raw" if kept else "queue", path, base, sequence)
            image = catalogue.add_image(NewImage(CAMERA, sequence, at, files.day_of(at, STATION), (original,)))
            if kept:
                _acknowledge(original)
            jpg = _put("jpg", files.jpg_path(root, CAMERA, at, sequence, STATION), root, sequence)
            catalogue.add_file(image.id, jpg, width=32, height=16)
            if not kept:
                path.unlink()
            _acknowledge(jpg)


@dataclass
class Verdict:
    """Counts of what went wrong, and of what reconciling had to do."""

    corrupt: int = 0
    lost: int = 0
    unreconciled: int = 0
    adopted: int = 0
    deleted_tmp: int = 0

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def judge(folder: Path, acked: Path) -> Verdict:
    """Start again as the server does, and compare disk, catalogue and acknowledgements."""
    root, queue, verdict = folder / "root", folder / "queue", Verdict()
    promised = dict(line.split() for line in acked.read_text().rpartition("\n")[0].splitlines())

    def visible() -> dict[str, Path]:
        return {files.relative_name(p, base): p for base in (root, queue) for p in base.rglob("*") if p.is_file()}

    for path in visible().values():
        if path.suffix != files.TMP:
            expected = content("jpg" if path.suffix == ".jpg" else "raw", files.parse_stem(files.stem_of(path))[1])
            verdict.corrupt += path.read_bytes() != expected
    with Catalogue(folder / "state" / "catalogue.sqlite") as catalogue:
        verdict.corrupt += catalogue.problem is not None
        committed = {row.path: row.sha256 for row in catalogue.known_files(CAMERA).values()}
        verdict.lost += sum(committed.get(name) != digest for name, digest in promised.items())  # before anything is adopted again
        report = reconcile(catalogue, root, CAMERA, STATION, full=False, queue=queue)
        again = reconcile(catalogue, root, CAMERA, STATION, full=True, queue=queue)
        verdict.adopted, verdict.deleted_tmp = len(report.adopted), len(report.deleted_tmp)
        verdict.unreconciled += len(report.problems) + len(report.flagged_missing)
        verdict.unreconciled += sum(
            len(part) for part in (again.adopted, again.deleted_tmp, again.problems, again.flagged_missing, again.deleted_queue)
        )
        known, there = catalogue.known_files(CAMERA), visible()
        verdict.unreconciled += len(known.keys() ^ there.keys())
        for name in known.keys() & there.keys():
            verdict.corrupt += hashlib.sha256(there[name].read_bytes()).hexdigest() != known[name].sha256
        listed = {file.path: file.sha256 for image in catalogue.images(limit=1000)[0] for file in image.files if not file.missing}
        verdict.lost += sum(listed.get(name) != digest for name, digest in promised.items())
        verdict.corrupt += len(catalogue.integrity_check())
    return verdict


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
