"""A station with a certificate: who speaks TLS is answered, who does not is sent to where it is spoken."""

from __future__ import annotations

import shutil
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import psutil
import pytest
from tests.support.station import as_owner, cupola, eventually, free_port, station_at

from cupola.config.model import Tls
from cupola.web import tls

PASSPHRASE = "clear sky over the dome"
SILENT = 300


@contextmanager
def _station(folder: Path, tls: str, web: str = "") -> Iterator[tuple[int, Path]]:
    """Its port, and the certificate a client has to trust."""
    port = free_port()
    (folder / "home").mkdir(exist_ok=True)
    (folder / "cupola.yaml").write_text(f"""
cameras: [{{name: sky, driver: simulator, simulator: {{width: 320, height: 240}}}}]
storage: {{root: images, min_free_percent: 0, reserve_mb: 1}}
logging: {{folder: logs}}
web: {{port: {port}, tls: {tls}{web}}}
""")
    with station_at(folder, "--config", "cupola.yaml"):
        yield port, folder / "images" / ".cupola" / "secrets" / "certificate.pem"


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path, Path]]:
    """Port, certificate, folder of a claimed station."""
    folder = tmp_path_factory.mktemp("tls")
    with _station(folder, "{mode: self_signed}") as (port, certificate):
        made = cupola(folder, "claim", "--terminal", "--stdin", text=PASSPHRASE + "\n")
        assert made.returncode == 0, made.stderr
        yield port, certificate, folder


@contextmanager
def _browser(port: int, certificate: Path, **options: Any) -> Iterator[httpx.Client]:
    trusted = ssl.create_default_context(cafile=str(certificate))
    with httpx.Client(base_url=f"https://localhost:{port}", verify=trusted, timeout=20, trust_env=False, **options) as http:
        yield http


def test_a_self_signed_certificate_is_one_that_a_client_can_trust(self_signed: tuple[int, Path, Path]) -> None:
    port, certificate, folder = self_signed
    with _browser(port, certificate) as http:
        answer = http.post("/api/login", json={"user": "admin", "passphrase": PASSPHRASE})
        assert answer.status_code == 200 and answer.json()["plain_http"] is False
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-cupola=") and "; Secure" in cookie
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert http.get("/api/cameras").status_code == 200
    for name in ("key.pem", "certificate.pem"):
        assert stat.S_IMODE((certificate.parent / name).stat().st_mode) == 0o600
    assert cupola(folder, "status").returncode == 0, "the commands trust the certificate that was announced"


def test_a_stranger_does_not_trust_it(self_signed: tuple[int, Path, Path]) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"https://localhost:{self_signed[0]}/", trust_env=False)


@pytest.mark.parametrize("path", ["/", "/api/health", "/api/captures?camera=sky&limit=5", "/%C3%A9/a%20b?x=%26"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_plain_http_is_sent_to_https_on_the_same_port(self_signed: tuple[int, Path, Path], method: str, path: str) -> None:
    port = self_signed[0]
    answer = httpx.request(method, f"http://localhost:{port}{path}", trust_env=False)
    assert answer.status_code == 308 and answer.content == b""
    assert answer.headers["location"] == f"https://localhost:{port}{path}"
    assert "strict-transport-security" not in answer.headers, "in the clear it would not be believed, and must not"


def test_who_follows_the_redirect_arrives(self_signed: tuple[int, Path, Path]) -> None:
    port, certificate, _ = self_signed
    with _browser(port, certificate, follow_redirects=True) as http:
        answer = http.get(f"http://localhost:{port}/api/health")
        assert str(answer.url) == f"https://localhost:{port}/api/health" and answer.json()["claimed"] is True


def test_a_name_without_a_port_keeps_the_port_that_was_reached(self_signed: tuple[int, Path, Path]) -> None:
    answer = httpx.get(f"http://127.0.0.1:{self_signed[0]}/", headers={"Host": "localhost"}, trust_env=False)
    assert answer.headers["location"] == "https://localhost:80/"


def test_a_redirect_never_leads_to_a_foreign_host(self_signed: tuple[int, Path, Path]) -> None:
    tried = (
        ("evil.example", 421),
        ("localhost@evil.example", 400),
        (r"evil.example\@localhost", 400),  # a browser would go to evil.example
        ("evil.example#@localhost", 400),
        ("localhost:80:80", 400),
        ("localhost:99999", 400),
        ("", 400),
    )
    for host, status in tried:
        answer = httpx.get(f"http://127.0.0.1:{self_signed[0]}/", headers={"Host": host}, trust_env=False)
        assert (answer.status_code, answer.headers.get("location")) == (status, None), host


async def test_nothing_but_looking_is_redirected_and_nothing_is_done_in_the_clear(self_signed: tuple[int, Path, Path]) -> None:
    port, _, folder = self_signed
    plain, owner = f"http://localhost:{port}", as_owner(folder)
    for method, path in (("POST", "/api/cameras/sky/disconnect"), ("POST", "/api/login"), ("DELETE", "/api/tokens/1"), ("PATCH", "/api/users/admin")):
        answer = httpx.request(method, plain + path, headers=owner, json={}, trust_env=False)
        assert answer.status_code == 403 and "HTTPS only" in answer.json()["detail"]
    assert httpx.get(f"{plain}/api/cameras", headers=owner, trust_env=False).status_code == 308
    async with aiohttp.ClientSession(headers=owner) as session:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(f"{plain}/ws/events")
        trusted = ssl.create_default_context(cafile=str(self_signed[1]))
        async with session.ws_connect(f"https://localhost:{port}/ws/live/sky", ssl=trusted) as socket_:
            assert (await socket_.receive_json(timeout=10))["type"] == "hello"


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
def test_curl_follows_the_redirect_too(self_signed: tuple[int, Path, Path]) -> None:
    port, certificate, _ = self_signed
    command = [
        "curl",
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--location",
        "--cacert",
        str(certificate),
        f"http://localhost:{port}/api/health",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert '"claimed":true' in done.stdout, done.stderr


def test_a_certificate_of_the_owners_is_used(tmp_path: Path) -> None:
    with _station(tmp_path, "{mode: self_signed}") as (_, made):
        for name in ("certificate.pem", "key.pem"):
            shutil.copy(made.parent / name, tmp_path / name)
    shutil.rmtree(tmp_path / "images")
    with _station(tmp_path, "{mode: files, certificate: certificate.pem, key: key.pem}") as (port, made):
        assert not made.exists(), "none was made beside it"
        with _browser(port, tmp_path / "certificate.pem") as http:
            assert http.get("/api/health").json()["status"] == "ok"


def test_a_machine_whose_name_is_no_ascii_has_a_certificate_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "names_of_this_machine", lambda: frozenset({"m\u00fcnchen", "m\u00fcnchen.local", "localhost"}))
    made = tls.certificate_for(Tls(mode="self_signed"), tmp_path, [])
    assert made is not None and made.certificate.is_file()


def test_a_key_of_another_certificate_is_said_before_anything_starts(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        with _station(tmp_path / folder, "{mode: self_signed}"):
            pass
    one, other = (tmp_path / folder / "images" / ".cupola" / "secrets" for folder in ("one", "other"))
    with (
        pytest.raises(AssertionError, match=r"web\.tls: .* cannot be used"),
        _station(tmp_path / "one", f"{{mode: files, certificate: {one / 'certificate.pem'}, key: {other / 'key.pem'}}}"),
    ):
        pass


def test_silent_and_trickling_handshakes_keep_nobody_from_an_answer_and_are_given_up(tmp_path: Path) -> None:
    with _station(tmp_path, "{mode: self_signed}") as (port, certificate), ExitStack() as stack, _browser(port, certificate) as http:
        server = next(process for process in psutil.Process().children() if "--config" in process.cmdline())
        before, longest, hello = server.num_fds(), 0.0, b"\x16\x03\x01\x02\x00\x01\x00"
        for number in range(SILENT):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            connection.sendall((b"", hello, b"GET / HT")[number % 3])
            if number % 10 == 0:
                begun = time.monotonic()
                assert http.get("/api/health").status_code == 200
                longest = max(longest, time.monotonic() - begun)
        assert longest < 1
        eventually(lambda: server.num_fds() < before + 130)
        eventually(lambda: server.num_fds() <= before + 2)  # who never said anything is hung up on after ten seconds

        def answers() -> bool:
            with _browser(port, certificate) as late, suppress(httpx.TransportError):  # a machine that stood still for 20 s is no fault of the door's
                return late.get("/api/health").status_code == 200
            return False

        eventually(answers, 60)


def test_what_is_neither_tls_nor_http_harms_nobody(self_signed: tuple[int, Path, Path]) -> None:
    port, certificate, folder = self_signed
    for raw in (b"\x16" + b"\xff" * 5000, b"\x16\x03\x01\x00\x05abcde", b"\x00\x01\x02\r\n\r\n", b"\x80\x2e\x01\x03\x01", b"\x16"):
        with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            try:
                while connection.recv(4096):
                    pass
            except ConnectionError:
                pass  # cut off: as good
    with _browser(port, certificate) as http:
        assert http.get("/api/health").status_code == 200
    assert "Traceback" not in (folder / "output").read_text()
    assert "Traceback" not in (folder / "logs" / "cupola-error.log").read_text()


def test_behind_a_proxy_that_speaks_tls_itself_nothing_is_redirected(tmp_path: Path) -> None:
    with _station(tmp_path, "{mode: self_signed}", ", trusted_proxies: [127.0.0.1]") as (port, _):
        by_proxy = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
        assert httpx.get(f"http://localhost:{port}/api/health", headers=by_proxy, trust_env=False).status_code == 200
        plain = by_proxy | {"X-Forwarded-Proto": "http"}
        assert httpx.get(f"http://localhost:{port}/api/health", headers=plain, trust_env=False).status_code == 308
