"""`cupola run`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--config", "file", type=click.Path(path_type=Path), help="The configuration file; else CUPOLA_CONFIG, ./cupola.yaml, your config folder."
)
@click.option("--demo", is_flag=True, help="The built-in demo station, whatever is configured.")
@click.option("--host", help="Address to listen on, instead of web.host.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on, instead of web.port.")
def run(file: Path | None, demo: bool, host: str | None, port: int | None) -> None:
    """Start the server; without a configuration, the demo station."""
    from cupola.cli.settings import settings_for
    from cupola.config.load import readable_by_all

    settings = settings_for(file, demo=demo)
    given = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    settings = settings.model_copy(update={"web": settings.web.model_copy(update=given)})
    web = settings.web
    click.echo(f"Cupola {settings.station.name}: {settings.source or 'built-in demo station'}; images in {settings.storage.root}")
    scheme = "http" if web.tls.mode == "off" else "https"
    host = f"[{web.host}]" if ":" in web.host else web.host
    click.secho(f"Open {scheme}://{host}:{web.port}/", bold=True)

    for exposed in [] if settings.source is None else readable_by_all(settings.source):
        click.secho(f"{exposed} holds passwords, and everybody on this machine may read it. Change that: chmod o-r {exposed}", fg="yellow", err=True)

    from cupola.app import run as run_app
    from cupola.cli.claim import invite

    run_app(settings, invite)
