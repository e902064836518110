"""Deleting what is oldest and worth least, so that the disk never fills.

Owns the order and what makes it safe. What there is to delete, kind by kind, is told by `kinds`; when to look, what is said of it
and what is stored meanwhile is the business of `capture.keeping` and `camera.storer`.

An announced file is never listed when it is gone, and one that was deleted never comes back. A step therefore takes its rows out of
the catalogue and notes the files as doomed there, in one transaction; only then are they unlinked, and the folders synced; the note
goes with the next transaction. A crash at any moment leaves doomed files, which `finish` deletes and reconciliation passes over.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Literal, cast

from cupola.core.clock import clock_synced, utc_now
from cupola.core.errors import StorageFailed
from cupola.storage.catalogue import Catalogue
from cupola.storage.files import inside, relative_name, sync_folder, telling
from cupola.storage.kinds import ORIGINALS_TIER, Item, Kind
from cupola.storage.space import Free, free_space

DOOMED = "retention.doomed"  # key of the catalogue: paths below root whose rows are gone, and which are being deleted
STEP_ITEMS = 64  # a step holds the catalogue for some milliseconds, and the disk for 64 unlinks
FRUITLESS_STEPS = 16  # then deleting has to have shown an effect
MARGIN_BYTES = 1_000_000_000

Reason = Literal["age", "space"]


@dataclass(slots=True)
class Deleted:
    """What went of one kind for one reason; `first_day` and `last_day` are observing days."""

    kind: str
    reason: Reason
    files: int = 0
    bytes: int = 0
    first_day: str = ""
    last_day: str = ""

    def add(self, item: Item) -> None:
        self.files += len(item.paths)
        self.bytes += item.bytes
        self.first_day = min(self.first_day or item.day, item.day)
        self.last_day = max(self.last_day, item.day)


@dataclass(slots=True)
class Report:
    """What a run deleted, or a dry run would. `gone`: files that were not there any more, whoever deleted them. `astray`: files that were
    due, but that a link leads out of the root, by their names below it: they stay, and what belongs to them.
    """

    deleted: list[Deleted] = field(default_factory=list[Deleted])
    gone: int = 0
    astray: set[str] = field(default_factory=set[str])

    def add(self, item: Item, reason: Reason) -> None:
        found = next((one for one in self.deleted if (one.kind, one.reason) == (item.kind, reason)), None)
        if found is None:
            self.deleted.append(found := Deleted(item.kind, reason))
        found.add(item)

    @property
    def files(self) -> int:
        return sum(one.files for one in self.deleted)

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.deleted)


@dataclass(frozen=True, slots=True)
class Need:
    """What a run is after: what is too old (`ages`), and `wanted_bytes` free, 0 for none.

    What is worth more than originals goes only below `asked_bytes`; once that has begun (`deep`), until `wanted_bytes` too. With `waits` it does not.
    """

    ages: bool
    wanted_bytes: int
    asked_bytes: int
    waits: bool
    deep: bool = False


class Retention:
    """`days`: by kind, after how many it goes whatever the space, None for never; `keep_free_percent` 0: nothing goes for space.
    Halfway from there to `min_free_percent` originals that wait for the darkroom are waited for, rather than that images go.

    `clock` tells the time if it is right, else None; `free` the space of the file system of a folder.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        root: Path,
        kinds: Sequence[Kind],
        *,
        days: Mapping[str, float | None],
        keep_free_percent: float,
        min_free_percent: float = 0.0,
        clock: Callable[[], datetime | None] = lambda: utc_now() if clock_synced() else None,
        free: Callable[[Path], Free] = free_space,
    ) -> None:
        self.root, self.kinds, self.keep_free_percent = root.absolute(), tuple(kinds), keep_free_percent
        self.catalogue, self._least_percent = catalogue, (keep_free_percent + min_free_percent) / 2
        self._days, self._clock, self._free = dict(days), clock, free

    def free(self) -> Free:
        """Raises StorageFailed."""
        return self._free(self.root)

    @property
    def by_age(self) -> bool:
        """Whether anything goes by its age."""
        return any(self._days.get(kind.name) is not None for kind in self.kinds)

    def begin(self, *, ages: bool = True) -> Run:
        """A run of steps, from now. Finishes first what an earlier one left. `ages` False: only what space demands, which is quick to see."""
        self.finish()
        return Run(self, ages)

    def plan(self) -> Report:
        """What a run would delete now; nothing is changed."""
        free, report = self.free(), Report()
        need = Need(True, self.wanted_bytes(free), self.asked_bytes(free), self.waits(free))
        for item, reason in self.candidates(need, lambda: free.bytes + report.bytes, report.astray, {}):
            report.add(item, reason)
        return report

    def wanted_bytes(self, free: Free) -> int:
        """Free bytes that a run beginning at `free` ends with; 0 when it need not make any room. A little more than asked for, so that runs are few."""
        if free.percent >= self.keep_free_percent:
            return 0
        asked = self.asked_bytes(free)
        return int(asked + min(asked / 10, (free.usable_bytes - asked) / 10, MARGIN_BYTES))

    def asked_bytes(self, free: Free) -> int:
        """What is to be free of this disk."""
        return int(free.usable_bytes * self.keep_free_percent / 100)

    def waits(self, free: Free) -> bool:
        """Whether developing what waits will make room enough, by the originals that may go then, before there is too little."""
        if not self._least_percent < free.percent < self.keep_free_percent:
            return False
        query = "SELECT coalesce(sum(bytes), 0) FROM image JOIN file ON image = image.id WHERE NOT developed AND NOT gave_up AND kind = 'raw' AND NOT missing"
        return 100 * (free.bytes + self.catalogue.read(query)[0][0]) / free.usable_bytes >= self.keep_free_percent

    def candidates(self, need: Need, free_then: Callable[[], int], astray: set[str], after: Mapping[str, int]) -> Generator[tuple[Item, Reason]]:
        """Everything that is due, in the order it goes, no file twice. `free_then`: bytes that are free when what was given so far is gone;
        `after`: by kind, the key behind which it begins; `astray` gets what is passed over because it is not ours to delete.
        """
        taken = set[Path]()
        for item, reason in self._due(need, free_then, after):
            if item.astray is not None:
                astray.add(item.astray)
                continue
            if not taken.isdisjoint(item.paths):  # an image whose original goes by itself
                paths = tuple(path for path in item.paths if path not in taken)
                item = replace(item, paths=paths, bytes=sum(_size(path) for path in paths))
            taken.update(item.paths)
            yield item, reason

    def _due(self, need: Need, free_then: Callable[[], int], after: Mapping[str, int]) -> Generator[tuple[Item, Reason]]:
        after = {kind.name: after.get(kind.name, 0) for kind in self.kinds}
        now = self._clock() if need.ages else None
        if now is not None:
            for kind in self.kinds:
                if (days := self._days.get(kind.name)) is not None:
                    for item in _older(kind, now - timedelta(days=days), after[kind.name]):
                        after[kind.name] = item.key
                        yield item, "age"
        for tier in sorted({kind.tier for kind in self.kinds if kind.tier is not None}):
            if tier > ORIGINALS_TIER and (need.waits or not (need.deep or free_then() < need.asked_bytes)):
                return
            for item in _by_value([kind for kind in self.kinds if kind.tier == tier], after, self._newest_day()):
                if free_then() >= need.wanted_bytes:
                    return
                yield item, "space"

    def _newest_day(self) -> str:
        """Of the image that came last: an age is told from there, which needs no right clock."""
        return next((row["day"] for row in self.catalogue.read("SELECT day FROM image ORDER BY id DESC LIMIT 1")), "")

    def delete(self, items: Sequence[Item]) -> list[Item]:
        """Delete some items for good, those excepted that are not there any more: the catalogue flags them as missing. Those that went."""
        there = [item for item in items if any(path.exists() for path in item.paths)]
        with self.catalogue.writing() as writer:
            for kind in self.kinds:
                if mine := [item for item in there if item.kind == kind.name]:
                    kind.forget(writer, mine)
            for item in items:
                for path in () if item in there else item.paths:
                    if path.is_relative_to(self.root):
                        self.catalogue.flag_missing(relative_name(path, self.root))
            paths = [path for item in there for path in item.paths]
            self.catalogue.put(DOOMED, [relative_name(path, self.root) for path in paths if path.is_relative_to(self.root)])
        self._unlink(paths)
        return there

    def finish(self) -> int:
        """Delete the files that a step noted as doomed and may not have come to; how many it looked for. Raises StorageFailed."""
        names = doomed(self.catalogue)
        if names:
            self._unlink([path for name in sorted(names) if (path := self.ours(name)) is not None])
            self.catalogue.put(DOOMED, [])
        return len(names)

    def ours(self, name: str) -> Path | None:
        """A file of the catalogue's, None where a link leads out of the root."""
        with suppress(ValueError):
            return inside(self.root, name)
        return None

    def _unlink(self, paths: Iterable[Path]) -> None:
        folders = set[Path]()
        for path in paths:
            with telling(path, "delete"):
                path.unlink(missing_ok=True)
            folders.add(path.parent)
        for folder in sorted(folders):
            with telling(folder, "sync"), suppress(FileNotFoundError):
                sync_folder(folder)
            self._remove_empty(folder)

    def _remove_empty(self, folder: Path) -> None:
        """The folder, and those above it, up to the camera's; none that has anything in it."""
        while folder.is_relative_to(self.root) and len(folder.relative_to(self.root).parts) > 1:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent


class Run:
    """One run, in steps that each hold up nobody for long. `short` at its end: nothing is left to delete, and less is free than is to be."""

    def __init__(self, retention: Retention, ages: bool) -> None:
        self._retention, self._ages = retention, ages
        self._wanted = retention.wanted_bytes(retention.free())
        self._released = 0
        self._steps, self._deep = 0, False
        self._after: dict[str, int] = {}  # by kind: what comes before is gone, or stays for good
        self.report, self.short = Report(), False

    def step(self) -> bool:
        """Delete the next few files; False when nothing is left to do. Raises StorageFailed and StorageFull."""
        retention = self._retention
        free = retention.free()
        waits = retention.waits(free)
        self._steps += 1
        if self._steps > FRUITLESS_STEPS and self._released < self.report.bytes / 10:
            raise StorageFailed(
                f"{self.report.bytes / 1e6:.0f} MB of old files were deleted, but that made no room on the disk with {retention.root}. Does a snapshot, a link "
                "or an open file still hold them? Deleting stops for a while."
            )
        need = Need(self._ages, self._wanted, retention.asked_bytes(free), waits, self._deep)
        chosen = self._choose(need, free)
        if not chosen and self._after:  # from the beginning: something may have become due there meanwhile
            self._after.clear()
            chosen = self._choose(need, free)
        if not chosen:
            retention.finish()
            self.short = free.percent < retention.keep_free_percent and not waits
            return False
        tiers = {kind.name: kind.tier for kind in retention.kinds}
        self._deep = self._deep or any(reason == "space" and tiers[item.kind] != ORIGINALS_TIER for item, reason in chosen)
        went = {(item.kind, item.key) for item in retention.delete([item for item, _ in chosen])}
        self._released += max(0, retention.free().bytes - free.bytes)
        for item, reason in chosen:
            if (item.kind, item.key) in went:
                self.report.add(item, reason)
            else:
                self.report.gone += len(item.paths)
        if self._steps == 1 and not went and len(chosen) == STEP_ITEMS:
            retention.finish()
            raise StorageFailed(
                f"None of the {len(chosen)} oldest files is there any more. Is the disk of {retention.root} mounted? Deleting stops for a while."
            )
        return True

    def _choose(self, need: Need, free: Free) -> list[tuple[Item, Reason]]:
        chosen: list[tuple[Item, Reason]] = []
        batch = Report()
        due = self._retention.candidates(need, lambda: free.bytes + batch.bytes, self.report.astray, dict(self._after))
        for item, reason in islice(due, STEP_ITEMS):
            chosen.append((item, reason))
            batch.add(item, reason)
            self._after[item.kind] = max(self._after.get(item.kind, 0), item.key)
        return chosen


def doomed(catalogue: Catalogue) -> frozenset[str]:
    """Files below root that retention is deleting: their rows are gone, and they must not be taken up again."""
    return frozenset(cast("list[str]", catalogue.get(DOOMED) or ()))


def _older(kind: Kind, than: datetime, after: int) -> Generator[Item]:
    """What is older; also what was taken, with a clock that was wrong, before something that is."""
    while batch := kind.oldest(STEP_ITEMS, after):
        last = max((number for number, item in enumerate(batch) if item.at is not None and item.at < than), default=-1)
        yield from batch[: last + 1]
        if last + 1 < len(batch):
            return
        after = batch[-1].key


def _by_value(kinds: Sequence[Kind], after: Mapping[str, int], newest: str) -> Generator[Item]:
    """The items of kinds of one tier, by their age divided by their worth; each kind's own in its order."""
    batches = {kind.name: kind.oldest(STEP_ITEMS, after[kind.name]) for kind in kinds}
    while heads := [kind for kind in kinds if batches[kind.name]]:
        newest = max(newest, *(batches[kind.name][-1].day for kind in heads))
        kind = max(heads, key=lambda kind: _age_days(batches[kind.name], newest) / kind.worth)
        item = batches[kind.name].pop(0)
        yield item
        if not batches[kind.name]:
            batches[kind.name] = kind.oldest(STEP_ITEMS, item.key)


def _age_days(batch: Sequence[Item], newest: str) -> float:
    """Of the first item whose clock was right, at least one day."""
    day = next((item.day for item in batch if item.at is not None), newest)
    return 1.0 + (date.fromisoformat(newest) - date.fromisoformat(day)).days


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
