"""How long a login lasts, and what ends it, with a clock of the test's own on a real file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from cupola.core.errors import StorageFailed
from cupola.core.events import SessionEvent
from cupola.web.access.desk import Client, Desk, LoggedOut, WrongLogin
from cupola.web.access.lease import Leases
from cupola.web.access.passwords import WAITING_OF_ONE_MAX, TooBusy, hash_passphrase
from cupola.web.access.store import PassphraseChanged, Store
from cupola.web.access.throttle import TooManyTries
from cupola.web.access.who import Role, Who

PASSPHRASE, ANOTHER = "anna watches Saturn", "anna watches Titan"
OWNER = Who("owner", "owner", "owner", Role.ADMIN)
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
        anna = await self.desk.login("anna", PASSPHRASE, HERE)
        return await self.desk.open_session(anna, HERE, remember=remember, instead_of=instead_of)

    @property
    def ended(self) -> list[tuple[str, str]]:
        return [(event.session_id, event.detail) for event in self.told if event.action == "logged_out"]


@pytest.fixture
async def station(tmp_path: Path) -> Station:
    station = Station(tmp_path)
    await station.desk.add_user("chief", "admin", "the chief of the dome", OWNER)
    await station.desk.add_user("anna", "master", PASSPHRASE, OWNER)
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


async def test_a_logout_holds_although_the_disk_does_not_take_it(station: Station) -> None:
    who, secret = await station.log_in(remember=True)
    with closing(sqlite3.connect(station.desk.store.path)) as disk:
        disk.execute("CREATE TRIGGER full BEFORE DELETE ON session BEGIN SELECT RAISE(ABORT, 'no'); END")
        with pytest.raises(StorageFailed):
            await station.desk.end_sessions([who.id], "logged out")
        assert station.desk.by_session(secret) is None and station.desk.sessions() == []
        disk.execute("DROP TRIGGER full")
    await station.desk.tidy()
    station.restart()
    assert station.desk.by_session(secret) is None


async def test_no_request_gets_in_while_a_logout_is_written(station: Station) -> None:
    who, secret = await station.log_in()
    leaving = asyncio.create_task(station.desk.end_sessions([who.id], "logged out"))
    await asyncio.sleep(0)  # it has begun, and waits for the disk
    assert not leaving.done() and station.desk.by_session(secret) is None
    await leaving


@pytest.mark.parametrize("change", ["role", "passphrase", "deleted", "logout"])
async def test_what_ends_a_session_ends_everything_it_has(station: Station, change: str) -> None:
    with ExitStack() as stack:
        logins = [await station.log_in(remember=True) for _ in range(3)]
        open_ = [stack.enter_context(station.desk.streams.opened(who.id)) for who, _ in logins]
        station.leases.acquire("sky", logins[0][0])
        if change == "role":
            await station.desk.change_user("anna", OWNER, role="observer")
        elif change == "passphrase":
            await station.desk.change_user("anna", OWNER, passphrase=ANOTHER)
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


@pytest.mark.parametrize("change", ["passphrase", "deleted"])
async def test_a_login_that_was_right_opens_no_session_once_the_passphrase_is_another(station: Station, change: str) -> None:
    anna = await station.desk.login("anna", PASSPHRASE, HERE)
    if change == "passphrase":
        await station.desk.change_user("anna", OWNER, passphrase=ANOTHER)
    else:
        await station.desk.delete_user("anna")
    before = station.desk.sessions()
    with pytest.raises(PassphraseChanged, match="Log in with the new one"):
        await station.desk.open_session(anna, HERE, remember=False)
    assert station.desk.sessions() == before == []


async def test_logins_that_wait_while_the_passphrase_is_changed_do_not_get_in_with_the_old_one(station: Station) -> None:
    async def log_in(number: int) -> None:
        client = replace(HERE, address=f"198.51.100.{number}")
        await station.desk.open_session(await station.desk.login("anna", PASSPHRASE, client), client, remember=False)

    store, another = station.desk.store, hash_passphrase(ANOTHER)
    queued = [asyncio.create_task(log_in(number)) for number in range(4)]
    await asyncio.sleep(0)  # all of them wait for the one thread, to be compared with the hash of now
    await store.run(store.change_user, "anna", hashed=another)
    done = await asyncio.gather(*queued, return_exceptions=True)
    assert station.desk.sessions() == [] and [type(one) for one in done] == [PassphraseChanged] * 4


async def test_a_passphrase_that_an_admin_reset_meanwhile_stays_reset(station: Station) -> None:
    who, _ = await station.log_in()
    own = asyncio.create_task(station.desk.change_own(who, PASSPHRASE, "anna watches Rhea", HERE))
    await asyncio.sleep(0)
    await station.desk.change_user("anna", OWNER, passphrase=ANOTHER)
    with pytest.raises((PassphraseChanged, LoggedOut, WrongLogin)):
        await own
    assert station.desk.sessions() == []
    assert (await station.desk.login("anna", ANOTHER, HERE)).name == "anna"


@pytest.mark.parametrize("remember", [False, True])
async def test_a_new_passphrase_of_ones_own_keeps_this_device_as_it_was(station: Station, remember: bool) -> None:
    who, old = await station.log_in(remember=remember)
    new, kept = await station.desk.change_own(who, PASSPHRASE, ANOTHER, HERE)
    assert kept is remember
    assert station.desk.by_session(old) is None
    station.now += 29 * DAY if remember else 29 * MINUTE
    assert station.desk.by_session(new) is not None


async def test_an_admin_who_is_logged_out_while_a_passphrase_is_hashed_changes_nobody(station: Station) -> None:
    chief = await station.desk.login("chief", "the chief of the dome", HERE)
    who, _ = await station.desk.open_session(chief, HERE, remember=False)
    before = station.desk.store.users()
    for work in (
        station.desk.add_user("mallory", "admin", "let me in, please", who),
        station.desk.change_user("anna", who, passphrase=ANOTHER),
    ):
        waits = asyncio.create_task(work)
        await asyncio.sleep(0)
        await station.desk.end_sessions([who.id], "logged out")
        with pytest.raises(LoggedOut):
            await waits
    assert station.desk.store.users() == before


async def test_one_place_cannot_fill_the_queue_of_logins(station: Station) -> None:
    async def log_in(address: str) -> str:
        try:
            return (await station.desk.login("anna", PASSPHRASE, replace(HERE, address=address))).name
        except (TooBusy, TooManyTries) as error:
            return type(error).__name__

    crowd = [asyncio.create_task(log_in(f"2001:db8:0:1::{number:x}")) for number in range(9)]
    await asyncio.sleep(0)
    assert await log_in("203.0.113.9") == "anna"
    answers = [await waits for waits in crowd]
    assert answers.count("anna") == WAITING_OF_ONE_MAX and answers.count("TooBusy") == 9 - WAITING_OF_ONE_MAX


async def test_an_ipv6_network_has_the_tries_of_one_address(station: Station) -> None:
    async def guess(address: str) -> str:
        try:
            await station.desk.login(f"nobody at {address}", "not a passphrase", replace(HERE, address=address))
        except (WrongLogin, TooManyTries) as error:
            return type(error).__name__
        return "in"

    assert [await guess(f"2001:db8:0:1:{number:x}::1") for number in range(6)] == ["WrongLogin"] * 5 + ["TooManyTries"]
    assert await guess("2001:db8:0:2::1") == "WrongLogin", "the neighbour's network"


async def test_a_person_is_known_in_the_ipv6_network_they_have_used(station: Station) -> None:
    home = replace(HERE, address="2001:db8:0:1::aa")
    await station.desk.open_session(await station.desk.login("anna", PASSPHRASE, home), home, remember=False)
    assert station.desk.store.knows_place("anna", "2001:db8:0:1:face::1") and not station.desk.store.knows_place("anna", "2001:db8:0:2::aa")
