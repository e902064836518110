"""Every command as its user types it: with a running station, and without one."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import simplejpeg
import yaml
from tests.support.station import RunningStation, config, cupola, environment, eventually, free_port, heeding_ctrl_c, running_station, station_at

from cupola.cli import COMMANDS
from cupola.core.errors import ConfigError
from cupola.web.server import listen

NEED_A_STATION = [["status"], ["connect"], ["disconnect"], ["start"], ["stop"], ["snap"]]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStation]:
    with running_station(tmp_path_factory.mktemp("station")) as station:
        yield station


@pytest.fixture
def station(running: RunningStation) -> RunningStation:
    running.open()
    return running


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """A folder without a configuration, on a machine without a running station."""
    (tmp_path / "home").mkdir()
    return tmp_path


def test_help_lists_every_command_and_each_explains_itself(nowhere: Path) -> None:
    whole = cupola(nowhere, "--help")
    assert whole.returncode == 0
    for name in COMMANDS:
        assert f"\n  {name} " in whole.stdout
        own = cupola(nowhere, name, "--help")
        assert own.returncode == 0 and f"Usage: python -m cupola {name}" in own.stdout
    assert cupola(nowhere, "--version").stdout.startswith("cupola, version ")


@pytest.mark.parametrize("command", NEED_A_STATION)
def test_without_a_station_a_command_says_how_to_start_one(nowhere: Path, command: list[str]) -> None:
    done = cupola(nowhere, *command)
    assert (done.returncode, done.stdout) == (1, "")
    assert "not running" in done.stderr and "Start it with: cupola run" in done.stderr


def test_a_station_that_died_without_a_word_is_noticed(nowhere: Path) -> None:
    (nowhere / "runtime").mkdir()
    (nowhere / "runtime" / "server.json").write_text(
        json.dumps({"url": f"http://127.0.0.1:{free_port()}", "pid": 1, "token": "x", "fingerprint": None})
    )
    done = cupola(nowhere, "status")
    assert done.returncode == 1
    assert "is gone" in done.stderr and "cupola run" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["run", "--port", "0"],
        ["run", "--port", "x"],
        ["start", "--count", "x"],
        ["init", "--latitude", "91"],
        ["config", "x"],
    ],
)
def test_wrong_usage_exits_with_2(nowhere: Path, arguments: list[str]) -> None:
    done = cupola(nowhere, *arguments)
    assert done.returncode == 2, done
    assert "Usage:" in done.stderr and "Traceback" not in done.stderr


def test_status_shows_the_camera_as_a_table_and_as_json(station: RunningStation) -> None:
    shown = station.cupola("status")
    assert shown.returncode == 0
    assert "teststation" in shown.stdout and "sky" in shown.stdout and "running" in shown.stdout
    told = station.json("status", "--json")
    assert [camera["state"] for camera in told["cameras"]] == ["running"]


def test_status_watch_goes_on_until_it_is_interrupted(station: RunningStation) -> None:
    command = [sys.executable, "-m", "cupola", "status", "--watch", "--json"]
    told_as_it_comes = environment(station.folder) | {"PYTHONUNBUFFERED": "1"}
    with heeding_ctrl_c():
        process = subprocess.Popen(command, cwd=station.folder, env=told_as_it_comes, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout is not None
            told = [json.loads(process.stdout.readline()) for _ in range(2)]
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert told[1]["uptime_s"] > told[0]["uptime_s"]
    assert process.returncode in (1, 130, -signal.SIGINT)
    assert "Traceback" not in errors


def test_cameras_says_for_each_driver_what_is_attached_with_a_station_and_without(station: RunningStation, nowhere: Path) -> None:
    for shown in (station.cupola("cameras"), cupola(nowhere, "cameras")):
        assert shown.returncode == 0, shown.stderr
        assert "simulator" in shown.stdout and "configured by hand" in shown.stdout
    looks = station.json("cameras", "--json")
    simulator = next(look for look in looks if look["driver"] == "simulator")
    assert simulator["cameras"] == [] and simulator["looks"] is False
    assert looks == station.http.get("/api/discover").json()["items"]


def test_disconnect_and_connect_say_the_state_they_reached(station: RunningStation) -> None:
    closed = station.cupola("disconnect", "sky")
    assert (closed.returncode, closed.stdout) == (0, "sky: stopped, closed\n")
    assert station.json("disconnect", "--json")["state"] == "stopped"
    refused = station.cupola("snap")
    assert refused.returncode == 1
    assert "connect it first" in refused.stderr
    opened = station.cupola("connect")
    assert opened.returncode == 0 and opened.stdout.startswith("sky: running")
    assert station.json("connect", "--json")["state"] == "running"


def test_start_with_count_and_wait_returns_when_all_are_taken(station: RunningStation) -> None:
    before = station.camera()["images_today"]
    done = station.cupola("start", "--count", "3", "-e", "0.05", "--wait")
    assert done.returncode == 0, done.stderr
    assert "sky: running" in done.stdout and "of 3" in done.stdout
    assert "3/3" in done.stderr
    status = station.camera()
    assert status["session"] is None and status["images_today"] == before + 3


def test_start_and_wait_says_that_the_series_was_stopped_before_its_end(station: RunningStation) -> None:
    command = [sys.executable, "-m", "cupola", "start", "--count", "500", "-e", "0.05", "--wait", "--json"]
    with subprocess.Popen(
        command, cwd=station.folder, env=environment(station.folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as waiting:
        try:
            station.until(lambda camera: (camera["session"] or {"done": 0})["done"] >= 1)
            assert station.cupola("stop").returncode == 0
            told, errors = waiting.communicate(timeout=30)
        finally:
            waiting.kill()
    assert waiting.returncode == 1 and "was stopped after" in errors and "of 500 images" in errors, errors
    ended = json.loads(told)["session"]
    assert ended["state"] == "stopped" and 1 <= ended["done"] < 500
    assert station.http.get(f"/api/cameras/sky/series/{ended['id']}").json()["state"] == "stopped"
    assert station.http.get("/api/cameras/sky/series/1000000").status_code == 404


def test_start_and_stop_of_an_endless_series(station: RunningStation) -> None:
    started = station.json("start", "sky", "-e", "0.05", "-d", "0.5", "-g", "150", "--json")["session"]
    assert (started["exposure_s"], started["delay_s"], started["gain"], started["count"]) == (0.05, 0.5, 150, None)
    station.until(lambda camera: camera["session"]["done"] >= 1)
    assert station.json("stop", "--json")["session"] is None
    assert station.cupola("stop").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["snap", "-e", "1000"], "0.0001 to 300 s"),
        (["start", "-g", "-1"], "gain"),
        (["snap", "nowhere"], "Configured: sky"),
        (["start", "--count", "0"], "count"),
        (["disconnect", "nowhere"], "Configured: sky"),
    ],
)
def test_what_the_station_refuses_is_said_with_its_reason(station: RunningStation, arguments: list[str], named: str) -> None:
    done = station.cupola(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert named in done.stderr and "Traceback" not in done.stderr


def test_snap_writes_the_developed_picture(station: RunningStation) -> None:
    done = station.cupola("snap", "-e", "0.05", "-o", "picture.jpg")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sky/") and done.stdout.endswith(" → picture.jpg\n")
    data = (station.folder / "picture.jpg").read_bytes()
    assert simplejpeg.decode_jpeg(data).shape == (240, 320, 3)
    assert (station.images / done.stdout.split()[0]).is_file()
    assert data == station.http.get("/api/cameras/sky/latest.jpg").content


@pytest.mark.parametrize(("arguments", "said"), [(["connect"], "opening sky …"), (["snap", "-e", "0.5"], "exposing 0.5 s …")], ids=str)
def test_long_work_says_on_a_terminal_what_is_waited_for(station: RunningStation, arguments: list[str], said: str) -> None:
    ours, terminal = os.openpty()
    try:
        environ = environment(station.folder) | {"TERM": "xterm"}
        command = [sys.executable, "-m", "cupola", *arguments]
        done = subprocess.run(command, cwd=station.folder, env=environ, stdout=subprocess.PIPE, stderr=terminal, text=True, timeout=60)
        assert done.returncode == 0 and done.stdout.startswith("sky") and said not in done.stdout
        assert said in os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(terminal)


def test_snap_as_json_tells_the_stored_image(station: RunningStation) -> None:
    image = station.json("snap", "-e", "0.05", "--json")
    assert image["id"] == station.http.get("/api/captures?limit=1").json()["items"][0]["id"]


def test_snap_where_originals_are_not_kept_tells_the_developed_picture(nowhere: Path) -> None:
    (nowhere / "cupola.yaml").write_text(config(free_port()).replace("reserve_mb: 1", "reserve_mb: 1, originals: off"))
    with station_at(nowhere):
        assert cupola(nowhere, "connect").returncode == 0
        told = cupola(nowhere, "snap")
        image = json.loads(cupola(nowhere, "snap", "--json").stdout)
    assert told.returncode == 0 and "Traceback" not in told.stderr, told.stderr
    (jpeg,) = image["files"]
    assert image["developed"] and jpeg["kind"] == "jpg"
    for path in (told.stdout.strip(), jpeg["path"]):
        assert simplejpeg.decode_jpeg((nowhere / "images" / path).read_bytes()).shape == (240, 320, 3)


def test_snap_into_a_folder_that_is_not_there_says_so(station: RunningStation) -> None:
    done = station.cupola("snap", "-e", "0.05", "-o", "missing/picture.jpg")
    assert done.returncode == 1
    assert "missing/picture.jpg" in done.stderr and "Traceback" not in done.stderr


def test_a_port_in_use_is_said_before_anything_starts(nowhere: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = cupola(nowhere, "run", "--demo", "--port", str(port))
    assert done.returncode == 1
    assert f"Port {port} on 127.0.0.1 is in use" in done.stderr and "--port" in done.stderr
    assert not (nowhere / "cupola-data").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_a_host_others_could_reach_is_refused_until_the_station_is_claimed(nowhere: Path, host: str) -> None:
    done = cupola(nowhere, "run", "--demo", "--host", host, "--port", str(free_port()))
    assert done.returncode == 1
    assert f"web.host is {host}" in done.stderr and "nobody has claimed" in done.stderr and "cupola claim" in done.stderr
    assert not (nowhere / "cupola-data").exists()


@pytest.mark.parametrize(("host", "said"), [("nosuch.invalid", "web.host"), ("bähm..", "no host name"), ("", "--host")])
def test_an_address_that_cannot_be_listened_on_is_said_so(host: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        listen(host, 0)


def test_a_station_is_claimed_in_the_terminal_before_it_listens_to_others(nowhere: Path) -> None:
    port = free_port()
    (nowhere / "cupola.yaml").write_text(config(port))
    claimed = cupola(nowhere, "claim", "--generate", "--user", "anna", "--json")
    assert claimed.returncode == 0, claimed.stderr
    assert json.loads(claimed.stdout)["user"] == "anna"
    passphrase = json.loads(claimed.stdout)["generated"]
    assert cupola(nowhere, "claim", "--generate").returncode == 1, "once is enough"
    with station_at(nowhere, "--host", "0.0.0.0") as output:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            assert http.post("/api/login", json={"user": "anna", "passphrase": passphrase}).status_code == 200
            session = http.cookies["cupola"]
        assert json.loads(cupola(nowhere, "status", "--json").stdout)["station"] == "teststation"
    assert "claim=" not in output.read_text()
    with station_at(nowhere):
        again = httpx.get(f"http://127.0.0.1:{port}/api/me", cookies={"cupola": session}, trust_env=False)
        assert again.json()["user"] == "anna", "a session survives a restart"
    done = cupola(nowhere, "passwd", "anna", "--stdin", text="another long phrase\n")
    assert done.returncode == 0 and "logged out" in done.stdout
    told = cupola(nowhere, "passwd", "anna", "--stdin", "--json", text="another long phrase\n")
    assert json.loads(told.stdout) == {"user": "anna", "generated": None}
    with station_at(nowhere):
        assert httpx.get(f"http://127.0.0.1:{port}/api/me", cookies={"cupola": session}, trust_env=False).json()["user"] is None


def test_tls_with_a_certificate_of_its_own_serves_pages_and_commands(nowhere: Path) -> None:
    port = free_port()
    (nowhere / "cupola.yaml").write_text(config(port).replace("web: {", "web: {tls: {mode: self_signed}, "))
    assert cupola(nowhere, "claim", "--stdin", "--terminal", text="a long enough phrase\n").returncode == 0
    with station_at(nowhere):
        assert json.loads(cupola(nowhere, "status", "--json").stdout)["station"] == "teststation"
        secrets = nowhere / "images" / ".cupola" / "secrets"
        assert stat.S_IMODE((secrets / "key.pem").stat().st_mode) == 0o600
        context = ssl.create_default_context(cafile=str(secrets / "certificate.pem"))
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=context, trust_env=False) as http:
            answer = http.post("/api/login", json={"user": "admin", "passphrase": "a long enough phrase"})
            assert answer.status_code == 200 and answer.json()["plain_http"] is False
            assert answer.headers["set-cookie"].startswith("__Host-cupola=") and "Secure" in answer.headers["set-cookie"]
            assert "max-age" in answer.headers["strict-transport-security"]
            assert http.get("/api/cameras").status_code == 200
        announced = nowhere / "runtime" / "server.json"
        told = json.loads(announced.read_text())
        announced.write_text(json.dumps(told | {"fingerprint": "0" * 64}))
        refused = cupola(nowhere, "status")
        assert refused.returncode == 1 and "certificate" in refused.stderr


def test_a_root_that_cannot_be_a_folder_is_named(nowhere: Path) -> None:
    (nowhere / "cupola.yaml").write_text(config(free_port()))
    (nowhere / "images").write_text("a file stands in the way")
    done = cupola(nowhere, "run")
    assert done.returncode == 1
    assert "storage.root" in done.stderr and str(nowhere / "images") in done.stderr and "Traceback" not in done.stderr


def test_a_runtime_folder_that_cannot_be_made_is_named(nowhere: Path) -> None:
    (nowhere / "file").write_text("")
    command = [sys.executable, "-m", "cupola", "run", "--demo", "--port", str(free_port())]
    environ = environment(nowhere) | {"CUPOLA_RUNTIME_DIR": str(nowhere / "file" / "runtime")}
    done = subprocess.run(command, cwd=nowhere, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert str(nowhere / "file" / "runtime") in done.stderr and "CUPOLA_RUNTIME_DIR" in done.stderr and "Traceback" not in done.stderr


def test_a_missing_configuration_file_is_named(nowhere: Path) -> None:
    done = cupola(nowhere, "run", "--config", "absent.yaml")
    assert done.returncode == 1
    assert "absent.yaml" in done.stderr and "Traceback" not in done.stderr


def test_run_ends_in_order_at_ctrl_c_and_takes_its_address_back(nowhere: Path) -> None:
    (nowhere / "cupola.yaml").write_text(config(free_port()))
    command = [sys.executable, "-m", "cupola", "run"]
    address = nowhere / "runtime" / "server.json"
    with subprocess.Popen(command, cwd=nowhere, env=environment(nowhere), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            eventually(address.is_file)
            assert os.stat(address).st_mode & 0o077 == 0
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0, output
    assert "Open http://127.0.0.1:" in output and "Traceback" not in output
    assert not address.exists()


def test_init_writes_a_file_that_check_accepts_and_never_overwrites(nowhere: Path) -> None:
    made = cupola(nowhere, "init", "--station", "north", "--latitude", "52.5", "--longitude", "13.4")
    assert made.returncode == 0 and "cupola run --config cupola.yaml" in made.stdout
    text = (nowhere / "cupola.yaml").read_text()
    assert yaml.safe_load(text)["station"]["name"] == "north"
    checked = cupola(nowhere, "config", "check")
    assert checked.returncode == 0 and "no problems" in checked.stdout
    again = cupola(nowhere, "init", "--station", "south")
    assert again.returncode == 1 and "cupola.yaml is there already" in again.stderr
    assert (nowhere / "cupola.yaml").read_text() == text


def test_config_import_prints_a_configuration_and_names_what_has_no_counterpart(nowhere: Path) -> None:
    (nowhere / "skycam.yaml").write_text("camera: {type: dslr, exposure_time: 8, delay: 12}\ncli: {verbose: true}\n")
    done = cupola(nowhere, "config", "import", "skycam.yaml")
    assert done.returncode == 0 and "skycam.yaml:2: cli.verbose has no counterpart" in done.stderr
    (nowhere / "cupola.yaml").write_text(done.stdout)
    assert "no problems" in cupola(nowhere, "config", "check").stdout
    told = json.loads(cupola(nowhere, "config", "import", "skycam.yaml", "--json").stdout)
    assert told["config"] == done.stdout and told["left"][0]["key"] == "cli.verbose"
    refused = cupola(nowhere, "config", "import", "nothing.yaml")
    assert refused.returncode == 1 and "no such file" in refused.stderr


def test_init_refuses_a_name_no_station_can_have(nowhere: Path) -> None:
    made = cupola(nowhere, "init", "--json", "-o", "other.yaml")
    assert json.loads(made.stdout)["path"] == str(nowhere / "other.yaml")
    done = cupola(nowhere, "init", "--station", "a/b")
    assert done.returncode == 1 and "station.name" in done.stderr
    assert not (nowhere / "cupola.yaml").exists()


BROKEN = """
station: {latitude: 91, nmae: x}
cameras:
  - name: sky
    driver: simulatr
  - name: BAD NAME
    driver: simulator
    simulator: {width: 63}
web: {port: 70000}
"""


def test_check_lists_all_problems_of_a_file_at_once(nowhere: Path) -> None:
    (nowhere / "broken.yaml").write_text(BROKEN)
    done = cupola(nowhere, "config", "check", "broken.yaml")
    assert (done.returncode, done.stdout) == (1, "")
    keys = ["station.latitude", "station.nmae", "cameras[0].driver", "cameras[1].name", "cameras[1].simulator.width", "web.port"]
    for key in keys:
        assert key in done.stderr
    told = cupola(nowhere, "config", "check", "broken.yaml", "--json")
    assert told.returncode == 1
    assert sorted(problem["key_path"] for problem in json.loads(told.stdout)) == sorted(keys)


@pytest.mark.parametrize("text", ["a: [", "\tb: 1", "- 1", "\0", "&a [*a]"])
def test_check_explains_a_file_that_is_no_configuration(nowhere: Path, text: str) -> None:
    (nowhere / "broken.yaml").write_text(text)
    done = cupola(nowhere, "config", "check", "broken.yaml")
    assert done.returncode == 1
    assert "broken.yaml" in done.stderr and "Traceback" not in done.stderr


def test_show_prints_settings_that_check_accepts_with_secrets_hidden(nowhere: Path) -> None:
    (nowhere / "door.yaml").write_text("cameras:\n  - {name: door, driver: video, video: {source: 'rtsp://viewer:hunter2@127.0.0.1/main'}}\n")
    shown = cupola(nowhere, "config", "show", "door.yaml")
    told = cupola(nowhere, "config", "show", "door.yaml", "--json")
    assert shown.returncode == told.returncode == 0
    assert yaml.safe_load(shown.stdout) == json.loads(told.stdout)
    assert "hunter2" not in shown.stdout + told.stdout and "***" in shown.stdout
    assert json.loads(cupola(nowhere, "config", "show", "--demo", "--json").stdout)["station"]["name"] == "demo"


def test_schema_is_json_with_every_group(nowhere: Path) -> None:
    done = cupola(nowhere, "config", "schema")
    assert done.returncode == 0
    assert {"station", "storage", "cameras", "web", "logging"} <= set(json.loads(done.stdout)["properties"])


def test_focus_prints_measurements_as_lines_and_as_a_table(station: RunningStation) -> None:
    told = [json.loads(line) for line in station.cupola("focus", "--count", "2", "--size", "128", "--json").stdout.splitlines()]
    assert len(told) == 2 and told[0]["seq"] < told[1]["seq"]
    assert all(one["width"] == 128 and "jpeg" not in one for one in told)
    shown = station.cupola("focus", "--count", "1").stdout
    assert "Focus of sky" in shown and "HFR" in shown and "best so far" in shown
