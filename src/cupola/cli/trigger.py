"""`cupola trigger`: keep the seconds before now."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import click

from cupola.cli.client import request


@click.command()
@click.argument("camera", required=False)
@click.option("--before", type=float, metavar="S", help="Seconds before now; else as configured.")
@click.option("--after", type=float, metavar="S", help="Seconds from now on; else as configured.")
@click.option("--label", help="Part of the file's name.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def trigger(camera: str | None, before: float | None, after: float | None, label: str | None, as_json: bool) -> None:
    """Make a clip of the seconds before now, of one camera or of all that keep a pre-roll."""
    body: dict[str, Any] = {key: value for key, value in (("before_s", before), ("after_s", after), ("label", label)) if value is not None}
    answer = request("POST", f"/api/cameras/{quote(camera, safe='')}/trigger" if camera else "/trigger", body)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    for clip in [answer] if camera else answer["items"]:
        click.echo(f"{clip['camera']}: clip {clip['id']}, {clip['before_s']:g} s before and {clip['after_s']:g} s after")
    for name, why in ({} if camera else answer["failed"]).items():
        click.echo(f"{name}: {why}", err=True)
