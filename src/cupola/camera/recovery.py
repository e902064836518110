"""The ladder a failing camera is helped by, and what is counted on it.

interrupt → reopen → restart → USB reset → back off and alert. The first two are climbed inside the camera
process, by `exposer`; this module decides about the others, from one failure of the process to the next. It
is pure: waiting, starting and resetting are done by `supervisor` and `usb`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cupola.process.child import signal_name

Rung = Literal["interrupt", "reopen", "restart", "usb_reset", "back_off"]
UsbReset = Literal["off", "auto", "uhubctl"]

BACKOFF_S = (1.0, 2.0, 4.0, 8.0, 16.0, 20.0)
ABSENT_MOST_S = 6.0  # the longest pause before looking again for a camera that is not there
AFTER_RESET_S = 2.0  # for the device to come up again
CAUSES = {
    "camera_not_found": "unreachable",
    "camera_busy": "busy",
    "camera_unresponsive": "hang",
    "camera_lost": "lost",
    "camera_frozen": "frozen",
}
_ABSENT = {"unreachable", "lost"}
_NOT_OF_THE_DEVICE = {"busy", "failed"}  # another program, a library, our own start: no reset mends these


@dataclass(frozen=True, slots=True)
class Policy:
    """What the configuration says about recovery: `cameras[].recovery`."""

    reopen: int = 1
    restart: int = 3
    usb_reset: UsbReset = "off"
    usb_port: str | None = None  # null: what the driver tells
    usb_helper: tuple[str, ...] = ("sudo", "-n", "cupola-usb-reset")
    frozen_after_s: float | None = 5.0


@dataclass(frozen=True, slots=True)
class Step:
    """What to do about a failure: take this rung, then start the camera process again after `delay_s`."""

    rung: Rung
    attempt: int  # on this rung since the last good picture
    delay_s: float


class Ladder:
    """Which rung is next; the failures of a camera process since the last good picture, or since it was plugged in, climb it."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.failures = self._backed_off = 0

    def failed(self, cause: str, usb_port: str | None) -> Step:
        """One more failure. Each `restart + 1`th is met by a USB reset, where one is possible and can help."""
        self.failures += 1
        restarts = self._policy.restart
        resettable = self._policy.usb_reset != "off" and usb_port is not None and cause not in _NOT_OF_THE_DEVICE
        if resettable and self.failures % (restarts + 1) == 0:
            return Step("usb_reset", self.failures // (restarts + 1), AFTER_RESET_S)
        delay_s = BACKOFF_S[min(self.failures, len(BACKOFF_S)) - 1]
        if cause in _ABSENT:
            delay_s = min(delay_s, ABSENT_MOST_S)
        if self.failures <= restarts:
            return Step("restart", self.failures, delay_s)
        self._backed_off += 1
        return Step("back_off", self._backed_off, delay_s)

    def begin_anew(self) -> None:
        """The camera delivers again, or was plugged in: the next failure begins at the lowest rung."""
        self.failures = self._backed_off = 0


@dataclass(slots=True)
class Tally:
    """Counts since the server's start, for status and metrics."""

    rungs: Counter[str] = field(default_factory=Counter[str])  # how often each was taken
    restarts: Counter[str] = field(default_factory=Counter[str])  # starts of the camera process after a failure, by its cause


def cause_of(ending: str, lost: Mapping[str, Any] | None) -> str:
    """One word for why a camera process is no more: `ending` is "hang" or "ended", `lost` what it said before it ended."""
    if ending == "hang":
        return "hang"
    return CAUSES.get(str(lost["kind"]), "failed") if lost is not None else "crash"


def why(camera: str, ending: str, lost: Mapping[str, Any] | None, beat: Mapping[str, Any], code: int | None) -> str:
    """What happened to a camera process, for people. `beat` is its last one, `code` its exit code when it ended by itself."""
    if ending == "hang":
        after = f" of a {beat['exposure_s']:g} s exposure" if beat.get("exposure_s") else ""
        doing = beat.get("hangs_in", "starting")
        return f'Camera "{camera}" did not answer within its deadline ({doing}{after}). Its process was ended and is started again. If this repeats, check its power and cable.'
    if lost is not None:
        return str(lost["message"])
    if code is not None and code < 0:
        return f'The process of camera "{camera}" was ended by {signal_name(code)}. It is started again.'
    return f'The process of camera "{camera}" ended by itself (exit code {code}). It is started again.'


def nothing_helped(policy: Policy, usb_port: str | None) -> str:
    """What to do when the ladder's end is reached, for people."""
    missing = policy.usb_reset != "off" and usb_port is None
    unknown = " Its USB port could not be reset, as nobody knows which it is: say so in recovery.usb_port." if missing else ""
    return f"Nothing helped so far; it is tried again and again. Check its power and cable.{unknown}"


def in_words(camera: str, rung: Rung, attempt: int, ok: bool | None, message: str) -> str:
    """A rung that was taken, for the log."""
    result = {None: "", True: ": done", False: ": failed"}[ok]
    return f'Camera "{camera}": {rung.replace("_", " ")}, attempt {attempt}{result}. {message}'.strip()
