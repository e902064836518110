"""`python -m bench [--only NAME]`: measure, print one table, write bench/results.json."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import click
from rich.console import Console

from bench.results import FILE, Options, Result, save, table

BENCHES = ("startup", "latency", "fanout", "duty", "memory", "twilight", "develop", "detection", "products", "clips", "redis", "status")


@click.command()
@click.option("--only", help=f"One of {', '.join(BENCHES)}, or a part of one, such as fanout.encoding.")
@click.option("--quick", is_flag=True, help="Shorter and fewer runs: for trying the bench, not for figures to quote.")
@click.option("--minutes", type=click.FloatRange(0.2, 600), default=2.0, show_default=True, help="How long memory is watched; the full run takes 30.")
def main(only: str | None, quick: bool, minutes: float) -> None:
    """Measure what Cupola costs, beside its peer where it is installed."""
    if sys.platform != "linux":
        raise click.ClickException("The bench reads /proc, so it runs on Linux only.")
    name, _, part = (only or "").partition(".")
    if only and name not in BENCHES:
        raise click.UsageError(f"There is no bench {name}. There are: {', '.join(BENCHES)}.")
    console, results = Console(), list[Result]()
    with tempfile.TemporaryDirectory(prefix="cupola-bench-") as folder:
        options = Options(quick, minutes, Path(folder))
        for bench in [name] if only else BENCHES:
            module = import_module(f"bench.{bench}")
            measure: Callable[[Options], Iterator[Result]] | None = getattr(module, part or "run", None)
            if measure is None:
                raise click.UsageError(f"bench {bench} has no part {part}.")
            for result in measure(options):
                results.append(result)
                console.print(f"[dim]{result.name}[/] {result.value:g} {result.unit}", highlight=False)
    save(results)
    if not console.is_terminal:
        console = Console(width=180)
    console.print(table(results))
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    console.print(f"{os.cpu_count()} cores; load of the last minute {100 * busy:.0f} % of them, the bench's own included. Written to {FILE}.")


if __name__ == "__main__":
    main()
