"""What each event means to somebody who is not there: the one table of what is told, at which level.

Pure. A camera is in trouble after three failures in a row, or when it did not come back in time; it is well again with a stored picture, or after a
minute without a failure. How often and how something is told is the business of `watch.notices`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from cupola.config.notify import Level
from cupola.core.events import (
    CameraConnected,
    CameraLost,
    CaptureFailed,
    ClipFailed,
    DevelopFailed,
    Event,
    HostAlarm,
    ImageCaptured,
    NightFinished,
    ProductFailed,
    ProductFinished,
    ScheduleFailed,
    StorageFull,
    StorageLow,
)
from cupola.watch.notices import Sign

IN_A_ROW = 3
WELL_S = 60.0
NOT_THE_CAMERAS = ("storage_full", "storage_failed", "cancelled")  # reasons of a failed still that say nothing about its camera

E = TypeVar("E", bound=Event)


@dataclass(slots=True)
class _Camera:
    failures: int = 0
    in_trouble: bool = False
    open_since: float | None = None  # without a failure; monotonic seconds


class Meaning:
    """`signs` takes each event as it comes, `later` looks what time alone has mended. `disk` says in words how full the disk is."""

    def __init__(self, disk: Callable[[], str]) -> None:
        self._disk = disk
        self._cameras: dict[str, _Camera] = {}

    def take_up(self, keys: Mapping[str, Any]) -> None:
        """Troubles of before a restart."""
        for key in keys:
            sort, _, name = key.partition(":")
            if sort == "camera":
                self._cameras[name] = _Camera(IN_A_ROW, True)

    def signs(self, event: Event, mono: float) -> list[Sign]:
        match event:
            case CameraLost() | CaptureFailed():
                return self._failed(event, mono)
            case CameraConnected():
                self._of(event).open_since = mono
                return []
            case ImageCaptured():
                stored = Sign("over", "storage", "", "The disk takes images again", "Images are stored again.")
                return [*self._well(event.camera or "", "takes pictures again"), stored]
            case _:
                sign = _alone(event, self._disk)
                return [] if sign is None else [sign]

    def later(self, mono: float) -> list[Sign]:
        found: list[Sign] = []
        for name, camera in self._cameras.items():
            if camera.open_since is not None and mono - camera.open_since >= WELL_S:
                camera.open_since = None
                found += self._well(name, "is back")
        return found

    def later_s(self, mono: float) -> float | None:
        """When `later` is to be asked next."""
        opened = [camera.open_since for camera in self._cameras.values() if camera.open_since is not None]
        return max(0.0, min(opened) + WELL_S - mono) if opened else None

    def _of(self, event: Event) -> _Camera:
        return self._cameras.setdefault(event.camera or "", _Camera())

    def _failed(self, event: CameraLost | CaptureFailed, mono: float) -> list[Sign]:
        if isinstance(event, CaptureFailed) and event.error_type in NOT_THE_CAMERAS:
            return []
        camera = self._of(event)
        camera.failures += 1
        if camera.open_since is not None:
            camera.open_since = mono
        if isinstance(event, CameraLost):
            camera.open_since = None
        if camera.failures < IN_A_ROW:
            return []
        camera.in_trouble = True
        title = (
            f"Camera {event.camera} failed {camera.failures} times in a row" if camera.failures == IN_A_ROW else f"Camera {event.camera} still fails"
        )
        return [Sign("begun", f"camera:{event.camera}", event.kind, title, event.message, "ERROR", facts=_facts(event))]

    def _well(self, name: str, words: str) -> list[Sign]:
        camera = self._cameras.get(name)
        if camera is None:
            return []
        camera.failures, was, camera.in_trouble = 0, camera.in_trouble, False
        return [Sign("over", f"camera:{name}", "", f"Camera {name} {words}", f"Camera {name} {words}.")] if was else []


def _alone(event: Event, disk: Callable[[], str]) -> Sign | None:
    """The meaning of an event that needs no other to be understood."""
    of, facts = event.camera, _facts(event)

    def once(key: str, title: str, text: str, level: Level, picture: str | None = None) -> Sign:
        return Sign("once", f"{key}:{of}", event.kind, title, text, level, picture, facts)

    match event:
        case ProductFailed():
            video = event.product == "timelapse"
            title = f"The {'video' if video else event.product} of the {event.period_kind} of {event.day} failed"
            return once(
                f"product:{event.product}:{event.period_kind}:{event.day}", title, f"Camera {of}: {event.message}", "ERROR" if video else "WARNING"
            )
        case ProductFinished() if event.product == "timelapse":
            title = f"The video of the {event.period_kind} of {event.day} is ready"
            return once(
                f"product:{event.product}:{event.period_kind}:{event.day}", title, f"Camera {of}: {event.images} images, {event.path}.", "INFO"
            )
        case StorageFull():
            return Sign("begun", "storage", event.kind, "The disk is full", event.message, "ERROR", facts=facts)
        case StorageLow():
            return once(
                "space", "The disk is almost full", f"{event.free_percent:.1f} % is free, nothing may be deleted: {event.message}.", "WARNING"
            )
        case ScheduleFailed():
            return once("schedule", f"The schedule of camera {of} failed", event.message, "WARNING")
        case DevelopFailed():
            return once("develop", f"An image of camera {of} could not be developed", event.message, "WARNING")
        case ClipFailed():
            return once("clip", f"A clip of camera {of} failed", f"{event.label}: {event.message}", "WARNING")
        case NightFinished():
            title = f"The {event.period_kind} of {event.day}, camera {of}"
            return once(f"summary:{event.period}", title, _summary(event.summary, disk()), "INFO", _picture(event.summary))
        case HostAlarm():
            if event.active:
                return Sign("begun", f"host:{event.what}", event.kind, event.message, _limit(event), event.level, facts=facts)
            return Sign("over", f"host:{event.what}", event.kind, event.message, event.message, facts=facts)
        case _:
            return None


def _facts(event: Event) -> dict[str, Any]:
    return event.model_dump(mode="json", exclude={"summary"})


def _limit(alarm: HostAlarm) -> str:
    if alarm.value is None or alarm.limit is None:
        return alarm.message
    return f"{alarm.message}: {alarm.value:g} {alarm.unit}, the limit is {alarm.limit:g} {alarm.unit}.".replace(" %", " %")


def _summary(made: Mapping[str, Any], disk: str) -> str:
    """The night in a few lines, as its summary.json has it in full."""
    expected = made.get("expected")
    lines = [f"Photos: {made.get('photos', 0)}" + (f" of {expected}" if expected else "")]
    if failed := made.get("failed"):
        lines.append(f"Not developed: {failed}")
    if gaps := made.get("gaps"):
        lines.append(f"Gaps: {len(gaps)}, {made.get('gap_s', 0):g} s together")
    for product in made.get("products") or ():
        if product.get("kind") == "timelapse":
            state = product.get("state")
            lines.append(f"Video: {product.get('images', 0)} images" if state == "finished" else f"Video: {state}, {product.get('message') or ''}")
    if (stars := made.get("stars_most")) is not None:
        lines.append(f"Stars: {stars} at most, streaks: {made.get('streaks', 0)}")
    lines.append(f"Disk: {disk}")
    return "\n".join(lines)


def _picture(made: Mapping[str, Any]) -> str | None:
    """The best picture of the night, or else what grew of it."""
    best = made.get("best") or {}
    if best.get("path"):
        return str(best["path"])
    paths = {one.get("kind"): one.get("path") for one in made.get("products") or () if one.get("state") == "finished"}
    return paths.get("keogram") or paths.get("startrails")
