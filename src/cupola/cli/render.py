"""`cupola render`: make a night's keogram, startrails and video again from its stored images."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from cupola.cli.client import request
from cupola.core.errors import CupolaError

if TYPE_CHECKING:
    from cupola.config.model import Settings

PRODUCTS = ("timelapse", "keogram", "startrails")
LOOK_S = 0.3
DEATHS = 20  # of the darkroom's process, for different images, before it is given up
Tell = Callable[[dict[str, Any]], None]  # is shown what GET …/products answers, again and again


@click.command()
@click.argument("date", type=click.DateTime(["%Y-%m-%d"]))
@click.argument("products", nargs=-1, type=click.Choice(PRODUCTS), metavar="[timelapse|keogram|startrails]...")
@click.option("--camera", help="Which camera; needed where there are several.")
@click.option("--day", is_flag=True, help="The day of that date, not its night.")
@click.option("--config", "file", type=click.Path(path_type=Path, dir_okay=False), help="Configuration file, where Cupola does not run.")
@click.option("--json", "as_json", is_flag=True, help="Print the products as JSON.")
def render(date: Any, products: tuple[str, ...], camera: str | None, day: bool, file: Path | None, as_json: bool) -> None:
    """Make the products of the night of DATE again, from its stored images; all of them unless some are named.

    While Cupola runs, its darkroom does it beside its other work. Else this command does. What was made before stays until the new file is complete.
    A damaged image is left out and named.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from cupola.web.endpoint import announced

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("images"))
    with Progress(*columns, console=Console(stderr=True), disable=as_json) as progress:
        bars: dict[str, Any] = {}

        def tell(found: dict[str, Any]) -> None:
            for product in found["items"]:
                if products and product["kind"] not in products:
                    continue
                if product["kind"] not in bars:
                    bars[product["kind"]] = progress.add_task(product["kind"], total=found["images"])
                done = found["images"] if product["state"] == "finished" else product["images"]
                progress.update(bars[product["kind"]], completed=done)

        night, kind = f"{date:%Y-%m-%d}", "day" if day else "night"
        if announced() is not None:
            found = _by_server(night, kind, products, camera, tell)
        else:
            import asyncio

            from cupola.cli.settings import settings_for

            found = asyncio.run(_here(settings_for(file, demo=False), night, kind, products, camera, tell))
    made = [product for product in found["items"] if not products or product["kind"] in products]
    if as_json:
        click.echo(json.dumps(made, indent=2))
    for product in [] if as_json else made:
        click.echo(f"{product['path']}  {product['images']} images" if product["state"] == "finished" else f"{product['kind']} failed")
        if product["message"]:
            click.echo(f"  {product['message']}", err=True)
    if not made or any(product["state"] != "finished" for product in made):
        raise click.exceptions.Exit(1)


def _one_of(names: list[str], camera: str | None) -> str:
    if camera or len(names) == 1:
        return camera or names[0]
    raise click.UsageError(f"Name a camera with --camera: {', '.join(names)}." if names else "No camera is configured.")


def _by_server(night: str, kind: str, products: tuple[str, ...], camera: str | None, tell: Tell) -> dict[str, Any]:
    name = camera or _one_of(list(request("GET", "/api/health")["cameras"]), None)
    address = f"/api/nights/{quote(name, safe='')}/{night}"
    found = request("POST", f"{address}/render?kind={kind}", {"products": list(products)}, timeout_s=60)
    while True:
        tell(found)
        if all(product["state"] != "growing" for product in found["items"] if not products or product["kind"] in products):
            return found
        time.sleep(LOOK_S)
        found = request("GET", f"{address}/products?kind={kind}")


async def _here(settings: Settings, night: str, kind: str, products: tuple[str, ...], camera: str | None, tell: Tell) -> dict[str, Any]:
    """With a darkroom of this command's own, which no server's can stand beside."""
    import asyncio

    from cupola.config.products import Products
    from cupola.core.frame import Station
    from cupola.darkroom.growing import Growing
    from cupola.darkroom.worker import Worker, WorkerDied
    from cupola.storage.catalogue import Catalogue
    from cupola.storage.products import PRODUCTS as ALL
    from cupola.web.views import product_list

    name = _one_of([one.name for one in settings.cameras], camera)
    state, place = settings.storage.state_folder.absolute(), settings.station
    if not (state / "catalogue.sqlite").is_file():
        raise CupolaError(f"There is no catalogue in {state}. Nothing was ever captured there, or --config names another station's file.")

    def log(level: str, message: str, **_: Any) -> None:
        if level == "ERROR":
            click.echo(message, err=True)

    recipes = {one.name: one.products.model_dump() for one in settings.cameras}
    with Catalogue(state / "catalogue.sqlite") as catalogue:
        growing = Growing(
            catalogue,
            lambda _: None,
            settings.storage.root,
            state / "products",
            recipe_of=lambda camera: recipes.get(camera) or Products().model_dump(),
            station=Station(place.name, place.latitude, place.longitude, place.elevation_m, place.timezone),
            log=log,
        )
        span = await growing.span(name, night, "day" if kind == "day" else "night")
        if span is None:
            raise CupolaError(f'There is no {kind} of {night} of a camera "{name}", and no image that could become one.')
        worker = Worker(log, state / "darkroom.lock", wanted=lambda: True)
        beginning = asyncio.create_task(growing.again(span.id, [one for one in ALL if one in (products or growing.kinds_of(name))]))
        deaths = 0
        try:
            while not beginning.done():
                if not await growing.step(worker.request, only=span.id):
                    await asyncio.sleep(0.01)
            await beginning
            while True:
                try:
                    worked = await growing.step(worker.request, only=span.id)
                except WorkerDied as death:
                    if not death.began or (deaths := deaths + 1) > DEATHS:
                        raise
                    continue
                found = (await product_list(growing, catalogue, span)).model_dump(mode="json")
                tell(found)
                if not worked:
                    break
        finally:
            beginning.cancel()
            await worker.end(ask_s=2.0)
    if any(product["state"] == "growing" for product in found["items"]):
        raise CupolaError("Not all images of it are developed yet. Start Cupola, which does that first: cupola run")
    return found
