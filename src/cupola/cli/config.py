"""Commands around the configuration file: init, config check, show, schema."""

from __future__ import annotations

import json
from pathlib import Path

import click

FILE = click.argument("file", required=False, type=click.Path(path_type=Path))


@click.command()
@click.option("--station", default="cupola", help="The station's name.")
@click.option("--latitude", type=click.FloatRange(-90, 90), default=47.0, help="Degrees, north positive.")
@click.option("--longitude", type=click.FloatRange(-180, 180), default=8.0, help="Degrees, east positive.")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), default=Path("cupola.yaml"), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print where it is as JSON.")
def init(station: str, latitude: float, longitude: float, output: Path, as_json: bool) -> None:
    """Write a first configuration file."""
    from cupola.config.load import from_text
    from cupola.config.schema import initial_yaml

    text = initial_yaml(station, latitude, longitude)
    from_text(text, str(output), output.absolute().parent)
    try:
        with output.open("x") as file:
            file.write(text)
    except FileExistsError:
        raise click.ClickException(f"{output} is there already. Move it away, or choose another name with -o.") from None
    except OSError as error:
        raise click.ClickException(f"{output} cannot be written: {error.strerror}.") from None
    words = f"Wrote {output}. Look at its cameras, then start with: cupola run --config {output}"
    click.echo(json.dumps({"path": str(output.absolute())}, indent=2) if as_json else words)


@click.group()
def config() -> None:
    """Check and explain the configuration file."""


@config.command()
@FILE
@click.option("--json", "as_json", is_flag=True, help="Print the problems as JSON.")
def check(file: Path | None, as_json: bool) -> None:
    """List every problem of a configuration file at once."""
    from dataclasses import asdict

    from cupola.config.load import check as check_file
    from cupola.config.load import find

    problems = check_file(file)
    if as_json:
        click.echo(json.dumps([asdict(problem) for problem in problems], indent=2, default=str))
    elif problems:
        click.echo("\n".join(str(problem) for problem in problems), err=True)
    else:
        click.echo(f"{find(file)}: no problems")
    if problems:
        raise click.exceptions.Exit(1)


@config.command()
@FILE
@click.option("--demo", is_flag=True, help="Of the built-in demo station.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show(file: Path | None, demo: bool, as_json: bool) -> None:
    """Print the configuration in force, with defaults; secrets as ***."""
    from cupola.cli.settings import settings_for
    from cupola.config.schema import show as as_data
    from cupola.config.schema import show_yaml

    settings = settings_for(file, demo=demo)
    click.echo(json.dumps(as_data(settings), indent=2) if as_json else show_yaml(settings))


@config.command()
def schema() -> None:
    """Print the JSON schema of the configuration, for editors."""
    from cupola.config.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


@config.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the configuration and what has no counterpart as JSON.")
def import_(file: Path, as_json: bool) -> None:
    """Print what a skycam.yaml becomes; each of its keys that has no counterpart is named, with the reason."""
    from dataclasses import asdict

    from cupola.config.skycam import convert

    made = convert(file)
    if as_json:
        click.echo(json.dumps({"config": made.text, "left": [asdict(one) for one in made.left]}, indent=2))
        return
    click.echo(made.text, nl=False)
    for one in made.left:
        click.echo(f"{file}:{one.line}: {one.key} has no counterpart: {one.why}.", err=True)
