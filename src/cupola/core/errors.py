"""One class per thing the reader of the message has to do.

Every message says what happened, where, and what to do next.
"""


class CupolaError(Exception):
    """Base of all errors that are meant for the owner of the station."""

    kind = "error"
    retry_in_s: float | None = None  # when it is worth asking again, where that is known


class ConfigError(CupolaError):
    """The configuration cannot be used: change the file."""

    kind = "config"


class InvalidSetting(CupolaError):
    """A requested value is outside of what the camera can do: ask for another one."""

    kind = "invalid_setting"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class CameraNotFound(CupolaError):
    """No such device or source: check cable, address, serial."""

    kind = "camera_not_found"


class LibraryMissing(CupolaError):
    """A driver's own library is not installed, or not for this machine: install what the message names."""

    kind = "library_missing"


class CameraBusy(CupolaError):
    """Another program or an unfinished action holds the camera: wait or close it."""

    kind = "camera_busy"


class CameraLost(CupolaError):
    """The device was there and is gone, or sends rubbish: Cupola reconnects by itself."""

    kind = "camera_lost"


class CameraUnresponsive(CupolaError):
    """The device missed its deadline: Cupola restarts it; if it repeats, check power and USB."""

    kind = "camera_unresponsive"


class CameraFrozen(CameraLost):
    """The device delivers one old picture again and again: Cupola opens it anew; if it repeats, check power and USB."""

    kind = "camera_frozen"


class RecordingEnded(CameraLost):
    """A recording was played to its end. Nothing is wrong: the camera is closed, and connecting it plays from the start."""

    kind = "recording_ended"


class CaptureCancelled(CupolaError):
    """An exposure ended early because somebody asked for it. Nothing is wrong."""

    kind = "cancelled"


class ExposureFailed(CupolaError):
    """The camera is there but took no picture this time: do what the message says. The series goes on."""

    kind = "exposure_failed"


class BadImage(CupolaError):
    """The camera delivered something that is not a picture: check the link to it if this repeats."""

    kind = "bad_image"


class StorageFull(CupolaError):
    """No space left where images go: free some, or point storage.root elsewhere."""

    kind = "storage_full"


class StorageFailed(CupolaError):
    """The disk refused a write for another reason than space: check it."""

    kind = "storage_failed"


class NotAllowed(CupolaError):
    """The state of the camera, or missing rights, forbid this now."""

    kind = "not_allowed"
