"""Secrets planted in every place that holds one, a station that runs and fails: none of them comes out anywhere."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
import pytest
from tests.support.station import as_owner, cupola, eventually, free_port, station_at

pytestmark = pytest.mark.torture
BROKER, POLLED, HOOK = "canary-broker-4d07", "canary-polled-e6b9", "canary-hook-3fa0"
ENV, SOURCE, PASSPHRASE, WRONG = "canary-env-5ce1", "canary-source-81d2", "canary passphrase 77ab", "canary guess 90cc"
CONFIG = """
cameras:
  - {{name: sky, driver: simulator, simulator: {{width: 320, height: 240, readout_s: 0, faults: {{unplug_after_frames: 20}}}}, exposure: {{exposure_s: 0.05}}, capture: {{autostart: true}}}}
  - {{name: gate, driver: video, connect: true, video: {{source: "http://viewer:{source}@127.0.0.1:{closed}/stream?token={source}"}}, preroll: {{}}}}
  - {{name: yard, driver: video, connect: true, video: {{source: "${{YARD_SOURCE}}"}}}}
mqtt: {{host: 127.0.0.1, port: {closed}, username: station, password: "{broker}"}}
clips:
  triggers:
    - {{name: agv, poll: {{url: "http://agv:{polled}@127.0.0.1:{closed}/{polled}?token={polled}", when: "fault != 0", loopback: true}}}}
storage: {{root: images, min_free_percent: 0, reserve_mb: 1}}
logging: {{folder: logs, debug: true}}
notify:
  channels:
    - {{name: hook, webhook: "http://127.0.0.1:{closed}/{hook}/x?key={hook}", loopback: true}}
    - {{name: chat, url: "json://user:{hook}@127.0.0.1:{closed}/{hook}", loopback: true}}
  heartbeat: {{url: "http://127.0.0.1:{closed}/{hook}", loopback: true}}
web: {{port: {port}, tls: {{mode: self_signed}}}}
"""


class Planted(NamedTuple):
    folder: Path
    url: str
    secrets: dict[str, str]  # what it is → its text
    heard: list[str]  # everything that was answered or printed
    processes: list[str]  # arguments and environment of each, while cameras lived


def _commands(folder: Path) -> Iterator[str]:
    """Everything that the commands print about the station, also about a configuration that is wrong."""
    wrong = folder / "wrong.yaml"
    wrong.write_text((folder / "cupola.yaml").read_text().replace("driver: video", "driver: vidoe", 1).replace("port:", "prot:", 1))
    for arguments in (
        ["config", "show", "--json"], ["config", "show"], ["config", "check"], ["config", "check", "wrong.yaml"], ["config", "check", "wrong.yaml", "--json"],
        ["config", "show", "wrong.yaml"], ["status"], ["status", "--json"], ["cameras", "--json"], ["snap", "gate"], ["connect", "yard"],
        ["token", "list", "--json"], ["token", "create", "planted", "--scope", "view"], ["passwd", "--stdin"], ["run", "--config", "cupola.yaml"],
    ):  # fmt: skip
        done = cupola(folder, *arguments, text="too short\n")
        yield f"{arguments}: {done.stdout}{done.stderr}"


def _answers(http: httpx.Client) -> Iterator[str]:
    """Every address that answers with text, by people who may and people who may not, and requests that are refused."""
    for path in json.loads(Path(__file__).parents[2].joinpath("ui", "openapi.json").read_text())["paths"]:
        if path.endswith((".mjpg", "/api/discover")):
            continue
        made = path.format(cam="gate", camera="gate", date="2026-11-21", streak=1, product="keogram", number=1, name="admin", session="x")
        for method in ("GET", "POST", "PATCH"):
            if path in ("/api/logout", "/api/passwd") or (method == "POST" and path == "/api/claim/lan"):
                continue
            with contextlib.suppress(httpx.TimeoutException):
                answer = http.request(method, made, json={} if method != "GET" else None, timeout=5)
                yield f"{method} {made}: {answer.headers} {answer.text}"


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    folder = tmp_path_factory.mktemp("planted")
    port, closed = free_port(), free_port()
    (folder / "home").mkdir()
    (folder / ".env").write_text(f"YARD_SOURCE=rtsp://viewer:{ENV}@127.0.0.1:{closed}/live?password={ENV}\n")
    (folder / "cupola.yaml").write_text(CONFIG.format(port=port, closed=closed, source=SOURCE, hook=HOOK, broker=BROKER, polled=POLLED))
    heard: list[str] = []
    with station_at(folder, "--config", "cupola.yaml"):
        url = f"https://127.0.0.1:{port}"
        with httpx.Client(base_url=url, verify=False, timeout=20, trust_env=False) as http:
            http.post("/api/claim", headers=as_owner(folder), json={"passphrase": PASSPHRASE}).raise_for_status()
            heard.append(http.post("/api/login", json={"user": "admin", "passphrase": WRONG}).text)
            http.post("/api/login", json={"user": "admin", "passphrase": PASSPHRASE}).raise_for_status()
            token = http.post("/api/tokens", json={"name": "planted one", "scope": "view"}).json()["token"]
            secrets = {
                "a password in a source": SOURCE,
                "the broker's password": BROKER,
                "what stands in a polled address": POLLED,
                "a value of .env": ENV,
                "an address of a channel": HOOK,
                "a passphrase": PASSPHRASE,
                "a wrong passphrase": WRONG,
                "a session": http.cookies["__Host-cupola"],
                "a token": token,
                "the owner's token": as_owner(folder)["Authorization"].split()[1],
                "the TLS key": (folder / "images" / ".cupola" / "secrets" / "key.pem").read_text().splitlines()[2],
            }
            # errors: cameras that are not there, one that is unplugged again and again, a token that is none
            eventually(lambda: all(http.get(f"/api/cameras/{name}").json()["problem"] for name in ("gate", "yard")), 40)
            eventually(lambda: any(http.get("/api/cameras/sky").json()["recovery"]["rungs"].values()), 40)
            troubled = lambda: all(one["problem"] for one in http.get("/api/notify").json()["channels"])  # noqa: E731
            eventually(troubled, 60)  # the cameras are told of, but nobody takes it
            processes = eventually(lambda: _processes(folder), 40)  # while the cameras are wanted: later requests close them
            heard += _answers(http)
            for headers in ({"Authorization": f"Bearer {token}"}, {}):
                with httpx.Client(base_url=url, verify=False, headers=headers, timeout=20, trust_env=False) as other:
                    heard += _answers(other)
            heard += _commands(folder)
        yield Planted(folder, url, secrets, heard, processes)


def _processes(folder: Path) -> list[str]:
    """Arguments and environment of all that the server in `folder` runs, itself among them; nothing while no camera's process lives."""
    seen: list[str] = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if (environ := process.environ()).get("CUPOLA_RUNTIME_DIR") == str(folder / "runtime"):
                seen.append(f"{' '.join(process.cmdline())} {json.dumps(environ)}")
    return seen if all(any(part in said for said in seen) for part in (" cupola run ", " cupola.camera.process ")) else []


def _found(text: str, secrets: dict[str, str]) -> list[str]:
    return [what for what, secret in secrets.items() if secret in text]


def test_no_secret_is_in_an_answer_or_on_a_terminal(planted: Planted) -> None:
    heard = [(said[:60], leaked) for said in planted.heard if (leaked := _found(said, planted.secrets))]
    assert len(planted.heard) > 100 and heard == []
    assert any("***" in said for said in planted.heard), "the places were shown, without the secrets"


def test_no_secret_is_in_a_log_or_in_any_file_but_its_own(planted: Planted) -> None:
    own = {"cupola.yaml", "wrong.yaml", ".env", "key.pem", "server.json"}
    files = [path for path in planted.folder.rglob("*") if path.is_file() and path.name not in own]
    leaked = {
        str(path.relative_to(planted.folder)): found for path in files if (found := _found(path.read_bytes().decode("latin-1"), planted.secrets))
    }
    assert {"cupola.log", "cupola-error.log", "cupola-debug.log", "access.sqlite", "output"} <= {path.name for path in files}
    assert leaked == {}
    assert "gate" in (planted.folder / "logs" / "cupola.log").read_text(), "there was something to leak"


def test_what_the_owners_files_hold_is_nobody_elses_to_read(planted: Planted) -> None:
    announced = (planted.folder / "runtime" / "server.json").read_text()
    assert _found(announced, planted.secrets) == ["the owner's token"]
    for path in (planted.folder / "runtime" / "server.json", planted.folder / "images" / ".cupola" / "secrets" / "key.pem"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_no_secret_is_in_the_arguments_or_the_environment_of_a_process(planted: Planted) -> None:
    """Anybody on the machine may read the arguments."""
    assert len(planted.processes) > 1
    assert [found for said in planted.processes if (found := _found(said, planted.secrets))] == []
