"""`cupola focus`: how sharp the stars are, while somebody turns the focuser."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import click

from cupola.cli.client import lines, pick_camera

if TYPE_CHECKING:
    from rich.table import Table

SILENCE_S = 120.0  # a test shot of a DSLR takes its exposure and its download


@click.command()
@click.argument("camera", required=False)
@click.option("--x", type=click.IntRange(0, 100_000), metavar="COLUMN", help="Middle of the region; by default the picture's.")
@click.option("--y", type=click.IntRange(0, 100_000), metavar="ROW", help="Middle of the region; by default the picture's.")
@click.option("--size", type=click.IntRange(64, 1024), default=384, show_default=True, help="Pixels the region measures each way.")
@click.option("--count", type=click.IntRange(1), help="End after so many measurements.")
@click.option("--json", "as_json", is_flag=True, help="Print each measurement as a line of JSON, without its picture.")
def focus(camera: str | None, x: int | None, y: int | None, size: int, count: int | None, as_json: bool) -> None:
    """Measure how sharp the stars of a region are, until Ctrl-C.

    HFR is the radius that holds half of a star's light, FWHM its width: the smaller, the sharper. A camera without video takes test
    shots, which are not stored.
    """
    name = pick_camera(camera)
    place = {key: value for key, value in (("x", x), ("y", y), ("size", size)) if value is not None}
    measurements = islice(lines(f"/api/cameras/{quote(name, safe='')}/focus?{urlencode(place)}", timeout_s=SILENCE_S), count)
    if as_json:
        for measured in measurements:
            del measured["jpeg"]
            click.echo(json.dumps(measured))
        return
    from rich.live import Live

    with Live(auto_refresh=False) as shown:
        for measured in measurements:
            shown.update(_table(name, measured), refresh=True)


def _table(camera: str, measured: dict[str, Any]) -> Table:
    from rich.table import Table

    def pixels(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f} px"

    table = Table(title=f"Focus of {camera}", show_header=False)
    stars = len(measured["stars"])
    words = f"{stars} measured" + (f", {measured['saturated']} too bright to measure" if measured["saturated"] else "")
    if not stars:
        words = "too bright: expose shorter" if measured["saturated"] else "none found: expose longer, or look elsewhere"
    table.add_row("HFR", pixels(measured["hfr_px"]))
    table.add_row("best so far", pixels(measured["best_hfr_px"]) + (f"  at {measured['best_at'][11:19]} UTC" if measured["best_at"] else ""))
    table.add_row("trend", measured["trend"] or "-")
    table.add_row("FWHM", pixels(measured["fwhm_px"]))
    table.add_row("stars", words)
    table.add_row("region", f"{measured['width']} x {measured['height']} at {measured['x']}, {measured['y']} (sensor columns, rows)")
    return table
