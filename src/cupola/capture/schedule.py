"""When a camera takes pictures by itself: windows by the sun, the moon and the clock, worked out in UTC.

Pure: from configuration and place to windows. What is done when a window opens is the business of `nights`.

A *night* reaches from one solar noon to the next, a *day* from solar midnight to solar midnight. Each has at most one window, called after the local
date on which it opens; a night that the sun opens after midnight, as in June, is called after the evening before all the same: else a
date would come twice when dusk moves back over midnight. A window that begins by the clock bears the date of that time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

from cupola.capture.almanac import ONE_DAY, Almanac, Kind
from cupola.config.camera import Camera
from cupola.config.night import FALLING, RISING, Day, Edge, Night, Span, parse_window
from cupola.core.frame import Station


@dataclass(frozen=True, slots=True)
class Window:
    """One night or day of a camera's schedule.

    Stills are taken in `parts` of [starts_at, ends_at): all of it, unless the moon forbids some; none where it forbids all. `interval_s` is None where the camera's
    `capture` has none: then `expected` photos are not known.
    """

    kind: Kind
    day: str
    starts_at: datetime
    ends_at: datetime
    parts: tuple[tuple[datetime, datetime], ...]
    interval_s: float | None = None
    expected: int | None = None
    delay_s: float | None = None

    @property
    def seconds(self) -> float:
        """Of the parts together."""
        return sum((end - begin).total_seconds() for begin, end in self.parts)

    def takes(self, at: datetime) -> bool:
        """Whether stills are taken at a moment."""
        return any(begin <= at < end for begin, end in self.parts)


class Timetable:
    """The windows of one camera."""

    def __init__(self, camera: Camera, station: Station) -> None:
        self._camera, self._station = camera, station
        self._rules: list[tuple[Kind, Day]] = [("night", camera.night), ("day", camera.day)]
        self._almanac: Almanac | None = None

    def __bool__(self) -> bool:
        """Whether there is a schedule at all."""
        return any(rule.window for _, rule in self._rules)

    @property
    def almanac(self) -> Almanac:
        if self._almanac is None:  # astral takes a tenth of a second to load
            self._almanac = Almanac(self._station)
        return self._almanac

    def windows(self, begin: datetime, end: datetime) -> list[Window]:
        """Those that are open at some time of [begin, end), in order. Where two overlap, the later one begins when the earlier one ends."""
        if not self:
            return []
        found: list[Window] = []
        day, last = begin.astimezone(UTC).date() - 3 * ONE_DAY, end.astimezone(UTC).date() + 2 * ONE_DAY
        while day <= last:
            for kind, rule in self._rules:
                found += self._window(kind, rule, day)
            day += ONE_DAY
        apart: list[Window] = []
        for window in sorted(found, key=lambda window: window.starts_at):
            starts_at = max(window.starts_at, apart[-1].ends_at) if apart else window.starts_at
            if starts_at < window.ends_at:
                apart.append(replace(window, starts_at=starts_at))
        return [self._paced(self._moonless(window)) for window in apart if window.ends_at > begin and window.starts_at < end]

    def opens_on(self, window: Window) -> datetime:
        """When the night or day begins that this window belongs to: from then on it is waited for."""
        day = window.starts_at.astimezone(UTC).date()
        return max(at for n in (-2, -1, 0, 1) if (at := self.almanac.begin(window.kind, day + n * ONE_DAY)) <= window.starts_at)

    def _window(self, kind: Kind, rule: Day, day: date) -> Iterator[Window]:
        if rule.window is None:
            return
        edges = _Edges(self.almanac, kind, day)
        found = edges.of(parse_window(rule.window))
        if found is not None:
            yield Window(kind, self.almanac.name(day).isoformat(), *found, (found,))

    def _moonless(self, window: Window) -> Window:
        rule = self._camera.night
        if window.kind == "day" or not isinstance(rule, Night) or rule.moon_max_percent is None:
            return replace(window, parts=((window.starts_at, window.ends_at),))
        parts = tuple(self.almanac.dark_parts(window.starts_at, window.ends_at, rule.moon_max_percent))
        return replace(window, parts=parts, **({"starts_at": parts[0][0], "ends_at": parts[-1][1]} if parts else {}))

    def _paced(self, window: Window) -> Window:
        """With the interval that was given, or that the video's length asks for, and how many photos that makes."""
        rule, capture = (self._camera.night if window.kind == "night" else self._camera.day), self._camera.capture
        if rule.video_length_s is not None:
            photos = max(1, round(rule.video_length_s * rule.video_fps))
            interval = round(window.seconds / photos, 3)
            return replace(window, interval_s=interval, expected=photos) if interval else replace(window, expected=0)
        interval = rule.interval_s or (capture.interval_s if capture.delay_s is None else None)
        if interval is None:
            return replace(window, delay_s=capture.delay_s)
        photos = sum(math.ceil((end - begin).total_seconds() / interval) for begin, end in window.parts)
        return replace(window, interval_s=interval, expected=photos)


class _Edges:
    """The edges of the window of one night or day; `day` is the UTC date whose solar noon begins the night, or is in the middle of the day."""

    def __init__(self, almanac: Almanac, kind: Kind, day: date) -> None:
        self._almanac, self._day = almanac, day
        self._kind: Kind = kind

    def of(self, span: Span | None) -> tuple[datetime, datetime] | None:
        """Start and end, or None where there is no window this time.

        Where an event does not come because the sun stays on the window's side of it all day (polar night, for a window from dusk), the window
        goes on to the edge of the night or day; where the sun stays on the other side, there is none.
        """
        if span is None:
            return self._almanac.begin(self._kind, self._day), self._almanac.begin(self._kind, self._day + ONE_DAY)
        found = self._start(span.start)
        if found is None:
            return None
        event, start = found
        end = self._end(span.end, event)
        return (start, end) if end is not None and start < end else None

    def _start(self, edge: Edge) -> tuple[datetime, datetime] | None:
        """The event, and the start with its offset."""
        almanac, day = self._almanac, self._day
        if edge.clock is not None:
            at = self._local(almanac.name(day), edge.clock)
            return at, at + edge.offset
        assert edge.event is not None
        if edge.event in FALLING:
            found, edge_of_day, side = almanac.sun_falls(day, FALLING[edge.event]), almanac.noon(day), "below"
        else:
            rising = day + (ONE_DAY if self._kind == "night" else timedelta())
            found, edge_of_day, side = almanac.sun_rises(rising, RISING[edge.event]), almanac.midnight(rising - ONE_DAY), "above"
        if isinstance(found, datetime):
            return found, found + edge.offset
        return (edge_of_day, edge_of_day) if found == side else None

    def _end(self, edge: Edge, after: datetime) -> datetime | None:
        """The first such event after the start's."""
        almanac = self._almanac
        if edge.clock is not None:
            first = after.astimezone(almanac.zone).date()
            times = (self._local(first + n * ONE_DAY, edge.clock) for n in range(3))
            return next(at for at in times if at > after) + edge.offset
        assert edge.event is not None
        for n in range(-1, 3):
            day = self._day + n * ONE_DAY
            if edge.event in FALLING:
                found, last, side = almanac.sun_falls(day, FALLING[edge.event]), almanac.midnight(day), "above"
            else:
                found, last, side = almanac.sun_rises(day, RISING[edge.event]), almanac.noon(day), "below"
            if isinstance(found, datetime):
                if found > after:
                    return found + edge.offset
            elif last > after:
                return last if found == side else None
        return None

    def _local(self, day: date, clock: time) -> datetime:
        """UTC of a time of the station's clock; one that summer time leaves out comes as much later, of one that comes twice the first counts."""
        return datetime.combine(day, clock, self._almanac.zone).astimezone(UTC)
