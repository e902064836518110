"""`cupola status-server`, where it is not started by `cupola.__main__`: help, and mistakes in the command line."""

from __future__ import annotations

import click

from cupola.status import HOST, PORT


@click.command()
@click.option("--host", default=HOST, show_default=True, help="Address to listen on. On any but this machine's own, a token is needed.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="Port to listen on; 0: any that is free.")
def status_server(host: str, port: int) -> None:
    """Tell how the station is, also while it is dead. Small, and apart from everything else."""
    from cupola.status.server import serve

    raise click.exceptions.Exit(serve(host, port))
