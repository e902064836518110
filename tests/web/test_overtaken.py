"""A request whose body is kept back: what counts is who may do it when it is done, not when its head came."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from tests.support.station import RunningStation, eventually, running_station

ADMIN, ANNA = "clear sky over the dome", "anna watches Saturn"
SETTINGS = {"exposure_s": 0.07}


@pytest.fixture(scope="module")
def claimed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStation]:
    """With the master `anna`."""
    with running_station(tmp_path_factory.mktemp("claimed")) as station:
        station.claim(ADMIN)
        station.http.post("/api/users", json={"name": "anna", "role": "master", "passphrase": ANNA}).raise_for_status()
        yield station


@contextmanager
def _logged_in(station: RunningStation, user: str, words: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=station.url, timeout=20, trust_env=False) as http:
        assert http.post("/api/login", json={"user": user, "passphrase": words}).status_code == 200
        yield http


class _Begun:
    """A request whose head was judged, and whose body is still to come: the server asks for it by `100 Continue`."""

    def __init__(self, station: RunningStation, method: str, path: str, headers: dict[str, str], body: dict[str, Any]) -> None:
        self._body = json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{station.port}", f"Content-Length: {len(self._body)}", "Expect: 100-continue"]
        lines += ["Content-Type: application/json", *(f"{name}: {value}" for name, value in headers.items())]
        self.connection = socket.create_connection(("127.0.0.1", station.port), timeout=20)
        self.connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        assert self.connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"

    def finish(self) -> tuple[int, dict[str, Any]]:
        """Status and problem of the answer."""
        with self.connection:
            self.connection.sendall(self._body)
            answer = b""
            while b"\r\n\r\n" not in answer or not answer.rstrip().endswith(b"}"):
                more = self.connection.recv(65536)
                assert more, answer
                answer += more
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)


def _settings(station: RunningStation, http: httpx.Client, epoch: int) -> _Begun:
    headers = {"Cookie": f"cupola={http.cookies['cupola']}", "X-Control-Epoch": str(epoch)}
    return _Begun(station, "PATCH", "/api/cameras/sky/settings", headers, SETTINGS)


def _requested(station: RunningStation) -> float:
    return station.camera()["settings"]["live"]["requested"]["exposure_s"]


def test_a_body_that_comes_in_time_is_done(claimed: RunningStation) -> None:
    claimed.open()
    with _logged_in(claimed, "anna", ANNA) as anna:
        epoch = anna.post("/api/control/sky/acquire").json()["epoch"]
        status, _ = _settings(claimed, anna, epoch).finish()
        assert status == 202 and _requested(claimed) == SETTINGS["exposure_s"]
        anna.post("/api/control/sky/release", json={"epoch": epoch})


def test_settings_begun_before_somebody_took_control_are_refused_after_it(claimed: RunningStation) -> None:
    claimed.open()
    before = _requested(claimed)
    with _logged_in(claimed, "anna", ANNA) as anna, _logged_in(claimed, "admin", ADMIN) as admin:
        begun = _settings(claimed, anna, anna.post("/api/control/sky/acquire").json()["epoch"])
        taken = admin.post("/api/control/sky/acquire").json()
        status, problem = begun.finish()
        assert (status, problem["holder"]["user"]) == (409, "admin")
        assert _requested(claimed) == before
        admin.post("/api/control/sky/release", json={"epoch": taken["epoch"]})


@pytest.mark.parametrize("end", ["logout", "role", "deleted"])
def test_a_request_begun_by_somebody_who_was_logged_out_since_does_nothing(claimed: RunningStation, end: str) -> None:
    claimed.http.post("/api/users", json={"name": "mallory", "role": "admin", "passphrase": "an admin for a while"}).raise_for_status()
    with _logged_in(claimed, "mallory", "an admin for a while") as mallory:
        headers = {"Cookie": f"cupola={mallory.cookies['cupola']}"}
        begun = _Begun(claimed, "POST", "/api/tokens", headers, {"name": f"for later {end}", "scope": "admin"})
        if end == "logout":
            assert mallory.post("/api/logout").status_code == 204
        elif end == "role":
            claimed.http.patch("/api/users/mallory", json={"role": "observer"}).raise_for_status()
        else:
            claimed.http.delete("/api/users/mallory").raise_for_status()
        assert begun.finish()[0] == 401
    assert claimed.http.get("/api/tokens").json()["items"] == []
    claimed.http.delete("/api/users/mallory")


def test_a_request_whose_body_never_ends_is_not_done(claimed: RunningStation) -> None:
    begun = _Begun(claimed, "POST", "/api/tokens", claimed.owner, {"name": "half", "scope": "admin"})
    begun.connection.sendall(b'{"name": "half", "scope": "ad')
    begun.connection.close()
    eventually(lambda: claimed.http.get("/api/health").status_code == 200)
    assert claimed.http.get("/api/tokens").json()["items"] == []
