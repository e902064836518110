"""What a camera process and the server say to each other (heads of `process.wire` messages).

To the camera process:
  configure  driver, options, station, camera, storage, still, live, auto_exposure, recovery, next_sequence    first, once
  settings   mode, generation, controls, automatic      new wanted settings of mode "live" or "still"; which of them auto exposure chooses
  live       codecs, whole                         what viewers want; empty: nobody watches; whole: a pre-roll wants every picture
  plan       session, remaining, interval_s, delay_s, first_at_s, day, period; or null     a series of stills; finish: the exposure under way is let end
  focus      region: x, y, size; or null           measure how sharp the stars there are; null: nobody looks
  snap       token, exposure_s                     one still beside any plan
  close      -                                     finish writing, let the device go, exit

From the camera process:
  info       the opened camera (CameraInfo)
  beat       phase, age_s, left_s, …               every 0.25 s; a budget overrun is a hang
  applied    mode, generation, applied             what the hardware took
  packet     mode, facts of the frame + payload    one live picture, or one of the stream for recording
  focus      facts of the frame, region, sharpness + payload      the region as a JPEG, and how sharp its stars are
  captured   facts of the frame, file, native, sequence, session, token, day, period, correction, took_s     durable on disk, not yet in the catalogue
  failed     kind, message, session, token         an exposure or its storing failed
  recovery   rung, attempt, ok, kind, message      the camera failed and is helped: ok null at the start, then whether it came back
  lost       kind, message                         the device is gone; the process exits after this
  log        level, event, message
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

from cupola.core.clock import iso_utc, parse_utc
from cupola.core.errors import CupolaError
from cupola.core.frame import CameraInfo, Capability, ControlRange, Controls, Frame, Generation, Packet, PixelFormat, PixelKind
from cupola.process.wire import Head

Mode = Literal["live", "still"]
MODES: tuple[Mode, ...] = ("live", "still")
Stream = Literal[Mode, "record"]  # record: of the camera's second stream, for clips
BEAT_S = 0.25
IDLE_BUDGET_S = 6.0  # silence of the whole process while no call to the driver is under way
EXIT_LOST = 3  # exit code of a camera process that said `lost`


@dataclass(frozen=True, slots=True)
class Plan:
    """A series of stills as the camera process runs it.

    `interval_s` from opening to opening, or `delay_s` from shutter close to next opening.
    `remaining` images are still to be stored; None: until told otherwise. `first_at_s`: the first opening to wait for, by the
    monotonic clock that all processes of a machine share; None: now. `day` (`2026-11-21`) and `period`: the date whose
    folder the images go into, and the number of the night or day they belong to; None: the observing day of each, and none.
    """

    session: int
    remaining: int | None = None
    interval_s: float | None = None
    delay_s: float = 0.0
    first_at_s: float | None = None
    day: str | None = None
    period: int | None = None


def facts_of(picture: Frame | Packet) -> Head:
    """What is known about a picture beside its pixels."""
    return {
        "seq": picture.seq,
        "opened_at": iso_utc(picture.opened_at),
        "ended_at": iso_utc(picture.ended_at),
        "monotonic_ns": picture.monotonic_ns,
        "clock_synced": picture.clock_synced,
        "applied": picture.applied.to_dict(),
        "generation": picture.generation,
        "width": picture.width,
        "height": picture.height,
    }


def failure_facts(error: Exception) -> Head:
    """Kind and words of a failure, as the server is told."""
    if isinstance(error, CupolaError):
        return {"kind": error.kind, "message": str(error)}
    return {"kind": "error", "message": f"The driver failed: {error!r}."}


def packet_head(packet: Packet, mode: Stream) -> Head:
    facts = {**facts_of(packet), "dropped_before": packet.dropped_before}
    return {"type": "packet", "mode": mode, **facts, "codec": packet.codec, "keyframe": packet.keyframe, "pts_s": packet.pts_s}


def packet_from(head: Mapping[str, Any], data: bytes | bytearray) -> Packet:
    return Packet(
        seq=head["seq"],
        opened_at=parse_utc(head["opened_at"]),
        ended_at=parse_utc(head["ended_at"]),
        monotonic_ns=head["monotonic_ns"],
        clock_synced=head["clock_synced"],
        applied=Controls.from_dict(head["applied"]),
        generation=Generation(*head["generation"]),
        width=head["width"],
        height=head["height"],
        codec=head["codec"],
        keyframe=head["keyframe"],
        pts_s=head["pts_s"],
        dropped_before=head["dropped_before"],
        data=cast(bytes, data),  # a bytearray that nobody changes any more: not copied
    )


def info_head(info: CameraInfo) -> Head:
    return {**asdict(info), "type": "info", "capabilities": sorted(info.capabilities), "controls": {k: asdict(v) for k, v in info.controls.items()}}


def info_from(head: Mapping[str, Any]) -> CameraInfo:
    """The inverse of `info_head`, after JSON."""
    values: dict[str, Any] = {key: value for key, value in head.items() if key != "type"}
    form: dict[str, Any] = dict(values["format"])
    form["kind"] = PixelKind(form["kind"])
    form["roi"] = tuple(form["roi"]) if form["roi"] else None
    values["format"] = PixelFormat(**form)
    values["controls"] = {name: _range(limits) for name, limits in values["controls"].items()}
    values["notes"] = tuple(values["notes"])
    values["capabilities"] = frozenset(map(Capability, values["capabilities"]))
    return CameraInfo(**values)


def _range(limits: dict[str, Any]) -> ControlRange:
    choices = limits["choices"]
    return ControlRange(limits["minimum"], limits["maximum"], limits["default"], tuple(choices) if choices else None, limits["scale"])
