"""`cupola darks`: exposures with the lens covered, from which the sensor's own signal is learned."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from cupola.cli.client import pick_camera, request, show
from cupola.core.errors import CupolaError

if TYPE_CHECKING:
    from rich.table import Table

COMBINING_S = 900.0
FEWEST = 5


@click.group()
def darks() -> None:
    """Take and list dark frames, which are subtracted when pictures are developed."""


@darks.command()
@click.argument("camera", required=False)
@click.option("-e", "--exposure", "exposures", type=float, multiple=True, metavar="EXPOSURE_S", help="May be repeated; by default the camera's own.")
@click.option("-g", "--gain", type=float, help="By default the camera's own.")
@click.option("--count", type=click.IntRange(FEWEST, 200), default=20, show_default=True, help="Exposures combined into one master.")
@click.option("--yes", is_flag=True, help="The lens is covered: do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print the masters as JSON.")
def capture(camera: str | None, exposures: tuple[float, ...], gain: float | None, count: int, yes: bool, as_json: bool) -> None:
    """Take exposures with the lens covered and combine them into a master dark.

    Take them as warm, as long and with the gain as your nights have them; a master serves shorter exposures and other temperatures too.
    """
    name = pick_camera(camera)
    place = f"/api/cameras/{quote(name, safe='')}"
    if not request("GET", f"{place}/darks")["originals_kept"]:
        raise CupolaError("Originals are not kept, so dark frames cannot be combined. Set storage.originals: keep while you take them.")
    if not yes:
        click.confirm(f'Cover the lens of "{name}", light-tight. Covered?', default=True, abort=True)
    made = [_take(place, exposure, gain, count) for exposure in exposures or (None,)]
    if not yes:
        click.echo("Done: uncover the lens.", err=True)
    show(made, as_json, lambda entries: _table(name, entries))


def _take(place: str, exposure_s: float | None, gain: float | None, count: int) -> dict[str, Any]:
    """One series, and its master."""
    from rich.console import Console

    wanted = {"exposure_s": exposure_s, "gain": gain, "count": count, "darks": True}
    session = request("POST", f"{place}/start", {key: value for key, value in wanted.items() if value is not None})["session"]
    with Console(stderr=True).status("") as shown:
        while (running := (status := request("GET", place))["session"]) is not None and running["id"] == session["id"]:
            shown.update(f"dark frame {min(running['done'] + 1, count)} of {count}: {status['activity']['words']}")
            if status["problem"] is not None and running["failed"] >= count:
                request("POST", f"{place}/stop")
                raise CupolaError(f"The dark frames cannot be taken: {status['problem']['message']}")
            time.sleep(0.3)
        shown.update(f"combining {count} frames")
        return request("POST", f"{place}/darks", {"session": session["id"]}, timeout_s=COMBINING_S)


@darks.command("list")
@click.argument("camera", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(camera: str | None, as_json: bool) -> None:
    """List a camera's master darks."""
    name = pick_camera(camera)
    answer = request("GET", f"/api/cameras/{quote(name, safe='')}/darks")
    if as_json:
        click.echo(json.dumps(answer["items"], indent=2))
        return
    if not answer["items"]:
        click.echo(f'Camera "{name}" has no dark frames. Take some with: cupola darks capture {name}')
        return
    show(answer["items"], False, lambda entries: _table(name, entries))


def _table(camera: str, entries: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(title=f"Master darks of {camera}", title_justify="left")
    for head in ("exposure", "gain", "temperature", "size", "frames", "bad pixels", "made (UTC)", "file"):
        table.add_column(head)
    for one in entries:
        gain = "-" if one["gain"] is None else f"{one['gain']:g}"
        warm = "-" if one["temperature_c"] is None else f"{one['temperature_c']:g} °C"
        size, made = f"{one['width']} x {one['height']}", one["made_at"][:16].replace("T", " ")
        table.add_row(f"{one['exposure_s']:g} s", gain, warm, size, str(one["frames"]), str(one["bad_pixels"]), made, one["name"])
    return table
