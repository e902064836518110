"""`cupola logs`: what the log files say, in short."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cupola.core.errors import CupolaError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cupola.doctor.loganalysis import Analysis

HOURS = 24.0


@click.command()
@click.option("--recent-errors", is_flag=True, help="Errors and warnings only.")
@click.option("--hours", type=click.FloatRange(min=0, min_open=True, max=100_000), help="How far to look back; 24, or the whole of a named file.")
@click.option(
    "--file",
    "files",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    multiple=True,
    help="A log file, .gz too, in place of the station's; may be repeated, the oldest first.",
)
@click.option("--config", type=click.Path(path_type=Path), help="The configuration file; else as `run` finds it.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def logs(recent_errors: bool, hours: float | None, files: tuple[Path, ...], config: Path | None, as_json: bool) -> None:
    """Errors grouped with how often and when, what took long, restarts, and gaps in the log and in the images. Needs no running server.

    Exit 1 when there was an error.
    """
    from cupola.doctor.loganalysis import ago, analyse, gaps_of_images, log_files

    since = ago(hours or HOURS) if hours or not files else None
    catalogue: Path | None = None
    try:
        if files:
            there = list(files)
            found = analyse(there, since)
        else:
            from cupola.cli.settings import settings_for

            settings = settings_for(config, demo=False)
            there = log_files(settings.logging.folder, since)
            found = analyse(there, since)
            catalogue = settings.storage.state_folder / "catalogue.sqlite"
        if not found.is_log and any(file.stat().st_size for file in there):
            raise CupolaError(
                f"There is no record of Cupola's in {', '.join(map(str, there))}: damaged, or another program's. See: cupola doctor disk"
            )
    except OSError as error:
        raise CupolaError(
            f"{error.filename or 'The log'} cannot be read: {error.strerror}. Run it as the service's user, or name a --file."
        ) from None
    if catalogue is not None and since is not None and not recent_errors:
        try:
            if catalogue.is_file():
                found.gaps.extend(gaps_of_images(catalogue, since))
        except (OSError, sqlite3.Error) as error:
            click.echo(f"The catalogue {catalogue} cannot be read ({error}): gaps in the images are not looked for.", err=True)
    told = found.to_dict()
    if as_json:
        click.echo(json.dumps({"errors": told["errors"], "errors_left_out": told["errors_left_out"]} if recent_errors else told, indent=2))
    else:
        from rich.console import Console

        Console().print(_drawn(found, only_errors=recent_errors))
    if found.errors:
        raise click.exceptions.Exit(1)


def _drawn(found: Analysis, *, only_errors: bool) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    span = f"{_time(found.first)} to {_time(found.last)} UTC" if found.records else "no records"
    parts: list[Any] = [Text(f"{found.records} records, {span}", style="bold")]
    groups = found.worst_first()
    rows = [
        (
            str(one.count),
            Text(one.level, style="red" if one.level != "WARNING" else "yellow"),
            _time(one.first),
            _time(one.last),
            _who(one.cameras) + one.pattern,
        )
        for one in groups
    ]
    parts.append(_table("Errors and warnings", ("count", "level", "first", "last", "what"), rows, "none"))
    if found.others:
        parts.append(Text(f"and {found.others} of other kinds", style="yellow"))
    if not only_errors:
        slow = [(str(one.slow), f"{one.mean_s:.2f} s", f"{one.longest_s:.2f} s", _time(one.longest_at), one.pattern) for one in found.slow]
        parts.append(_table("Slow", ("count", "mean", "longest", "at", "what"), slow, "nothing"))
        starts = [
            (_time(one.at), "after its end" if one.orderly else "after a crash or kill", "" if one.down_s is None else f"{one.down_s:.0f} s")
            for one in found.restarts
        ]
        parts.append(_table("Starts of the server", ("at", "how", "silent before"), starts, "none"))
        gaps = [(one.what, one.camera or "", _time(one.begin), _time(one.end), f"{one.seconds:.0f} s") for one in found.gaps]
        parts.append(_table("Gaps", ("in", "camera", "from", "to", "long"), gaps, "none"))
        if found.camera_failures:
            parts.append(Text("Failures of cameras: " + ", ".join(f"{name} {count}" for name, count in found.camera_failures.items())))
    return Group(*parts)


def _who(cameras: list[str]) -> str:
    return f"[{', '.join(cameras)}] " if cameras else ""


def _time(at: str) -> str:
    return at[:19].replace("T", " ")


def _table(title: str, columns: tuple[str, ...], rows: list[Any], empty: str) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return Text.assemble((f"{title}: ", "bold"), empty)
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in ("count", "mean", "longest", "long") else "left")
    for row in rows:
        table.add_row(*(one if isinstance(one, Text) else Text(one) for one in row))
    return table
