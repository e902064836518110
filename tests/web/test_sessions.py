"""How long a login lasts, and what ends it, with a clock of the test's own on a real file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cupola.core.events import SessionEvent
from cupola.web.access.desk import Client, Desk
from cupola.web.access.lease import Leases
from cupola.web.access.store import Store
from cupola.web.access.who import Who

PASSPHRASE, ANOTHER = "anna watches Saturn", "anna watches Titan"
MINUTE, DAY = 60.0, 86400.0
HERE = Client("192.0.2.7", local=False, agent="a phone")


class Station:
    """What knows people, without the rest of the program. It can be started again."""

    def __init__(self, folder: Path) -> None:
        self.now = 1_800_000_000.0
        self.told: list[SessionEvent] = []
        self._path = folder / "access.sqlite"
        self.start()

    def start(self) -> None:
        store = Store(self._path, lambda: self.now)
        self.leases = Leases(["sky"], self.told.append, store.count_start(), lambda: self.now)
        self.desk = Desk(store, self.leases, self.told.append, session_minutes=30, renewed=print)

    def restart(self) -> None:
        self.desk.close()
        self.start()

    async def log_in(self, *, remember: bool = False, instead_of: Who | None = None) -> tuple[Who, str]:
        await self.desk.login("anna", PASSPHRASE, HERE)
        return await self.desk.open_session("anna", HERE, remember=remember, instead_of=instead_of)

    @property
    def ended(self) -> list[tuple[str, str]]:
        return [(event.session_id, event.detail) for event in self.told if event.action == "logged_out"]


@pytest.fixture
async def station(tmp_path: Path) -> Station:
    station = Station(tmp_path)
    await station.desk.add_user("chief", "admin", "the chief of the dome")
    await station.desk.add_user("anna", "master", PASSPHRASE)
    return station


@pytest.fixture(autouse=True)
def _closed(station: Station) -> Iterator[None]:
    yield
    station.desk.close()


async def test_a_session_slides_with_its_use_and_runs_out_without(station: Station) -> None:
    who, secret = await station.log_in()
    for _ in range(5):
        station.now += 29 * MINUTE
        assert station.desk.by_session(secret) == who
    station.now += 30 * MINUTE + 1
    assert station.desk.by_session(secret) is None
    assert station.desk.sessions() == [] and station.desk.session_of(who.id) is None
    await station.desk.tidy()
    assert station.ended == [(who.id, "ran out")]
    station.now -= 20 * MINUTE
    assert station.desk.by_session(secret) is None, "a clock that is set back brings nobody back"


async def test_what_a_session_opens_when_it_has_run_out_ends_at_once(station: Station) -> None:
    who, _ = await station.log_in()
    station.now += 31 * MINUTE
    await station.desk.tidy()
    with station.desk.streams.opened(who.id) as over:
        assert over.is_set(), "by a request that was under way"


async def test_an_open_view_keeps_its_session(station: Station) -> None:
    who, secret = await station.log_in()
    with station.desk.streams.opened(who.id) as over:
        for _ in range(10):
            station.now += 20 * MINUTE
            await station.desk.tidy()
        assert not over.is_set()
    station.now += 29 * MINUTE
    assert station.desk.by_session(secret) == who


async def test_a_remembered_device_stays_for_thirty_days_from_its_last_use(station: Station) -> None:
    who, secret = await station.log_in(remember=True)
    for _ in range(3):
        station.now += 29 * DAY
        await station.desk.tidy()
        assert station.desk.by_session(secret) == who
    station.now += 30 * DAY + 1
    assert station.desk.by_session(secret) is None


@pytest.mark.parametrize("remember", [False, True])
async def test_a_session_goes_on_after_a_restart_from_its_last_use(station: Station, remember: bool) -> None:
    who, secret = await station.log_in(remember=remember)
    lasts = 30 * DAY if remember else 30 * MINUTE
    station.now += 0.9 * lasts
    assert station.desk.by_session(secret) == who
    station.restart()
    station.now += 0.9 * lasts
    assert station.desk.by_session(secret) == who
    station.restart()
    station.now += lasts + 1
    station.restart()
    assert station.desk.by_session(secret) is None


async def test_a_login_ends_the_session_of_this_browser_with_its_control_and_views(station: Station) -> None:
    before, old = await station.log_in()
    elsewhere, other = await station.log_in()
    station.leases.acquire("sky", before)
    with station.desk.streams.opened(before.id) as over, station.desk.streams.opened(elsewhere.id) as others:
        after, new = await station.log_in(instead_of=before)
        assert over.is_set() and not others.is_set()
    assert (station.desk.by_session(old), station.desk.by_session(other), station.desk.by_session(new)) == (None, elsewhere, after)
    assert len({old, other, new}) == len({before.id, elsewhere.id, after.id}) == 3
    assert station.leases.of("sky") is None


@pytest.mark.parametrize("change", ["role", "passphrase", "deleted", "logout"])
async def test_what_ends_a_session_ends_everything_it_has(station: Station, change: str) -> None:
    with ExitStack() as stack:
        logins = [await station.log_in(remember=True) for _ in range(3)]
        open_ = [stack.enter_context(station.desk.streams.opened(who.id)) for who, _ in logins]
        station.leases.acquire("sky", logins[0][0])
        if change == "role":
            await station.desk.change_user("anna", role="observer")
        elif change == "passphrase":
            await station.desk.change_user("anna", passphrase=ANOTHER)
        elif change == "deleted":
            await station.desk.delete_user("anna")
        else:
            await station.desk.end_sessions([logins[0][0].id], "logged out")
        over = [event.is_set() for event in open_]
        alive = [station.desk.by_session(secret) is not None for _, secret in logins]
        expected = [False, True, True] if change == "logout" else [False] * 3
        assert alive == expected and over == [not one for one in expected]
        assert station.leases.of("sky") is None
        station.restart()
        assert [station.desk.by_session(secret) is not None for _, secret in logins] == expected
