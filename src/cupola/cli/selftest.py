"""`cupola selftest`: does everything that is installed work, from the shutter to the night's video?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cupola.web.endpoint import Announced

MARKS = {True: ("ok", "green"), False: ("failed", "red"), None: ("–", "dim")}


@click.command()
@click.option("--camera", "name", metavar="C", help="A camera of the configuration in place of the simulator; of a running server, through it.")
@click.option("--config", "file", type=click.Path(path_type=Path), help="The configuration file; else as `run` finds it. Only with --camera.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def selftest(name: str | None, file: Path | None, as_json: bool) -> None:
    """Take a picture, a clip and a small night's products with a server of its own in a temporary folder, and look at every file. Takes a minute."""
    from cupola.cli.client import request
    from cupola.cli.settings import settings_for
    from cupola.doctor.selftest import steps, terminated

    settings = camera = None
    if name is not None:
        settings = settings_for(file, demo=False)
        camera = next((one for one in settings.cameras if one.name == name), None)
        if camera is None:
            raise click.UsageError(f'There is no camera "{name}". Configured: {", ".join(one.name for one in settings.cameras) or "none"}.')

    def ask(server: Announced, method: str, path: str, body: dict[str, Any] | None, timeout_s: float) -> Any:
        return request(method, path, body, timeout_s=timeout_s, server=server)

    done: list[dict[str, Any]] = []
    with terminated():
        for step in steps(ask, settings, camera):
            done.append({"name": step.name, "ok": step.ok, "words": step.words, "took_s": step.took_s})
            if not as_json:
                mark, colour = MARKS[step.ok]
                click.echo(f"{step.name:8} {click.style(f'{mark:7}', fg=colour if colour != 'dim' else None)} {step.took_s:6.1f} s  {step.words}")
    ok = all(step["ok"] for step in done)
    if as_json:
        click.echo(json.dumps({"ok": ok, "steps": done}, indent=2))
    if not ok:
        raise click.exceptions.Exit(1)
