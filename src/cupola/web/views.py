"""How the state of a camera is told: in the API's types, and in words."""

from __future__ import annotations

import time

from cupola.camera.messages import Mode
from cupola.camera.settings import out_of_reach
from cupola.camera.supervisor import CameraSupervisor
from cupola.capture.session import Session
from cupola.capture.shutter import Shutter, wear_notes
from cupola.core.clock import utc_now
from cupola.core.frame import CameraInfo
from cupola.darkroom.growing import Growing
from cupola.storage.catalogue import Catalogue
from cupola.storage.files import day_of
from cupola.storage.products import Span
from cupola.storage.rows import ImageRow
from cupola.web import models
from cupola.web.access.models import held
from cupola.web.runtime import Runtime

KINDS = {"opening": "opening", "exposing": "exposing", "live": "live", "idle": "idle", "waiting": "waiting", "storing": "storing", "applying": "idle"}


def seconds(value: float) -> str:
    """A duration for people: `0.25 s`, `8 s`, `3 min 20 s`."""
    if value < 1:
        return f"{value:.2g} s"
    if value < 120:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def activity(camera: CameraSupervisor) -> models.Activity:
    """What the camera does this moment."""
    now, beat = utc_now(), camera.beat
    since_beat = time.monotonic() - camera.beat_at
    if camera.state in ("stopped", "stopping"):
        return models.Activity(kind="closed", words="closed" if camera.state == "stopped" else "closing", as_of=now)
    if camera.state == "starting" or (camera.state == "recovering" and camera.retry_at is None):
        return models.Activity(kind="opening", words="opening", as_of=now)
    if camera.state == "recovering":
        left = max(0.0, (camera.retry_at or 0.0) - time.monotonic())
        return models.Activity(kind="recovering", words=f"recovering, next try in {seconds(left)}", as_of=now)
    phase, age = str(beat.get("phase", "idle")), float(beat.get("age_s", 0.0)) + since_beat
    exposure = beat.get("exposure_s")
    due = beat.get("next_opening_in_s")
    due = None if due is None else max(0.0, due - since_beat)
    if phase == "exposing" and exposure is not None:
        kind, words = ("exposing", f"exposing {min(age, exposure):.0f} of {seconds(exposure)}") if age <= exposure else ("reading", "reading out")
        return models.Activity.model_validate(
            {"kind": kind, "words": words, "exposure_s": exposure, "elapsed_s": age, "next_opening_in_s": due, "as_of": now}
        )
    words = {"live": live_words(camera), "waiting": f"next exposure in {seconds(due or 0.0)}", "storing": "waiting for the disk"}.get(phase, "ready")
    return models.Activity.model_validate({"kind": KINDS.get(phase, "idle"), "words": words, "next_opening_in_s": due, "as_of": now})


def live_words(camera: CameraSupervisor) -> str:
    if not camera.hub.viewers:
        return "ready"
    if camera.seen.age_s is None:
        return "waiting for the first picture"
    return "live" if camera.seen.live else f"stale {seconds(camera.seen.age_s)}"


def live_state(camera: CameraSupervisor) -> dict[str, object]:
    """The text message of the live socket: whether the picture can be trusted, in one word and in words."""
    state: str = camera.state
    doing = activity(camera)
    if state in ("running", "degraded"):
        state = "live" if camera.seen.live else "stale"
    words = doing.words
    if state == "live" and doing.kind == "live":
        words = "live"
    age = camera.seen.age_s
    return {"type": "state", "state": state, "words": words, "age_s": None if age is None or state == "live" else round(age)}


def info(value: CameraInfo) -> models.Info:
    return models.Info.model_validate(
        {
            "model": value.model,
            "serial": value.serial,
            "width": value.width,
            "height": value.height,
            "pixel_format": str(value.format.kind),
            "bits": value.format.bits,
            "capabilities": sorted(value.capabilities),
            "controls": {name: models.ControlRange.model_validate(limits) for name, limits in value.controls.items()},
        }
    )


def mode_settings(camera: CameraSupervisor, mode: Mode) -> models.ModeSettings:
    value, auto = camera.settings.of(mode), camera.spec.auto

    def values(controls: object) -> models.Values | None:
        return None if controls is None else models.Values.model_validate(controls)

    return models.ModeSettings.model_validate(
        {
            "generation": value.generation,
            "requested": values(value.requested),
            "applied": values(value.applied),
            "applied_generation": value.applied_generation,
            "visible": values(value.visible),
            "visible_generation": value.visible_generation,
            "automatic": sorted(value.automatic if auto is None or camera.info is None else value.automatic & auto.of(camera.info)),
            "can_automatic": []
            if auto is None or camera.info is None or mode == "live"
            else sorted(camera.settings.can_automatic & auto.of(camera.info)),
        }
    )


def capture(row: ImageRow) -> models.Capture:
    files = [models.CaptureFile.model_validate(file) for file in row.files if file.kind in ("raw", "jpg")]
    return models.Capture.model_validate({**{name: getattr(row, name) for name in models.Capture.model_fields if name != "files"}, "files": files})


async def _notes(runtime: Runtime, camera: CameraSupervisor) -> list[str]:
    """What the driver found at opening, what is wanted that the camera cannot do, and how the shutter wears, where it has one that does."""
    if camera.info is None:
        return []
    told = [*camera.info.notes, *out_of_reach(camera.settings, camera.info.controls, camera.name)]
    life: int | None = camera.spec.options.get("shutter_life")
    if life is not None:
        count = camera.info.shutter_count
        if count is None:
            images = await runtime.catalogue.run(runtime.catalogue.last_sequence, camera.name)
            shutter = Shutter(images + int(camera.spec.options.get("shutter_count", 0)), life, by_camera=False)
        else:
            shutter = Shutter(count, life, by_camera=True)
        session = runtime.sessions.of(camera.name)
        told += wear_notes(shutter, None if session is None else session.period_s, None if session is None else session.plan().remaining)
    return told


async def _night(runtime: Runtime, camera: str) -> models.NightStatus | None:
    """The period that is open, or being finished, or else the window that opens next."""
    scheduler = runtime.scheduler
    period, coming = scheduler.keepers[camera].period or scheduler.finishing(camera), scheduler.keepers[camera].following
    now = period or coming
    if now is None:
        return None
    photos = await runtime.catalogue.run(scheduler.periods.count, period.id) if period else 0
    state = scheduler.state_of(camera)
    counted = f"{photos} of {now.expected} photos" if now.expected is not None else f"{photos} photos"
    until = f"from {now.starts_at:%H:%M}" if period is None else f"until {now.ends_at:%H:%M}"
    doing = {"paused": ", waiting for the moon to set", "stopped": ", stopped by hand", "creating_video": ", being finished"}.get(state, "")
    return models.NightStatus(
        state=state,
        words=f"{now.kind} of {now.day} {until} UTC" + (f", {counted}" if period else "") + doing,
        kind=now.kind,
        day=now.day,
        starts_at=now.starts_at,
        ends_at=now.ends_at,
        interval_s=now.interval_s,
        expected=now.expected,
        photos=photos,
    )


def series(session: Session) -> models.Session:
    """A series of stills, as far as it is; also one that has ended."""
    asked = session.request
    return models.Session(
        id=session.id,
        exposure_s=asked.exposure_s,
        gain=asked.gain,
        f_number=asked.f_number,
        delay_s=asked.delay_s,
        interval_s=asked.interval_s,
        count=asked.count,
        done=session.done,
        failed=session.failed,
        started_at=session.started_at,
    )


async def camera_status(runtime: Runtime, camera: CameraSupervisor) -> models.CameraStatus:
    catalogue = runtime.catalogue
    day = runtime.scheduler.day(camera.name) or day_of(utc_now(), camera.spec.station)
    newest = await catalogue.run(catalogue.latest, camera.name)
    today = await catalogue.run(catalogue.count_day, camera.name, day)
    undeveloped = await catalogue.run(catalogue.undeveloped_count, camera.name)
    session = runtime.sessions.of(camera.name)
    problem = camera.problem or camera.still_problem
    retry = None if camera.retry_at is None else max(0.0, camera.retry_at - time.monotonic())
    newest_live = camera.hub.newest.packet if camera.hub.newest else None
    return models.CameraStatus(
        name=camera.name,
        driver=camera.spec.driver,
        state="degraded" if camera.state == "running" and problem is not None else camera.state,
        activity=activity(camera),
        problem=None if problem is None else models.Problem(kind=problem.kind, message=problem.message, since=problem.since, retry_in_s=retry),
        info=None if camera.info is None else info(camera.info),
        settings=models.Settings(live=mode_settings(camera, "live"), still=mode_settings(camera, "still")),
        session=None if session is None else series(session),
        control=held(runtime.leases.of(camera.name)),
        live=models.Live(
            viewers=camera.hub.viewers,
            fps=round(camera.seen.fps, 1),
            age_s=camera.seen.age_s,
            stale=camera.seen.age_s is not None and not camera.seen.live,
            codec=newest_live.codec if newest_live else None,
            width=newest_live.width if newest_live else None,
            height=newest_live.height if newest_live else None,
            dropped=camera.beat.get("dropped", 0),
            encoded=camera.beat.get("encoded", 0),
        ),
        preroll=None if (ring := runtime.clips.rings.get(camera.name)) is None else models.PreRoll.model_validate(ring),
        undeveloped=undeveloped,
        temperature_c=camera.temperature_c,
        last_image=None if newest is None else capture(newest),
        images_today=today,
        night=await _night(runtime, camera.name),
        restarts=camera.restarts,
        recovery=models.Recovery(rungs=dict(camera.tally.rungs), restarts=dict(camera.tally.restarts), usb_port=camera.usb_port),
        notes=await _notes(runtime, camera),
    )


async def product_list(growing: Growing, catalogue: Catalogue, span: Span) -> models.ProductList:
    """The products of a night or day, with the images that are in them this moment."""
    now = growing.images.get(span.id, {})
    items = [models.Product.model_validate(row) for row in await catalogue.run(growing.products.of, span.id)]
    items = [item.model_copy(update={"images": now.get(item.kind, item.images)}) if item.state == "growing" else item for item in items]
    return models.ProductList(images=await catalogue.run(growing.products.count, span.id), items=items)
