"""`cupola schedule`: the windows to come, from the configuration; no server is needed."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import RenderableType


@click.command()
@click.option("--days", type=click.IntRange(1, 366), default=7, show_default=True, help="How far ahead.")
@click.option("--json", "as_json", is_flag=True, help="Print the windows as JSON.")
@click.option(
    "--config", "file", type=click.Path(path_type=Path), help="The configuration file; else CUPOLA_CONFIG, ./cupola.yaml, your config folder."
)
@click.option("--demo", is_flag=True, help="Of the built-in demo station.")
def schedule(days: int, as_json: bool, file: Path | None, demo: bool) -> None:
    """When the cameras take pictures by themselves, and how many. Works without a running server too."""
    from cupola.capture.schedule import Timetable
    from cupola.cli.settings import settings_for
    from cupola.core.clock import utc_now
    from cupola.core.frame import Station

    settings = settings_for(file, demo=demo)
    station, now = Station(**settings.station.model_dump()), utc_now()
    windows: list[dict[str, Any]] = []
    for camera in settings.cameras:
        timetable = Timetable(camera, station)
        for window in timetable.windows(now, now + timedelta(days=days)):
            middle = window.starts_at + (window.ends_at - window.starts_at) / 2
            windows.append(
                {
                    "camera": camera.name,
                    "kind": window.kind,
                    "day": window.day,
                    "starts_at": window.starts_at.isoformat(),
                    "ends_at": window.ends_at.isoformat(),
                    "parts": [{"starts_at": begin.isoformat(), "ends_at": end.isoformat()} for begin, end in window.parts],
                    "interval_s": window.interval_s,
                    "expected": window.expected,
                    "moon_percent": round(timetable.almanac.moon_percent(middle), 1),
                }
            )
    if as_json:
        click.echo(json.dumps(windows, indent=2))
        return
    from rich.console import Console

    if not windows:
        some = any(camera.night.window or camera.day.window for camera in settings.cameras)
        words = f"No window opens in the next {days} days: the sun does not allow it." if some else "Nothing is scheduled."
        click.echo(words if some else f"{words} A camera's night.window does it: sunset..sunrise, for example.")
        return
    Console().print(_table(windows, settings.station.timezone))


def _table(windows: list[dict[str, Any]], zone: str) -> RenderableType:
    from zoneinfo import ZoneInfo

    from rich.table import Table

    table = Table(title=f"Times of {zone}", title_justify="left", header_style="bold")
    for name in ("camera", "", "date", "from", "to", "length", "every", "photos", "moon"):
        table.add_column(name, no_wrap=True)
    for window in windows:
        times = [(datetime.fromisoformat(part["starts_at"]), datetime.fromisoformat(part["ends_at"])) for part in window["parts"]]
        local = [(begin.astimezone(ZoneInfo(zone)), end.astimezone(ZoneInfo(zone))) for begin, end in times]
        length = sum((end - begin for begin, end in times), timedelta())
        table.add_row(
            window["camera"],
            window["kind"],
            window["day"],
            "\n".join(f"{begin:%H:%M}" for begin, _ in local) or "the moon is up",
            "\n".join(f"{end:%H:%M}" for _, end in local),
            f"{length // timedelta(hours=1)}:{length % timedelta(hours=1) // timedelta(minutes=1):02d} h" if times else "–",
            "as capture" if window["interval_s"] is None else f"{window['interval_s']:.3g} s",
            "–" if window["expected"] is None else f"{window['expected']:,}",
            f"{window['moon_percent']:.0f} %",
        )
    return table
