"""Everything that can happen, as one union: the same JSON on the bus, the WebSocket and in logs.

Server side only (pydantic); camera and darkroom processes speak `process.wire` instead.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from cupola.core.clock import utc_now


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)
    at: datetime = Field(default_factory=utc_now, description="When it happened, UTC.")
    camera: str | None = Field(default=None, description="The camera it concerns.")


class CameraConnected(_Event):
    kind: Literal["camera_connected"] = "camera_connected"
    model: str
    serial: str | None = None


class CameraLost(_Event):
    kind: Literal["camera_lost"] = "camera_lost"
    cause: str = Field(description="crash, hang, frozen, lost, unreachable, busy, failed, abandoned")
    message: str
    retry_in_s: float | None = None


class CameraRecovered(_Event):
    kind: Literal["camera_recovered"] = "camera_recovered"
    down_s: float
    attempts: int


class CameraRecovery(_Event):
    """A rung of the ladder that a failed camera is helped by was taken."""

    kind: Literal["camera_recovery"] = "camera_recovery"
    rung: Literal["interrupt", "reopen", "restart", "usb_reset", "back_off"]
    attempt: int = Field(description="On this rung since the last good picture.")
    cause: str = Field(description="As of camera_lost.")
    ok: bool | None = Field(default=None, description="Whether the rung itself worked; null where camera_recovered will tell.")
    message: str = ""


class CaptureStarted(_Event):
    kind: Literal["capture_started"] = "capture_started"
    session: int
    exposure_s: float | None = None
    count: int | None = None


class ImageCaptured(_Event):
    """Announced only after the image is durable and its row committed."""

    kind: Literal["image_captured"] = "image_captured"
    id: int
    sequence: int
    opened_at: datetime
    exposure_s: float | None = None
    gain: float | None = None
    session: int | None = None
    day: str = Field(description="The date whose folder it lies in.")
    period: int | None = Field(default=None, description="The night or day of the schedule it belongs to.")
    path: str


class ImageDeveloped(_Event):
    kind: Literal["image_developed"] = "image_developed"
    id: int
    sequence: int
    path: str
    took_ms: float | None  # None: by a darkroom that is gone, whose JPEG was found


class CaptureFailed(_Event):
    kind: Literal["capture_failed"] = "capture_failed"
    error_type: str
    message: str
    session: int | None = None


class DevelopFailed(_Event):
    kind: Literal["develop_failed"] = "develop_failed"
    id: int
    message: str


class StreakFound(_Event):
    """Something crossed the sky during an exposure. Positions in pixels of the original."""

    kind: Literal["streak_found"] = "streak_found"
    id: int = Field(description="The image.")
    sequence: int
    opened_at: datetime
    x0: float
    y0: float
    x1: float
    y1: float
    length: float
    width: float = Field(description="At half of its brightness.")
    flux: float = Field(description="In counts of the sensor, above the sky.")
    snr: float = Field(description="Signal to noise of the whole line.")
    goes_on: bool = Field(description="It continues a streak of the image before: a satellite or an aeroplane. False may be a meteor.")
    crop: str | None = Field(description="A picture of it, relative to storage.root.")


class CaptureStopped(_Event):
    kind: Literal["capture_stopped"] = "capture_stopped"
    session: int
    done: int
    failed: int
    reason: str = Field(description="finished, stopped, replaced")


class SettingsApplied(_Event):
    kind: Literal["settings_applied"] = "settings_applied"
    mode: Literal["live", "still"]
    generation: tuple[int, int]
    applied: dict[str, float | None]


class StorageLow(_Event):
    """Less is free than is to be kept free, and nothing is left that may be deleted."""

    kind: Literal["storage_low"] = "storage_low"
    free_bytes: int
    free_percent: float
    message: str = Field(default="", description="What is stored all the same.")


class StorageFull(_Event):
    kind: Literal["storage_full"] = "storage_full"
    free_bytes: int
    message: str


class TriggerReceived(_Event):
    kind: Literal["trigger_received"] = "trigger_received"
    label: str
    source: str = Field(description="api, mqtt, poll, motion, event")


class ClipStarted(_Event):
    kind: Literal["clip_started"] = "clip_started"
    id: int
    label: str


class ClipSaved(_Event):
    """Announced only after the file is durable and its row committed."""

    kind: Literal["clip_saved"] = "clip_saved"
    id: int
    label: str
    path: str
    duration_s: float
    frames: int


class ClipFailed(_Event):
    kind: Literal["clip_failed"] = "clip_failed"
    id: int
    label: str
    message: str


class ProductUpdated(_Event):
    """Keogram, startrails and video of a night or day contain more images; told once a second at most."""

    kind: Literal["product_updated"] = "product_updated"
    period: int
    period_kind: Literal["night", "day"]
    day: str
    images: dict[str, int] = Field(description="By product.")


class ProductFinished(_Event):
    """A product of a night or day is durable, and in the catalogue."""

    kind: Literal["product_finished"] = "product_finished"
    product: Literal["keogram", "startrails", "timelapse"]
    period: int
    period_kind: Literal["night", "day"]
    day: str
    path: str
    bytes: int
    images: int
    message: str | None = Field(default=None, description="Which images are not in it, and why.")


class ProductFailed(_Event):
    kind: Literal["product_failed"] = "product_failed"
    product: Literal["keogram", "startrails", "timelapse"]
    period: int
    period_kind: Literal["night", "day"]
    day: str
    message: str


class SessionEvent(_Event):
    """A viewer came, went or was turned away; somebody logged in or out; control of a camera went to somebody."""

    kind: Literal["session_event"] = "session_event"
    action: str
    session_id: str
    user: str = ""
    detail: str = ""


class CameraChanged(_Event):
    """The state in words of one camera changed; `data` is what GET /api/cameras/{cam} answers."""

    kind: Literal["camera_changed"] = "camera_changed"
    data: dict[str, Any]


class ScheduleMade(_Event):
    """The next window of a camera's schedule is known."""

    kind: Literal["schedule_made"] = "schedule_made"
    period_kind: Literal["night", "day"]
    day: str = Field(description="Its date at the station.")
    starts_at: datetime
    ends_at: datetime
    interval_s: float | None = None
    expected: int | None = Field(default=None, description="Photos that the window makes; null where no interval is set.")


class ScheduleFailed(_Event):
    """The schedule could not be followed; it is tried again."""

    kind: Literal["schedule_failed"] = "schedule_failed"
    message: str


class NightStarted(_Event):
    """A window of the schedule opened: of a night or of a day."""

    kind: Literal["night_started"] = "night_started"
    period: int
    period_kind: Literal["night", "day"]
    day: str
    starts_at: datetime
    ends_at: datetime
    interval_s: float | None = None
    expected: int | None = None


class NightFinished(_Event):
    """A night or day of the schedule is over, and all that is made of it is done."""

    kind: Literal["night_finished"] = "night_finished"
    period: int
    period_kind: Literal["night", "day"]
    day: str
    summary: dict[str, Any] = Field(description="What summary.json holds.")


class SensorReading(_Event):
    """A sensor was read; of a camera's own sensor with the camera's name."""

    kind: Literal["sensor_reading"] = "sensor_reading"
    series: str = Field(description="As in GET /api/history, such as roof.0.")
    value: float
    unit: str


class HostAlarm(_Event):
    """Something about this machine, or a sensor, is not as it should be, or is again."""

    kind: Literal["host_alarm"] = "host_alarm"
    what: str = Field(
        description="cpu, memory, threads, processing, disk, temperature, under_voltage, redis, redis_spool, redis_lost, or the name of a sensor that is silent"
    )
    level: Literal["WARNING", "ERROR"] = Field(description="Of one that is over: what it was.")
    active: bool = Field(description="False: it is over.")
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    message: str


Event = Annotated[
    CameraConnected
    | CameraLost
    | CameraRecovered
    | CameraRecovery
    | CaptureStarted
    | ImageCaptured
    | ImageDeveloped
    | CaptureFailed
    | DevelopFailed
    | StreakFound
    | CaptureStopped
    | SettingsApplied
    | StorageLow
    | StorageFull
    | TriggerReceived
    | ClipStarted
    | ClipSaved
    | ClipFailed
    | ProductUpdated
    | ProductFinished
    | ProductFailed
    | SessionEvent
    | CameraChanged
    | ScheduleMade
    | ScheduleFailed
    | NightStarted
    | NightFinished
    | SensorReading
    | HostAlarm,
    Field(discriminator="kind"),
]

EVENTS: TypeAdapter[Event] = TypeAdapter(Event)
