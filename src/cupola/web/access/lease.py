"""Who controls a camera: a lease of fifteen seconds, renewed by its holder, so that nobody can keep it by falling asleep.

Each taking has an epoch, and epochs only rise, restarts included: what a page did not notice losing, it cannot use.
Everybody is told of each change. One event loop; who may try at all is decided by the table of rights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from cupola.core.clock import utc_now
from cupola.core.errors import NotAllowed
from cupola.core.events import SessionEvent
from cupola.web.access.who import Role, Who

LEASE_S = 15.0
EPOCHS_PER_START = 1_000_000_000
REQUESTS_MAX = 8


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody would like to have control."""

    user: str
    session: str
    at: datetime


@dataclass(slots=True)
class Lease:
    who: Who
    epoch: int
    deadline: float
    since: datetime = field(default_factory=utc_now)
    requests: list[Asked] = field(default_factory=list[Asked])


class NotInControl(NotAllowed):
    """Somebody else has control, or nobody: `holder` says who. Ask for it, or take it."""

    def __init__(self, message: str, holder: Lease | None) -> None:
        super().__init__(message)
        self.holder = holder


class Leases:
    """`start` counts the starts of the server, so that epochs rise over restarts."""

    def __init__(
        self, cameras: Iterable[str], publish: Callable[[SessionEvent], None], start: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._leases: dict[str, Lease | None] = dict.fromkeys(cameras)
        self._publish, self._clock = publish, clock
        self._epoch = start * EPOCHS_PER_START

    def of(self, camera: str) -> Lease | None:
        """The lease in force."""
        lease = self._leases[camera]
        if lease is not None and lease.deadline <= self._clock():
            self._leases[camera] = None
            self._tell("control_expired", camera, lease.who, "not renewed for 15 s")
            return None
        return lease

    def left_s(self, lease: Lease) -> float:
        return max(0.0, lease.deadline - self._clock())

    def expire(self) -> None:
        """End what ran out; called a few times a second so that everybody hears of it."""
        for camera in self._leases:
            self.of(camera)

    def acquire(self, camera: str, who: Who, take_over: bool | None = None) -> Lease:
        """Take control. An admin takes it from others unless `take_over` is False. Raises NotInControl."""
        held = self.of(camera)
        if held is None:
            return self._give(camera, who, "control_acquired")
        if _same(held.who, who):
            return self._give(camera, who, "control_acquired" if held.who == who else "control_taken", held)
        if who.role >= Role.ADMIN and take_over is not False:
            return self._give(camera, who, "control_taken", held)
        raise NotInControl(f"{held.who.user} has control of {camera}. Ask for it, or wait.", held)

    def force(self, camera: str, who: Who, by: Who) -> Lease:
        """Give control to somebody, whoever has it."""
        return self._give(camera, who, "control_forced", self.of(camera), f"by {by.user}")

    def renew(self, camera: str, who: Who, epoch: int) -> Lease:
        """Raises NotInControl."""
        lease = self._held(camera, who, epoch)
        lease.deadline = self._clock() + LEASE_S
        return lease

    def release(self, camera: str, who: Who, epoch: int) -> None:
        """Raises NotInControl."""
        self._drop(camera, self._held(camera, who, epoch), "")

    def request(self, camera: str, who: Who) -> None:
        """Ask the holder to give way. Raises NotInControl when there is none: it can be taken at once."""
        lease = self.of(camera)
        if lease is None:
            raise NotInControl(f"Nobody has control of {camera}: take it.", None)
        if lease.who == who:
            return
        others = [asked for asked in lease.requests if asked.session != who.id]
        lease.requests = [*others, Asked(who.user, who.id, utc_now())][-REQUESTS_MAX:]
        self._tell("control_requested", camera, who, f"asks {lease.who.user}")

    def check(self, camera: str, who: Who, epoch: int | None) -> None:
        """Whether this one may move the camera now. Raises NotInControl.

        People need the lease and its epoch. A token or the owner's shell does not take turns: it may as long as nobody
        has control, one with admin rights always.
        """
        lease = self.of(camera)
        if who.kind != "session":
            if lease is None or lease.who == who or who.role >= Role.ADMIN:
                return
            raise NotInControl(f"{lease.who.user} has control of {camera}, so this token may not move it now.", lease)
        if epoch is None or lease is None or lease.who != who:
            said = "Nobody has control: take it first." if lease is None else f"{lease.who.user} has control."
            if lease is not None and lease.who == who:
                said = "The request does not say with which epoch (X-Control-Epoch)."
            raise NotInControl(f"This needs control of {camera}. {said}", lease)
        self._held(camera, who, epoch)

    def leave(self, who_id: str) -> None:
        """A session or token has ended, and what it held with it."""
        for camera in self._leases:
            lease = self.of(camera)
            if lease is None:
                continue
            if lease.who.id == who_id:
                self._drop(camera, lease, "logged out")
            else:
                lease.requests = [asked for asked in lease.requests if asked.session != who_id]

    def _held(self, camera: str, who: Who, epoch: int) -> Lease:
        lease = self.of(camera)
        if lease is None:
            raise NotInControl(f"Control of {camera} ran out and nobody has it now: take it again.", None)
        if lease.who != who:
            raise NotInControl(f"{lease.who.user} has control of {camera} now.", lease)
        if lease.epoch != epoch:
            raise NotInControl(f"You have control of {camera} in another window or since later: this one's is over.", lease)
        return lease

    def _give(self, camera: str, who: Who, action: str, before: Lease | None = None, detail: str = "") -> Lease:
        self._epoch += 1
        requests = [asked for asked in before.requests if asked.session != who.id] if before else []
        lease = self._leases[camera] = Lease(who, self._epoch, self._clock() + LEASE_S, requests=requests)
        if before is not None and before.who != who:
            detail = f"{detail}, from {before.who.user}".removeprefix(", ")
        self._tell(action, camera, who, detail)
        return lease

    def _drop(self, camera: str, lease: Lease, detail: str) -> None:
        self._leases[camera] = None
        self._tell("control_released", camera, lease.who, detail)

    def _tell(self, action: str, camera: str, who: Who, detail: str) -> None:
        self._publish(SessionEvent(camera=camera, action=action, session_id=who.id, user=who.user, detail=detail))


def _same(one: Who, other: Who) -> bool:
    """The same session, or the same person elsewhere."""
    return one == other or (one.kind == other.kind == "session" and one.user == other.user)
