"""Everything the application has, tried by everybody who has no right to it: nothing passes, and nothing is changed by trying.

Routes, sockets and messages come from the application itself, so that a new one is attacked without a new line here.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import httpx
import pytest
from tests.support.station import RunningStation, make_night, running_station

from cupola.web.access import models
from cupola.web.access.gate import entries
from cupola.web.access.passwords import digest, new_secret
from cupola.web.access.rights import PAGE, RULES
from cupola.web.access.store import Store
from cupola.web.access.who import Role
from cupola.web.app import create_app

ADMIN, VERA = "clear sky over the dome", "vera watches Jupiter"
PUBLIC = {"GET /", "GET /viewer", "GET /health", "GET /api/health", "GET /api/me", "POST /api/login", "POST /api/claim"}
TRIES: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({}, {}),
    ({"epoch": 0}, {"X-Control-Epoch": "1", "X-Forwarded-For": "127.0.0.1"}),
    (
        {"name": "mallory", "role": "admin", "scope": "admin", "user": "admin", "passphrase": "let me in, please"},
        {"X-Requested-With": "XMLHttpRequest"},
    ),
]


class _Runtime:
    """As much of a runtime as putting the application together needs."""

    addresses = None
    log = staticmethod(print)


ENTRIES = [entry.key for entry in entries(create_app(_Runtime()).routes)]  # pyright: ignore[reportArgumentType]
ROUTES = [key for key in ENTRIES if key != PAGE and not key.startswith("WS ")]
SOCKETS = [key.removeprefix("WS ") for key in ENTRIES if key.startswith("WS ")]
MESSAGES: list[str] = models.ControlMessage.model_json_schema()["properties"]["type"]["enum"]
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}


@dataclass
class Target:
    """A station with an admin, an observer, a capture and a token, so that every address names something that exists."""

    station: RunningStation
    admin: dict[str, str]
    observer: dict[str, str]
    names: dict[str, Any]
    before: Any = field(default=None)

    def path(self, template: str) -> str:
        return template.format(**self.names)

    def state(self) -> Any:
        """All that could be changed. Sessions of the tests themselves are left out."""

        def get(path: str) -> Any:
            return self.station.http.get(path).json()

        camera = get("/api/cameras/sky")
        return {
            "users": [{**user, "last_seen_at": None} for user in get("/api/users")["items"]],
            "tokens": [{**token, "used_at": None} for token in get("/api/tokens")["items"]],
            "sessions": {row["id"] for row in get("/api/sessions")["items"]} >= set(self.names["sessions"]),
            "control": get("/api/control")["items"],
            "camera": (camera["state"], camera["settings"], camera["session"]),
            "captures": len(get("/api/captures")["items"]),
        }


def _claim(station: RunningStation) -> dict[str, str]:
    return {"Cookie": f"cupola={station.claim(ADMIN)}"}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with running_station(tmp_path_factory.mktemp("target")) as station:
        admin = _claim(station)
        number = station.snap()["id"]
        station.http.post("/api/users", json={"name": "vera", "role": "observer", "passphrase": VERA}).raise_for_status()
        token = station.http.post("/api/tokens", json={"name": "script", "scope": "admin"}).json()["id"]
        answer = httpx.post(f"{station.url}/api/login", json={"user": "vera", "passphrase": VERA}, trust_env=False)
        observer = {"Cookie": f"cupola={answer.cookies['cupola']}"}
        me = httpx.get(f"{station.url}/api/me", headers=admin, trust_env=False).json()["session"]
        # {number} is a capture's in one address and a token's in another: both are 1
        assert number == token == 1
        names = {"cam": "sky", "number": 1, "name": "admin", "session": me, "sessions": [me, answer.json()["session"]]}
        names |= {"camera": "sky", "date": make_night(station, [number]), "streak": 1}
        yield Target(station, admin, observer, names)


def _expired(target: Target) -> dict[str, str]:
    """A session of the admin that nobody used for 31 minutes; the server ends it for good within ten seconds from now."""
    return _inserted(target, age_s=31 * 60)


def _inserted(target: Target, age_s: float) -> dict[str, str]:
    store, secret = Store(target.station.images / ".cupola" / "access.sqlite", lambda: time.time() - age_s), new_secret()
    admin = store.user("admin")
    assert admin is not None
    store.add_session(secrets.token_hex(8), digest(secret), admin.name, admin.hash, remembered=False, address="127.0.0.1", agent="")
    store.close()
    return {"Cookie": f"cupola={secret}"}


def _revoked(target: Target) -> dict[str, str]:
    """A session of the admin that another one ended."""
    cookie = _inserted(target, age_s=0)
    with httpx.Client(base_url=target.station.url, headers=cookie, trust_env=False) as http:
        session = http.get("/api/me").json()["session"]
        assert http.get("/api/users").status_code == 200, "until then it may everything"
    assert target.station.http.delete(f"/api/sessions/{session}").status_code == 204
    return cookie


def _foreign(target: Target) -> dict[str, str]:
    return target.admin | {"Origin": "https://evil.example"}


def _forged(target: Target) -> dict[str, str]:
    return {"Cookie": f"cupola={new_secret()}; __Host-cupola={new_secret()}"}


# who attacks → its headers, and what every route above `least` answers
ATTACKERS = {
    "no session": (lambda target: {}, Role.NONE, 401),
    "foreign Origin": (_foreign, None, 403),
    "observer": (lambda target: target.observer, Role.OBSERVER, 403),
    "expired session": (_expired, Role.NONE, 401),
    "revoked session": (_revoked, Role.NONE, 401),
    "forged session": (_forged, Role.NONE, 401),
}


def _beyond(may: Role | None, key: str) -> bool:
    return may is None or RULES[key].least > may


def test_the_attack_covers_all_routes_sockets_and_messages() -> None:
    assert {*ENTRIES} | {f"MSG /ws/events {kind}" for kind in MESSAGES} == set(RULES)
    assert {key for key in ENTRIES if RULES[key].least == Role.NONE} == PUBLIC | {PAGE}
    assert len(ROUTES) >= 40 and len(SOCKETS) >= 3


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_no_route_lets_an_attacker_pass(target: Target, attacker: str) -> None:
    headers_of, may, expected = ATTACKERS[attacker]
    target.station.open()
    before = target.state()
    attacked = [key for key in ROUTES if _beyond(may, key)]
    passed: list[tuple[str, int, str]] = []
    tried = 0
    with httpx.Client(base_url=target.station.url, headers=headers_of(target), timeout=20, trust_env=False) as http:
        for key in attacked:
            method, template = key.split(" ", 1)
            http.headers.update(headers_of(target))
            for body, extra in TRIES:
                answer = http.request(method, target.path(template), json=body, headers=extra)
                tried += 1
                if answer.status_code != expected or answer.headers["content-type"] != "application/problem+json":
                    passed.append((key, answer.status_code, answer.text[:80]))
                assert not [name for name in answer.headers if name.startswith("access-control-")]
    print(f"\n{attacker}: {tried} requests to {len(attacked)} routes, {len(passed)} passes")
    assert attacked and passed == []
    assert target.state() == before


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_no_other_method_finds_a_way_around_the_table(target: Target, attacker: str) -> None:
    """PUT, HEAD, OPTIONS … of addresses whose table has others; a method override is not known here."""
    headers_of, may, _ = ATTACKERS[attacker]
    before = target.state()
    with httpx.Client(base_url=target.station.url, headers=headers_of(target), timeout=20, trust_env=False) as http:
        for template in {key.split(" ", 1)[1] for key in ROUTES if key not in PUBLIC}:
            there = {key.split(" ", 1)[0] for key in ROUTES if key.endswith(f" {template}")}
            http.headers.update(headers_of(target))
            for method in METHODS - there:
                answer = http.request(method, target.path(template), headers={"X-HTTP-Method-Override": "DELETE"})
                looks = method == "HEAD" and "GET" in there and not _beyond(may, f"GET {template}")
                assert answer.status_code in (401, 403, 404, 405) or looks, (method, template)
                if method == "HEAD" and "GET" in there and not looks:
                    assert answer.status_code in (401, 403), f"HEAD of {template} is not judged as GET is"
    assert target.state() == before


@pytest.mark.parametrize("attacker", ["no session", "expired session", "revoked session", "forged session"])
def test_what_answers_strangers_tells_them_nothing(target: Target, attacker: str) -> None:
    with httpx.Client(base_url=target.station.url, headers=ATTACKERS[attacker][0](target), timeout=20, trust_env=False) as http:
        me, health = http.get("/api/me").json(), http.get("/api/health").json()
        assert {name for name, value in me.items() if value is not None} == {"claimed", "plain_http", "session_minutes"}
        assert {name for name, value in health.items() if value is not None} == {"status", "claimed"}
        assert http.post("/api/claim", json={"code": "aaaa-aaaa", "passphrase": "let me in, please"}).status_code in (409, 429)


@contextlib.asynccontextmanager
async def _socket(target: Target, path: str, headers: dict[str, str]) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with aiohttp.ClientSession(target.station.url, headers=headers) as session, session.ws_connect(path) as socket:
        yield socket


@pytest.mark.parametrize("attacker", ["no session", "expired session", "revoked session", "forged session"])
async def test_no_socket_opens_to_an_attacker_whatever_it_says(target: Target, attacker: str) -> None:
    before = target.state()
    for template in SOCKETS:
        for kind in MESSAGES:
            headers = ATTACKERS[attacker][0](target)
            async with _socket(target, target.path(template), headers) as socket:
                with contextlib.suppress(ConnectionError):
                    await socket.send_json({"type": kind, "camera": "sky", "epoch": 1})
                message = await socket.receive(timeout=10)
                assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4401), (template, message)
    assert target.state() == before


async def test_no_socket_opens_to_a_page_of_another_site(target: Target) -> None:
    for template in SOCKETS:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with _socket(target, target.path(template), _foreign(target)):
                pass
        assert refused.value.status == 403


async def test_no_message_of_an_observer_passes_on_any_socket(target: Target) -> None:
    epoch = target.station.http.post("/api/control/sky/acquire").json()["epoch"]
    try:
        for template in SOCKETS:
            async with _socket(target, target.path(template), target.observer) as socket:
                for kind in MESSAGES:
                    await socket.send_json({"type": kind, "camera": "sky", "epoch": epoch})
                    answer = await _told(socket)
                    assert answer["status"] in ((403,) if template == "/ws/events" else (400,)), (template, answer)
        assert target.station.http.get("/api/control").json()["items"][0]["epoch"] == epoch
    finally:
        target.station.http.post("/api/control/sky/release", json={"epoch": epoch})


@pytest.mark.parametrize("end", ["revoked", "role", "deleted"])
async def test_a_socket_that_is_open_takes_no_message_once_its_right_has_ended(target: Target, end: str) -> None:
    admin = target.station.http
    admin.post("/api/users", json={"name": "mallory", "role": "master", "passphrase": "was a master once"}).raise_for_status()
    try:
        login = httpx.post(f"{target.station.url}/api/login", json={"user": "mallory", "passphrase": "was a master once"}, trust_env=False)
        cookie = {"Cookie": f"cupola={login.cookies['cupola']}"}
        acquired = httpx.post(f"{target.station.url}/api/control/sky/acquire", headers=cookie, trust_env=False).json()
        async with _socket(target, "/ws/events", cookie) as socket:
            await socket.send_json({"type": "renew", "camera": "sky", "epoch": acquired["epoch"]})
            assert (await _told(socket))["type"] == "control"
            if end == "revoked":
                admin.delete(f"/api/sessions/{login.json()['session']}").raise_for_status()
            elif end == "role":
                admin.patch("/api/users/mallory", json={"role": "observer"}).raise_for_status()
            else:
                admin.delete("/api/users/mallory").raise_for_status()
            assert admin.get("/api/control").json()["items"][0]["holder"] is None
            with contextlib.suppress(ConnectionError):
                await socket.send_json({"type": "renew", "camera": "sky", "epoch": acquired["epoch"]})
            while (message := await socket.receive(timeout=10)).type is aiohttp.WSMsgType.TEXT:
                assert "type" not in json.loads(message.data), "no answer to what was said after the end"
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4401)
    finally:
        admin.delete("/api/users/mallory")


async def _told(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    """The answer to a message: events have a kind, answers a type; pictures are passed over."""
    while True:
        message = await socket.receive(timeout=10)
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        if message.type is aiohttp.WSMsgType.TEXT and (told := json.loads(message.data)).get("type") in ("problem", "control"):
            return told
