"""docs/reference.md names every command with its options, every route and every event there is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import pytest

from cupola.cli import cupola
from cupola.core.events import Event

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "reference.md").read_text("utf-8")
ACCESS = (ROOT / "docs" / "adr" / "0012-access.md").read_text("utf-8")  # what TEXT refers to for logins, people, tokens and control


def _commands(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield name, command
        return
    for word in command.list_commands(click.Context(command)):
        below = command.get_command(click.Context(command), word)
        assert below is not None
        yield from _commands(below, f"{name} {word}".strip())


@pytest.mark.parametrize(("name", "command"), [pytest.param(*found, id=found[0]) for found in _commands(cupola)])
def test_a_command_is_listed_with_its_options(name: str, command: click.Command) -> None:
    rows = [row for row in TEXT.splitlines() if re.search(rf"`(cupola )?{name}\b", row.partition(" | ")[0])]
    assert rows, f"no row for cupola {name}"
    listed = " ".join(rows)
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert [option.name for option in options if not any(word in listed for word in option.opts)] == []


def test_every_event_is_listed() -> None:
    kinds = [event.model_fields["kind"].default for event in get_args(get_args(Event)[0])]
    (listed,) = re.findall(r"\*\*`/ws/events`\*\*.*?\n\n", TEXT, re.DOTALL)
    assert [kind for kind in kinds if f"`{kind}`" not in listed] == []


def test_every_route_is_listed() -> None:
    described = re.sub(r"\{\w+\}", "{}", TEXT + ACCESS)
    routes = [re.sub(r"\{\w+\}", "{}", path) for path in json.loads((ROOT / "ui" / "openapi.json").read_text("utf-8"))["paths"]]
    assert [path for path in routes if path not in described and f"…/{path.rpartition('/')[2]}`" not in described] == []
