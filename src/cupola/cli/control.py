"""Commands that move a camera: connect, disconnect, start, stop, snap."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from cupola.cli.client import busy, pick_camera, request
from cupola.core.errors import CupolaError

CAMERA = click.argument("camera", required=False)
JSON = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
DEVELOP_S = 60.0
KNOWN_S = 10.0  # after its end, how a series ended is known


def _post(camera: str, action: str, body: dict[str, Any] | None = None, *, timeout_s: float = 30.0) -> Any:
    return request("POST", f"/api/cameras/{quote(camera, safe='')}/{action}", body, timeout_s=timeout_s)


def _say(status: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(status, indent=2))
        return
    session = status["session"]
    series = ""
    if session:
        series = f"; series {session['id']}: {session['done']} of {session['count'] or 'until stopped'}"
    click.echo(f"{status['name']}: {status['state']}, {status['activity']['words']}{series}")
    if status["problem"]:
        click.echo(f"  {status['problem']['message']}", err=True)


@click.command()
@CAMERA
@JSON
def connect(camera: str | None, as_json: bool) -> None:
    """Open a camera; after a failure, try again at once."""
    name = pick_camera(camera)
    with busy(f"opening {name}", quiet=as_json):
        status = _post(name, "connect", timeout_s=60)
    _say(status, as_json)
    if status["state"] not in ("running", "degraded"):
        raise click.exceptions.Exit(1)


@click.command()
@CAMERA
@JSON
def disconnect(camera: str | None, as_json: bool) -> None:
    """Close a camera, and its series of stills."""
    _say(_post(pick_camera(camera), "disconnect"), as_json)


@click.command()
@CAMERA
@click.option("-e", "--exposure", type=float, metavar="EXPOSURE_S", help="Seconds the shutter is open.")
@click.option("-d", "--delay", type=float, metavar="DELAY_S", help="Seconds from closing the shutter to the next opening.")
@click.option("-f", "--f-number", type=float, help="Aperture.")
@click.option("-g", "--gain", type=float, help="Gain, in the camera's scale; ISO for a DSLR.")
@click.option("--auto/--no-auto", default=None, help="Let auto exposure choose what is not given here; or keep what it chose last.")
@click.option("--count", type=int, help="How many images; else until stopped.")
@click.option("--scheduled", is_flag=True, help="Go on with the schedule instead, after it was stopped by hand.")
@click.option("--wait", is_flag=True, help="Stay until the series is finished, showing its progress.")
@JSON
def start(
    camera: str | None,
    exposure: float | None,
    delay: float | None,
    f_number: float | None,
    gain: float | None,
    auto: bool | None,
    count: int | None,
    scheduled: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Start a series of stills."""
    name = pick_camera(camera)
    given = {"exposure_s": exposure, "delay_s": delay, "f_number": f_number, "gain": gain, "auto": auto, "count": count}
    wanted = {key: value for key, value in given.items() if value is not None}
    if scheduled and (wanted or wait):
        raise click.UsageError("--scheduled stands alone: what the schedule takes is in the configuration.")
    status = _post(name, "resume") if scheduled else _post(name, "start", wanted)
    if not (wait and as_json):
        _say(status, as_json)
    if not wait:
        return
    ended, words = _follow(name, status["session"]["id"], count)
    if as_json:
        click.echo(json.dumps({**status, "session": {**status["session"], **ended}}, indent=2))
    if ended["state"] != "finished":
        raise CupolaError(words)


def _follow(name: str, session: int, count: int | None) -> tuple[dict[str, Any], str]:
    """A progress bar until no more comes of the series; Ctrl-C leaves it running. How it is then, and in words."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[words]}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar, known_by = progress.add_task(name, total=count, words=""), 0.0
        while True:
            status = request("GET", f"/api/cameras/{quote(name, safe='')}")
            running = status["session"] if (status["session"] or {}).get("id") == session else None
            if running is None or status["state"] == "stopped":
                ended = request("GET", f"/api/cameras/{quote(name, safe='')}/series/{session}")
                if running or ended["state"] != "running" or (known_by := known_by or time.monotonic() + KNOWN_S) < time.monotonic():
                    words = _ending(name, ended, count, status["problem"])
                    progress.update(bar, completed=ended["done"], words=words)
                    return ended, words
                time.sleep(0.1)  # its end is on the way into the catalogue
                continue
            words = status["activity"]["words"] + (f", {running['failed']} failed" if running["failed"] else "")
            progress.update(bar, completed=running["done"], words=words)
            time.sleep(0.5)


def _ending(name: str, ended: dict[str, Any], count: int | None, problem: dict[str, Any] | None) -> str:
    failed = f", {ended['failed']} failed" if ended["failed"] else ""
    if ended["state"] == "finished":
        return f"done{failed}"
    how = {"stopped": "was stopped", "replaced": "was replaced by another series"}.get(ended["state"], f'of camera "{name}" gets no more images')
    why = f" {problem['message']}" if problem else ""
    return f"Series {ended['id']} {how} after {ended['done']}{f' of {count}' if count else ''} images{failed}.{why}"


@click.command()
@CAMERA
@JSON
def stop(camera: str | None, as_json: bool) -> None:
    """Stop a camera's series of stills."""
    _say(_post(pick_camera(camera), "stop"), as_json)


@click.command()
@CAMERA
@click.option("-e", "--exposure", type=float, metavar="EXPOSURE_S", help="Seconds the shutter is open.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the developed JPEG to this file.")
@JSON
def snap(camera: str | None, exposure: float | None, output: Path | None, as_json: bool) -> None:
    """Take one still."""
    name = pick_camera(camera)
    body = {} if exposure is None else {"exposure_s": exposure}
    patience_s = _longest_s(name, exposure)
    with busy(f"exposing{f' {exposure:g} s' if exposure else ''}", quiet=as_json):
        image = _post(name, "snap", body, timeout_s=patience_s)
    if output is not None:
        try:
            output.write_bytes(_developed(image["id"]))
        except OSError as error:
            raise CupolaError(f"{output} cannot be written: {error.strerror}. The image itself is stored as number {image['id']}.") from None
    click.echo(json.dumps(image, indent=2) if as_json else f"{image['files'][0]['path']}{f' → {output}' if output else ''}")


def _longest_s(camera: str, exposure_s: float | None) -> float:
    """How long a still may take: the exposure under way, its own, reading out, storing, and developing where the original is not kept."""
    status = request("GET", f"/api/cameras/{quote(camera, safe='')}")
    still = status["settings"]["still"]
    own = exposure_s or (still["applied"] or still["requested"])["exposure_s"]
    return (status["activity"]["exposure_s"] or 0.0) + (own or 30.0) + 60.0 + DEVELOP_S


def _developed(number: int) -> bytes:
    """The JPEG of an image, as soon as the darkroom has it."""
    patience = time.monotonic() + DEVELOP_S
    while time.monotonic() < patience:
        image = request("GET", f"/api/captures/{number}")
        if image["developed"]:
            return request("GET", f"/api/captures/{number}/image")
        if image["failure"]:
            raise CupolaError(f"The image is stored, but could not be developed: {image['failure']}")
        time.sleep(0.1)
    raise CupolaError(f"The image is stored, but was not developed within {DEVELOP_S:.0f} s; it will be. See: cupola status")
