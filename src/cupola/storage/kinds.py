"""What may be deleted to make room, kind by kind: what there is of it, oldest first, and how it is forgotten.

Which of it goes, and when, is decided in `retention`. A further kind is a class with `Kind`'s members and its
place in the list that `app` hands to `Retention`, and a key of its name in `storage.retention.days`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Protocol

from cupola.core.clock import parse_utc
from cupola.storage.catalogue import Catalogue
from cupola.storage.clips import copy_of
from cupola.storage.files import TMP, inside, relative_name, telling

ORIGINALS_TIER, LOGS_TIER, IMAGES_TIER = 0, 1, 2
LOGS = "cupola*.log.gz"  # rotated; those that are being written have no .gz
_FINISHED = "(SELECT id FROM period WHERE state = 'finished')"
_CHOSEN = "IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class Item:
    """What is deleted together: an original; an image; the products of one night.

    `key` puts the items of a kind in order, oldest first. `at` is when it was made, None where the clock was not right. `astray` names
    a file of it that a link leads out of the root: what lies there is not ours to delete.
    """

    kind: str
    key: int
    day: str  # the observing day, `2026-11-21`
    at: datetime | None
    paths: tuple[Path, ...]
    bytes: int
    astray: str | None = None


class Kind(Protocol):
    """One kind of files.

    `tier`: to make room, a kind of a lower one goes first, whatever its age; None: it makes none here. Within a tier the oldest
    goes, where a thing of `worth` 10 counts as a tenth as old as it is.
    """

    @property
    def name(self) -> str: ...
    @property
    def tier(self) -> int | None: ...
    @property
    def worth(self) -> float: ...

    def oldest(self, limit: int, after: int = 0) -> list[Item]:
        """What may be deleted, oldest first, from the one after the key `after` on. Raises StorageFailed."""
        ...

    def forget(self, writer: sqlite3.Connection, items: Sequence[Item]) -> None:
        """Take them out of the catalogue, within the caller's transaction; the files are still there."""
        ...

    def held(self) -> tuple[int, int]:
        """How many files there are of it, deletable or not, and their bytes."""
        ...


class Originals:
    """Sensors' and cameras' raw files of images that have their JPEG too: the image stays."""

    name, tier, worth = "originals", ORIGINALS_TIER, 1.0

    def __init__(self, catalogue: Catalogue, root: Path) -> None:
        self._catalogue, self._root = catalogue, root

    def oldest(self, limit: int, after: int = 0) -> list[Item]:
        rows = self._catalogue.read(
            "SELECT raw.image, raw.path, raw.bytes, day, opened_at, clock_synced FROM file AS raw JOIN image ON image.id = raw.image "
            "WHERE raw.kind = 'raw' AND NOT raw.missing AND raw.image > ? AND developed "
            "AND EXISTS (SELECT 1 FROM file AS jpg WHERE jpg.image = raw.image AND jpg.kind = 'jpg' AND NOT jpg.missing) ORDER BY raw.image LIMIT ?",
            after,
            limit,
        )
        return [_item(self, row["image"], row["day"], _when(row), self._root, [row["path"]], row["bytes"]) for row in rows]

    def forget(self, writer: sqlite3.Connection, items: Sequence[Item]) -> None:
        writer.execute(f"DELETE FROM file WHERE kind = 'raw' AND image {_CHOSEN}", (_keys(items),))

    def held(self) -> tuple[int, int]:
        return _total(self._catalogue, "SELECT count(*), sum(bytes) FROM file WHERE kind = 'raw' AND NOT missing")


class Frames:
    """Images with all their files, and the crops of their streaks. Their rows stay, so that what was measured and counted does, but are listed no more.

    Never one that waits for the darkroom, is of a night that is not finished, or is the newest of its camera.
    """

    name, tier, worth = "jpg", IMAGES_TIER, 1.0

    def __init__(self, catalogue: Catalogue, root: Path, cameras: Sequence[str]) -> None:
        self._catalogue, self._root, self._cameras = catalogue, root, tuple(cameras)

    def oldest(self, limit: int, after: int = 0) -> list[Item]:
        newest = [row.id for name in self._cameras if (row := self._catalogue.latest(name, developed=True)) is not None]
        free = f"acknowledged AND (period IS NULL OR period IN {_FINISHED}) AND image.id NOT {_CHOSEN}"
        columns = "SELECT image.id, day, opened_at, clock_synced FROM"
        found = self._catalogue.read(
            f"{columns} file JOIN image ON image.id = file.image WHERE kind = 'jpg' AND NOT missing AND file.image > ? AND developed AND {free} "
            "ORDER BY file.image LIMIT ?",
            after,
            json.dumps(newest),
            limit,
        )
        found += self._catalogue.read(
            f"{columns} image WHERE gave_up AND id > ? AND {free} AND EXISTS (SELECT 1 FROM file WHERE image = image.id AND kind = 'raw' AND NOT missing) "
            "ORDER BY id LIMIT ?",
            after,
            json.dumps(newest),
            limit,
        )
        rows = sorted(found, key=lambda row: row["id"])[:limit]
        files: dict[int, list[sqlite3.Row]] = {row["id"]: [] for row in rows}
        for file in self._catalogue.read(
            f"SELECT image, path, bytes FROM file WHERE image {_CHOSEN} AND kind != 'queue' AND NOT missing", json.dumps(list(files))
        ):
            files[file["image"]].append(file)
        crops = self._crops(files)
        items: list[Item] = []
        for row in rows:
            mine = files[row["id"]]
            names = [*(file["path"] for file in mine), *crops.get(row["id"], ())]
            items.append(_item(self, row["id"], row["day"], _when(row), self._root, names, sum(file["bytes"] for file in mine)))
        return items

    def _crops(self, images: Iterable[int]) -> dict[int, list[str]]:
        """The pictures of streaks that were cut out of images: small, and deleted with them."""
        found: dict[int, list[str]] = {}
        for row in self._catalogue.read(
            "SELECT image, json_extract(streak.value, '$.crop') AS crop FROM measurement, json_each(streaks) AS streak "
            f"WHERE image {_CHOSEN} AND crop IS NOT NULL",
            json.dumps(list(images)),
        ):
            found.setdefault(row["image"], []).append(row["crop"])
        return found

    def forget(self, writer: sqlite3.Connection, items: Sequence[Item]) -> None:
        keys = _keys(items)
        writer.execute(f"DELETE FROM file WHERE kind != 'queue' AND image {_CHOSEN}", (keys,))
        writer.execute(f"UPDATE image SET acknowledged = 0 WHERE id {_CHOSEN}", (keys,))

    def held(self) -> tuple[int, int]:
        return _total(self._catalogue, "SELECT count(*), sum(bytes) FROM file WHERE kind = 'jpg' AND NOT missing")


class Products:
    """Keogram, startrails and video of finished nights and days, with the summary beside them (the catalogue keeps that)."""

    name, tier, worth = "products", IMAGES_TIER, 10.0

    def __init__(self, catalogue: Catalogue, root: Path) -> None:
        self._catalogue, self._root = catalogue, root

    def oldest(self, limit: int, after: int = 0) -> list[Item]:
        rows = self._catalogue.read(
            "SELECT id, kind, day, ends_at FROM period WHERE state = 'finished' AND id > ? "
            "AND EXISTS (SELECT 1 FROM product WHERE period = period.id AND path IS NOT NULL) "
            "AND NOT EXISTS (SELECT 1 FROM product WHERE period = period.id AND state = 'growing') ORDER BY id LIMIT ?",
            after,
            limit,
        )
        items: list[Item] = []
        for row in rows:
            made = self._catalogue.read("SELECT path, coalesce(bytes, 0) AS bytes FROM product WHERE period = ? AND path IS NOT NULL", row["id"])
            names: list[str] = [product["path"] for product in made]
            summary = str(PurePosixPath(names[0]).with_name("summary.json" if row["kind"] == "night" else "day-summary.json"))
            if (self._root / summary).is_file():
                names.append(summary)
            items.append(_item(self, row["id"], row["day"], parse_utc(row["ends_at"]), self._root, names, sum(product["bytes"] for product in made)))
        return items

    def forget(self, writer: sqlite3.Connection, items: Sequence[Item]) -> None:
        writer.execute(f"DELETE FROM product WHERE path IS NOT NULL AND period {_CHOSEN}", (_keys(items),))

    def held(self) -> tuple[int, int]:
        return _total(self._catalogue, "SELECT count(*), sum(bytes) FROM product WHERE path IS NOT NULL")


class Clips:
    """Clips that are finished, with their H.264 copies; their rows go with them."""

    name, tier, worth = "clips", 2, 3.0

    def __init__(self, catalogue: Catalogue, root: Path) -> None:
        self._catalogue, self._root = catalogue, root

    def oldest(self, limit: int, after: int = 0) -> list[Item]:
        rows = self._catalogue.read(
            "SELECT id, triggered_at, path, bytes FROM clip WHERE state = 'saved' AND path IS NOT NULL AND id > ? ORDER BY id LIMIT ?", after, limit
        )
        items: list[Item] = []
        for row in rows:
            copy = copy_of(self._root / row["path"])
            copies = [file for file in (copy, copy.with_name(copy.name + TMP)) if file.is_file()]
            size = row["bytes"] + sum(file.stat().st_size for file in copies)
            names = [row["path"], *(relative_name(file, self._root) for file in copies)]
            items.append(_item(self, row["id"], row["triggered_at"][:10], parse_utc(row["triggered_at"]), self._root, names, size))
        return items

    def forget(self, writer: sqlite3.Connection, items: Sequence[Item]) -> None:
        writer.execute(f"DELETE FROM clip WHERE id {_CHOSEN}", (_keys(items),))

    def held(self) -> tuple[int, int]:
        return _total(self._catalogue, "SELECT count(*), sum(bytes) FROM clip WHERE path IS NOT NULL")


class Logs:
    """Rotated log files; what is being written never. They make room only where they lie on the disk of the images."""

    name, worth = "logs", 1.0

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder = folder
        with telling(folder, "look at"):
            self.tier: int | None = LOGS_TIER if folder.is_dir() and folder.stat().st_dev == root.stat().st_dev else None

    def oldest(self, limit: int, after: int = 0) -> list[Item]:
        items: list[Item] = []
        with telling(self._folder, "list"):
            for path in self._folder.glob(LOGS):
                with suppress(FileNotFoundError):  # the logger deletes old ones itself
                    facts = path.stat()
                    at = datetime.fromtimestamp(facts.st_mtime, UTC)
                    if facts.st_mtime_ns > after:
                        items.append(Item(self.name, facts.st_mtime_ns, at.date().isoformat(), at, (path,), facts.st_size))
        return sorted(items, key=lambda item: item.key)[:limit]

    def forget(self, writer: sqlite3.Connection, items: Sequence[Item]) -> None:
        """The catalogue does not know them."""

    def held(self) -> tuple[int, int]:
        with telling(self._folder, "list"):
            sizes = [path.stat().st_size for path in self._folder.glob("cupola*.log*") if path.is_file()]
        return len(sizes), sum(sizes)


def _item(kind: Kind, key: int, day: str, at: datetime | None, root: Path, names: Iterable[str], size: int) -> Item:
    """Of files below the root, as the catalogue names them."""
    paths: list[Path] = []
    for name in names:
        try:
            paths.append(inside(root, name))
        except ValueError:
            return Item(kind.name, key, day, at, (), 0, astray=name)
    return Item(kind.name, key, day, at, tuple(paths), size)


def _when(row: sqlite3.Row) -> datetime | None:
    return parse_utc(row["opened_at"]) if row["clock_synced"] else None


def _keys(items: Sequence[Item]) -> str:
    return json.dumps([item.key for item in items])


def _total(catalogue: Catalogue, query: str) -> tuple[int, int]:
    count, size = catalogue.read(query)[0]
    return count, size or 0
