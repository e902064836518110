"""What a receiver's catalogue is told of a still or clip: the `meta` of its last record, strict in both directions.

Standard library only. Numbers of images, clips and nights are the station's own; a receiver gives its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from typing import Any, Self

from cupola.core.clock import iso_utc, parse_utc


class _Meta:
    @classmethod
    def of(cls, row: object, **other: Any) -> Self:
        """Of a row of the catalogue, whose columns are called the same; `other` instead of some of them."""
        return cls(**{field.name: getattr(row, field.name) for field in fields(cls)} | other)  # type: ignore[arg-type]

    def to_json(self) -> dict[str, Any]:
        """JSON types; times as `2026-11-21T23:15:02.123456Z`."""
        return {name: iso_utc(value) if isinstance(value, datetime) else value for name, value in asdict(self).items()}  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Raises ValueError that names the field, for one that is missing or no such value. Unknown fields are left out: a newer station may send more."""
        taken: dict[str, Any] = {}
        for field in fields(cls):  # type: ignore[arg-type]
            if field.name not in values:
                raise ValueError(f"{field.name} is not there")
            try:
                taken[field.name] = _CHECKS[str(field.type)](values[field.name])
            except (ValueError, OverflowError) as error:
                raise ValueError(f"{field.name} is no {field.type}: {str(error)[:100]}") from None
        return cls(**taken)


@dataclass(frozen=True, slots=True)
class StillMeta(_Meta):
    """As the columns of the catalogue are called. `day` is the date whose folder it lies in."""

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
    day: date_text
    id: int


@dataclass(frozen=True, slots=True)
class ClipMeta(_Meta):
    """As the columns of the catalogue are called."""

    id: int
    label: str
    triggered_at: datetime
    triggers: list_of_objects
    before_s: float
    after_s: float
    before_got_s: float | None
    after_got_s: float | None
    frames: int | None
    duration_s: float | None
    missing: list_of_objects
    codec: str | None
    width: int | None
    height: int | None


date_text = str
list_of_objects = list[dict[str, Any]]
_TEXT_MOST, ITEMS_MOST = 200, 1000


def _int(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError(repr(value))
    return value


def _float(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(repr(value))
    return float(value)


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(repr(value))
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _TEXT_MOST or not value.isprintable():
        raise ValueError(repr(value))
    return value


def _moment(value: Any) -> datetime:
    moment = parse_utc(_text(value))
    if not 1970 <= moment.year <= 9998:
        raise ValueError(repr(value))
    return moment


def _day(value: Any) -> str:
    day = date.fromisoformat(_text(value)).isoformat()
    if day != value:
        raise ValueError(repr(value))
    return day


def _objects(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or len(value) > ITEMS_MOST or not all(isinstance(item, dict) for item in value):
        raise ValueError("must be a list of objects")
    return value


def _or_none(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else check(value)


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "int": _int,
    "float": _float,
    "bool": _bool,
    "str": _text,
    "datetime": _moment,
    "date_text": _day,
    "list_of_objects": _objects,
}
_CHECKS |= {f"{name} | None": _or_none(check) for name, check in list(_CHECKS.items())}
