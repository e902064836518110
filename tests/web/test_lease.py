"""The lease of a camera, with a clock of the test's own."""

from __future__ import annotations

import pytest

from cupola.core.events import SessionEvent
from cupola.web.access.lease import LEASE_S, Leases, NotInControl
from cupola.web.access.who import Role, Who

ANNA, BERT = Who("session", "a1", "anna", Role.MASTER), Who("session", "b1", "bert", Role.MASTER)
ANNAS_PHONE = Who("session", "a2", "anna", Role.MASTER)
CHIEF = Who("session", "c1", "chief", Role.ADMIN)
SCRIPT, OWNER = Who("token", "token-1", "script", Role.MASTER), Who("owner", "owner", "owner", Role.ADMIN)


class Desk:
    def __init__(self, start: int = 1) -> None:
        self.now = 100.0
        self.told: list[SessionEvent] = []
        self.leases = Leases(["sky"], self.told.append, start, lambda: self.now)

    @property
    def actions(self) -> list[tuple[str, str]]:
        return [(event.action, event.user) for event in self.told]


def test_who_sleeps_loses_control_and_blocks_nobody() -> None:
    desk = Desk()
    lease = desk.leases.acquire("sky", ANNA)
    for _ in range(10):
        desk.now += LEASE_S - 1
        desk.leases.renew("sky", ANNA, lease.epoch)
    desk.now += LEASE_S
    desk.leases.expire()
    assert desk.actions == [("control_acquired", "anna"), ("control_expired", "anna")]
    desk.leases.acquire("sky", BERT)
    with pytest.raises(NotInControl, match="bert") as lost:
        desk.leases.renew("sky", ANNA, lease.epoch)
    assert lost.value.holder is not None and lost.value.holder.who == BERT


def test_only_one_has_control_and_a_request_is_told_to_all() -> None:
    desk = Desk()
    lease = desk.leases.acquire("sky", ANNA)
    with pytest.raises(NotInControl):
        desk.leases.acquire("sky", BERT)
    desk.leases.request("sky", BERT)
    desk.leases.request("sky", BERT)
    held = desk.leases.of("sky")
    assert held is not None and [asked.user for asked in held.requests] == ["bert"]
    assert desk.actions[-1] == ("control_requested", "bert")
    desk.leases.release("sky", ANNA, lease.epoch)
    desk.leases.acquire("sky", BERT)
    with pytest.raises(NotInControl):
        desk.leases.check("sky", ANNA, lease.epoch)


def test_epochs_rise_with_each_taking_and_over_restarts() -> None:
    first, second = Desk(1), Desk(2)
    epochs = [first.leases.acquire("sky", ANNA).epoch for _ in range(3)]
    epochs.append(second.leases.acquire("sky", ANNA).epoch)
    assert epochs == sorted(set(epochs))


def test_a_stale_epoch_of_the_holder_itself_is_refused() -> None:
    desk = Desk()
    old, new = desk.leases.acquire("sky", ANNA), desk.leases.acquire("sky", ANNA)
    desk.leases.check("sky", ANNA, new.epoch)
    for epoch in (old.epoch, None, new.epoch + 1):
        with pytest.raises(NotInControl):
            desk.leases.check("sky", ANNA, epoch)


def test_the_same_person_elsewhere_and_an_admin_take_over_at_once() -> None:
    desk = Desk()
    desk.leases.acquire("sky", ANNA)
    desk.leases.acquire("sky", ANNAS_PHONE)
    with pytest.raises(NotInControl):
        desk.leases.acquire("sky", CHIEF, take_over=False)
    desk.leases.acquire("sky", CHIEF)
    desk.leases.force("sky", BERT, CHIEF)
    assert [action for action, _ in desk.actions] == ["control_acquired", "control_taken", "control_taken", "control_forced"]
    assert desk.told[-1].user == "bert" and "chief" in desk.told[-1].detail


def test_a_program_acts_while_nobody_has_control_and_the_owner_always() -> None:
    desk = Desk()
    desk.leases.check("sky", SCRIPT, None)
    with pytest.raises(NotInControl, match="Nobody"):
        desk.leases.check("sky", ANNA, None)
    desk.leases.acquire("sky", ANNA)
    with pytest.raises(NotInControl, match="anna"):
        desk.leases.check("sky", SCRIPT, None)
    desk.leases.check("sky", OWNER, None)


def test_who_logs_out_gives_control_back() -> None:
    desk = Desk()
    desk.leases.acquire("sky", ANNA)
    desk.leases.request("sky", BERT)
    desk.leases.leave(BERT.id)
    held = desk.leases.of("sky")
    assert held is not None and held.requests == []
    desk.leases.leave(ANNA.id)
    assert desk.leases.of("sky") is None
