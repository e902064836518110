"""Drives the installed program through a capture, a clip and a night's products, and looks at every file it makes.

`own` is a server of its own in a temporary folder, gone at the end with all its processes, with the simulator or a camera of the configuration. A camera
that a running server has is tried through that server: what is taken stays among its images, but the clip, which is deleted. How a server is
started for a test is here; what is tried works with either.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import psutil

from cupola.config.camera import Camera
from cupola.config.model import Settings
from cupola.core.errors import CupolaError
from cupola.storage.files import ORIGINAL_SUFFIX
from cupola.web.endpoint import Announced, announced

START_S, DEVELOP_S, PREROLL_WAIT_S, CLIP_S, NIGHT_S, END_S = 180.0, 180.0, 60.0, 120.0, 300.0, 30.0
PREROLL_S, BEFORE_S, AFTER_S = 4.0, 2.0, 1.0
INTERVAL_S, IMAGES = 2.0, 4
LOOK_S = 0.1
RESTARTS = 3  # of the camera process, while it is waited for
HOPELESS = ("unreachable", "busy", "failed")  # causes, as camera.recovery names them
TOLD, ERRORS = 600, 5  # characters of what a server that does not start has printed; records of its log
SKY: dict[str, Any] = {
    "name": "selftest",
    "driver": "simulator",
    "simulator": {"width": 640, "height": 480, "sky_time": "night"},
    "live": {"exposure_s": 0.1, "gain": 300},
    "exposure": {"exposure_s": 0.5, "gain": 200},
}
TAKEN_OVER = ("live", "exposure", "develop", "products")  # of a real camera's block; series, windows and recovery are left out


class Ask(Protocol):
    """Asks a server, and gives JSON or bytes; raises CupolaError with what to do."""

    def __call__(self, server: Announced, method: str, path: str, body: dict[str, Any] | None, timeout_s: float) -> Any: ...


class Failed(CupolaError):
    """What was tried did not do what it should."""

    kind = "selftest_failed"


@dataclass(frozen=True, slots=True)
class Step:
    """`ok`: None, it was not tried."""

    name: str
    ok: bool | None
    words: str
    took_s: float = 0.0


@dataclass(slots=True)
class Trial:
    """A server with a camera, and what was taken with it. Images lie below `root`."""

    ask: Ask
    server: Announced
    camera: str
    root: Path

    def get(self, path: str) -> Any:
        return self.ask(self.server, "GET", path, None, 30.0)

    def post(self, path: str, body: dict[str, Any] | None = None, timeout_s: float = 30.0) -> Any:
        return self.ask(self.server, "POST", path, body, timeout_s)

    def delete(self, path: str) -> None:
        self.ask(self.server, "DELETE", path, None, 30.0)

    @property
    def at(self) -> str:
        return f"/api/cameras/{quote(self.camera, safe='')}"

    def opened(self) -> str:
        """Wait until the camera is open, unless it is told that waiting does not help."""

        before = self.get(self.at)["restarts"]

        def look() -> Any:
            now = self.get(self.at)
            if now["problem"] is not None and (now["problem"]["kind"] in HOPELESS or now["restarts"] >= before + RESTARTS):
                raise Failed(now["problem"]["message"])
            return now["state"] == "running" and now

        status = _until(look, START_S, self._trouble)
        info = status["info"]
        return f"{info['model']}, {info['width']} x {info['height']}"

    def _trouble(self) -> str:
        now = self.get(self.at)
        return f"the camera is {now['state']}: {(now['problem'] or {}).get('message', 'it has told nothing')}"

    def capture(self) -> str:
        """A still: every file of it is there, whole, and a picture."""
        image = self.post(f"{self.at}/snap", timeout_s=DEVELOP_S + 600)

        def look() -> Any:
            now = self.get(f"/api/captures/{image['id']}")
            if not now["developed"] and self.get("/api/status")["darkroom"]["state"] == "waiting":
                raise Failed(f"It was taken, but the darkroom cannot work.{self._log()}")
            return now["developed"] and now

        image = _until(look, DEVELOP_S, lambda: "it was taken, but not developed")
        return ", ".join(self._looked_at(file) for file in image["files"])

    def _log(self) -> str:
        """The last errors, if there are any: the log itself goes with the server."""
        told = [json.loads(line)["message"] for line in self.get(f"/logs?lines={ERRORS}&level=error").decode().splitlines()]
        return f" The log says: {' · '.join(dict.fromkeys(told))}"[:TOLD] if told else ""

    def _looked_at(self, file: dict[str, Any]) -> str:
        path = self.root / file["path"]
        data = path.read_bytes()
        if len(data) != file["bytes"] or hashlib.sha256(data).hexdigest() != file["sha256"]:
            raise Failed(f"{path} is not what the catalogue says: the disk, or its file system, is damaged.")
        if path.name.endswith(ORIGINAL_SUFFIX):
            from cupola.storage.originals import read_original

            height, width = read_original(path).data.shape[:2]
        elif path.suffix == ".jpg":
            height, width = _picture(data)
        else:
            return f"{file['kind']} {len(data) / 1e6:.1f} MB"
        return f"{file['kind']} {width} x {height}, {len(data) / 1e6:.1f} MB"

    def clip(self) -> str:
        """The seconds before and after a trigger, as a video whose frames can be decoded."""
        status = self.get(self.at)
        if status["preroll"] is None:
            return "left out: this camera keeps no pre-roll"
        self.opened()
        before_s = min(BEFORE_S, status["preroll"]["seconds"] or BEFORE_S)
        _until(
            lambda: (self.get(self.at)["preroll"] or {}).get("seconds", 0) >= before_s,
            PREROLL_WAIT_S,
            lambda: f"no live pictures come to the pre-roll.{self._log()}",
        )
        clip = self.post(f"{self.at}/trigger", {"before_s": before_s, "after_s": AFTER_S, "label": "selftest"})
        clip = _until(
            lambda: (now := self.get(f"/api/clips/{clip['id']}"))["state"] != "recording" and now,
            CLIP_S,
            lambda: f"the clip does not end.{self._log()}",
        )
        if clip["state"] != "saved":
            raise Failed(f"The clip failed: {clip['message']}{self._log()}")
        frames = _frames(self.get(f"/api/clips/{clip['id']}/video"))
        self.delete(f"/api/clips/{clip['id']}")
        if frames != clip["frames"]:
            raise Failed(f"Of {clip['frames']} frames of the clip {frames} can be decoded.")
        return f"{frames} frames in {clip['duration_s']:.1f} s, {clip['codec']}, {clip['before_got_s']:.1f} s before and {clip['after_got_s']:.1f} s after"

    def night(self, until_s: float) -> str:
        """Keogram, startrails and video of the night that is captured and ends within `until_s`."""

        def ready() -> Any:
            found = self.get(f"/api/nights?camera={quote(self.camera, safe='')}")["items"]
            return found[0] if found and found[0]["state"] == "finished" else None

        night = _until(ready, until_s + NIGHT_S, lambda: "the night does not begin, or the darkroom does not come to an end with it")
        if night["photos"] < 2:
            raise Failed(f"Only {night['photos']} image was taken in it: {self._trouble()}")
        at = f"/api/nights/{quote(self.camera, safe='')}/{night['day']}"
        found = self.get(f"{at}/products")["items"]
        if bad := [f"{one['kind']}: {one['message']}" for one in found if one["state"] != "finished"]:
            raise Failed(f"Not made: {'; '.join(bad)}")
        told = [f"{night['photos']} images"]
        for one in found:
            data = self.get(f"{at}/{one['kind']}")
            if one["kind"] == "timelapse":
                if (frames := _frames(data)) != one["images"]:
                    raise Failed(f"The video has {frames} frames of {one['images']} images.")
                told.append(f"timelapse of {frames} frames")
            else:
                height, width = _picture(data)
                told.append(f"{one['kind']} {width} x {height}")
        return ", ".join(told)


def steps(ask: Ask, settings: Settings | None, camera: Camera | None) -> Iterator[Step]:
    """One after the other, as they end; after one that failed the others are not tried. Nothing is raised for what goes wrong in them."""
    running = announced() if camera is not None else None
    if running is not None and settings is not None and camera is not None:
        trial = Trial(ask, running, camera.name, settings.storage.root)
        yield from _tried([("camera", trial.opened), ("capture", trial.capture), ("clip", trial.clip)])
        return
    try:
        folder = Path(tempfile.mkdtemp(prefix="cupola-selftest-"))
    except OSError as error:
        yield Step("start", False, f"No temporary folder can be made ({error}). Make room, or name another place: TMPDIR")
        return
    server = _Server(folder, ask, _camera(camera))
    try:
        yield from _tried(
            [
                ("start", server.start),
                ("capture", lambda: server.trial.capture()),
                ("clip", lambda: server.trial.clip()),
                ("night", server.night),
                ("end", server.end),
            ]
        )
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
    left = [str(folder)] if folder.exists() else []
    yield Step("clean", not left, f"left behind: {left[0]}" if left else "nothing is left behind")


def _tried(todo: list[tuple[str, Callable[[], str]]]) -> Iterator[Step]:
    failed = False
    for name, do in todo:
        if failed and name != "end":
            yield Step(name, None, "not tried")
            continue
        began, ok = time.monotonic(), True
        try:
            words = do()
        except (CupolaError, OSError, ValueError, KeyError, TypeError) as error:
            ok, failed, words = False, True, str(error) or repr(error)
        yield Step(name, ok, words, round(time.monotonic() - began, 2))


def _camera(camera: Camera | None) -> dict[str, Any]:
    """The block of the camera that is tried, with a pre-roll."""
    preroll = {"preroll": {"seconds": PREROLL_S, "max_mb": 64}}
    if camera is None:
        return SKY | preroll
    own = {name: getattr(camera, name).model_dump(mode="json") for name in TAKEN_OVER}
    return {"name": camera.name, "driver": camera.driver, camera.driver: Settings.driver_options(camera), **own, **preroll}


class _Server:
    """`cupola run` in a folder of its own."""

    def __init__(self, folder: Path, ask: Ask, camera: dict[str, Any]) -> None:
        self._folder, self._ask, self._camera = folder, ask, camera
        self._process: subprocess.Popen[bytes] | None = None
        self._trial: Trial | None = None
        self._start_s = 0.0

    @property
    def trial(self) -> Trial:
        assert self._trial is not None
        return self._trial

    def night(self) -> str:
        """A night by the schedule, with a start and an end: the shortest in which this machine can start and take some images."""
        self.end()
        now = datetime.now(UTC).replace(microsecond=0)
        over = now + timedelta(seconds=math.ceil(2 * self._start_s + INTERVAL_S * IMAGES))
        self._camera = {**self._camera, "night": {"window": f"{now:%H:%M:%S}..{over:%H:%M:%S}", "interval_s": INTERVAL_S}}
        self.start()
        return self.trial.night((over - datetime.now(UTC)).total_seconds())

    def start(self) -> str:
        """It runs, answers, and has the camera open."""
        began = time.monotonic()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        config = {
            "station": {"name": "selftest"},
            "storage": {"root": "images", "min_free_percent": 0, "reserve_mb": 1, "retention": {"keep_free_percent": 0}},
            "cameras": [self._camera],
            "web": {"port": port},
            "logging": {"folder": "logs"},
        }
        (self._folder / "cupola.yaml").write_text(json.dumps(config))  # JSON is YAML
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cupola", "run", "--config", str(self._folder / "cupola.yaml")],
            cwd=self._folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=(self._folder / "printed").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        found = _until(self._announced, START_S, self._printed)
        self._trial = Trial(self._ask, found, self._camera["name"], self._folder / "images")
        told = self._trial.opened()
        self._start_s = time.monotonic() - began
        return told

    def _environment(self) -> dict[str, str]:
        """This one's, without what would lead to the station's own files, or to systemd."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CUPOLA_", "NOTIFY_", "WATCHDOG_", "JOURNAL_"))}
        own = {name: str(self._folder / name.lower()) for name in ("CUPOLA_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR")}
        return kept | own

    def _announced(self) -> Announced | None:
        process = self._process
        if process is None or process.poll() is not None:
            raise Failed(f"The server ended at once: {self._printed()}")
        return announced(self._folder / "cupola_runtime_dir")

    def _printed(self) -> str:
        return (self._folder / "printed").read_text(errors="replace").strip()[-TOLD:]

    def end(self) -> str:
        """It ends in order when it is told to."""
        process = self._process
        if process is None:
            raise Failed("there was no server to end")
        process.terminate()
        try:
            code = process.wait(END_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"The server does not end within {END_S:.0f} s of SIGTERM.") from None
        if code:
            raise Failed(f"The server ended with exit code {code}: {self._printed()}")
        if left := self._others():
            raise Failed(f"{len(left)} of its processes did not end with it.")
        return "the server and its processes ended in order"

    def _others(self) -> list[psutil.Process]:
        """All processes that belong to it: they have its runtime folder in their environment."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get("CUPOLA_RUNTIME_DIR") == str(self._folder / "cupola_runtime_dir"):
                    found.append(process)
        return found

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()
        if self._process is not None:
            for process in self._others():
                with contextlib.suppress(psutil.Error):
                    process.kill()


def _until(look: Callable[[], Any], seconds: float, otherwise: Callable[[], str]) -> Any:
    """The first true answer. Raises Failed with what `otherwise` says of the reason."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise Failed(f"Not within {seconds:.0f} s: {otherwise()}")
        time.sleep(LOOK_S)
    return found


def _picture(data: bytes) -> tuple[int, int]:
    """Height and width of a JPEG that decodes without a complaint. Raises ValueError."""
    import simplejpeg

    return simplejpeg.decode_jpeg(data, colorspace="GRAY", strict=True).shape[:2]


def _frames(video: bytes) -> int:
    """How many frames of an MP4 can be decoded."""
    import av

    with av.open(io.BytesIO(video), "r") as container:
        return sum(1 for _ in container.decode(video=0))


@contextmanager
def terminated() -> Generator[None]:
    """SIGTERM ends what is in here as Ctrl-C does, so that it cleans up."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
