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
    kind: Literal["storage_low"] = "storage_low"
    free_bytes: int
    free_percent: float


class StorageFull(_Event):
    kind: Literal["storage_full"] = "storage_full"
    free_bytes: int
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
    | CaptureStopped
    | SettingsApplied
    | StorageLow
    | StorageFull
    | SessionEvent
    | CameraChanged
    | ScheduleMade
    | ScheduleFailed
    | NightStarted
    | NightFinished,
    Field(discriminator="kind"),
]

EVENTS: TypeAdapter[Event] = TypeAdapter(Event)
