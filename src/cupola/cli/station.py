"""Commands that look: status, cameras."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from cupola.cli.client import busy, request, show

if TYPE_CHECKING:
    from rich.console import RenderableType

LOOK_S = 120.0  # every driver may take its ten seconds


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@click.option("--watch", is_flag=True, help="Keep it on the screen, up to date, until Ctrl-C.")
def status(as_json: bool, watch: bool) -> None:
    """What the station does at the moment."""
    if not watch:
        show(request("GET", "/api/status"), as_json, _table)
        return
    if as_json:
        while True:
            click.echo(json.dumps(request("GET", "/api/status")))
            time.sleep(1)
    from rich.live import Live

    with Live(_table(request("GET", "/api/status")), refresh_per_second=2) as screen:
        while True:
            time.sleep(1)
            screen.update(_table(request("GET", "/api/status")))


STYLES = {"running": "green", "stopped": "dim", "starting": "yellow", "stopping": "yellow", "recovering": "red", "degraded": "red"}


def _table(data: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    free = f"{data['disk_free_bytes'] / 1e9:.1f} GB ({data['disk_free_percent']:.0f} %) free"
    room = data["darkroom"]
    waiting = f", {room['waiting']} to develop" if room["waiting"] else ""
    table = Table(title=f"{data['station']} · {free}, {data['retention']['words']}{waiting}", title_justify="left", header_style="bold")
    for name in ("camera", "state", "now", "last image", "next exposure", "today", "temperature"):
        table.add_column(name)
    problems: list[Text] = []
    for camera in data["cameras"]:
        last, due = camera["last_image"], camera["activity"]["next_opening_in_s"]
        session = camera["session"]
        count = f" ({session['done']}/{session['count'] or '∞'})" if session else ""
        table.add_row(
            camera["name"],
            Text(camera["state"], style=STYLES.get(camera["state"], "")),
            camera["activity"]["words"],
            f"{last['opened_at'][:19].replace('T', ' ')} UTC" if last else "none yet",
            (f"in {due:.0f} s" if due is not None else "–") + count,
            str(camera["images_today"]),
            "–" if camera["temperature_c"] is None else f"{camera['temperature_c']:.1f} °C",
        )
        if camera["problem"]:
            problems.append(Text(f"{camera['name']}: {camera['problem']['message']}", style="red"))
        problems += [Text(f"{camera['name']}: {note}", style="yellow") for note in camera["notes"]]
    problems += [Text(f"trigger {one['name']}: {one['problem']}", style="red") for one in data["triggers"] if one["problem"]]
    return Group(table, *problems)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def cameras(as_json: bool) -> None:
    """What is attached, and the lines to configure it. Works without a running server too."""
    from cupola.web.endpoint import announced

    with busy("looking, driver by driver", quiet=as_json):
        if announced() is not None:
            found = request("GET", "/api/discover", timeout_s=LOOK_S)
        else:
            import asyncio

            from cupola.web.discover import look_around

            found = asyncio.run(look_around([])).model_dump(mode="json")
    show(found["items"], as_json, _attached)


def _attached(data: list[dict[str, Any]]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    lines: list[Text] = []
    for driver in data:
        lines.append(Text.assemble((driver["driver"], "bold"), (f"  {driver['tried_on']}", "dim")))
        if driver["problem"]:
            lines.append(Text(f"  {driver['problem']}", style="yellow"))
        elif not driver["looks"]:
            lines.append(Text("  cannot be looked for; it is configured by hand", style="dim"))
        elif not driver["cameras"]:
            lines.append(Text("  nothing found", style="dim"))
        for camera in driver["cameras"]:
            facts = [camera["model"], camera["serial"] and f"serial {camera['serial']}", camera["where"], ", ".join(camera["capabilities"])]
            whose = "" if camera["camera"] is None else f"  camera {camera['camera']}{', in use' if camera['in_use'] else ''}"
            lines.append(Text.assemble(f"  {' · '.join(fact for fact in facts if fact)}", (whose, "green")))
            if camera["note"]:
                lines.append(Text(f"    {camera['note']}", style="yellow"))
            if camera["camera"] is None:
                lines.append(Text("".join(f"  {line}\n" for line in camera["config"].splitlines()).rstrip(), style="cyan"))
    return Group(*lines)
