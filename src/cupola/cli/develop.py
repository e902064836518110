"""`cupola develop`: a picture from a stored image, by the configuration or by other settings, without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cupola.core.errors import CupolaError

if TYPE_CHECKING:
    from cupola.config.model import Settings
    from cupola.darkroom.job import Order

NAMES = {".png": "png16", ".jpg": "jpeg", ".jpeg": "jpeg"}


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a key of the camera's develop group: stretch.method=asinh. May be repeated."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Where to; .png has 16 bit. By default NAME_developed.jpg, here."
)
@click.option("--camera", help="Whose develop group; by default that of the camera which took it.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="The configuration file; else as `run` finds it.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def develop(file: Path, changes: tuple[str, ...], output: Path | None, camera: str | None, config_file: Path | None, as_json: bool) -> None:
    """Develop a stored image: a sensor's .fits.fz, a camera's raw file or JPEG. FILE itself is never changed."""
    from cupola.cli.settings import settings_for
    from cupola.darkroom.job import Developer
    from cupola.storage.files import ORIGINAL_SUFFIX, write_durable

    stem = file.name.removesuffix(ORIGINAL_SUFFIX) if file.name.endswith(ORIGINAL_SUFFIX) else file.stem
    target = output or Path(f"{stem}_developed.jpg")
    settings = settings_for(config_file, demo=False)
    _refuse_target(target, file, settings)
    order = _order(file, changes, camera, settings, NAMES.get(target.suffix.lower()))
    try:
        made = Developer().make(file, order)
    except ValueError as error:
        raise CupolaError(f"{file} cannot be developed: {error}.") from None
    write_durable(target.absolute(), made.data)
    for problem in made.problems:
        click.echo(problem, err=True)
    if as_json:
        facts = {"path": str(target), "bytes": len(made.data), "width": made.width, "height": made.height, **made.note}
        click.echo(json.dumps({**facts, "problems": made.problems}, indent=2))
    else:
        dark = f", with {made.note['dark']}" if "dark" in made.note else ""
        click.echo(f"{target}: {made.width} x {made.height}, recipe {made.note.get('recipe', 'none: as the camera made it')}{dark}")


def _order(file: Path, changes: tuple[str, ...], camera: str | None, settings: Settings, format_: str | None) -> Order:
    from typing import cast

    from cupola.config.develop import Develop
    from cupola.config.overrides import parse_changes, with_changes
    from cupola.core.frame import Station
    from cupola.darkroom.facts import Shot
    from cupola.darkroom.job import Format, Order
    from cupola.darkroom.masters import darks_folder
    from cupola.darkroom.recipe import Recipe
    from cupola.storage.files import ORIGINAL_SUFFIX, parse_stem
    from cupola.storage.originals import read_facts

    if format_ is None:
        raise click.UsageError(f"The output's name must end with one of {', '.join(NAMES)}.")
    shot = None
    if file.name.endswith(ORIGINAL_SUFFIX):
        took = read_facts(file).camera
    else:
        took = next((one.name for one in settings.cameras if (settings.storage.root / one.name).absolute() in file.absolute().parents), camera or "")
        try:
            shot = Shot(parse_stem(file.name.partition(".")[0])[0], camera or took)
        except ValueError:
            shot = None  # a name of somebody else's: the overlay's lines stay away
    name = camera or took
    found = next((one for one in settings.cameras if one.name == name), None)
    if camera is not None and found is None:
        known = ", ".join(one.name for one in settings.cameras) or "none"
        raise click.UsageError(f'There is no camera "{camera}". Configured: {known}.')
    block = with_changes(found.develop if found else Develop(), parse_changes(changes, "--set"), "--set", Path.cwd())
    place = settings.station
    return Order(
        Recipe.from_dict(block.recipe()),
        Station(place.name, place.latitude, place.longitude, place.elevation_m, place.timezone),
        darks_folder(settings.storage.state_folder.absolute(), name) if name else None,
        shot,
        quality=found.capture.jpeg_quality if found else 90,
        format=cast("Format", format_),
    )


def _refuse_target(target: Path, file: Path, settings: Settings) -> None:
    """What is in the catalogue is not written over: its checksum is known there."""
    where = target.resolve()
    if where == file.resolve():
        raise CupolaError(f"{target} is the image itself. Name another file with -o.")
    if any((settings.storage.root / one.name).resolve() in where.parents for one in settings.cameras):
        raise CupolaError(f"{target} lies among the station's own images, whose checksums are in the catalogue. Name another place with -o.")
