"""`cupola receive`: stores what other stations publish over Redis."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cupola.core.clock import iso_utc, utc_now
from cupola.stream.names import GROUP, STATION

if TYPE_CHECKING:
    from rich.live import Live

    from cupola.stream.receiver import Receiver

PROGRESS_S = 10.0
STYLES = {"info": "dim", "warning": "yellow", "error": "red"}


def _name(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    for name in value:
        if not STATION.fullmatch(name):
            raise click.BadParameter(f"{name!r}: use letters, digits, '-', '_' and '.'.")
    return value


@click.command()
@click.option(
    "--redis",
    "url",
    envvar="CUPOLA_RECEIVE_REDIS",
    required=True,
    metavar="URL",
    help="Such as redis://USER:PASSWORD@HOST:6379; rediss:// for TLS, with ?ssl_ca_certs=FILE. Else CUPOLA_RECEIVE_REDIS, as others see a command line.",
)
@click.option("--station", "stations", multiple=True, callback=_name, help="Only this station; may be given again. Else all there are.")
@click.option("--camera", "cameras", multiple=True, callback=_name, help="Only pictures and clips of this camera; may be given again.")
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("cupola-archive"),
    show_default=True,
    help="Folder, with one for each station below it.",
)
@click.option("--group", default=GROUP, show_default=True, help="Receivers of one group share the work; each group gets everything.")
@click.option(
    "--claim-after",
    "claim_after_s",
    type=click.FloatRange(min=1.0),
    default=60.0,
    show_default=True,
    metavar="S",
    help="Take over what another receiver of the group was handed and has not acknowledged for so long.",
)
@click.option(
    "--frames",
    "frames_every_s",
    type=click.FloatRange(min=0.0),
    metavar="S",
    help="Keep live pictures too, one of each camera every S seconds, 0 for all that come. Of these some may be missing.",
)
@click.option("--json", "as_json", is_flag=True, help="Tell as lines of JSON, as it does anyway where no terminal is.")
def receive(
    url: str,
    stations: tuple[str, ...],
    cameras: tuple[str, ...],
    into: Path,
    group: str,
    claim_after_s: float,
    frames_every_s: float | None,
    as_json: bool,
) -> None:
    """Store stills, clips and events of other stations that come over Redis, until it is ended."""
    from cupola.stream.receiver import Receiver

    if not STATION.fullmatch(group):
        raise click.BadParameter("use letters, digits, '-', '_' and '.'.", param_hint="--group")
    screen = _Lines() if as_json or not sys.stdout.isatty() else _Screen()
    receiver = Receiver(
        url,
        into.absolute(),
        screen.tell,
        stations=stations,
        cameras=cameras,
        group=group,
        claim_after_s=claim_after_s,
        frames_every_s=frames_every_s,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: receiver.stop())
    with screen:
        screen.begin(receiver)
        receiver.run(lambda: screen.progress(receiver))
        screen.end(receiver)


class _Rates:
    """What was done since the last look, a second."""

    def __init__(self) -> None:
        self._at, self._before = time.monotonic(), {}

    def of(self, total: dict[str, int]) -> dict[str, float]:
        seconds = max(time.monotonic() - self._at, 1e-3)
        rates = {name: (number - self._before.get(name, 0)) / seconds for name, number in total.items()}
        self._at, self._before = time.monotonic(), total
        return rates


class _Lines:
    """For programs and logs: a line when something is to be told, and one of progress now and then, when there was any."""

    def __init__(self) -> None:
        self._rates, self._told_at, self._told = _Rates(), time.monotonic(), {}

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def _line(self, event: str, **facts: Any) -> None:
        click.echo(json.dumps({"at": iso_utc(utc_now()), "event": event, **facts}))

    def tell(self, level: str, message: str, station: str | None) -> None:
        self._line("told", level=level, station=station, message=message)

    def begin(self, receiver: Receiver) -> None:
        self._line("started", into=str(receiver.into), redis=receiver.line.where, group=receiver.group, name=receiver.slot.consumer)

    def progress(self, receiver: Receiver) -> None:
        total = receiver.tally.total()
        if total != self._told and time.monotonic() - self._told_at >= PROGRESS_S:
            self._progress(receiver, total)

    def _progress(self, receiver: Receiver, total: dict[str, int]) -> None:
        rates = self._rates.of(total)
        self._line(
            "progress",
            **total,
            images_per_s=round(rates["stills"] + rates["clips"], 2),
            events_per_s=round(rates["events"], 2),
            mb_per_s=round(rates["bytes"] / 1e6, 3),
            problems=receiver.problems(),
            stations=receiver.tally.by_station(),
        )
        self._told, self._told_at = total, time.monotonic()

    def end(self, receiver: Receiver) -> None:
        self._line("ended", **receiver.tally.total(), stations=receiver.tally.by_station())


class _Screen:
    """For people: what is told scrolls by, above one line that lives."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console()
        self._live: Live = Live(console=self._console, refresh_per_second=2)
        self._rates = _Rates()

    def __enter__(self) -> None:
        self._live.__enter__()

    def __exit__(self, *unused: Any) -> None:
        self._live.__exit__(*unused)

    def tell(self, level: str, message: str, station: str | None) -> None:
        from rich.text import Text

        self._console.print(Text(f"{utc_now():%H:%M:%S} UTC  {f'{station}: ' if station else ''}{message}", style=STYLES[level]))

    def begin(self, receiver: Receiver) -> None:
        self.tell("info", f"Receiving from {receiver.line.where} into {receiver.into}. Ctrl-C ends it.", None)

    def progress(self, receiver: Receiver) -> None:
        from rich.text import Text

        total = receiver.tally.total()
        rates = self._rates.of(total)
        problem = receiver.line.problem or next(iter(receiver.problems().values()), None)
        words = [
            f"stations {len(receiver.stations)}",
            f"stills {total['stills']} ({rates['stills']:.1f}/s)",
            f"clips {total['clips']}",
            f"events {total['events']} ({rates['events']:.1f}/s)",
            f"{rates['bytes'] / 1e6:.1f} MB/s",
        ]
        words += [f"{name.replace('_', ' ')} {total[name]}" for name in ("frames", "again", "set_aside", "gone", "taken_over") if total[name]]
        self._live.update(Text(" · ".join(words) + (f" · {problem}" if problem else ""), style="red" if problem else "green"))

    def end(self, receiver: Receiver) -> None:
        self.progress(receiver)
