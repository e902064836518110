"""A status server of its own process, and the two files that it reads, as the main server would write them."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.support.station import environment, eventually

from cupola.core.clock import iso_utc, utc_now
from cupola.status import files

TOKENS = {"view": "a token that may look", "admin": "a token that may all"}


def document(**changes: Any) -> dict[str, Any]:
    """As much of one as is read, of a station with one camera."""
    camera = {"images_captured": 3, "capture_errors": {"camera_lost": 1}, "frame_age_seconds": 2.0, "connected": True, "restarts": {}}
    camera["capture_duration_seconds"] = {"buckets": [[0.5, 1], [1.0, 1]], "sum": 3.5, "count": 3}
    return {
        "device_id": 'roof "1"\\',
        "status": "capturing",
        "running": True,
        "version": "1.2.3",
        "updated_at": iso_utc(utc_now()),
        "uptime_seconds": files.uptime_s(),
        "boot_id": files.boot_id(),
        "sequence": 7,
        "disk_percent": 12.5,
        "errors": [],
        "cameras": {"sky": camera},
        **changes,
    }


@dataclass
class Files:
    """The folder of both files, and one with a picture and logs."""

    folder: Path
    station: Path

    def tell(self, **changes: Any) -> dict[str, Any]:
        told = document(**changes)
        files.write(self.folder, files.DOCUMENT, json.dumps(told))
        return told

    def private(self, **changes: Any) -> None:
        found = {
            "config": {"station": {"name": "roof"}, "web": {"tls": {"key": "***"}}},
            "photo": str(self.station / "newest.jpg"),
            "video": None,
            "logs": str(self.station),
            "metrics": True,
            "tokens": {sha256(secret.encode()).hexdigest(): scope for scope, secret in TOKENS.items()},
        }
        files.write(self.folder, files.PRIVATE, json.dumps({**found, **changes}), private=True)


def made_files(folder: Path) -> Files:
    (folder / "runtime").mkdir(mode=0o700)
    (folder / "station").mkdir()
    (folder / "home").mkdir()
    (folder / "station" / "newest.jpg").write_bytes(b"\xff\xd8 a picture")
    lines = [f"2026-11-21 03:00:{number:02d}.000 UTC | INFO     | event=capture camera=sky | image {number}" for number in range(60)]
    error = ["2026-11-21 03:01:00.000 UTC | ERROR    | event=usb_failure camera=sky | it fell | off", "Traceback:", "  line 1"]
    (folder / "station" / "cupola.log").write_text("\n".join([*lines, *error]) + "\n")
    (folder / "station" / "cupola-error.log").write_text("\n".join(error) + "\n")
    made = Files(folder / "runtime", folder / "station")
    made.tell()
    made.private()
    return made


@dataclass
class Running:
    process: subprocess.Popen[str]
    port: int
    folder: Path

    def get(self, path: str, *, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        asking = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            asking.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            answer = asking.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            asking.close()

    def json(self, path: str, **headers: str) -> Any:
        return json.loads(self.get(path, **headers)[2])

    def raw(self, data: bytes, *, seconds: float = 20.0) -> bytes:
        """All that comes back for these bytes."""
        with self.connect() as sock:
            sock.settimeout(seconds)
            got = b""
            try:
                sock.sendall(data)
                while part := sock.recv(65536):
                    got += part
            except ConnectionError:
                pass
            return got

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    @property
    def rss_mb(self) -> float:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found
        return int(found[1]) * 1024 / 1e6


@contextmanager
def status_server(folder: Path, *arguments: str) -> Iterator[Running]:
    """`cupola status-server`, as its owner starts it, on a free port."""
    said = folder / "status-server.said"
    with said.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cupola", "status-server", "--port", "0", *arguments],
            cwd=folder,
            env=environment(folder),
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        found = eventually(lambda: process.poll() is not None or re.search(r"http://[^/]*:(\d+)/", said.read_text()), 40)
        assert isinstance(found, re.Match), said.read_text()
        yield Running(process, int(found[1]), folder)
        assert process.poll() is None, said.read_text()
    finally:
        process.kill()
        process.wait(10)
