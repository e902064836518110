"""`cupola token`: tokens for programs that use the API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from cupola.cli.client import request, show
from cupola.core.errors import CupolaError

if TYPE_CHECKING:
    from rich.table import Table

JSON = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")


@click.group()
def token() -> None:
    """Tokens for programs that use the API."""


@token.command()
@click.argument("name")
@click.option("--scope", type=click.Choice(["view", "control", "admin"]), default="view", show_default=True, help="What it may do.")
@JSON
def create(name: str, scope: str, as_json: bool) -> None:
    """Make a token. It is printed this once; send it as: Authorization: Bearer TOKEN."""
    made = request("POST", "/api/tokens", {"name": name, "scope": scope})
    click.echo(json.dumps(made, indent=2) if as_json else made["token"])


@token.command("list")
@JSON
def list_(as_json: bool) -> None:
    """Names and scopes of the tokens there are."""
    show(request("GET", "/api/tokens")["items"], as_json, _table)


@token.command()
@click.argument("name", required=False)
@click.option("--number", type=int, help="The token of this number in `token list`, instead of one by its name.")
@JSON
def revoke(name: str | None, number: int | None, as_json: bool) -> None:
    """End a token, with all it has open. NAME is always a name, also where it looks like a number."""
    if (name is None) == (number is None):
        raise click.UsageError("Give a token's name, or its --number.")
    rows = request("GET", "/api/tokens")["items"]
    found = next((row for row in rows if (row["name"] == name if number is None else row["id"] == number)), None)
    if found is None:
        wanted = f"named {name}" if number is None else f"with the number {number}"
        hint = f" By its number: cupola token revoke --number {name}." if name in {str(row["id"]) for row in rows} else ""
        raise CupolaError(f"There is no token {wanted}.{hint} See: cupola token list")
    request("DELETE", f"/api/tokens/{found['id']}")
    click.echo(json.dumps(found, indent=2) if as_json else f"The token {found['name']} is revoked.")


def _table(rows: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(header_style="bold")
    for name in ("number", "name", "scope", "made", "last used"):
        table.add_column(name)
    for row in rows:
        used = row["used_at"]
        table.add_row(
            str(row["id"]), row["name"], row["scope"], row["created_at"][:16].replace("T", " "), used[:16].replace("T", " ") if used else "–"
        )
    return table
