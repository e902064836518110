"""Any camera that INDI knows, through an INDI server (indiserver, KStars, a StellarMate ...).

Owns what an INDI camera's properties mean. The connection lives in `indi_client`, pictures are read by `indi_blob`.

The shutter's moment is our own: when the driver says that it exposes (CCD_EXPOSURE goes Busy), and never later than the picture's
arrival less the exposure. Some drivers say so only when the exposure is well under way; then the DATE-OBS they write is taken, if it
lies between our request and that moment, which also shows that both clocks agree.

On closing, the exposure under way is aborted, but the device stays connected and its cooler as it is: other programs may use it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from cupola.core.clock import clock_synced, utc_now
from cupola.core.errors import CameraBusy, CameraLost, CameraNotFound, CameraUnresponsive, CaptureCancelled, CupolaError
from cupola.core.frame import CameraInfo, Capability, Controls, Frame, PixelFormat, PixelKind, Station, Stop
from cupola.drivers.abort import Abort
from cupola.drivers.found import Found

if TYPE_CHECKING:
    from cupola.drivers.indi_blob import Blob
    from cupola.drivers.indi_client import IndiClient, Shot

LOCAL = ("localhost", 7624)  # where `discover` looks
_PICTURE = "CCD1"  # the BLOB of the main sensor; CCD2 is a guide sensor
_GAINS = (("CCD_GAIN", "GAIN"), ("CCD_CONTROLS", "Gain"))  # where drivers have it
_COMPLETE_AFTER_S = 0.3  # no further property announced: the driver has told them all
_ALL_DEVICES_AFTER_S = 0.7  # the same for devices; each driver is a process of its own
_SETTLES_S = 5.0  # for an aborted exposure to end
_ANSWERS_S = 4.0  # to a change of settings
_LINK_BYTES_S = 9e6  # a network of 100 Mbit/s with INDI's text encoding: the first guess of the readout
_DATE_OBS_STEP_NS = 1_000_000  # INDI writes milliseconds
_SAME = 1e-6


class _Ending(NamedTuple):
    """A cancelled exposure is over when `told_by` was told more than `after` times and CCD_EXPOSURE is not Busy; by `until`."""

    told_by: str
    after: int
    until: float


class Indi:
    """The `indi` driver. Options: the config block of the same name, with every key present."""

    def __init__(self, options: Mapping[str, Any], station: Station) -> None:
        self._options = options
        self._timeout_s = float(options["timeout_s"])
        self._interrupted = threading.Event()
        self._abort = Abort()
        self._client: IndiClient | None = None
        self._info: CameraInfo | None = None
        self._device = ""
        self._gain: tuple[str, str] | None = None
        self._exposure_s = 1.0
        self._count = 0
        self._ending: _Ending | None = None  # of an exposure that was cancelled and has to be waited for

    # ── opening ────────────────────────────────────────────────────────────

    def open(self) -> CameraInfo:
        """Connect to the server, have it connect the camera, and set what the options name.

        Raises CameraNotFound (no server, no INDI, no such camera, a driver that cannot reach its camera), CameraLost, and
        CaptureCancelled after `interrupt`.
        """
        if self._info is not None and self._client is not None:
            self._client.check()
            return self._info
        self.close()
        from cupola.drivers.indi_client import IndiClient

        self._abort = Abort()
        self._deadline = time.monotonic() + self._timeout_s
        client = self._client = IndiClient(str(self._options["host"]), int(self._options["port"]))
        try:
            client.connect(self._timeout_s, self._abort)
            self._device = self._find(client)
            self._connect_device(client)
            client.watch(self._device, _PICTURE)
            self._prepare(client)
            self._info = self._describe(client)
        except BaseException:
            self.close()
            raise
        from cupola.drivers.indi_blob import load_reader

        load_reader()
        return self._info

    def _left_s(self) -> float:
        """Of the time for opening."""
        return max(0.5, self._deadline - time.monotonic())

    def _find(self, client: IndiClient) -> str:
        """The device's name, once the server has told of it."""
        named = self._options["device"]
        if named:
            if client.wait(lambda: client.vector(named, "CONNECTION"), self._left_s(), self._abort.is_set):
                return str(named)
            missing = f'has no device "{named}"'
        else:
            client.wait(lambda: client.cameras() and client.quiet_for(_ALL_DEVICES_AFTER_S), self._left_s(), self._abort.is_set)
            cameras = client.cameras()
            if len(cameras) == 1:
                return cameras[0]
            missing = "has more than one camera" if cameras else "has no camera"
        there = ", ".join(f'"{name}"' for name in client.cameras() or client.devices()) or "no device at all"
        raise CameraNotFound(
            f"The INDI server at {client.where} {missing}. It has {there}. Write the camera's name into cameras[].indi.device, "
            "or start its driver (indiserver indi_..._ccd)."
        )

    def _connect_device(self, client: IndiClient) -> None:
        device = self._device

        def ready() -> bool:
            return (
                client.vector(device, _PICTURE) is not None
                and client.vector(device, "CCD_EXPOSURE") is not None
                and bool(client.number(device, "CCD_INFO", "CCD_MAX_X"))
                and client.number(device, "CCD_FRAME", "WIDTH") != 0
                and client.quiet_for(_COMPLETE_AFTER_S)
            )

        if client.text(device, "CONNECTION", "CONNECT") != "On":
            answer = client.change(device, "CONNECTION", {"CONNECT": "On"}, self._left_s(), self._abort.is_set)
            answer = client.wait(lambda: _settled(client.vector(device, "CONNECTION")), self._left_s(), self._abort.is_set) or answer
            if answer.state == "Alert" or answer["CONNECT"] != "On":
                raise CameraNotFound(
                    f'The driver of "{device}" at the INDI server {client.where} cannot reach its camera.{client.said(device)} '
                    "Check the camera's power and cable, and whether another program uses it."
                )
        if not client.wait(ready, self._left_s(), self._abort.is_set):
            raise CameraNotFound(
                f'"{device}" at the INDI server {client.where} is connected but offers no exposures and pictures within {self._timeout_s:g} s.'
                f"{client.said(device)} Is it a camera? Those that say so: {', '.join(client.cameras()) or 'none'}."
            )

    def _prepare(self, client: IndiClient) -> None:
        """What other programs may have left otherwise, and what the options name."""
        if client.vector(self._device, "CCD_EXPOSURE").state == "Busy":  # of an earlier process of ours, or of somebody's
            left_s = client.number(self._device, "CCD_EXPOSURE", "CCD_EXPOSURE_VALUE") or 0.0
            if not self._aborts(client) and left_s + _SETTLES_S > self._left_s():
                where = f'"{self._device}" at the INDI server {client.where}'
                raise CameraBusy(f"{where} exposes for another {left_s:.0f} s, and its driver cannot end that. It is opened after it.")
            self._end_exposure(left_s, -1)
        self._settle(client, self._abort.is_set)
        for name, member in (("UPLOAD_MODE", "UPLOAD_CLIENT"), ("CCD_TRANSFER_FORMAT", "FORMAT_FITS"), ("CCD_FRAME_TYPE", "FRAME_LIGHT")):
            if client.text(self._device, name, member) == "Off":
                self._set(client, name, {member: "On"})
        binning = int(self._options["binning"])
        self._set(client, "CCD_BINNING", {"HOR_BIN": binning, "VER_BIN": binning})
        width, height = self._sensor(client)
        region = self._options["roi"] or {"x": 0, "y": 0, "width": width, "height": height}
        if region["x"] + region["width"] > width or region["y"] + region["height"] > height:
            raise CameraNotFound(
                f'cameras[].indi.roi lies beyond the sensor of "{self._device}", which has {width} x {height} pixels. Make it smaller.'
            )
        self._set(client, "CCD_FRAME", {side.upper(): region[side] for side in ("x", "y", "width", "height")})
        if self._options["temperature_c"] is not None:
            if not self._cools(client):
                raise CameraNotFound(f'"{self._device}" has no cooler that can be set: remove cameras[].indi.temperature_c.')
            self._set(client, "CCD_TEMPERATURE", {"CCD_TEMPERATURE_VALUE": float(self._options["temperature_c"])})

    def _set(self, client: IndiClient, name: str, wanted: Mapping[str, float | str]) -> None:
        """Set a property that is not so yet. Raises CameraNotFound when the camera refuses, which only the owner can mend."""
        from cupola.drivers.indi_client import number_of

        vector = client.vector(self._device, name)
        if vector is None:
            if name == "CCD_BINNING" and self._options["binning"] == 1:
                return
            raise CameraNotFound(
                f'"{self._device}" has no {name} and cannot be set as configured. Remove binning, roi and temperature_c from its options.'
            )
        if all(number_of(vector, member) == value if isinstance(value, int | float) else vector[member] == value for member, value in wanted.items()):
            return
        answer = client.change(self._device, name, wanted, _ANSWERS_S, self._abort.is_set)
        if answer.state == "Alert":
            words = ", ".join(f"{member} {value}" for member, value in wanted.items())
            raise CameraNotFound(f'"{self._device}" does not take {name} {words}.{client.said(self._device)} Change its options.')

    def _sensor(self, client: IndiClient) -> tuple[int, int]:
        return int(client.number(self._device, "CCD_INFO", "CCD_MAX_X") or 0), int(client.number(self._device, "CCD_INFO", "CCD_MAX_Y") or 0)

    def _cools(self, client: IndiClient) -> bool:
        vector = client.vector(self._device, "CCD_TEMPERATURE")
        return vector is not None and vector.perm != "ro"

    def _describe(self, client: IndiClient) -> CameraInfo:
        from cupola.drivers.indi_blob import shifted_bayer
        from cupola.drivers.indi_client import range_of

        device = self._device
        exposures = range_of(client.vector(device, "CCD_EXPOSURE"), "CCD_EXPOSURE_VALUE", 1.0)
        controls = {"exposure_s": exposures}
        self._exposure_s = exposures.default
        self._gain = next((where for where in _GAINS if client.number(device, *where) is not None), None)
        if self._gain is not None:
            controls["gain"] = range_of(client.vector(device, self._gain[0]), self._gain[1], client.number(device, *self._gain) or 0.0)
        binning = int(client.number(device, "CCD_BINNING", "HOR_BIN") or 1)
        sides = (client.number(device, "CCD_FRAME", side) or 0.0 for side in ("X", "Y", "WIDTH", "HEIGHT"))
        x, y, width, height = (int(side) for side in sides)
        self._format = PixelFormat(
            PixelKind.MONO, bits=int(client.number(device, "CCD_INFO", "CCD_BITSPERPIXEL") or 16), roi=(x, y, width, height), binning=binning
        )
        bayer = shifted_bayer(
            client.text(device, "CCD_CFA", "CFA_TYPE") or "",
            int(float(client.text(device, "CCD_CFA", "CFA_OFFSET_X") or 0)),
            int(float(client.text(device, "CCD_CFA", "CFA_OFFSET_Y") or 0)),
        )
        cooled = {Capability.COOLING} if self._cools(client) else set[Capability]()
        return CameraInfo(
            driver="indi",
            model=device,
            width=width // binning,
            height=height // binning,
            format=PixelFormat(PixelKind.BAYER if bayer else PixelKind.MONO, self._format.bits, bayer, roi=self._format.roi, binning=binning),
            capabilities=frozenset({Capability.STILLS, Capability.VIDEO} | cooled),
            controls=controls,
            finishes_exposures=not self._aborts(client),
            readout_s=0.5 + 2 * (width // binning) * (height // binning) / _LINK_BYTES_S,
            frame_timeout_s=self._timeout_s,
        )

    # ── settings and exposures ─────────────────────────────────────────────

    def apply(self, wanted: Controls) -> Controls:
        """The exposure goes to the camera with each exposure; gain at once. Returns what the driver answers."""
        client, info = self._opened()
        if wanted.exposure_s is not None:
            self._exposure_s = round(info.controls["exposure_s"].nearest(wanted.exposure_s), 6)
        if wanted.gain is not None and self._gain is not None:
            gain = info.controls["gain"].nearest(wanted.gain)
            if client.number(self._device, *self._gain) != gain:
                self._settle(client, _never)
                client.change(self._device, self._gain[0], {self._gain[1]: gain}, _ANSWERS_S, _never)
        return self._controls(client)

    def _controls(self, client: IndiClient) -> Controls:
        return Controls(exposure_s=self._exposure_s, gain=client.number(self._device, *self._gain) if self._gain is not None else None)

    def expose(self, stop: Stop) -> Frame:
        """One exposure. What the picture's header says of exposure, gain and temperature goes before what the properties say."""
        client, info = self._opened()
        self._interrupted.clear()
        stop.check()

        def cancelled() -> bool:
            return stop.is_set() or self._interrupted.is_set()

        self._settle(client, cancelled)
        controls = self._controls(client)
        told = client.count(self._device, "CCD_EXPOSURE")
        shot = client.shoot(self._exposure_s)
        try:
            patience_s = shot.seconds + max(self._timeout_s, 3 * info.readout_s)
            client.wait(lambda: shot.data or shot.given_up, patience_s, cancelled)
        except CaptureCancelled:
            self._end_exposure(shot.seconds - (time.monotonic_ns() - shot.requested_ns) / 1e9, told)
            raise
        finally:
            client.forget()
        if not shot.data:
            where = f'"{self._device}" at the INDI server {client.where}'
            if shot.given_up_ns:
                raise CameraLost(f"{where} gave up an exposure of {shot.seconds:g} s, or another program aborted it.{client.said(self._device)}")
            self._end_exposure(0.0, told)
            raise CameraUnresponsive(
                f"{where} sent no picture within {patience_s:.0f} s of an exposure of {shot.seconds:g} s.{client.said(self._device)} Check its power and cable."
            )
        from cupola.drivers.indi_blob import decode

        return self._frame(shot, decode(shot.data, shot.suffix, self._format.bits, self._format.binning, self._format.roi), controls, client)

    def _frame(self, shot: Shot, blob: Blob, controls: Controls, client: IndiClient) -> Frame:
        exposure_s = shot.seconds if blob.exposure_s is None or abs(blob.exposure_s - shot.seconds) < _SAME else blob.exposure_s
        now_ns, now = time.monotonic_ns(), utc_now()
        latest_ns = shot.arrived_ns - round(exposure_s * 1e9)
        opened_ns = max(shot.requested_ns, min(shot.busy_ns or latest_ns, latest_ns))
        if blob.started_at is not None:
            started_ns = now_ns - round((now - blob.started_at).total_seconds() * 1e9)
            if shot.requested_ns - _DATE_OBS_STEP_NS <= started_ns <= opened_ns:
                opened_ns = max(started_ns, shot.requested_ns)
        opened_at = now - timedelta(microseconds=(now_ns - opened_ns) / 1000)
        self._count += 1
        reading = client.number(self._device, "CCD_TEMPERATURE", "CCD_TEMPERATURE_VALUE")
        return Frame(
            seq=self._count,
            opened_at=opened_at,
            ended_at=opened_at + timedelta(seconds=exposure_s),
            monotonic_ns=opened_ns,
            data=blob.data,
            format=blob.format,
            applied=Controls(exposure_s=exposure_s, gain=controls.gain if blob.gain is None else blob.gain),
            clock_synced=clock_synced(),
            temperature_c=reading if blob.temperature_c is None else blob.temperature_c,
            header=blob.header,
        )

    def stream(self, stop: Stop) -> Generator[Frame, None, None]:
        """Exposures one after the other. INDI's own video streams carry neither exposure nor time, and are not used."""
        while not stop.is_set():
            try:
                yield self.expose(stop)
            except CaptureCancelled:
                if not stop.is_set():
                    raise

    def _aborts(self, client: IndiClient) -> bool:
        """Whether the driver can end an exposure; some cannot, and finish it."""
        return client.vector(self._device, "CCD_ABORT_EXPOSURE") is not None

    def _end_exposure(self, left_s: float, told: int) -> None:
        """Ask for the end of the exposure under way, which has `left_s` to go; `told`: how often the driver had told of exposures before it."""
        client = self._client
        assert client is not None
        if self._aborts(client):
            self._ending = _Ending("CCD_ABORT_EXPOSURE", client.count(self._device, "CCD_ABORT_EXPOSURE"), time.monotonic() + _SETTLES_S)
            client.send(self._device, "CCD_ABORT_EXPOSURE", {"ABORT": "On"})
        else:
            readout_s = self._info.readout_s if self._info is not None else 0.0
            self._ending = _Ending("CCD_EXPOSURE", told, time.monotonic() + max(0.0, left_s) + readout_s + _SETTLES_S)

    def _settle(self, client: IndiClient, cancelled: Callable[[], bool]) -> None:
        """Wait until a cancelled exposure has really ended: its end must not be taken for that of the next one."""
        ending = self._ending
        if ending is None:
            return
        if not client.wait(
            lambda: client.count(self._device, ending.told_by) > ending.after and _settled(client.vector(self._device, "CCD_EXPOSURE")),
            max(0.0, ending.until - time.monotonic()),
            cancelled,
        ):
            where = f'"{self._device}" at the INDI server {client.where}'
            raise CameraUnresponsive(f"{where} did not end an exposure {_SETTLES_S:g} s after it should have. If this repeats, restart its driver.")
        self._ending = None

    def interrupt(self) -> None:
        """End the exposure under way, or an `open`, with CaptureCancelled. Any thread, any time."""
        self._interrupted.set()
        self._abort.set()

    def close(self) -> None:
        """Leave the server; the camera stays connected there."""
        client, self._client, self._info, self._ending = self._client, None, None, None
        if client is not None:
            client.close()

    def _opened(self) -> tuple[IndiClient, CameraInfo]:
        if self._client is None or self._info is None:
            raise CameraLost("The INDI camera is not open. Connect it first.")
        self._client.check()
        return self._client, self._info


def _never() -> bool:
    return False


def _settled(vector: Any) -> Any:
    """The property when it is not Busy."""
    return None if vector is None or vector.state == "Busy" else vector


def discover() -> list[Found]:
    """Cameras of an INDI server on this machine; one elsewhere is found by nobody but its owner. Connects no device."""
    from cupola.drivers.indi_client import IndiClient

    client = IndiClient(*LOCAL)
    never = Abort()
    try:
        client.connect(0.5, never)
        client.wait(lambda: client.quiet_for(_ALL_DEVICES_AFTER_S), 5.0, never.is_set)
        return [
            Found("indi", name, where=client.where, capabilities=_words(client, name), options={"host": LOCAL[0], "port": LOCAL[1], "device": name})
            for name in client.cameras()
        ]
    except CupolaError:
        return []
    finally:
        client.close()


def _words(client: IndiClient, device: str) -> tuple[str, ...]:
    """What a camera says of itself; most only once it is connected."""
    width, height = (client.number(device, "CCD_INFO", side) for side in ("CCD_MAX_X", "CCD_MAX_Y"))
    cooler = ("cooler",) if client.vector(device, "CCD_TEMPERATURE") is not None else ()
    return ((f"{width:.0f} x {height:.0f}",) if width and height else ()) + cooler
