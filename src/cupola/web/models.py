"""What the API answers and accepts; OpenAPI, and from it the page's types, are made from these."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cupola.core.events import HostAlarm
from cupola.storage.space import Rung
from cupola.web.access.models import Held
from cupola.web.stream_models import RedisStatus

Seconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]
LifeState = Literal["stopped", "starting", "running", "recovering", "degraded", "stopping"]


class _Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ControlRange(_Answer):
    minimum: float
    maximum: float
    default: float
    choices: list[float] | None = None


class Info(_Answer):
    """What the opened camera is."""

    model: str
    serial: str | None
    width: int
    height: int
    pixel_format: str = Field(description="mono, bayer, rgb, yuv420 or yuv422")
    bits: int
    capabilities: list[str]
    controls: dict[str, ControlRange] = Field(description="Limits of exposure_s, gain, f_number, as far as the camera has them.")


class Values(_Answer):
    exposure_s: float | None = None
    gain: float | None = None
    f_number: float | None = None


class ModeSettings(_Answer):
    """Requested, applied by the hardware, and seen in a frame are three different things."""

    generation: tuple[int, int] = Field(description="(epoch, n) of the newest request.")
    requested: Values
    applied: Values | None = Field(description="What the hardware took; null until it answered.")
    applied_generation: tuple[int, int] | None = None
    visible: Values | None = Field(description="Settings of the newest frame that arrived in this mode.")
    visible_generation: tuple[int, int] | None = None
    automatic: list[str] = Field(default=[], description="Settings that auto exposure chooses: null in `requested`; `applied` says what it chose.")
    can_automatic: list[str] = Field(default=[], description="Settings of stills that auto exposure could choose with this camera.")


class Settings(_Answer):
    live: ModeSettings
    still: ModeSettings


class Activity(_Answer):
    """What the camera does this moment. For an exposure: `elapsed_s` of `exposure_s` at `as_of`."""

    kind: Literal["closed", "opening", "idle", "live", "exposing", "reading", "waiting", "storing", "recovering"]
    words: str = Field(description="For people: 'exposing 8 of 30 s', 'live', 'stale 12 s', 'closed'.")
    exposure_s: float | None = None
    elapsed_s: float | None = None
    next_opening_in_s: float | None = None
    as_of: datetime


class Session(_Answer):
    """A series of stills."""

    id: int
    exposure_s: float | None
    gain: float | None = None
    f_number: float | None = None
    delay_s: float | None = Field(description="Shutter close to next opening.")
    interval_s: float | None = Field(description="Opening to opening.")
    count: int | None = Field(description="How many were asked for; null: until stopped.")
    done: int
    failed: int
    started_at: datetime


class Live(_Answer):
    viewers: int
    fps: float
    age_s: float | None = Field(description="Age of the newest live picture, from the opening of its shutter.")
    stale: bool
    codec: str | None
    width: int | None
    height: int | None
    dropped: int = Field(description="Frames the camera, the link or the encoder lost since start.")
    encoded: int = Field(description="Live pictures that had to be encoded since the camera was opened; stands still while nobody watches.")


class Problem(_Answer):
    kind: str
    message: str
    since: datetime
    retry_in_s: float | None


class Recovery(_Answer):
    """How often this camera had to be helped since the server's start."""

    rungs: dict[str, int] = Field(description="interrupt, reopen, restart, usb_reset, back_off: how often each was taken.")
    restarts: dict[str, int] = Field(description="Starts of the camera process after a failure, by its cause.")
    usb_port: str | None = Field(description="The port a USB reset would switch, when it is known.")


class PreRoll(_Answer):
    """The last packets of the live view, kept for clips."""

    seconds: float = Field(description="What it reaches back now.")
    packets: int
    bytes: int = Field(description="Of memory: those of the packets, as they came or were encoded for the live view.")
    fps: float
    codec: str | None = Field(description="null: it is empty.")
    width: int | None
    height: int | None
    cut_short: bool = Field(description="preroll.max_mb did not suffice for preroll.seconds.")


class CameraStatus(_Answer):
    name: str
    driver: str
    state: LifeState
    activity: Activity
    problem: Problem | None
    info: Info | None
    settings: Settings
    session: Session | None
    control: Held
    live: Live
    preroll: PreRoll | None = Field(description="null: none is kept.")
    undeveloped: int = Field(description="Originals that wait for the darkroom.")
    temperature_c: float | None
    last_image: "Capture | None"
    images_today: int
    night: "NightStatus | None" = Field(description="The schedule; null where the camera has none, or no window is to come.")
    restarts: int
    recovery: Recovery
    notes: list[str] = Field(description="Sentences for the owner: what to change on the camera or to know about it.")


class AttachedCamera(_Answer):
    model: str
    serial: str | None
    where: str = Field(description="A port or a path.")
    capabilities: list[str]
    note: str
    camera: str | None = Field(description="The configured camera this is; null: none yet.")
    in_use: bool = Field(description="This server has it open.")
    config: str = Field(description="The lines for cupola.yaml, below `cameras:`.")


class DriverLook(_Answer):
    """What looking for the cameras of one driver brought."""

    driver: str
    tried_on: str = Field(description="What the driver was tried on so far; `not yet tried on hardware` for most.")
    looks: bool = Field(description="False: this driver's cameras cannot be found by looking; they are configured by hand.")
    problem: str | None = Field(description="Why nothing could be looked for, and what to do: a library to install, a crash.")
    cameras: list[AttachedCamera]


class Discovery(_Answer):
    items: list[DriverLook]
    next: str | None = None


class CaptureFile(_Answer):
    kind: Literal["raw", "jpg"]
    path: str = Field(description="Relative to storage.root.")
    bytes: int
    sha256: str
    missing: bool = False


class Capture(_Answer):
    id: int
    camera: str
    sequence: int
    opened_at: datetime
    ended_at: datetime | None
    exposure_s: float | None
    gain: float | None
    f_number: float | None
    temperature_c: float | None
    width: int | None
    height: int | None
    session: int | None
    correction: float | None = Field(default=None, description="Stops that auto exposure missed its target by: developing brightens it by so many.")
    day: str = Field(description="The date whose folder it lies in: of its night or day, else its observing day.")
    period: int | None = Field(description="Number of the night or day of the schedule it belongs to.")
    developed: bool
    failure: str | None = Field(description="Why it could not be developed.")
    files: list[CaptureFile]


class Streak(_Answer):
    """Something that crossed the sky during the exposure; pixels of the original."""

    x0: float
    y0: float
    x1: float
    y1: float
    length: float
    width: float = Field(description="At half of its brightness.")
    flux: float = Field(description="In counts of the sensor, above the sky.")
    snr: float = Field(description="Signal to noise of the whole line.")
    goes_on: bool = Field(description="It continues a streak of the image before: a satellite or an aeroplane. False may be a meteor.")
    crop: str | None = Field(default=None, description="A picture of it, relative to storage.root; at /streaks/1 of the capture, /streaks/2 …")


class Measured(_Answer):
    """Numbers of one image; null where there is none."""

    stars: int | None
    hfr: float | None = Field(description="Median half-flux radius of the stars, in pixels.")
    sky: float | None = Field(description="Relative brightness of the open sky in magnitudes: the greater the darker; comparable within one camera.")
    sharpness: float | None = Field(description="Contrast of the finest details; comparable between images of one scene.")
    streaks: list[Streak]


class CaptureDetail(Capture):
    measured: Measured | None = Field(description="null: nobody has measured it yet.")


class CapturePage(_Answer):
    items: list[Capture]
    next: str | None


ProductName = Literal["keogram", "startrails", "timelapse"]


class Product(_Answer):
    """What grew, or grows, of the images of a night or day."""

    kind: ProductName
    state: Literal["growing", "finished", "failed"]
    images: int = Field(description="How many are in it.")
    path: str | None = Field(description="Relative to storage.root, once it was finished.")
    bytes: int | None
    sha256: str | None
    message: str | None = Field(description="Which images were left out, or why it failed.")
    made_at: datetime | None


class ProductList(_Answer):
    images: int = Field(description="Of the night or day, developed or not.")
    items: list[Product]
    next: str | None = None


class RenderRequest(_Request):
    """Which products are made again; without any, all that are configured."""

    products: list[ProductName] = Field(default_factory=list[ProductName], max_length=3)


class CameraList(_Answer):
    items: list[CameraStatus]
    next: str | None = None


class Health(_Answer):
    """Answered without touching anything that can be slow. Who is not logged in is told the first two only."""

    status: Literal["ok", "degraded"]
    claimed: bool
    version: str | None = None
    uptime_s: float | None = None
    viewers: int | None = None
    max_viewers: int | None = None
    cameras: dict[str, LifeState] | None = None
    master: dict[str, str | None] | None = Field(default=None, description="Who controls each camera.")


class DarkroomStatus(_Answer):
    state: str = Field(description="idle, developing, waiting (after a failure), stopped")
    waiting: int = Field(description="Originals that wait to be developed.")


class NightStatus(_Answer):
    """What a camera's schedule does: the window that is open, or the next one."""

    state: Literal["idle", "waiting", "capturing", "paused", "stopped", "creating_video"] = Field(
        description="waiting: its night or day has begun, the window not; paused: by the moon; stopped: by hand."
    )
    words: str = Field(description="For people: 'night of 2026-11-21 until 05:41 UTC, 120 of 750 photos'.")
    kind: Literal["night", "day"]
    day: str
    starts_at: datetime
    ends_at: datetime
    interval_s: float | None
    expected: int | None
    photos: int


class RetentionStatus(_Answer):
    """How full the disk will be when, and what is stored meanwhile."""

    words: str = Field(description="The forecast in words: full in 12 nights.")
    keep_free_percent: float = Field(description="Below this the oldest files are deleted; 0: nothing is deleted for space.")
    bytes_per_night: int | None = Field(description="What the last nights stored, each, in the mean; null before the first.")
    nights_left: float | None = Field(description="So many nights until only keep_free_percent are free.")
    low: bool = Field(description="Less is free than that, and nothing is left that may be deleted.")
    stored: Rung = Field(description="What cameras store at this free space: all, or less and less of it.")
    problem: str | None = Field(description="Why nothing is deleted at the moment although it should be.")


class TriggerStatus(_Answer):
    """One of clips.triggers."""

    name: str
    source: Literal["mqtt", "poll", "motion", "event"]
    state: Literal["armed", "active", "unreachable"] = Field(description="active: what it waits for goes on; it triggers again after that has ended.")
    since: datetime
    problem: str | None = Field(description="Why it does not work now, or made no clip last time.")
    count: int = Field(description="How often it triggered since the server's start.")
    last_at: datetime | None
    left_out: int = Field(description="Of these, more than could be taken.")


class StationStatus(_Answer):
    station: str
    state: Literal["idle", "waiting", "capturing", "creating_video"] = Field(description="What the station does, by its schedule and its series.")
    version: str
    uptime_s: float
    disk_free_bytes: int
    disk_free_percent: float
    retention: RetentionStatus
    darkroom: DarkroomStatus
    triggers: list[TriggerStatus] = Field(description="What makes clips by itself, in the configuration's order.")
    alarms: list[HostAlarm] = Field(description="What is wrong with this machine or its sensors.")
    redis: RedisStatus | None = Field(description="How streaming does; null where no Redis is configured.")
    cameras: list[CameraStatus]


class StartRequest(_Request):
    exposure_s: Seconds | None = None
    delay_s: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] | None = None
    interval_s: Seconds | None = None
    f_number: Annotated[float, Field(gt=0, le=128, allow_inf_nan=False)] | None = None
    gain: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] | None = None
    count: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    auto: bool | None = Field(default=None, description="As of settings.")
    darks: bool = Field(default=False, description="The lens is covered: the images are of no night, and in no keogram, startrails or video.")


class SnapRequest(_Request):
    exposure_s: Seconds | None = None


class SettingsRequest(_Request):
    """New settings. Without `mode`: for the stills while a session runs, else for the live view."""

    exposure_s: Seconds | None = None
    gain: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] | None = None
    f_number: Annotated[float, Field(gt=0, le=128, allow_inf_nan=False)] | None = None
    mode: Literal["live", "still"] | None = None
    auto: bool | None = Field(
        default=None,
        description="Of stills: true gives all settings that are not given to auto exposure, false keeps what it chose last. "
        "A setting that is given is left alone by auto exposure from then on.",
    )


class SettingsAccepted(_Answer):
    mode: Literal["live", "still"]
    generation: tuple[int, int]
    requested: Values
    applied: Values | None
    automatic: list[str] = Field(default=[], description="Settings that auto exposure chooses.")


class ProblemDetail(_Answer):
    """RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    field: str | None = None


CameraStatus.model_rebuild()
