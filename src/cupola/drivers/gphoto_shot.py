"""One exposure with a camera body, from the shutter to its files on this computer, emptied from the card.

The camera tells by events which files it made: one or two an exposure, in any order, before or after it says that it is
complete. What becomes of them on the card is told by the wish. Over one PTP connection files and exposures take turns, so a download cannot overlap the next exposure: the gap
between two exposures is the download. Runs in the thread that owns the body (`desk`).
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from cupola.core.clock import clock_synced, utc_now
from cupola.core.errors import ExposureFailed
from cupola.drivers.gphoto_body import Body, CardFile

READOUT_S = 3.0  # until a camera tells of its files, beyond the exposure
_GRACE_S = 6.0  # of a camera that never tells
_SECOND_FILE_S = 3.0  # between the two files of a pair, at most
_POLL_MS = 20
_DRAIN_MOST = 100  # events of the past that are thrown away before an exposure


# when a file is deleted from the camera: never, once it is stored on disk, or as soon as it is downloaded (RAM does not outlast the camera's
# end anyway, and holds few pictures)
Deleting = Literal["never", "stored", "downloaded"]


@dataclass(frozen=True, slots=True)
class Wish:
    """What to take. `files`: how many the image format gives. `busy_s`: the camera's own dark frame after the exposure."""

    exposure_s: float
    bulb: bool
    files: int
    deleting: Deleting
    busy_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Shot:
    """The files of one exposure. Times are those of the command: the shutter itself opens some hundredths of a second later."""

    opened_at: datetime
    monotonic_ns: int
    synced: bool
    files: tuple[tuple[str, bytes], ...]  # name on the card, content
    to_delete: tuple[CardFile, ...] = ()  # once they are stored


def take(body: Body, wish: Wish, given_up: threading.Event) -> Shot | None:
    """Expose and download; None when nobody wants the picture any more, which then is not downloaded either.

    `given_up` closes a bulb's shutter within 20 ms. A shutter speed of the camera's own runs its course: PTP has no command
    to end it. Its late file is waited for and deleted, so that it cannot be taken for the next exposure's.
    Raises ExposureFailed when the camera gives no file, and what `Body` raises.
    """
    _drain(body)
    if given_up.is_set():
        return None
    opened_at, opened_ns, synced = utc_now(), time.monotonic_ns(), clock_synced()
    if wish.bulb:
        _hold_open(body, wish.exposure_s, given_up)
        over_s = time.monotonic() + wish.busy_s
    else:
        body.trigger()
        over_s = max(time.monotonic(), opened_ns / 1e9 + wish.exposure_s + wish.busy_s)
    on_card = _wait_for_files(body, wish.files, over_s + _GRACE_S, given_up)
    if given_up.is_set():
        for file in on_card if wish.deleting != "never" else ():
            body.delete(file)
        return None
    if not on_card:
        raise ExposureFailed(
            f"{body.who} took no picture: it told of no file within {_GRACE_S:g} s after a {wish.exposure_s:g} s exposure. It is opened anew. "
            "If this repeats: is its card full, or does its image review or self-timer hold it up?"
        )
    files: list[tuple[str, bytes]] = []
    for file in on_card:
        files.append((file.name, body.fetch(file)))
        if wish.deleting == "downloaded":
            body.delete(file)
    return Shot(opened_at, opened_ns, synced, tuple(files), tuple(on_card) if wish.deleting == "stored" else ())


def _drain(body: Body) -> None:
    """Throw away what the camera told since the last exposure: somebody may have pressed its button."""
    for _ in range(_DRAIN_MOST):
        if body.event(1) is None:
            return


def _hold_open(body: Body, seconds: float, given_up: threading.Event) -> None:
    """Bulb: Canon has a release of several steps, the others a switch."""
    canon = body.has("eosremoterelease")
    opened = body.set("eosremoterelease", "Immediate") if canon else body.set("bulb", 1)
    if not opened:
        raise ExposureFailed(f"{body.who} did not open its shutter for bulb. Turn its dial to M or B and set the lens to MF, or set bulb: never.")
    try:
        given_up.wait(seconds)
    finally:
        closed = body.set("eosremoterelease", "Release Full") if canon else body.set("bulb", 0)
    if not closed:
        raise ExposureFailed(f"{body.who} did not close its shutter after {seconds:g} s of bulb. It is opened anew; if it stays open, switch it off.")


def _wait_for_files(body: Body, expected: int, until_s: float, given_up: threading.Event) -> list[CardFile]:
    found: list[CardFile] = []
    while len(found) < expected and time.monotonic() < until_s:
        told = body.event(_POLL_MS)
        if isinstance(told, CardFile):
            found.append(told)
            until_s = time.monotonic() + _SECOND_FILE_S
    return found
