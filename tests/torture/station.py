"""The whole program as its own process on a free port, to be killed, watched and judged from outside."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import simplejpeg
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from cupola.storage import files
from cupola.storage.originals import read_original

CAMERA, DARKROOM = "cupola.camera.process", "cupola.darkroom.process"
SMALL_SKY: dict[str, Any] = {"width": 640, "height": 480, "readout_s": 0.01, "meteors_per_hour": 0, "satellites_per_hour": 0}


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The condition's value once it is true; AssertionError with `what` when it is not in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)
    return value


def sky(name: str = "north", *, faults: dict[str, Any] | None = None, **capture: Any) -> dict[str, Any]:
    """A small simulated camera, 0.05 s of exposure back to back unless `exposure_s` and keys of `capture` say otherwise."""
    still = {"exposure_s": capture.pop("exposure_s", 0.05)}
    live = {"exposure_s": 0.05}
    return {
        "name": name,
        "driver": "simulator",
        "exposure": still,
        "live": live,
        "capture": capture,
        "simulator": SMALL_SKY | {"faults": faults or {}},
    }


class Station:
    """`python -m cupola run` below `folder`. As a context it is killed at the end, with all its children.

    `place`: keys of the configuration's `station`, `storage`: further ones of its `storage`, `more`: whole groups; `environment`: what is added to
    that of its processes.
    """

    def __init__(
        self,
        folder: Path,
        *cameras: dict[str, Any],
        max_viewers: int = 5,
        originals: str = "keep",
        storage: dict[str, Any] | None = None,
        place: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
        more: dict[str, Any] | None = None,
    ) -> None:
        self.folder, self.root = folder, folder / "images"
        self.names = [camera["name"] for camera in cameras]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        config = {
            "station": place or {},
            "storage": {"root": str(self.root), "originals": originals, "min_free_percent": 0, "reserve_mb": 1} | (storage or {}),
            "cameras": list(cameras),
            "web": {"port": self.port, "max_viewers": max_viewers},
            "logging": {"folder": str(folder / "logs")},
            **(more or {}),
        }
        (folder / "cupola.yaml").write_text(json.dumps(config))  # JSON is YAML
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CUPOLA_")}  # those would be keys of the configuration
        self._environment = inherited | {name: str(folder / "run") for name in ("HOME", "XDG_RUNTIME_DIR", "CUPOLA_RUNTIME_DIR")}
        self._environment |= environment or {}
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20, trust_env=False)
        self._server: subprocess.Popen[bytes] | None = None
        self._printed = (folder / "printed").open("ab")

    def __enter__(self) -> Station:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for process in self.processes(CAMERA) + self.processes(DARKROOM):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._http.close()
        self._printed.close()

    def start(self) -> None:
        """Returns when the server answers."""
        self._server = subprocess.Popen(
            [sys.executable, "-m", "cupola", "run", "--config", str(self.folder / "cupola.yaml")],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._printed,
            stderr=self._printed,
        )
        until(self._answers, 30, f"the server's start; it printed: {(self.folder / 'printed').read_text()[-2000:]}")

    def _answers(self) -> bool:
        assert self._server is not None and self._server.poll() is None, f"the server ended: {(self.folder / 'printed').read_text()[-2000:]}"
        with contextlib.suppress(httpx.TransportError, FileNotFoundError):
            self._http.headers.update(self.owner)
            return self._http.get("/api/health").is_success and self._http.get("/api/me").json()["kind"] == "owner"
        return False

    @property
    def owner(self) -> dict[str, str]:
        """The header that gives all rights to the owner's shell; made anew at each start."""
        token = json.loads((self.folder / "run" / "server.json").read_text())["token"]
        return {"Authorization": f"Bearer {token}"}

    @property
    def server(self) -> psutil.Process:
        assert self._server is not None
        return psutil.Process(self._server.pid)

    def kill(self) -> None:
        """kill -9 of the server alone; its children are left behind."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()

    def stop(self, seconds: float = 10) -> int:
        """SIGTERM; the exit code. AssertionError when it takes longer."""
        assert self._server is not None
        self._server.terminate()
        try:
            return self._server.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server did not end within {seconds:g} s of SIGTERM") from None

    def processes(self, module: str) -> list[psutil.Process]:
        """This station's processes that run a module, orphans of a killed server included."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                ours = process.environ().get("CUPOLA_RUNTIME_DIR") == str(self.folder / "run")
                if ours and module in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def one(self, module: str) -> psutil.Process:
        """The one process that runs a module, as soon as there is one."""
        return until(lambda: self.processes(module), 20, f"a process {module}")[-1]

    # ── the API ────────────────────────────────────────────────────────────

    def get(self, path: str, **query: Any) -> Any:
        return self._http.get(path, params=query).raise_for_status().json()

    def post(self, path: str, **body: Any) -> Any:
        return self._http.post(path, json=body).raise_for_status().json()

    def patch(self, path: str, **body: Any) -> Any:
        return self._http.patch(path, json=body).raise_for_status().json()

    def camera(self, name: str = "north") -> Any:
        return self.get(f"/api/cameras/{name}")

    def running(self, name: str = "north") -> None:
        """Wait until the camera is open."""
        until(lambda: self.camera(name)["state"] == "running", 30, f"camera {name} running")

    def captures(self) -> list[dict[str, Any]]:
        """All rows, oldest first."""
        rows: list[dict[str, Any]] = []
        page = self.get("/api/captures", limit=500)
        rows += page["items"]
        while page["next"]:
            page = self.get("/api/captures", limit=500, after=page["next"])
            rows += page["items"]
        return rows[::-1]

    def socket(self, path: str) -> ClientConnection:
        """To be used as a context."""
        return connect(f"ws://127.0.0.1:{self.port}{path}", additional_headers=self.owner, proxy=None, compression=None, max_size=None)

    # ── judging ────────────────────────────────────────────────────────────

    def visible(self) -> dict[str, Path]:
        """Every file of the images' folders by its path in the root, `.tmp` of writers that are not done left out."""
        found = (path for name in self.names for path in (self.root / name).rglob("*") if path.is_file())
        return {files.relative_name(path, self.root): path for path in found if path.suffix != files.TMP}

    def verify_whole(self, known: set[str] | None = None) -> int:
        """Every image that can be seen is a whole picture, rows or not; with the server down, too. How many were new to `known`."""
        images = {name: path for name, path in self.visible().items() if path.parent.name in ("raw", "jpg")}
        new = {name: path for name, path in images.items() if known is None or name not in known}
        for path in new.values():
            if path.suffix == ".jpg":
                simplejpeg.decode_jpeg(path.read_bytes(), strict=True)
            else:
                assert read_original(path).data.any(), f"{path} is black"
        if known is not None:
            known.update(new)
        return len(new)

    def rest(self) -> None:
        """Stop the series of all cameras and wait until everything that was taken is developed."""
        for name in self.names:
            self.post(f"/api/cameras/{name}/stop")

        def settled() -> bool:
            status = self.get("/api/status")
            idle = all(camera["activity"]["kind"] in ("idle", "closed") and camera["session"] is None for camera in status["cameras"])
            rows = sum(len(row["files"]) for row in self.captures())  # a still may be on its way to the disk, its row or its JPEG to come
            return idle and status["darkroom"]["waiting"] == 0 and rows == len(self.visible())

        until(settled, 60, "cameras idle and everything developed")

    def verify_storage(self) -> list[dict[str, Any]]:
        """At rest: each row's files are there with their sha256, each file has its row, sequences have no gap, no `.tmp` is left. The rows."""
        self.rest()
        rows = self.captures()
        named = {file["path"]: file["sha256"] for row in rows for file in row["files"]}
        there = self.visible()
        assert named.keys() == there.keys(), f"rows without file {named.keys() - there.keys()}, files without row {there.keys() - named.keys()}"
        damaged = [name for name, digest in named.items() if hashlib.sha256(there[name].read_bytes()).hexdigest() != digest]
        assert not damaged, f"other content than when they were stored: {damaged}"
        assert not [file for row in rows for file in row["files"] if file["missing"]]
        assert not [path for name in self.names for path in (self.root / name).rglob(f"*{files.TMP}")], "a .tmp is left"
        for name in self.names:
            sequences = [row["sequence"] for row in rows if row["camera"] == name]
            assert sequences == list(range(1, len(sequences) + 1)), f"gaps in the sequences of {name}: {sequences}"
        return rows


class Listener(threading.Thread):
    """A client of one WebSocket: keeps its texts and counts its pictures, until the socket or the context ends."""

    def __init__(self, station: Station, path: str) -> None:
        super().__init__(name=f"listener of {path}", daemon=True)
        self._connecting = station.socket(path)
        self.texts: list[dict[str, Any]] = []
        self.pictures: list[float] = []  # when they came, monotonic seconds
        self.ended = False

    def __enter__(self) -> Listener:
        self._socket = self._connecting.__enter__()
        self.start()
        return self

    def __exit__(self, *unused: Any) -> None:
        self._connecting.__exit__(*unused)
        self.join(10)

    def run(self) -> None:
        with contextlib.suppress(WebSocketException, OSError):
            for message in self._socket:
                if isinstance(message, str):
                    self.texts.append(json.loads(message))
                else:
                    self.pictures.append(time.monotonic())
        self.ended = True

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [text for text in list(self.texts) if text.get("kind") == kind]


class Prober(threading.Thread):
    """Asks for /api/health every 20 ms, on one connection, and keeps how long each answer took."""

    def __init__(self, station: Station) -> None:
        super().__init__(name="prober", daemon=True)
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{station.port}", timeout=10, trust_env=False)
        self._over = threading.Event()
        self.took_s: list[float] = []
        self.failures: list[str] = []

    def __enter__(self) -> Prober:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join(15)
        self._http.close()

    def run(self) -> None:
        while not self._over.wait(0.02):
            begun = time.perf_counter()
            try:
                self._http.get("/api/health").raise_for_status()
            except httpx.HTTPError as error:
                self.failures.append(repr(error))
            self.took_s.append(time.perf_counter() - begun)

    def percentile_s(self, percent: float) -> float:
        ordered = sorted(self.took_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
