"""`cupola service`: Cupola as a service of systemd."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cupola.core.errors import CupolaError

if TYPE_CHECKING:
    from cupola.service.manage import State

OWN = click.option("--user", "own", is_flag=True, help="A service of your own instead of the machine's; needs no root.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")


@click.group()
def service() -> None:
    """Start Cupola with the machine, by systemd."""
    if sys.platform != "linux":
        raise CupolaError("Only Linux has systemd. Let whatever starts programs on this machine run: cupola run --config FILE")


@service.command()
@click.option(
    "--config", "file", type=click.Path(path_type=Path), help="The configuration file; else CUPOLA_CONFIG, ./cupola.yaml, your config folder."
)
@click.option("--print", "only_print", is_flag=True, help="Print units and rules of udev, and change nothing.")
@OWN
@JSON
def install(file: Path | None, only_print: bool, own: bool, as_json: bool) -> None:
    """Write the units of server and status server, enable and start them. For the whole machine this needs root; the service itself never runs as root."""
    from cupola.config.load import find, load
    from cupola.service import manage

    settings = load(find(file))
    if only_print:
        for path, text in manage.printed(settings, own=own):
            click.echo(f"# {path}\n{text}")
        return
    notes = manage.install(settings, own=own)
    unit = str(manage.unit_file(own))
    if as_json:
        click.echo(json.dumps({"unit": unit, "config": str(settings.source), "notes": notes}, indent=2))
        return
    click.echo(f"Cupola is running as a service, by {unit}, with {settings.source}.")
    for note in notes:
        click.echo(note)


@service.command()
@OWN
@JSON
def uninstall(own: bool, as_json: bool) -> None:
    """End the service and remove its unit. Configuration, images, state and logs stay."""
    from cupola.service import manage

    removed = manage.uninstall(own=own)
    if as_json:
        click.echo(json.dumps({"removed": removed}, indent=2))
    elif removed:
        click.echo("The service is ended and removed. Configuration, images, state and logs are where they were.")
    else:
        click.echo(f"There is no {manage.unit_file(own)}: nothing to remove.{'' if own else ' One of your own: add --user.'}")


@service.command()
@OWN
@JSON
def status(own: bool, as_json: bool) -> None:
    """Whether server, status server and self-test are installed and run; exit 1 when the server, or another that is installed, does not."""
    from dataclasses import asdict

    from cupola.service import manage

    server, *others = manage.look_at_all(own=own)
    if as_json:
        click.echo(json.dumps({**asdict(server), "others": [asdict(state) for state in others]}, indent=2))
    elif not server.installed:
        click.echo(f"Not installed: there is no {server.unit}.{'' if own else ' One of your own: add --user.'}")
    else:
        for state in (server, *others):
            click.echo(_line(state))
    if not server.well or any(state.installed and not state.well for state in others):
        raise click.exceptions.Exit(1)


def _line(state: State) -> str:
    from cupola.service.unit import TEST

    if not state.installed:
        return f"{state.name}: not installed. Install it with: cupola service install"
    restarts = f", restarted {state.restarts} times" if state.restarts else ""
    since = f" since {state.since}" if state.since else ""
    starts = "starts with the machine" if state.enabled else "started by its timer" if state.name == TEST else "does not start with the machine"
    return f"{state.name}: {state.state} ({state.detail}){since}{restarts}; {starts}; {state.unit}"
