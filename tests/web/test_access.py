"""Claiming, logging in, what each may do, and the end of it, at a running station."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from tests.support.station import RunningStation, eventually, running_station

from cupola.web.access.rights import PAGE, RULES
from cupola.web.access.who import Role

PHRASES = {"admin": "clear sky over the dome", "anna": "anna watches Saturn", "bert": "bert watches Jupiter"}


def _code(station: RunningStation) -> str:
    return re.findall(r"#claim=(\S+)", (station.folder / "output").read_text())[-1]


@contextmanager
def _browser(station: RunningStation, user: str | None = None) -> Iterator[httpx.Client]:
    """A client with cookies; logged in, if a user is named."""
    with httpx.Client(base_url=station.url, timeout=30, trust_env=False) as http:
        if user is not None:
            answer = http.post("/api/login", json={"user": user, "passphrase": PHRASES[user]})
            assert answer.status_code == 200, answer.text
        yield http


@pytest.fixture(scope="module")
def unclaimed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStation]:
    with running_station(tmp_path_factory.mktemp("unclaimed")) as station:
        yield station


@pytest.fixture(scope="module")
def claimed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStation]:
    """With an admin, a master `anna`, an observer `bert`."""
    with running_station(tmp_path_factory.mktemp("claimed")) as station, _browser(station) as http:
        assert http.post("/api/claim", json={"code": _code(station), "passphrase": PHRASES["admin"]}).status_code == 200
        for name, role in (("anna", "master"), ("bert", "observer")):
            assert http.post("/api/users", json={"name": name, "role": role, "passphrase": PHRASES[name]}).status_code == 201
        yield station


def _requests(*, least: Role) -> list[tuple[str, str]]:
    """Method and address of every route that needs at least so much."""
    found = [key.split(" ", 1) for key, rule in RULES.items() if key != PAGE and rule.least >= least and not key.startswith(("WS", "MSG"))]
    return [
        (method, path.format(cam="sky", camera="sky", date="2026-11-21", streak=1, number=1, name="anna", session="none")) for method, path in found
    ]


SOCKETS = [key.split(" ", 1)[1].format(cam="sky") for key in RULES if key.startswith("WS")]


def _refused_everywhere(http: httpx.Client, status: int, least: Role = Role.OBSERVER) -> None:
    asked = _requests(least=least)
    passed = [(method, path, answer.status_code) for method, path in asked if (answer := http.request(method, path, json={})).status_code != status]
    assert asked and passed == []


async def _sockets_closed(station: RunningStation, code: int, headers: dict[str, str]) -> None:
    async with aiohttp.ClientSession(station.url, headers=headers) as session:
        for path in SOCKETS:
            async with session.ws_connect(path) as socket:
                message = await socket.receive(timeout=10)
                assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, code), path


def _cookie(http: httpx.Client) -> dict[str, str]:
    return {"Cookie": f"cupola={http.cookies['cupola']}"}


async def test_before_the_claim_only_the_page_and_health_answer(unclaimed: RunningStation) -> None:
    with _browser(unclaimed) as http:
        _refused_everywhere(http, 403)
        assert http.get("/api/health").json() == {"status": "ok", "claimed": False} | dict.fromkeys(
            ("version", "uptime_s", "viewers", "max_viewers", "cameras", "master")
        )
        assert http.get("/api/me").json()["claimed"] is False
        assert http.post("/api/login", json={"user": "admin", "passphrase": "x"}).json()["unclaimed"] is True
    await _sockets_closed(unclaimed, 4403, {})


def test_observers_read_the_log_without_who_tries_to_log_in(claimed: RunningStation) -> None:
    def told(http: httpx.Client) -> bool:
        return "login failed" in http.get("/logs", params={"lines": 1000}).text

    with _browser(claimed, "admin") as admin, _browser(claimed, "bert") as bert:
        assert admin.post("/api/login", json={"user": "admin", "passphrase": "a guess"}).status_code == 401
        eventually(lambda: told(admin))
        assert not told(bert) and "is open" in bert.get("/logs", params={"lines": 1000}).text


def test_the_owners_shell_and_its_tokens_work_before_the_claim(unclaimed: RunningStation) -> None:
    made = unclaimed.json("token", "create", "early", "--scope", "view", "--json")
    with _browser(unclaimed) as http:
        header = {"Authorization": f"Bearer {made['token']}"}
        assert http.get("/api/cameras", headers=header).status_code == 200
        assert http.post("/api/cameras/sky/stop", headers=header).status_code == 403
        assert http.get("/api/cameras", headers=header | {"X-Forwarded-For": "192.0.2.7"}).status_code == 403, "not from this machine"
    assert unclaimed.json("token", "revoke", "early", "--json")["id"] == made["id"]


def test_a_token_is_revoked_by_its_name_or_its_number_and_never_by_what_looks_like_either(unclaimed: RunningStation) -> None:
    first = unclaimed.json("token", "create", "first", "--json")
    second = unclaimed.json("token", "create", str(first["id"]), "--json")

    def left() -> list[str]:
        return [row["name"] for row in unclaimed.json("token", "list", "--json")]

    assert unclaimed.cupola("token", "revoke", str(first["id"])).returncode == 0 and left() == ["first"]
    refused = unclaimed.cupola("token", "revoke", str(first["id"]))
    assert refused.returncode == 1 and f"--number {first['id']}" in refused.stderr and left() == ["first"]
    assert unclaimed.cupola("token", "revoke", "--number", str(second["id"])).returncode == 1
    assert unclaimed.cupola("token", "revoke", "first", "--number", str(first["id"])).returncode == 2
    assert unclaimed.cupola("token", "revoke", "--number", str(first["id"])).returncode == 0 and left() == []


def test_five_wrong_codes_make_a_new_one(unclaimed: RunningStation) -> None:
    before = _code(unclaimed)
    with _browser(unclaimed) as http:
        for _ in range(5):
            assert http.post("/api/claim", json={"code": "aaaa-aaaa"}).status_code == 403
        eventually(lambda: _code(unclaimed) != before)
        assert http.post("/api/claim", json={"code": before, "passphrase": "long enough it is"}).status_code == 403
        assert http.post("/api/claim", json={"code": _code(unclaimed), "passphrase": "too short"}).json()["field"] == "passphrase"
    assert _code(unclaimed) in unclaimed.cupola("claim").stdout


def test_secrets_are_readable_by_their_owner_only_and_stored_as_hashes(claimed: RunningStation) -> None:
    state = claimed.images / ".cupola"
    for path in (*state.glob("access.sqlite*"), claimed.folder / "runtime" / "server.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE((state / "secrets").stat().st_mode) == 0o700
    with _browser(claimed, "admin") as http:
        content = b"".join(path.read_bytes() for path in state.glob("access.sqlite*"))
        for secret in (http.cookies["cupola"], PHRASES["admin"], claimed.owner["Authorization"].split()[1]):
            assert secret.encode() not in content


async def test_while_the_file_of_logins_cannot_be_read_nobody_gets_in_and_it_is_said_why(claimed: RunningStation) -> None:
    with _browser(claimed, "admin") as http, closing(sqlite3.connect(claimed.images / ".cupola" / "access.sqlite", isolation_level=None)) as logins:
        logins.execute("ALTER TABLE session RENAME TO gone")
        try:
            answer = http.get("/api/cameras")
            assert answer.status_code == 503 and "access.sqlite cannot be read" in answer.json()["detail"], answer.text
            assert http.get("/api/health").json() == httpx.get(f"{claimed.url}/api/health", trust_env=False).json()
            await _sockets_closed(claimed, 4403, _cookie(http))
        finally:
            logins.execute("ALTER TABLE gone RENAME TO session")
        assert http.get("/api/cameras").status_code == 200
    assert "Traceback" not in (claimed.folder / "output").read_text()


async def test_strangers_forged_and_ended_sessions_get_nothing(claimed: RunningStation) -> None:
    with _browser(claimed) as stranger, _browser(claimed, "admin") as ended, _browser(claimed) as forged:
        secret = ended.cookies["cupola"]
        assert ended.post("/api/logout").status_code == 204
        ended.cookies.set("cupola", secret)
        forged.cookies.set("cupola", "x" * 43)
        bearer = httpx.Client(base_url=claimed.url, headers={"Authorization": "Bearer nothing"})
        for http in (stranger, ended, forged, bearer):
            _refused_everywhere(http, 401)
        bearer.close()
        await _sockets_closed(claimed, 4401, {})
        await _sockets_closed(claimed, 4401, {"Cookie": f"cupola={secret}"})


def test_a_page_of_another_site_changes_nothing_with_an_admins_cookie(claimed: RunningStation) -> None:
    with _browser(claimed, "admin") as http:
        http.headers["Origin"] = "https://evil.example"
        asked = [(method, path) for method, path in _requests(least=Role.NONE) if method != "GET"]
        assert {http.request(method, path, json={}).status_code for method, path in asked} == {403}
        del http.headers["Origin"]
        assert http.get("/api/me").json()["user"] == "admin"


def test_an_observer_looks_and_does_nothing_else(claimed: RunningStation) -> None:
    with _browser(claimed, "bert") as http:
        _refused_everywhere(http, 403, Role.MASTER)
        for path in ("/api/cameras", "/api/status", "/api/captures", "/api/control", "/api/sessions"):
            assert http.get(path).status_code == 200, path
        assert {row["user"] for row in http.get("/api/sessions").json()["items"]} == {"bert"}


def test_a_master_needs_the_lease_of_now(claimed: RunningStation) -> None:
    with _browser(claimed, "anna") as anna, _browser(claimed, "admin") as admin:
        assert anna.post("/api/cameras/sky/stop").json()["holder"] is None
        epoch = anna.post("/api/control/sky/acquire").json()["epoch"]
        header = {"X-Control-Epoch": str(epoch)}
        assert anna.post("/api/cameras/sky/stop", headers=header).status_code == 200
        assert anna.post("/api/connect", headers=header).status_code == 200
        for wrong in ({}, {"X-Control-Epoch": str(epoch - 1)}, {"X-Control-Epoch": "x"}):
            assert anna.post("/api/cameras/sky/stop", headers=wrong).status_code == 409
        taken = admin.post("/api/control/sky/acquire").json()
        refused = anna.post("/api/cameras/sky/stop", headers=header)
        assert refused.status_code == 409 and refused.json()["holder"]["user"] == "admin"
        session = anna.get("/api/me").json()["session"]
        assert admin.post(f"/api/force-master/{session}").json()["holder"]["user"] == "anna"
        assert admin.post("/api/control/sky/renew", json={"epoch": taken["epoch"]}).json()["holder"]["user"] == "anna"
        now = anna.post("/api/control/sky/acquire").json()["epoch"]
        assert anna.post("/api/control/sky/release", json={"epoch": now}).json()["holder"] is None


async def test_control_is_renewed_by_socket_and_rights_are_checked_at_each_message(claimed: RunningStation) -> None:
    async def answer(socket: aiohttp.ClientWebSocketResponse, message: dict[str, Any]) -> dict[str, Any]:
        await socket.send_json(message)
        while "type" not in (told := await socket.receive_json(timeout=10)):
            pass
        return told

    with _browser(claimed, "anna") as anna, _browser(claimed, "bert") as bert:
        epoch = anna.post("/api/control/sky/acquire").json()["epoch"]
        async with aiohttp.ClientSession(claimed.url) as session:
            async with session.ws_connect("/ws/events", headers=_cookie(anna)) as socket:
                renewed = await answer(socket, {"type": "renew", "camera": "sky", "epoch": epoch})
                assert (renewed["type"], renewed["mine"], renewed["epoch"]) == ("control", True, epoch)
                for message, status in (
                    ({"type": "renew", "camera": "sky", "epoch": epoch - 1}, 409),
                    ({"type": "renew", "camera": "nowhere", "epoch": epoch}, 404),
                    ({"type": "renew", "camera": "sky"}, 400),
                    ({"type": "reboot"}, 400),
                    ({"type": ["renew"]}, 400),
                ):
                    problem = await answer(socket, message)
                    assert (problem["status"], problem.get("camera")) == (status, message.get("camera")), message
                assert (await answer(socket, {"type": "release", "camera": "sky", "epoch": epoch}))["holder"] is None
            async with session.ws_connect("/ws/events", headers=_cookie(bert)) as socket:
                problem = await answer(socket, {"type": "renew", "camera": "sky", "epoch": epoch})
                assert (problem["status"], problem["camera"]) == (403, "sky")


async def test_a_revoked_session_and_a_revoked_token_close_what_they_have_open_within_a_second(claimed: RunningStation) -> None:
    with _browser(claimed, "admin") as admin, _browser(claimed, "bert") as bert:
        token = admin.post("/api/tokens", json={"name": "watcher", "scope": "view"}).json()
        session_id = bert.get("/api/me").json()["session"]
        ways = (
            (_cookie(bert), f"/api/sessions/{session_id}"),
            ({"Authorization": f"Bearer {token['token']}"}, f"/api/tokens/{token['id']}"),
        )
        for headers, address in ways:
            async with aiohttp.ClientSession(claimed.url, headers=headers) as session:
                async with (
                    session.ws_connect("/ws/live/sky") as live,
                    session.ws_connect("/ws/events") as events,
                    session.get("/api/cameras/sky/live.mjpg") as stream,
                ):
                    await stream.content.readexactly(1000)
                    assert (await live.receive(timeout=10)).type is aiohttp.WSMsgType.TEXT
                    begun = time.monotonic()
                    assert admin.delete(address).status_code == 204
                    for socket in (live, events):
                        while (message := await socket.receive(timeout=10)).type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                            pass
                        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4401)
                    while await stream.content.read(65536):
                        pass
                    assert time.monotonic() - begun < 1
                async with session.get("/api/cameras") as refused:
                    assert refused.status == 401


async def test_who_is_logged_out_while_a_picture_is_awaited_does_not_get_it(claimed: RunningStation) -> None:
    with _browser(claimed, "admin") as admin, _browser(claimed, "bert") as bert:
        assert claimed.http.patch("/api/cameras/sky/settings", json={"mode": "live", "exposure_s": 20}).status_code == 202
        claimed.until(lambda camera: camera["settings"]["live"]["applied"]["exposure_s"] == 20)
        session_id = bert.get("/api/me").json()["session"]
        try:
            async with aiohttp.ClientSession(claimed.url, headers=_cookie(bert)) as session:
                waits = asyncio.create_task(session.get("/api/cameras/sky/live.jpg", params={"max_age_s": "0"}))
                await asyncio.to_thread(eventually, lambda: admin.get("/api/health").json()["viewers"] == 1)
                begun = time.monotonic()
                assert admin.delete(f"/api/sessions/{session_id}").status_code == 204
                async with await waits as refused:
                    assert refused.status == 401 and time.monotonic() - begun < 1
        finally:
            claimed.open()


def test_a_login_makes_a_new_session_and_a_new_passphrase_ends_all(claimed: RunningStation) -> None:
    with _browser(claimed, "anna") as one, _browser(claimed, "anna") as other:
        first = one.cookies["cupola"]
        assert one.post("/api/login", json={"user": "anna", "passphrase": PHRASES["anna"], "remember": True}).status_code == 200
        assert one.cookies["cupola"] != first
        assert httpx.get(f"{claimed.url}/api/cameras", cookies={"cupola": first}).status_code == 401
        assert one.post("/api/passwd", json={"old": "wrong, wrong, wrong", "new": PHRASES["anna"]}).status_code == 401
        changed = one.post("/api/passwd", json={"old": PHRASES["anna"], "new": PHRASES["anna"] + "!"})
        assert changed.status_code == 204 and f"max-age={30 * 86400}" in changed.headers["set-cookie"].lower(), "this device stays remembered"
        assert other.get("/api/cameras").status_code == 401
        assert one.get("/api/cameras").status_code == 200
    done = claimed.cupola("passwd", "anna", "--generate")
    assert done.returncode == 0 and len(done.stdout.split()[-1]) == 23
    with _browser(claimed, "admin") as admin:
        assert admin.patch("/api/users/anna", json={"passphrase": PHRASES["anna"]}).status_code == 200


def test_another_role_ends_the_sessions_and_the_last_admin_stays(claimed: RunningStation) -> None:
    with _browser(claimed, "admin") as admin, _browser(claimed, "bert") as bert:
        assert admin.patch("/api/users/bert", json={"role": "master"}).json()["role"] == "master"
        assert bert.get("/api/cameras").status_code == 401
        assert admin.patch("/api/users/bert", json={"role": "observer"}).status_code == 200
        assert admin.patch("/api/users/admin", json={"role": "observer"}).status_code == 409
        assert admin.delete("/api/users/admin").status_code == 409
        assert admin.get("/api/me").json()["role"] == "admin"


def test_guessing_is_slowed_down_and_does_not_lock_out_who_was_here_before(tmp_path: Path) -> None:
    with running_station(tmp_path) as station, _browser(station) as http:
        assert http.post("/api/claim", json={"code": _code(station), "passphrase": PHRASES["admin"]}).status_code == 200
        tried = [http.post("/api/login", json={"user": "admin", "passphrase": f"guess number {n}"}).status_code for n in range(7)]
        assert tried == [401] * 5 + [429] * 2
        refused = http.post("/api/login", json={"user": "admin", "passphrase": PHRASES["admin"]})
        assert refused.status_code == 429 and 0 < int(refused.headers["Retry-After"]) <= 60
        assert http.get("/api/cameras").status_code == 200, "who is in stays in"
        assert "guess number" not in (station.folder / "logs" / "cupola.log").read_text()


def test_cookies_are_for_this_site_alone_and_out_of_reach_of_scripts(claimed: RunningStation) -> None:
    with _browser(claimed) as http:
        answer = http.post("/api/login", json={"user": "bert", "passphrase": PHRASES["bert"], "remember": True})
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and "path=/" in cookie and f"max-age={30 * 86400}" in cookie
