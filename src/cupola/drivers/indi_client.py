"""A connection to an INDI server, in a thread of its own, with blocking calls for the driver's thread.

Owns the wire: connecting, what the server's devices have said so far, sending, one exposure's events with their times. The
protocol itself is indipyclient's; what a camera's properties mean is the business of `indi`.

indipyclient 0.9 reconnects by itself, waits up to 40 s before it takes a silent server for dead, and overlooks one that closed
the connection. All of that is switched off or made good here: a broken connection is told at once and stays broken.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from indipyclient import IPyClient

from cupola.core.errors import CameraLost, CameraNotFound, CameraUnresponsive, CaptureCancelled
from cupola.core.frame import ControlRange
from cupola.drivers.abort import Abort, connect

_T = TypeVar("_T")

_HELLO = b"<getProperties version='1.7'/>\n"
_INDI = re.compile(
    rb"\s*(<\?xml[^>]*>\s*)?<(def|set|new)(Text|Number|Switch|Light|BLOB)Vector\b|\s*<(message|delProperty|getProperties|pingRequest)\b"
)
_ENOUGH_TO_TELL = 64  # bytes of an answer
_RETRY_S = 0.25  # between attempts while nobody listens: a server that is being restarted
_TICK_S = 0.02
_CLOSE_S = 2.0
_PICTURE_FOLLOWS_S = 1.0  # the picture of an exposure that was cut short, from drivers that send it
_CCD_INTERFACE = 1 << 1  # bit of DRIVER_INTERFACE (INDI's basedevice.h) that says: a camera

_problems = logging.StreamHandler()  # to stderr, which is the server's log
_problems.setLevel(logging.ERROR)
_log = logging.getLogger("indipyclient")
_log.addHandler(_problems)
_log.propagate = False


@dataclass
class Shot:
    """One exposure as it goes on. Times by the monotonic clock, 0 while unknown."""

    seconds: float
    requested_ns: int
    busy_ns: int = 0  # the driver said that it exposes
    arrived_ns: int = 0
    data: bytes = b""
    suffix: str = ""  # ".fits", ".fits.fz", ".fits.z", as the driver names it
    given_up_ns: int = 0  # the driver said Alert, or Idle in the middle of it

    @property
    def given_up(self) -> bool:
        """Whether the driver ended the exposure itself, and no picture followed all the same."""
        return bool(self.given_up_ns) and time.monotonic_ns() - self.given_up_ns > _PICTURE_FOLLOWS_S * 1e9


class _Protocol(IPyClient):
    """indipyclient's client; all it hears goes to its owner, in the loop's thread."""

    def __init__(self, owner: IndiClient, host: str, port: int) -> None:
        super().__init__(host, port)
        self.enable_reports = False
        self.set_vector_timeouts(timeout_enable=False)  # a driver may be silent for as long as it exposes
        self.resend_enableBLOB_on_def = False  # it says "Never" whenever another program asks for all definitions
        self._owner = owner

    async def rxevent(self, event: Any) -> None:
        self._owner.heard(event)

    async def hardware(self) -> None:
        """Runs beside the connection: ends it when the server has."""
        while not self.stop:
            await asyncio.sleep(_TICK_S)
            if self._reader is not None and self._reader.at_eof():
                self._owner.broken("closed the connection")

    def abandon(self) -> None:
        """Drop what was not sent yet, for a server that takes nothing more."""
        if self._writer is not None:
            self._writer.transport.abort()


class IndiClient:
    """One device's properties, and the names of the others. Public methods belong to the driver's thread, `heard` and `broken` to the loop's."""

    def __init__(self, host: str, port: int) -> None:
        self.where = f"{host}:{port}"
        self._host, self._port = host, port
        self._changed = threading.Condition()
        self._vectors: dict[str, dict[str, Any]] = {}  # by device and name, as frozen copies
        self._counts: dict[tuple[str, str], int] = {}
        self._messages: dict[str, deque[str]] = {}
        self._defined_ns = 0
        self._connected = False
        self._lost: str | None = None
        self._closing = False
        self._camera, self._picture = "", ""
        self._shot: Shot | None = None
        self._loop = asyncio.new_event_loop()
        self._protocol: _Protocol | None = None
        self._thread: threading.Thread | None = None

    # ── connection ─────────────────────────────────────────────────────────

    def connect(self, timeout_s: float, abort: Abort) -> None:
        """Make sure that an INDI server is there, and connect. A server that is just being started has `timeout_s` to come up.

        Raises CameraNotFound, and CaptureCancelled when `abort` is set.
        """
        deadline = time.monotonic() + timeout_s
        self._probe(deadline, timeout_s, abort)
        self._thread = threading.Thread(target=self._run, name="indi", daemon=True)
        self._thread.start()
        if not self.wait(lambda: self._connected, deadline - time.monotonic() + 1, abort.is_set):
            raise CameraNotFound(f"The INDI server at {self.where} took no second connection. Restart indiserver.")

    def _probe(self, deadline: float, timeout_s: float, abort: Abort) -> None:
        """Ask as any INDI client does, and look at the first bytes of the answer: what is no INDI would only be silence to the library."""
        while True:
            try:
                answer = self._first_bytes(deadline, abort)
                break
            except socket.gaierror:
                raise CameraNotFound(f'There is no host "{self._host}" in this network. Check cameras[].indi.host.') from None
            except OSError as problem:
                if abort.is_set():
                    raise CaptureCancelled(f"connecting to {self.where} was given up") from None
                refused = isinstance(problem, ConnectionError)
                if not refused or time.monotonic() + _RETRY_S > deadline:
                    what = "Nobody listens" if refused else f"Nothing answers ({problem.strerror or problem})"
                    raise CameraNotFound(
                        f"{what} at {self.where}. Start indiserver with your camera's driver there, or check cameras[].indi.host and port."
                    ) from None
            abort.wait(_RETRY_S)
        if not answer:
            raise CameraNotFound(
                f"{self.where} takes connections but named no INDI device within {timeout_s:g} s. If it is an INDI server, it runs no driver: "
                "start indiserver with your camera's (for example: indiserver indi_asi_ccd)."
            )
        if not _INDI.match(answer):
            shown = "".join(c if c.isprintable() else "?" for c in answer[:_ENOUGH_TO_TELL].decode("ascii", "replace").splitlines()[0])
            raise CameraNotFound(f'What listens at {self.where} is no INDI server: it answers "{shown}". Check cameras[].indi.host and port.')

    def _first_bytes(self, deadline: float, abort: Abort) -> bytes:
        answer = b""
        with connect(self._host, self._port, max(0.1, deadline - time.monotonic()), abort) as link:
            link.sendall(_HELLO)
            link.settimeout(_TICK_S)
            while len(answer) < _ENOUGH_TO_TELL and time.monotonic() < deadline:
                if abort.is_set():
                    raise ConnectionAbortedError("given up")
                try:
                    more = link.recv(_ENOUGH_TO_TELL)
                except TimeoutError:
                    continue
                if not more:
                    if not answer:
                        raise ConnectionResetError("closed at once")
                    break
                answer += more
        return answer

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._protocol = _Protocol(self, self._host, self._port)
        try:
            self._loop.run_until_complete(self._protocol.asyncrun())
        except Exception as problem:
            self.broken(f"failed ({problem!r})")
        finally:
            self.broken("closed the connection")
            self._loop.close()

    def close(self) -> None:
        """End the connection and its thread. Idempotent."""
        self._closing = True
        thread, self._thread = self._thread, None
        if thread is None:
            if not self._loop.is_closed() and not self._loop.is_running():
                self._loop.close()
            return
        if self._protocol is not None:
            self._protocol.shutdown()
        thread.join(_CLOSE_S)
        if thread.is_alive() and self._protocol is not None:
            self._loop.call_soon_threadsafe(self._protocol.abandon)
            thread.join(_CLOSE_S)

    # ── what the server says ───────────────────────────────────────────────

    def broken(self, how: str) -> None:
        """The connection is over; what waits is told."""
        if self._protocol is not None:
            self._protocol.shutdown()
        with self._changed:
            if self._lost is None and not self._closing:
                self._lost = f"The INDI server at {self.where} {how}: it, its computer or the network went down."
            self._changed.notify_all()

    def heard(self, event: Any) -> None:
        """An event of indipyclient: taken down, with the time it came."""
        now_ns = time.monotonic_ns()
        kind, device, name = event.eventtype, event.devicename or "", event.vectorname or ""
        if kind == "ConnectionLost":
            self.broken("closed the connection")
            return
        with self._changed:
            if kind == "ConnectionMade":
                self._connected = True
            elif kind == "Message" and device:  # those of no device are the library's own
                self._messages.setdefault(device, deque(maxlen=4)).append(event.message)
            elif kind == "Delete":
                self._deleted(device, name)
            elif event.vector is not None:
                known = self._vectors.setdefault(device, {})
                if name not in known:
                    self._defined_ns = now_ns
                known[name] = event.vector.snapshot()
                if kind.startswith("Set"):  # a definition may be an answer to another program that asked for all of them
                    self._counts[device, name] = self._counts.get((device, name), 0) + 1
                if event.message:
                    self._messages.setdefault(device, deque(maxlen=4)).append(event.message)
                if device == self._camera:
                    self._follow(event, kind, name, now_ns)
            self._changed.notify_all()

    def _deleted(self, device: str, name: str) -> None:
        if name:
            self._vectors.get(device, {}).pop(name, None)
        else:
            self._vectors.pop(device, None)
        if device == self._camera and name in ("", "CCD_EXPOSURE") and self._lost is None:
            self._lost = (
                f'"{device}" was disconnected at the INDI server {self.where}, perhaps by another program.{self.said(device)}'
                if name
                else f'The driver of "{device}" at the INDI server {self.where} ended. Check the camera\'s power and cable.{self.said(device)}'
            )

    def _follow(self, event: Any, kind: str, name: str, now_ns: int) -> None:
        shot = self._shot
        if shot is None or not kind.startswith("Set"):
            return
        if name == "CCD_EXPOSURE":
            if event.vector.state == "Busy" and not shot.busy_ns:
                shot.busy_ns = now_ns
            elif event.vector.state == "Alert" or (event.vector.state == "Idle" and shot.busy_ns):
                shot.given_up_ns = now_ns
        elif (
            name == self._picture and not shot.data and now_ns - shot.requested_ns >= 0.9e9 * shot.seconds
        ):  # an earlier one is that of an aborted exposure
            for member, data in event.items():
                shot.data, shot.suffix, shot.arrived_ns = data, event.sizeformat[member][1].lower(), now_ns

    # ── for the driver's thread ────────────────────────────────────────────

    def cameras(self) -> list[str]:
        """Names of the devices that say they are cameras."""
        with self._changed:
            names = list(self._vectors)
        return sorted(name for name in names if self._interface(name) & _CCD_INTERFACE)

    def _interface(self, device: str) -> int:
        text = self.text(device, "DRIVER_INFO", "DRIVER_INTERFACE") or ""
        return int(text) if text.isdigit() else 0

    def devices(self) -> list[str]:
        with self._changed:
            return sorted(self._vectors)

    def vector(self, device: str, name: str) -> Any:
        """A frozen copy of a property as it was last told; None when the device has none of that name."""
        with self._changed:
            return self._vectors.get(device, {}).get(name)

    def text(self, device: str, name: str, member: str) -> str | None:
        vector = self.vector(device, name)
        return None if vector is None or member not in vector else str(vector[member]).strip()

    def number(self, device: str, name: str, member: str) -> float | None:
        vector = self.vector(device, name)
        return None if vector is None else number_of(vector, member)

    def said(self, device: str) -> str:
        """The driver's last words, to go behind a sentence; empty when it said nothing."""
        with self._changed:
            words = self._messages.get(device)
            return f' The driver says: "{words[-1].strip()}"' if words else ""

    def quiet_for(self, seconds: float) -> bool:
        """Whether no new property was announced for so long: the list is complete then, as INDI marks no end."""
        with self._changed:
            return bool(self._defined_ns) and time.monotonic_ns() - self._defined_ns >= seconds * 1e9

    def watch(self, camera: str, picture: str) -> None:
        """This device's loss is ours from now on, and its pictures are to be sent."""
        with self._changed:
            self._camera, self._picture = camera, picture
        self._do(lambda protocol: protocol.send_enableBLOB("Also", camera, picture))

    def check(self) -> None:
        """Raises CameraLost when connection or device are gone."""
        with self._changed:
            if self._lost is not None:
                raise CameraLost(self._lost)

    def wait(self, condition: Callable[[], _T], seconds: float, cancelled: Callable[[], bool]) -> _T:
        """What `condition` says as soon as it says yes, or after so long. Looks at `cancelled` every 20 ms.

        Raises CaptureCancelled and CameraLost.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                self.check()
                result = condition()
                left_s = deadline - time.monotonic()
                if result or left_s <= 0:
                    return result
                if cancelled():
                    raise CaptureCancelled("the camera was interrupted")
                self._changed.wait(min(left_s, _TICK_S))

    def send(self, device: str, name: str, members: Mapping[str, float | str]) -> None:
        self._do(lambda protocol: protocol.send_newVector(device, name, members=dict(members)))

    def change(self, device: str, name: str, members: Mapping[str, float | str], seconds: float, cancelled: Callable[[], bool]) -> Any:
        """Ask for new values and return the property as the driver answers, Alert or not. Raises CameraUnresponsive when it does not."""
        count = self.count(device, name)
        self.send(device, name, members)
        if not self.wait(lambda: self.count(device, name) > count, seconds, cancelled):
            raise CameraUnresponsive(
                f'"{device}" at the INDI server {self.where} did not answer within {seconds:g} s when its {name} was set. '
                "If this repeats, restart its driver."
            )
        return self.vector(device, name)

    def count(self, device: str, name: str) -> int:
        """How often the driver reported this property's state."""
        with self._changed:
            return self._counts.get((device, name), 0)

    def shoot(self, seconds: float) -> Shot:
        """Ask for an exposure; the shot fills itself as the driver tells."""
        shot = Shot(seconds, time.monotonic_ns())
        with self._changed:
            self._shot = shot
        self.send(self._camera, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": seconds})
        return shot

    def forget(self) -> None:
        """What still comes of the exposure under way is nobody's."""
        with self._changed:
            self._shot = None

    def _do(self, what: Callable[[_Protocol], Any]) -> None:
        """Run a coroutine of the library in the loop's thread; it only writes, so it may take `_CLOSE_S` at most."""
        self.check()
        protocol = self._protocol
        assert protocol is not None
        try:
            future = asyncio.run_coroutine_threadsafe(what(protocol), self._loop)
        except RuntimeError:
            self.check()
            raise CameraLost(f"The connection to {self.where} is closed.") from None
        try:
            future.result(_CLOSE_S)
        except TimeoutError:
            future.cancel()
            raise CameraUnresponsive(f"The INDI server at {self.where} takes no more commands. Restart indiserver if this repeats.") from None


def number_of(vector: Any, member: str) -> float | None:
    """A member of a property, None where it has none of that name, or says `nan`: the driver does not know it."""
    value = float(vector.getfloatvalue(member)) if member in vector else math.nan
    return value if math.isfinite(value) else None


def range_of(vector: Any, member: str, default: float) -> ControlRange:
    """The limits the driver gives a number."""
    one = vector.member(member)
    minimum, maximum = one.getfloat(one.min), one.getfloat(one.max)
    if not (math.isfinite(minimum) and math.isfinite(maximum) and maximum > minimum):  # INDI: no limits given
        minimum, maximum = 0.0, max(3600.0, default)
    return ControlRange(minimum, maximum, min(max(default, minimum), maximum))
