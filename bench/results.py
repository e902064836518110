"""A figure with its target and its peer, the table, and the JSON of all figures."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

FILE = Path(__file__).parent / "results.json"


@dataclass(frozen=True, slots=True)
class Result:
    """One figure: the median of `runs` measurements, or a percentile of `runs` events, with the smallest and the greatest of them."""

    name: str
    value: float
    unit: str
    target: float | None
    runs: int
    spread: tuple[float, float]
    peer: str | None = None
    peer_value: float | None = None
    note: str = ""
    at_least: bool = False  # the target is to be reached, not to be kept below

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


@dataclass(frozen=True, slots=True)
class Options:
    """`seconds` and `repeats` of one measurement, `minutes` of watching memory, and the folder things may be put in."""

    quick: bool
    minutes: float
    folder: Path

    @property
    def seconds(self) -> float:
        return 3.0 if self.quick else 5.0

    @property
    def repeats(self) -> int:
        return 1 if self.quick else 3


def median(
    name: str,
    values: Sequence[float],
    unit: str,
    target: float | None = None,
    *,
    peer: tuple[str, Sequence[float]] | None = None,
    note: str = "",
    at_least: bool = False,
) -> Result:
    """A result from repeated measurements; `peer` has a name and its own measurements."""
    named, theirs = peer if peer and peer[1] else (None, ())
    return Result(
        name,
        round(statistics.median(values), 3),
        unit,
        target,
        len(values),
        (round(min(values), 3), round(max(values), 3)),
        named,
        round(statistics.median(theirs), 3) if theirs else None,
        note,
        at_least,
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * int(percent) // 100) - 1)]


def p99(
    name: str, values: Sequence[float], unit: str, target: float | None = None, *, peer: tuple[str, float] | None = None, note: str = ""
) -> Result:
    """A result from many events."""
    named, theirs = peer or (None, None)
    spread = (round(min(values), 3), round(max(values), 3))
    return Result(
        name, round(percentile(values, 99), 3), unit, target, len(values), spread, named, theirs if theirs is None else round(theirs, 3), note
    )


def save(results: Sequence[Result]) -> None:
    FILE.write_text(json.dumps([{**asdict(result), "met": result.met} for result in results], indent=2) + "\n")


def table(results: Sequence[Result]) -> Table:
    drawn = Table(header_style="bold", title="Cupola bench", title_justify="left")
    for head in ("figure", "value", "least … most", "runs", "target", "met", "peer", "note"):
        drawn.add_column(head, justify="right" if head in ("value", "target", "runs") else "left")
    for one in results:
        met = {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[one.met]
        drawn.add_row(
            one.name,
            f"{one.value:g} {one.unit}",
            f"{one.spread[0]:g} … {one.spread[1]:g}",
            str(one.runs),
            "" if one.target is None else f"{'≥ ' if one.at_least else ''}{one.target:g} {one.unit}",
            met,
            "" if one.peer_value is None else f"{one.peer} {one.peer_value:g}",
            one.note,
        )
    return drawn
