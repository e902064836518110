"""`cupola tune`: what this machine can carry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cupola.core.errors import CupolaError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cupola.doctor.tuning import Found


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="The configuration file; else as `run` finds it.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def tune(file: Path | None, as_json: bool) -> None:
    """Measure this machine for a minute, and say what settings it can carry. Best while nothing is captured: what is measured is what is left.

    Exit 1 when the configuration asks for more.
    """
    from cupola.cli.settings import settings_for
    from cupola.doctor.selftest import terminated
    from cupola.doctor.tuning import measure, wanted_sizes

    settings = settings_for(file, demo=False)
    try:
        with terminated():
            found = measure(
                settings, {**wanted_sizes(settings), **_open_ones()}, lambda words: None if as_json else click.echo(f"measuring: {words}", err=True)
            )
    except ImportError as error:
        advice = "Install Cupola anew or, where memory is short, free some; see: cupola doctor"
        raise CupolaError(f"A library that is needed cannot be loaded: {error}. {advice}") from None
    except MemoryError:
        raise CupolaError("The memory is not enough for the largest of these pictures; see: cupola doctor memory") from None
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2))
    else:
        from rich.console import Console

        Console().print(_drawn(found))
    if any(one.fits is False for one in found.advice):
        raise click.exceptions.Exit(1)


def _open_ones() -> dict[str, tuple[int, int]]:
    """Sizes of the cameras that a running server has open, which know them best."""
    from cupola.cli.client import request
    from cupola.web.endpoint import announced

    if announced() is None:
        return {}
    try:
        cameras = request("GET", "/api/cameras", timeout_s=5)["items"]
        return {one["name"]: (one["info"]["width"], one["info"]["height"]) for one in cameras if one["info"]}
    except (CupolaError, KeyError, TypeError):  # it hangs, or another program or version answers
        return {}


def _drawn(found: Found) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    whole = f"{found.processors} processors, {found.memory_mb} MB of memory; disk of {found.disk}: {found.disk_mb_s:g} MB/s, {1000 * found.sync_s:.0f} ms to sync"
    costs = Table(title="One picture costs", title_justify="left", header_style="bold")
    names = list(dict.fromkeys(one.what for one in found.measured))
    for column in ("size", *names):
        costs.add_column(column, justify="left" if column == "size" else "right")
    for size in dict.fromkeys((one.width, one.height) for one in found.measured):
        of = {one.what: f"{1000 * one.seconds:.0f} ms" for one in found.measured if (one.width, one.height) == size}
        costs.add_row(f"{size[0]} x {size[1]}", *(of[name] for name in names))
    carried = Table(title="What this machine can carry, of one camera", title_justify="left", header_style="bold")
    for column in ("camera", "live pictures a second", "a still every", "a second of pre-roll"):
        carried.add_column(column, justify="left" if column == "camera" else "right")
    for one in found.advice:
        carried.add_row(one.camera, f"{one.live_fps:g}", f"{one.least_interval_s:g} s", f"{one.preroll_mb:g} MB")
    words = [
        Text.assemble((f"{one.camera}: ", "bold"), (line, "red" if one.fits is False and (": set " in line) else ""))
        for one in found.advice
        for line in one.words
    ]
    return Group(Text(whole, style="bold"), costs, carried, *words)
