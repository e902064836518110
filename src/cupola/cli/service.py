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
RECEIVE = click.option("--receive", is_flag=True, help="Of `cupola receive`, which stores what other stations publish, instead of a station.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")


@click.group()
def service() -> None:
    """Start a station, or what receives from stations, with the machine, by systemd."""
    if sys.platform != "linux":
        raise CupolaError("Only Linux has systemd. Let whatever starts programs on this machine run: cupola run --config FILE")


@service.command()
@click.option(
    "--config", "file", type=click.Path(path_type=Path), help="The configuration file; else CUPOLA_CONFIG, ./cupola.yaml, your config folder."
)
@click.option("--print", "only_print", is_flag=True, help="Print units and rules of udev, and change nothing.")
@RECEIVE
@click.option(
    "--into", type=click.Path(path_type=Path, file_okay=False), help="With --receive: the archive's folder.  [default: /var/lib/cupola-archive]"
)
@OWN
@JSON
def install(file: Path | None, only_print: bool, receive: bool, into: Path | None, own: bool, as_json: bool) -> None:
    """Write the units of server and status server, or that of a receiver, enable and start them. For the whole machine this needs root; no service ever runs as root."""
    from cupola.config.load import find, load
    from cupola.service import manage, receiver
    from cupola.service.system import unit_file

    if (receive and file) or (into and not receive):
        raise click.UsageError("--config is for a station, --into for --receive.")
    settings = None if receive else load(find(file))
    if only_print:
        for path, text in receiver.printed(into, own=own) if settings is None else manage.printed(settings, own=own):
            click.echo(f"# {path}\n{text}")
        return
    if settings is None:
        notes, name, what = receiver.install(into, own=own), receiver.RECEIVER, {"into": str(receiver.render(into, own=own).into)}
        said = f"Cupola receives into {what['into']}, by {unit_file(own, name)}."
    else:
        notes, name, what = manage.install(settings, own=own), manage.NAME, {"config": str(settings.source)}
        said = f"Cupola is running as a service, by {unit_file(own, name)}, with {settings.source}."
    if as_json:
        click.echo(json.dumps({"unit": str(unit_file(own, name)), **what, "notes": notes}, indent=2))
        return
    for line in (said, *notes):
        click.echo(line)


@service.command()
@RECEIVE
@OWN
@JSON
def uninstall(receive: bool, own: bool, as_json: bool) -> None:
    """End the station's services, or the receiver, and remove their units. Configuration, images, archives, state and logs stay."""
    from cupola.service import manage, receiver
    from cupola.service.system import unit_file

    units = (receiver.RECEIVER,) if receive else manage.UNITS
    removed = manage.uninstall(own=own, units=units)
    if as_json:
        click.echo(json.dumps({"removed": removed}, indent=2))
    elif removed:
        stays = "The archive is where it was." if receive else "Configuration, images, state and logs are where they were."
        click.echo(f"The service is ended and removed. {stays}")
    else:
        click.echo(f"There is no {unit_file(own, units[0])}: nothing to remove.{'' if own else ' One of your own: add --user.'}")


@service.command()
@OWN
@JSON
def status(own: bool, as_json: bool) -> None:
    """Whether server, status server, self-test and receiver are installed and run; exit 1 when one that is installed does not, or there is none."""
    from dataclasses import asdict

    from cupola.service import manage, receiver

    server, *others = states = manage.look_at_all(own=own)
    receives = others[-1].name == receiver.RECEIVER
    if as_json:
        click.echo(json.dumps({**asdict(server), "others": [asdict(state) for state in others]}, indent=2))
    elif not server.installed and not receives:
        click.echo(f"Not installed: there is no {server.unit}.{'' if own else ' One of your own: add --user.'}")
    else:
        for state in states if server.installed else others[-1:]:
            click.echo(_line(state))
    if not (server.installed or receives) or any(state.installed and not state.well for state in states):
        raise click.exceptions.Exit(1)


def _line(state: State) -> str:
    from cupola.service.unit import TEST

    if not state.installed:
        return f"{state.name}: not installed. Install it with: cupola service install"
    restarts = f", restarted {state.restarts} times" if state.restarts else ""
    since = f" since {state.since}" if state.since else ""
    starts = "starts with the machine" if state.enabled else "started by its timer" if state.name == TEST else "does not start with the machine"
    return f"{state.name}: {state.state} ({state.detail}){since}{restarts}; {starts}; {state.unit}"
