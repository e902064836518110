"""Time as Cupola uses it: UTC for names and facts, the monotonic clock for every interval."""

import math
import os
import time
from datetime import UTC, date, datetime, timedelta, tzinfo


def utc_now() -> datetime:
    """The wall clock, timezone-aware, in UTC."""
    return datetime.now(UTC)


def monotonic_ns() -> int:
    """Nanoseconds of a clock that never steps and is the same for all processes of this machine."""
    return time.monotonic_ns()


def iso_utc(moment: datetime) -> str:
    """`2026-11-21T23:15:02.123456Z`, always with microseconds, so that text sorts as time does."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_utc(text: str) -> datetime:
    """The inverse of `iso_utc`; raises ValueError on anything without a timezone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no timezone")
    return moment.astimezone(UTC)


def clock_synced() -> bool:
    """Whether this machine's wall clock is known to be right.

    systemd-timesyncd leaves a mark when it has spoken to a server; a machine without systemd
    (a container, macOS, Windows) is taken at its word.
    """
    if not os.path.isdir("/run/systemd/timesync"):
        return True
    return os.path.exists("/run/systemd/timesync/synchronized")


def solar_noon(day: date, longitude_deg: float) -> datetime:
    """UTC of the sun's culmination on a UTC day at a longitude (degrees, east positive), within a minute.

    Equation of time: Spencer (1971), as given in Iqbal, "An Introduction to Solar Radiation" (1983), eq. 1.4.1.
    """
    angle = 2 * math.pi * (day.timetuple().tm_yday - 1) / 365
    equation_min = 229.18 * (
        0.000075 + 0.001868 * math.cos(angle) - 0.032077 * math.sin(angle) - 0.014615 * math.cos(2 * angle) - 0.040849 * math.sin(2 * angle)
    )
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return midnight + timedelta(minutes=720 - 4 * longitude_deg - equation_min)


def observing_day(moment: datetime, longitude_deg: float, zone: tzinfo) -> date:
    """The station-local date of the last solar noon before `moment`: one night is one day."""
    noon = max(n for offset in (-2, -1, 0, 1) if (n := solar_noon((moment + timedelta(days=offset)).astimezone(UTC).date(), longitude_deg)) <= moment)
    return noon.astimezone(zone).date()
