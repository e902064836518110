"""What a camera delivers: frames with pixels, packets already encoded, and what it can do.

Standard library only, numpy just for the type checker: the camera process imports this, also under a
foreign interpreter, and so does the server, which holds no pixels and saves numpy's 20 MB.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, Self, runtime_checkable

from cupola.core.errors import CaptureCancelled

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
else:
    Pixels = object  # the name, for modules that annotate with it


class PixelKind(StrEnum):
    """How samples are laid out: one plane, one plane behind a colour filter, RGB, or planar YUV."""

    MONO = "mono"
    BAYER = "bayer"
    RGB = "rgb"
    YUV420 = "yuv420"
    YUV422 = "yuv422"


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """The meaning of a frame's samples.

    `bits` are the significant bits of a sample. Sensors of 10 to 14 bits often deliver them shifted
    up in 16: `padding_bits` says how many low bits are always zero. `black_level` is in ADU after the
    padding was shifted out. `roi` is (x, y, width, height) on the sensor, in unbinned pixels.
    """

    kind: PixelKind
    bits: int = 8
    bayer: str | None = None  # RGGB, BGGR, GRBG or GBRG, for kind BAYER
    padding_bits: int = 0
    black_level: int = 0
    roi: tuple[int, int, int, int] | None = None
    binning: int = 1


@dataclass(frozen=True, slots=True)
class Controls:
    """Camera settings; None means "leave as it is" in a request and "unknown" in a report."""

    exposure_s: float | None = None
    gain: float | None = None  # the camera's own scale (ISO for a DSLR)
    f_number: float | None = None

    def over(self, base: Self) -> Self:
        """These settings where given, `base` elsewhere."""
        return replace(base, **{k: v for k, v in asdict(self).items() if v is not None})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        return cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values})

    def to_dict(self) -> dict[str, float | None]:
        return asdict(self)


class Generation(NamedTuple):
    """Which settings request a frame obeys: how often the server was started, and a count of requests since."""

    epoch: int = 0
    n: int = 0


HeaderCard = tuple[str, str | int | float | bool, str]  # keyword, value, comment of a FITS header


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture with its pixels, read-only.

    `data`: (H, W) uint8 or uint16 for MONO and BAYER, (H, W, 3) uint8 for RGB, the luma plane (H, W)
    for YUV with the two chroma planes beside it. `opened_at` is when the shutter opened, by the wall
    clock, `monotonic_ns` the same moment by the monotonic clock. A source that does not tell (a network
    camera) gives the moment the picture arrived and no exposure. `header` is what the camera itself wrote
    about the picture, to be kept in the original.
    """

    seq: int
    opened_at: datetime
    ended_at: datetime
    monotonic_ns: int
    data: Pixels
    format: PixelFormat
    applied: Controls = field(default_factory=Controls)
    clock_synced: bool = True
    chroma: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]] | None = None
    temperature_c: float | None = None
    cooler_percent: float | None = None  # power of the sensor's cooler
    generation: Generation = Generation()
    dropped_before: int = 0  # frames the driver knows it lost since the one before
    header: tuple[HeaderCard, ...] = ()

    @property
    def width(self) -> int:
        return int(self.data.shape[1])

    @property
    def height(self) -> int:
        return int(self.data.shape[0])


Codec = Literal["jpeg", "h264", "h265"]


@dataclass(frozen=True, slots=True)
class Native:
    """The camera's own raw file of a picture (NEF, CR2, CR3, ARW): kept byte for byte, never sent to the server.

    `paired`: the JPEG it comes with is a picture of its own. Otherwise that is only the preview from inside of the raw file,
    for viewers; the picture that is kept is developed from the raw file later.
    """

    suffix: str  # ".nef"
    data: bytes
    paired: bool = True


@dataclass(frozen=True, slots=True)
class Packet:
    """One encoded picture, and the facts of the frame it shows.

    H.264 and H.265 are Annex B; a keyframe's data begins with its parameter sets, so a decoder can
    start there. `pts_s` counts seconds on the source's own clock.
    """

    seq: int
    opened_at: datetime
    ended_at: datetime
    monotonic_ns: int
    codec: Codec
    data: bytes
    width: int
    height: int
    keyframe: bool = True
    pts_s: float | None = None
    applied: Controls = field(default_factory=Controls)
    clock_synced: bool = True
    generation: Generation = Generation()
    dropped_before: int = 0
    native: Native | None = None  # of a still only

    @property
    def closed_ns(self) -> int:
        """When the shutter closed, by the monotonic clock: what tells a stale picture."""
        return self.monotonic_ns + round((self.ended_at - self.opened_at).total_seconds() * 1e9)


GainScale = Literal["linear", "tenth_db"]  # a factor, as ISO; tenths of a decibel of amplitude, 60.2 to the stop


@dataclass(frozen=True, slots=True)
class ControlRange:
    """Limits of one control, in the control's unit. `choices` when only some values exist; `scale` of a gain, where the driver knows it."""

    minimum: float
    maximum: float
    default: float
    choices: tuple[float, ...] | None = None
    scale: GainScale | None = None

    def nearest(self, value: float) -> float:
        if self.choices:
            return min(self.choices, key=lambda choice: abs(choice - value))
        return min(max(value, self.minimum), self.maximum)


class Capability(StrEnum):
    STILLS = "stills"  # single exposures with a shutter time of our choosing
    VIDEO = "video"  # a fast stream of frames
    CONTINUOUS = "continuous"  # frames come by themselves; a still is taken out of the stream
    COOLING = "cooling"
    BULB = "bulb"
    NATIVE_JPEG = "native_jpeg"
    NATIVE_H264 = "native_h264"
    NATIVE_H265 = "native_h265"


def native_of(capabilities: frozenset[Capability]) -> Codec:
    """The codec a camera's packets come in: its own, else the JPEG they are encoded to."""
    return "h264" if Capability.NATIVE_H264 in capabilities else "h265" if Capability.NATIVE_H265 in capabilities else "jpeg"


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """What an opened camera is and can do; the only source of such knowledge for everyone else."""

    driver: str
    model: str
    width: int
    height: int
    format: PixelFormat
    capabilities: frozenset[Capability]
    serial: str | None = None
    controls: Mapping[str, ControlRange] = field(default_factory=dict[str, ControlRange])  # keys are fields of Controls
    readout_s: float = 0.0  # best guess; the supervisor learns the rest
    noisy: bool = True  # a sensor's noise makes each picture unlike the one before; a recording may repeat one
    usb_port: str | None = None  # as the kernel writes it (1-1.4), for a reset of the port
    frame_timeout_s: float = 2.0  # longest silence of a healthy camera before a frame, beyond the exposure
    finishes_exposures: bool = False  # a cancelled exposure still keeps the camera busy until its end; the next call waits for it
    notes: tuple[str, ...] = ()  # sentences for the owner: what was found at opening that should be changed or known
    shutter_count: int | None = None  # how often a mechanical shutter has opened in its life, where the camera counts it


@dataclass(frozen=True, slots=True)
class Station:
    """Where the camera stands. Degrees, east and north positive; metres above sea level."""

    name: str = "demo"
    latitude: float = 0.0
    longitude: float = 0.0
    elevation_m: float = 0.0
    timezone: str = "UTC"


class Stop:
    """The first rung of cancelling: set by anyone, noticed by the driver within 20 ms."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep up to `seconds`; True as soon as the stop is set."""
        return self._event.wait(max(0.0, seconds))

    def check(self) -> None:
        """Raise CaptureCancelled when the stop is set."""
        if self._event.is_set():
            raise CaptureCancelled("the exposure was cancelled")


@runtime_checkable
class KeepsStills(Protocol):
    """What a driver also offers whose camera has each still on a card of its own until it is safe here."""

    def stored(self, seq: int) -> None:
        """The still with this number is durably on disk, so the camera's copy may go. Any thread; returns at once."""
        ...


class Camera(Protocol):
    """A driver: blocking, touched by one thread, no asyncio.

    Built as `Driver(options, station)`: options are the validated values of the driver's config
    block; `__init__` only stores, `open` touches hardware and imports the vendor's library.
    """

    def open(self) -> CameraInfo:
        """Claim the device. Raises CameraNotFound, CameraBusy, CameraLost."""
        ...

    def apply(self, wanted: Controls) -> Controls:
        """Set what is not None; return everything the hardware now has. Never called during an exposure."""
        ...

    def expose(self, stop: Stop) -> Frame | Packet:
        """Take one exposure with the controls last applied.

        Raises CaptureCancelled when `stop` is set, ExposureFailed when there is no picture this time but
        the camera is still there, CameraLost when the device is gone, CameraUnresponsive past the
        driver's own deadline.
        """
        ...

    def stream(self, stop: Stop) -> Generator[Frame | Packet, None, None]:
        """Frames as fast as the controls allow, until `stop` is set (then it just ends). Raises as `expose` does."""
        ...

    def interrupt(self) -> None:
        """Make a blocked call return soon. Any thread, any time, idempotent."""
        ...

    def close(self) -> None:
        """Let the device go. Idempotent, also after a failed open."""
        ...
