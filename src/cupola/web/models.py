"""What the API answers and accepts; OpenAPI, and from it the page's types, are made from these."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cupola.web.access.models import Held

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
    undeveloped: int = Field(description="Originals that wait for the darkroom.")
    temperature_c: float | None
    last_image: "Capture | None"
    images_today: int
    restarts: int


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
    developed: bool
    failure: str | None = Field(description="Why it could not be developed.")
    files: list[CaptureFile]


class CapturePage(_Answer):
    items: list[Capture]
    next: str | None


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
    masters: dict[str, str | None] | None = Field(default=None, description="Who controls each camera.")


class DarkroomStatus(_Answer):
    state: str = Field(description="idle, developing, waiting (after a failure), stopped")
    waiting: int = Field(description="Originals that wait to be developed.")


class StationStatus(_Answer):
    station: str
    version: str
    uptime_s: float
    disk_free_bytes: int
    disk_free_percent: float
    darkroom: DarkroomStatus
    cameras: list[CameraStatus]


class StartRequest(_Request):
    exposure_s: Seconds | None = None
    delay_s: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] | None = None
    interval_s: Seconds | None = None
    f_number: Annotated[float, Field(gt=0, le=128, allow_inf_nan=False)] | None = None
    gain: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] | None = None
    count: Annotated[int, Field(ge=1, le=10_000_000)] | None = None


class SnapRequest(_Request):
    exposure_s: Seconds | None = None


class SettingsRequest(_Request):
    """New settings. Without `mode`: for the stills while a session runs, else for the live view."""

    exposure_s: Seconds | None = None
    gain: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] | None = None
    f_number: Annotated[float, Field(gt=0, le=128, allow_inf_nan=False)] | None = None
    mode: Literal["live", "still"] | None = None


class SettingsAccepted(_Answer):
    mode: Literal["live", "still"]
    generation: tuple[int, int]
    requested: Values
    applied: Values | None


class ProblemDetail(_Answer):
    """RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    field: str | None = None


CameraStatus.model_rebuild()
