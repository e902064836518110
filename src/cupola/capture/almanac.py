"""Sun and moon over the station: how high they stand, and when the sun crosses a height.

The sun is astral's (altitude without refraction), the moon that of `drivers.sky.ephemeris`: astral's is geocentric, which at
a station is off by up to a degree, five minutes of a moonrise. Only heights are asked for, never rise and set of a date: those do not exist
at polar day and night, where a height always does. Which heights make a window is `schedule`'s business.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from cupola.core.clock import solar_noon
from cupola.core.frame import Station

Kind = Literal["night", "day"]
Side = Literal["above", "below"]
HALF_DAY = timedelta(hours=12)
ONE_DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
MOON_STEP = timedelta(minutes=10)
MOON_RISES_DEG = 0.0  # of the moon's centre, with refraction


class Almanac:
    """A station's sun and moon. Moments are aware datetimes in UTC, `day` is a UTC date whose noon at the station is meant."""

    def __init__(self, station: Station) -> None:
        from astral import Observer

        self._latitude, self._longitude = station.latitude, station.longitude
        self._observer = Observer(station.latitude, station.longitude, 0.0)
        self.zone = ZoneInfo(station.timezone)

    def noon(self, day: date) -> datetime:
        """The sun's culmination."""
        return solar_noon(day, self._longitude).replace(microsecond=0)

    def midnight(self, day: date) -> datetime:
        """The middle of the night that this day begins."""
        return self.noon(day) + HALF_DAY

    def begin(self, kind: Kind, day: date) -> datetime:
        """When a night or day begins: a night at noon of its date, a day at the midnight before."""
        return self.noon(day) if kind == "night" else self.midnight(day - ONE_DAY)

    def name(self, day: date) -> date:
        """The station-local date of that noon. By the mean sun and without summer time, so that no date is left out or comes twice anywhere."""
        mean = datetime(day.year, day.month, day.day, tzinfo=UTC) + HALF_DAY - timedelta(minutes=4 * self._longitude)
        local = mean.astimezone(self.zone)
        return (local.replace(tzinfo=None) - (local.dst() or timedelta())).date()

    def sun_deg(self, at: datetime) -> float:
        """Altitude of the sun's centre without refraction."""
        from astral.sun import elevation

        return elevation(self._observer, at, with_refraction=False)

    def moon_deg(self, at: datetime) -> float:
        """Altitude of the moon's centre, with parallax and refraction."""
        from cupola.core.ephemeris import moon

        return moon(at.timestamp(), self._latitude, self._longitude).altitude_deg

    def moon_percent(self, at: datetime) -> float:
        """How much of the moon's disc is lit (Meeus 48.1)."""
        from cupola.core.ephemeris import phase_angle_deg

        return 50.0 * (1.0 + math.cos(math.radians(phase_angle_deg(at.timestamp()))))

    def sun_falls(self, day: date, height_deg: float) -> datetime | Side:
        """When the sun sinks through a height between noon and midnight; else on which side of it the sun is all that time."""
        return self._crossing(self.noon(day), self.midnight(day), height_deg)

    def sun_rises(self, day: date, height_deg: float) -> datetime | Side:
        """When the sun climbs through a height between midnight and noon; else on which side of it the sun is all that time."""
        return self._crossing(self.midnight(day - ONE_DAY), self.noon(day), height_deg)

    def _crossing(self, begin: datetime, end: datetime, height_deg: float) -> datetime | Side:
        """Halving, to a second: between its highest and its lowest point the sun goes one way only."""
        starts_above, ends_above = self.sun_deg(begin) > height_deg, self.sun_deg(end) > height_deg
        if starts_above == ends_above:
            return "above" if starts_above else "below"
        while end - begin > SECOND:
            middle = begin + (end - begin) / 2
            if (self.sun_deg(middle) > height_deg) == starts_above:
                begin = middle
            else:
                end = middle
        return end.replace(microsecond=0)

    def dark_parts(self, begin: datetime, end: datetime, most_percent: float) -> list[tuple[datetime, datetime]]:
        """The parts of a window in which the moon is down, to a second, in order; all of it where the moon, in its middle, is lit by at most `most_percent`."""
        if self.moon_percent(begin + (end - begin) / 2) <= most_percent:
            return [(begin, end)]

        def dark(at: datetime) -> bool:
            return self.moon_deg(at) < MOON_RISES_DEG

        parts: list[tuple[datetime, datetime]] = []
        at, since, was = begin, begin, dark(begin)
        while at < end:
            following = min(at + MOON_STEP, end)
            if (now := dark(following)) != was:
                low, high = at, following
                while high - low > SECOND:
                    middle = low + (high - low) / 2
                    low, high = (middle, high) if dark(middle) == was else (low, middle)
                turn = high.replace(microsecond=0)
                if was:
                    parts.append((since, turn))
                since, was = turn, now
            at = following
        if was:
            parts.append((since, end))
        return [(first, last) for first, last in parts if first < last]
