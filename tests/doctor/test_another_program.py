"""What is where the server should be is another program: its number, its port, its answers."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.support.station import cupola, free_port


@contextmanager
def answering(code: int, kind: str, body: bytes) -> Iterator[int]:
    """The port of a server that answers so, whatever it is asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def announce(folder: Path, port: int, pid: int) -> None:
    (folder / "runtime").mkdir(mode=0o700)
    (folder / "runtime" / "server.json").write_text(
        json.dumps({"url": f"http://127.0.0.1:{port}", "pid": pid, "token": "secret", "fingerprint": None})
    )


def first(folder: Path) -> dict[str, str]:
    """The first finding about the server; nothing is told as a mistake of the program."""
    done = cupola(folder, "doctor", "server", "--json")
    assert done.returncode == 1, done.stderr
    findings = json.loads(done.stdout)["findings"]
    assert all("mistake" not in finding["fix"] for finding in findings), findings
    return findings[0]


@pytest.fixture
def station(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "cupola.yaml").write_text(f"storage: {{root: images}}\ncameras: []\nweb: {{port: {free_port()}}}\n")
    return tmp_path


ANSWERS = [(500, "text/html", b"<h1>Oops"), (200, "application/json", b'{"version'), (200, "text/html", b"<h1>Welcome")]


@pytest.mark.parametrize(("code", "kind", "body"), ANSWERS)
def test_a_server_whose_answers_are_not_cupolas_is_the_first_finding(station: Path, code: int, kind: str, body: bytes) -> None:
    with answering(code, kind, body) as port:
        name = "not Cupola" if kind == "text/html" and code == 200 else "500" if code == 500 else "no JSON"
        with subprocess.Popen([sys.executable, "-c", "input()", "cupola"], stdin=subprocess.PIPE) as cupolas:  # its process still is
            try:
                announce(station, port, cupolas.pid)
                found = first(station)
            finally:
                cupolas.kill()
    assert found["level"] == "error" and name in found["what"], found


def test_nobody_is_told_to_kill_a_program_that_has_got_the_number_of_a_dead_server(station: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            announce(station, free_port(), other.pid)
            found = first(station)
        finally:
            other.kill()
    assert "does not run" in found["what"] and str(other.pid) not in found["fix"], found


def test_a_port_that_another_program_has_comes_before_the_server_that_cannot_start(station: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (station / "cupola.yaml").write_text(f"storage: {{root: images}}\ncameras: []\nweb: {{port: {port}}}\n")
        found = first(station)
    assert found["level"] == "error" and f"Port {port} (web.port)" in found["what"]
