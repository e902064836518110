"""The command line. Commands load what they need when they run, so that `cupola --help` is quick."""

from __future__ import annotations

import importlib
import sys

import click

from cupola import __version__
from cupola.core.errors import CupolaError

COMMANDS = {  # in the order of help: name → module:function
    "run": "cupola.cli.run:run",
    "init": "cupola.cli.config:init",
    "claim": "cupola.cli.claim:claim",
    "passwd": "cupola.cli.claim:passwd",
    "status": "cupola.cli.station:status",
    "cameras": "cupola.cli.station:cameras",
    "connect": "cupola.cli.control:connect",
    "disconnect": "cupola.cli.control:disconnect",
    "start": "cupola.cli.control:start",
    "stop": "cupola.cli.control:stop",
    "snap": "cupola.cli.control:snap",
    "trigger": "cupola.cli.trigger:trigger",
    "focus": "cupola.cli.focus:focus",
    "schedule": "cupola.cli.schedule:schedule",
    "render": "cupola.cli.render:render",
    "retention": "cupola.cli.retention:retention",
    "develop": "cupola.cli.develop:develop",
    "darks": "cupola.cli.darks:darks",
    "receive": "cupola.cli.receive:receive",
    "token": "cupola.cli.token:token",
    "doctor": "cupola.cli.doctor:doctor",
    "logs": "cupola.cli.logs:logs",
    "tune": "cupola.cli.tune:tune",
    "selftest": "cupola.cli.selftest:selftest",
    "service": "cupola.cli.service:service",
    "status-server": "cupola.cli.status_server:status_server",
    "config": "cupola.cli.config:config",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        return getattr(importlib.import_module(module), name)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cupola")
def cupola() -> None:
    """Keeps an unattended camera running: a live view you can trust, and every image safe on disk."""


def main() -> None:
    """Errors meant for people are printed as one message; exit 1 for a problem, 2 for wrong usage."""
    try:
        code = cupola.main(standalone_mode=False)  # a command's Exit comes back as its code
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(1)
    except CupolaError as error:
        click.echo(f"cupola: {error}", err=True)
        sys.exit(1)
