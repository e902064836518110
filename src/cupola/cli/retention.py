"""`cupola retention`: how full the disk will be, and what goes when it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cupola.cli.client import request, show

if TYPE_CHECKING:
    from rich.console import RenderableType

RUN_S = 600.0
STORED = {
    "all": "everything",
    "no_originals": "images without their originals",
    "every_2nd": "every 2nd image, without its original",
    "every_4th": "every 4th image, without its original",
    "none": "nothing",
}
WHY = {"space": "to make room", "age": "for its age"}


@click.command()
@click.option("--dry-run", is_flag=True, help="Only tell what would be deleted now.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def retention(dry_run: bool, as_json: bool) -> None:
    """Delete what is due by storage.retention, and tell in how many nights the disk is full.

    The running server does so by itself; this does it now.
    """
    show(request("GET" if dry_run else "POST", "/api/retention", timeout_s=RUN_S), as_json, _table)


def _table(data: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    keep = data["keep_free_percent"]
    rate = "" if data["bytes_per_night"] is None else f" · {_size(data['bytes_per_night'])} a night"
    head = Text(f"{data['words']}{rate} · {f'{keep:g} % kept free' if keep else 'nothing is deleted for space'}", style="italic")
    table = Table()
    for name in ("kind", "would go" if data["dry_run"] else "deleted", "", "why", "of", "held"):
        table.add_column(name)
    rows = {one["kind"]: f"{one['files']} ({_size(one['bytes'])})" for one in data["held"]}
    for one in data["deleted"]:
        days = one["first_day"] if one["first_day"] == one["last_day"] else f"{one['first_day']} to {one['last_day']}"
        table.add_row(one["kind"], str(one["files"]), _size(one["bytes"]), WHY[one["reason"]], days, rows.pop(one["kind"], ""))
    for kind, held in rows.items():
        table.add_row(kind, "0", "", "", "", held)
    notes = [Text(data["problem"], style="red")] if data["problem"] else []
    if data["low"]:
        notes.append(Text(f"Nothing is left that may be deleted. What is stored: {STORED[data['stored']]}.", style="yellow"))
    return Group(head, table, *notes)


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
