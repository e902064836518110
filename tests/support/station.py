"""A whole station as its owner runs it: `cupola run` in folders of its own, on a free port."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

T = TypeVar("T")

SKY = "width: 320, height: 240, sky_time: night, readout_s: 0"

_CONFIG = """
station: {{name: teststation, latitude: 47.0, longitude: 8.0}}
storage: {{root: images, min_free_percent: 0, reserve_mb: 1}}
cameras:
  - name: sky
    driver: simulator
    simulator: {{{sky}}}
    live: {{exposure_s: 0.05, gain: 300}}
    exposure: {{exposure_s: 0.05, gain: 200}}
    {more}
web: {{port: {port}, max_viewers: {max_viewers}}}
logging: {{folder: logs}}
{after}
"""


def config(port: int, *, max_viewers: int = 5, sky: str = SKY, more: str = "", after: str = "") -> str:
    """A station with the simulated camera `sky`; `sky`: its options, `more`: further keys of the camera, on one line, `after`: of the station."""
    return _CONFIG.format(port=port, max_viewers=max_viewers, sky=sky, more=more, after=after)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def environment(folder: Path) -> dict[str, str]:
    """This one's, but with home and runtime folders below `folder`, so that stations and their commands do not meet."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("CUPOLA_")}
    own |= {name: str(folder / "home") for name in ("HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR")}
    return own | {"CUPOLA_RUNTIME_DIR": str(folder / "runtime"), "COLUMNS": "200", "NO_COLOR": "1"}


def as_owner(folder: Path) -> dict[str, str]:
    """The header that gives all rights to the owner's shell; made anew at each start of the server."""
    token = json.loads((folder / "runtime" / "server.json").read_text())["token"]
    return {"Authorization": f"Bearer {token}"}


def cupola(folder: Path, *arguments: str, timeout_s: float = 60, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """One command, run in `folder`, with `text` on its standard input."""
    command = [sys.executable, "-m", "cupola", *arguments]
    return subprocess.run(command, cwd=folder, env=environment(folder), input=text, capture_output=True, text=True, timeout=timeout_s)


@contextmanager
def heeding_ctrl_c() -> Iterator[None]:
    """What is started in here ends at SIGINT, also where this run was started in a script's background: that has children ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def eventually(look: Callable[[], T], seconds: float = 20.0) -> T:
    """The first true answer of `look`."""
    end = time.monotonic() + seconds
    while not (answer := look()):
        assert time.monotonic() < end, f"not within {seconds} s; the last answer was {answer!r}"
        time.sleep(0.02)
    return answer


@dataclass
class RunningStation:
    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    http: httpx.Client

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def owner(self) -> dict[str, str]:
        return as_owner(self.folder)

    def claim(self, passphrase: str = "clear sky over the dome") -> str:
        """Make `admin` the first admin, with the code that was printed; the secret of the session, for a browser's cookie."""
        code = re.findall(r"#claim=(\S+)", (self.folder / "output").read_text())[-1]
        with httpx.Client(base_url=self.url, trust_env=False) as http:
            assert http.post("/api/claim", json={"code": code, "passphrase": passphrase}).status_code == 200
            return http.cookies["cupola"]

    def camera(self) -> dict[str, Any]:
        return self.http.get("/api/cameras/sky").json()

    def until(self, condition: Callable[[dict[str, Any]], Any], seconds: float = 20.0) -> dict[str, Any]:
        """The camera's status as soon as `condition` holds for it."""

        def look() -> dict[str, Any] | None:
            status = self.camera()
            return status if condition(status) else None

        return eventually(look, seconds)  # type: ignore[return-value]

    def open(self) -> None:
        """The camera is open and free with short exposures, whatever a test left behind."""
        self.http.post("/api/cameras/sky/stop")
        opened = self.http.post("/api/cameras/sky/connect").json()
        assert opened["state"] == "running", opened
        for mode in ("live", "still"):
            assert self.http.patch("/api/cameras/sky/settings", json={"mode": mode, "exposure_s": 0.05}).status_code == 202

    def snap(self) -> dict[str, Any]:
        """One image, developed."""
        self.open()
        answer = self.http.post("/api/cameras/sky/snap", json={"exposure_s": 0.05})
        assert answer.status_code == 200, answer.text
        return eventually(lambda: (image := self.http.get(f"/api/captures/{answer.json()['id']}").json())["developed"] and image, 120)

    def cupola(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return cupola(self.folder, *arguments)

    def json(self, *arguments: str) -> Any:
        done = self.cupola(*arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`cupola run` in `folder`, from its start until it has ended; what it prints is in the file `output`."""
    with (folder / "output").open("wb") as output:
        command = [sys.executable, "-m", "cupola", "run", *arguments]
        process = subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        finally:
            process.kill()


@contextmanager
def station_at(folder: Path, *arguments: str) -> Iterator[Path]:
    """As `served`, from its announcement on, with the configuration there is in `folder`; the file of what it prints."""
    printed, announced = folder / "output", folder / "runtime" / "server.json"
    with served(folder, *arguments) as process:
        eventually(lambda: announced.is_file() or process.poll() is not None, 40)
        assert process.poll() is None, printed.read_text()
        yield printed


@contextmanager
def running_station(folder: Path, *, max_viewers: int = 5, sky: str = SKY, more: str = "", after: str = "") -> Iterator[RunningStation]:
    """`sky`: options of the simulated camera, `more`: further keys of it, `after`: further lines of the configuration."""
    port = free_port()
    (folder / "home").mkdir()
    (folder / "cupola.yaml").write_text(config(port, max_viewers=max_viewers, sky=sky, more=more, after=after))
    with (
        served(folder, "--config", "cupola.yaml") as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as http,
    ):
        station = RunningStation(folder, port, process, http)

        def answers() -> bool:
            assert process.poll() is None, (folder / "output").read_text()
            try:
                http.headers.update(as_owner(folder))
                return http.get("/api/health").json()["cameras"]["sky"] == "running"
            except (FileNotFoundError, httpx.TransportError):
                return False

        eventually(answers, 150)
        yield station


def make_night(station: RunningStation, images: list[int], *, state: str = "finished", kind: str = "night") -> str:
    """A night of the camera `sky` for images of the catalogue; its date. Written behind the running server's back, which looks at its next step."""
    import sqlite3

    with contextlib.closing(sqlite3.connect(station.images / ".cupola" / "catalogue.sqlite", timeout=20)) as catalogue, catalogue:
        marks = ", ".join("?" * len(images))
        day, first, last = catalogue.execute(f"SELECT min(day), min(opened_at), max(ended_at) FROM image WHERE id IN ({marks})", images).fetchone()
        period = catalogue.execute(
            "INSERT INTO period (camera, kind, day, starts_at, ends_at, state) VALUES ('sky', ?, ?, ?, ?, ?)", (kind, day, first, last, state)
        ).lastrowid
        catalogue.execute(f"UPDATE image SET period = ? WHERE id IN ({marks})", (period, *images))
    return day
