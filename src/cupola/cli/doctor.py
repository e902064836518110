"""`cupola doctor`: what is wrong with the station and its machine, and what to type about it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cupola.core.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cupola.config.model import Settings
    from cupola.doctor.finding import Finding, Told

COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}
ANSWER_S = 10.0


@click.command()
@click.argument("part", required=False)
@click.option(
    "--config", "file", type=click.Path(path_type=Path), help="The configuration file; else CUPOLA_CONFIG, ./cupola.yaml, your config folder."
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path("/"),
    help="Where /proc, /sys, /run and /etc of the machine are looked for: a copy of those of another one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def doctor(part: str | None, file: Path | None, root: Path, as_json: bool) -> None:
    """Check everything a person would, and say what to do, the most important first. Works with the server dead, hung or absent.

    PART: only that one, or a camera's name; `cupola doctor notify` sends a test message by every channel. Exit 1 for an error or a warning.
    """
    from cupola.cli.client import request
    from cupola.doctor.examine import PARTS, examine, in_order
    from cupola.doctor.finding import worst_first
    from cupola.doctor.patient import Patient

    settings, source, problems = _configuration(file)
    names = [] if settings is None else [camera.name for camera in settings.cameras]
    if part is not None and part not in PARTS and part not in names:
        raise click.UsageError(f"There is no part or camera {part}. Parts: {', '.join(PARTS)}. Cameras: {', '.join(names) or 'none'}.")
    camera = part if part in names and part not in PARTS else None
    wanted = PARTS if part is None else ("cameras",) if camera else (part,)
    patient = Patient(lambda path: request("GET", path, timeout_s=ANSWER_S), settings, source, problems, root.absolute(), send=part == "notify")
    found: list[Told] = []
    progress = not as_json and sys.stderr.isatty()
    for told in examine(patient, wanted):
        found.append(told)
        if progress:
            click.echo(f"\r\033[K{len(found)} of {len(wanted)} looked at", nl=False, err=True)
    if progress:
        click.echo("\r\033[K", nl=False, err=True)
    found = in_order(found)
    findings = [finding for finding in worst_first(found) if camera is None or finding.camera == camera]
    ok = all(finding.level == "note" for finding in findings)
    if as_json:
        click.echo(json.dumps(_document(ok, findings, found), indent=2))
    else:
        from rich.console import Console

        Console(soft_wrap=True).print(_drawn(findings, found))
    if not ok:
        raise click.exceptions.Exit(1)


def _configuration(file: Path | None) -> tuple[Settings | None, Path | None, tuple[tuple[str, str], ...]]:
    """The settings, their file, and what is wrong with it, each with what to do."""
    from cupola.cli.settings import settings_for
    from cupola.config.load import find
    from cupola.config.problems import ConfigProblems

    try:
        settings = settings_for(file, demo=False)
        return settings, settings.source, ()
    except ConfigProblems as error:
        check = "Mend it, then: cupola config check"
        return None, find(file), tuple((str(problem), check) for problem in error.problems)
    except ConfigError as error:
        return None, file, ((str(error), "Mend it, then: cupola config check"),)


def _document(ok: bool, findings: list[Finding], told: list[Told]) -> dict[str, Any]:
    from dataclasses import asdict

    parts = {one.part: {"ok": one.ok, "saw": one.words, "took_s": one.took_s} for one in told}
    return {"ok": ok, "findings": [asdict(finding) for finding in findings], "parts": parts}


def _drawn(findings: list[Finding], told: list[Told]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    lines = [
        Text.assemble((f"{finding.level:8}", COLOURS[finding.level]), finding.what, ("\n        → ", "dim"), (finding.fix, "bold"))
        for finding in findings
    ]
    lines += [Text()] if lines else []
    for one in told:
        mark, style = ("ok", "green") if one.ok else ("see above", "yellow")
        lines.append(Text.assemble((f"{one.part:14}", "bold"), (f"{mark:10}", style), ("; ".join(one.words), "dim")))
    if all(finding.level == "note" for finding in findings):
        lines.append(Text("Nothing is wrong.", style="green"))
    return Group(*lines)
