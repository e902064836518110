"""`cupola claim` and `cupola passwd`: who owns the station. With the server down they work on its files."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cupola.cli.client import request
from cupola.core.errors import CupolaError

if TYPE_CHECKING:
    from collections.abc import Generator

    from cupola.web.access.store import Store

CONFIG = click.option("--config", "file", type=click.Path(path_type=Path), help="The configuration file, if the server is not running.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
DEMO = click.option("--demo", is_flag=True, help="The built-in demo station, if the server is not running.")


def invite(link: str) -> None:
    """Print the link that claims the station, on a terminal with its QR code."""
    click.secho(f"Nobody has claimed this station yet. To claim it, open {link}", bold=True)
    if sys.stdout.isatty():
        _print_qr(link)
    sys.stdout.flush()


def _print_qr(link: str) -> None:
    import segno

    segno.make(link, error="l").terminal(compact=True, border=2)


@click.command()
@click.option("--lan", is_flag=True, help="Open the claim page, and nothing else, to the LAN for 15 minutes.")
@click.option("--terminal", is_flag=True, help="Claim it here, without a browser.")
@click.option("--user", default="admin", show_default=True, help="Name of the first admin, with --terminal.")
@click.option("--generate", is_flag=True, help="Make a passphrase and print it, with --terminal.")
@click.option("--stdin", is_flag=True, help="Read the passphrase from standard input, with --terminal.")
@CONFIG
@DEMO
@JSON
def claim(lan: bool, terminal: bool, user: str, generate: bool, stdin: bool, file: Path | None, demo: bool, as_json: bool) -> None:
    """Become the owner of a new station: a link to open, or (--terminal) right here."""
    from cupola.web.endpoint import announced

    running = announced() is not None
    if running and not (terminal or generate or stdin):
        answer = request("POST", "/api/claim/lan" if lan else "/api/claim/code", {})
        if as_json:
            click.echo(json.dumps(answer, indent=2))
            return
        for number, url in enumerate(answer["urls"]):
            click.secho(url, bold=True)
            if number == 0 and sys.stdout.isatty():
                _print_qr(url)
        if lan:
            click.echo("The claim page is open to the LAN for 15 minutes. Over plain HTTP others in it could listen in: use a network you trust.")
        return
    if lan:
        raise CupolaError("Cupola is not running on this machine. Start it with: cupola run. Or claim it here: cupola claim --terminal")
    passphrase = None if generate else _ask_passphrase(stdin)
    if running:
        made = request("POST", "/api/claim", {"user": user, "passphrase": passphrase})["generated"]
    else:
        made = _claim_files(file, demo, user, passphrase)
    _say(f"This station is yours: log in as {user}.", user, made, as_json)


def _say(words: str, user: str, generated: str | None, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"user": user, "generated": generated}, indent=2))
        return
    click.echo(words)
    if generated:
        click.echo(f"The passphrase, shown this once: {generated}")


def _claim_files(file: Path | None, demo: bool, user: str, passphrase: str | None) -> str | None:
    from pydantic import TypeAdapter, ValidationError

    from cupola.web.access.models import Name
    from cupola.web.access.passwords import check_passphrase, generated_passphrase, hash_passphrase

    try:
        TypeAdapter(Name).validate_python(user)
    except ValidationError:
        raise click.UsageError("A user's name has small letters, digits, - _ and . , at most 32.") from None
    chosen = passphrase or generated_passphrase()
    check_passphrase(chosen)
    with _store(file, demo) as store:
        store.add_user(user, "admin", hash_passphrase(chosen), first=True)
    return None if passphrase else chosen


@click.command()
@click.argument("user", default="admin")
@click.option("--stdin", is_flag=True, help="Read the new passphrase from standard input.")
@click.option("--generate", is_flag=True, help="Make a passphrase and print it.")
@CONFIG
@DEMO
@JSON
def passwd(user: str, stdin: bool, generate: bool, file: Path | None, demo: bool, as_json: bool) -> None:
    """Give a user (default: admin) a new passphrase. All sessions of the user end."""
    from urllib.parse import quote

    from cupola.web.endpoint import announced

    passphrase = None if generate else _ask_passphrase(stdin)
    made: str | None = None
    if announced() is not None:
        body: dict[str, Any] = {"generate": True} if generate else {"passphrase": passphrase}
        made = request("PATCH", f"/api/users/{quote(user, safe='')}", body)["generated"]
    else:
        from cupola.web.access.passwords import check_passphrase, generated_passphrase, hash_passphrase

        made = generated_passphrase() if generate else None
        chosen = made or passphrase or ""
        check_passphrase(chosen)
        with _store(file, demo) as store:
            if store.user(user) is None:
                known = ", ".join(row.name for row in store.users())
                raise CupolaError(f"There is no user {user}. {f'There are: {known}.' if known else 'Nobody has claimed this station: cupola claim'}")
            store.change_user(user, hashed=hash_passphrase(chosen))
    _say(f"{user} has a new passphrase, and is logged out everywhere.", user, made, as_json)


def _ask_passphrase(stdin: bool) -> str:
    """From the terminal, twice, or the first line of standard input."""
    if stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask for a passphrase: use --stdin or --generate.")
    return click.prompt("New passphrase (12 characters or more)", hide_input=True, confirmation_prompt="The same again")


@contextmanager
def _store(file: Path | None, demo: bool) -> Generator[Store]:
    """The file of users of the station that is configured."""
    from cupola.app import make_folders
    from cupola.cli.settings import settings_for
    from cupola.web.access.store import Store

    settings = settings_for(file, demo=demo)
    make_folders(settings)
    store = Store(settings.storage.state_folder / "access.sqlite")
    try:
        yield store
    finally:
        store.close()
