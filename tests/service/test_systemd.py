"""The service in a real systemd: installed, sandboxed, killed, hanging, ended, removed.

No camera is here: which nodes the service may open is tried with nodes that have no camera behind them.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.redis_server import RedisServer
from tests.support.redis_station import PublishedStation
from tests.support.station import eventually, free_port
from tests.support.systemd import PYTHON, Systemd, booted, why_not

pytestmark = [pytest.mark.torture, pytest.mark.skipif(bool(missing := why_not()), reason=str(missing))]

CONFIG = """
station: {{name: teststation, latitude: 47.0, longitude: 8.0}}
storage: {{root: "/srv/a 100% sky$HOME", state: /var/lib/cupola, min_free_percent: 0, reserve_mb: 1}}
cameras:
  - name: sky
    driver: simulator
    simulator: {{width: 320, height: 240, sky_time: night, readout_s: 0}}
    exposure: {{exposure_s: 0.05, gain: 200}}
web: {{port: {port}}}
monitoring: {{status_port: {status_port}}}
logging: {{folder: /var/log/cupola}}
"""
STATUS_PORT = free_port()
FILE = "/etc/cupola/my cupola.yaml"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    with booted(tmp_path_factory.mktemp("systemd")) as systemd:
        systemd.run("mkdir", "-p", "/etc/cupola")
        made = systemd.run("tee", FILE, text=CONFIG.format(port=free_port(), status_port=STATUS_PORT))
        assert made.returncode == 0
        # No journal runs in there; and thirty seconds are long for a test.
        systemd.write(
            "/etc/systemd/system/cupola.service.d/test.conf", "[Service]\nStandardOutput=file:/run/said\nStandardError=inherit\nWatchdogSec=3\n"
        )
        yield systemd


@pytest.fixture
def service(machine: Systemd) -> Systemd:
    """Installed and running."""
    done = machine.cupola("service", "install", "--config", FILE, "--json")
    assert done.returncode == 0, done.stderr + machine.run("cat", "/run/said").stdout
    assert json.loads(done.stdout)["unit"] == "/etc/systemd/system/cupola.service"
    return machine


def snap(machine: Systemd, exposure_s: float = 0.05) -> None:
    assert machine.cupola("connect", "sky").returncode == 0
    done = machine.cupola("snap", "sky", "-e", str(exposure_s), "-o", "/run/snap.jpg")
    assert done.returncode == 0, done.stderr + machine.run("cat", "/run/said").stdout


def originals(machine: Systemd) -> list[str]:
    return machine.run("find", "/srv/a 100% sky$HOME", "-name", "*.fits.fz").stdout.split("\n")[:-1]


def test_the_service_takes_and_develops_images_without_any_right_of_root(service: Systemd) -> None:
    snap(service)
    pid = service.show("MainPID")
    facts = service.run("cat", f"/proc/{pid}/status").stdout
    assert "CapBnd:\t0000000000000000" in facts and "NoNewPrivs:\t1" in facts and "Seccomp:\t2" in facts
    assert service.run("stat", "-c", "%U", f"/proc/{pid}").stdout.strip() == "cupola"
    assert originals(service)


def test_status_says_what_systemd_knows(service: Systemd) -> None:
    told = service.cupola("service", "status", "--json")
    assert told.returncode == 0
    state = json.loads(told.stdout)
    assert (state["installed"], state["enabled"], state["state"]) == (True, True, "active")
    assert state["pid"] == int(service.show("MainPID"))
    others = {one["name"]: (one["state"], one["enabled"]) for one in state["others"]}
    timer, test = others["cupola-selftest.timer"], others["cupola-selftest.service"]
    assert (others["cupola-status.service"], timer, test) == (("active", True), ("active", True), ("inactive", False))
    told = service.cupola("service", "status")
    assert [line.partition(":")[0] for line in told.stdout.splitlines()] == ["cupola.service", *others]
    assert service.run("systemctl", "stop", "cupola-status").returncode == 0
    assert service.cupola("service", "status").returncode == 1
    assert service.run("systemctl", "start", "cupola-status").returncode == 0


def test_the_self_test_passes_in_its_sandbox(service: Systemd) -> None:
    service.write("/etc/systemd/system/cupola-selftest.service.d/test.conf", "[Service]\nStandardOutput=file:/run/tested\nCPUQuota=\n")
    service.run("systemctl", "daemon-reload")
    done = service.run("systemctl", "start", "cupola-selftest")
    assert done.returncode == 0, done.stderr + service.run("cat", "/run/tested").stdout
    assert "nothing is left behind" in service.run("cat", "/run/tested").stdout


def test_an_exposure_outlives_a_server_that_was_killed(service: Systemd) -> None:
    snap(service)
    before = len(originals(service))
    assert service.cupola("start", "sky", "-e", "8", "--count", "1").returncode == 0
    eventually(lambda: "exposing" in service.cupola("status", "--json").stdout)
    killed = service.show("MainPID")
    service.run("kill", f"-{signal.SIGKILL.value}", killed)
    killed_at = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    assert len(originals(service)) == before
    eventually(lambda: service.show("ActiveState") == "active" and service.show("MainPID") != killed, 60)
    eventually(lambda: len(originals(service)) == before + 1, 30)
    newest = max(path.rpartition("/")[2] for path in originals(service))
    assert newest.partition("_")[0] <= killed_at, service.run("cat", "/var/log/cupola/cupola.log").stdout


def test_a_server_that_hangs_is_restarted_by_the_watchdog(service: Systemd) -> None:
    hung, restarts = service.show("MainPID"), int(service.show("NRestarts"))
    service.run("kill", f"-{signal.SIGSTOP.value}", hung)
    eventually(lambda: int(service.show("NRestarts")) > restarts and service.show("ActiveState") == "active", 40)
    assert service.show("MainPID") != hung
    snap(service)


# name in the table below: type, major, minor. All may be opened by everybody as far as their mode goes.
NODES = {
    "usb": "c 189 0",
    "video": "c 81 0",
    "heap": "c 10 229",
    "null": "c 1 3",
    "memory": "c 1 1",
    "serial": "c 4 64",
    "usb-serial": "c 188 0",
    "disk": "b 7 0",
}
OPENS = """
import errno, json, os
def opened(path):
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
    except OSError as error:
        return errno.errorcode[error.errno]
    return "opened"
with open("/var/lib/cupola/opens.json", "w") as file:
    json.dump({name: opened(f"/srv/nodes/{name}") for name in sorted(os.listdir("/srv/nodes"))}, file)
"""


def test_the_service_opens_nodes_of_cameras_and_no_others(service: Systemd) -> None:
    """The kernel here may have no USB and no V4L2: systemd is told their usual majors, and that DMA heaps are what is there, /dev/fuse. Who
    may open a node without a device behind it is told ENXIO or ENODEV by the kernel, who may not is told EPERM before.
    """
    kinds = "189 usb_device\\n 81 video4linux\\n 10 dma_heap\\n188 ttyUSB\\n"
    told = service.run(
        "sh", "-c", f"sed '/misc$/d; s/^Character devices:/&\\n{kinds}/' /proc/devices > /srv/kinds && mount --bind /srv/kinds /proc/devices"
    )
    assert told.returncode == 0, told.stderr
    try:
        service.run("mkdir", "/srv/nodes")
        for name, node in NODES.items():
            assert service.run("mknod", "-m", "666", f"/srv/nodes/{name}", *node.split()).returncode == 0
        service.write("/srv/opens.py", OPENS)
        service.write("/etc/systemd/system/cupola.service.d/nodes.conf", f"[Service]\nExecStartPre={PYTHON} /srv/opens.py\n")
        service.run("systemctl", "daemon-reload")
        assert service.run("systemctl", "restart", "cupola").returncode == 0
        inside = json.loads(service.run("cat", "/var/lib/cupola/opens.json").stdout)
        assert service.run(PYTHON, "/srv/opens.py").returncode == 0
        outside = json.loads(service.run("cat", "/var/lib/cupola/opens.json").stdout)
        print("\nin the service:", inside, "outside:", outside)
        assert "EPERM" not in outside.values(), "it is the service's policy that says no"
        assert {name for name, answer in inside.items() if answer == "EPERM"} == {"memory", "serial", "disk"}
        assert (inside["heap"], inside["null"]) == ("opened", "opened")
        assert {inside["usb"], inside["video"], inside["usb-serial"]} <= {"ENXIO", "ENODEV", "opened"}
        snap(service)
    finally:
        service.run("umount", "/proc/devices")
        service.run("rm", "-rf", "/etc/systemd/system/cupola.service.d/nodes.conf", "/srv/nodes")
        service.run("systemctl", "daemon-reload")


def test_the_status_server_tells_of_a_service_that_is_stopped(service: Systemd) -> None:
    snap(service)
    facts = {
        name: service.run("systemctl", "show", "--property", name, "--value", "cupola-status").stdout.strip()
        for name in ("ActiveState", "Nice", "MemoryMax", "CPUQuotaPerSecUSec", "User")
    }
    assert facts == {"ActiveState": "active", "Nice": "19", "MemoryMax": str(32 * 1024**2), "CPUQuotaPerSecUSec": "50ms", "User": "cupola"}

    def told(path: str) -> str:
        look = (
            f"import urllib.request as r; print(r.build_opener(r.ProxyHandler({{}})).open('http://127.0.0.1:{STATUS_PORT}{path}', timeout=10).read())"
        )
        return service.run(PYTHON, "-c", look).stdout

    eventually(lambda: '"running": true' in told("/status"))
    eventually(lambda: "JFIF" in told("/latest/photo"))
    assert service.run("systemctl", "stop", "cupola").returncode == 0
    assert "was stopped at" in told("/status") and "JFIF" in told("/latest/photo") and "is closing" in told("/logs")
    assert service.run("systemctl", "start", "cupola").returncode == 0
    eventually(lambda: '"stale": false' in told("/status"))


def test_uninstalling_ends_all_of_it_and_leaves_the_images(service: Systemd) -> None:
    snap(service)
    kept = originals(service)
    done = service.cupola("service", "uninstall")
    assert done.returncode == 0 and "are where they were" in done.stdout, done.stderr
    assert service.run("pgrep", "-f", "cupola.camera.process").returncode == 1
    assert service.run("pgrep", "-f", "cupola status-server").returncode == 1
    assert service.run("ls", "/etc/systemd/system/cupola-status.service", "/etc/udev/rules.d/60-cupola.rules").stdout == ""
    assert originals(service) == kept
    gone = service.cupola("service", "status")
    assert gone.returncode == 1 and "Not installed" in gone.stdout


def test_an_interpreter_or_folder_the_user_cannot_use_is_said_before_anything_is_written(machine: Systemd) -> None:
    machine.cupola("service", "uninstall")
    machine.run("mkdir", "-p", "/srv/closed")
    machine.run("tee", "/etc/cupola/closed.yaml", text="storage: {root: /srv/closed}\nlogging: {folder: /var/log/cupola}\n")
    done = machine.cupola("service", "install", "--config", "/etc/cupola/closed.yaml")
    assert done.returncode == 1 and "may not write /srv/closed" in done.stderr and "chown -R cupola" in done.stderr
    machine.run("chmod", "600", "/etc/cupola/closed.yaml")
    done = machine.cupola("service", "install", "--config", "/etc/cupola/closed.yaml")
    assert done.returncode == 1 and "cannot start Cupola with this configuration" in done.stderr
    assert machine.run("test", "-e", "/etc/systemd/system/cupola.service").returncode == 1


def test_a_machine_that_is_no_station_receives_as_a_service(machine: Systemd, tmp_path: Path) -> None:
    machine.cupola("service", "uninstall")
    told = machine.cupola("service", "install", "--receive")
    assert told.returncode == 1 and "has to stand in /etc/cupola/receive.env" in told.stderr
    roof = PublishedStation("roof")
    roof.still(b"a picture")
    with RedisServer(tmp_path / "redis", ["appendfsync no"]) as redis:
        roof.send(redis.client())
        machine.write("/etc/cupola/receive.env", f"CUPOLA_RECEIVE_REDIS={redis.url}\n")
        machine.run("chmod", "600", "/etc/cupola/receive.env")
        done = machine.cupola("service", "install", "--receive", "--json")
        assert done.returncode == 0 and json.loads(done.stdout)["into"] == "/var/lib/cupola-archive", done.stderr
        [name] = roof.files
        eventually(lambda: machine.run("sha256sum", f"/var/lib/cupola-archive/roof/{name}").stdout.startswith(roof.files[name]), 60)
        told = machine.cupola("service", "status")
        assert (told.returncode, told.stdout.splitlines()[0].partition(" (")[0]) == (0, "cupola-receive.service: active"), told.stdout
        state = json.loads(machine.cupola("service", "status", "--json").stdout)["others"][-1]
        facts = machine.run("cat", f"/proc/{state['pid']}/status").stdout
        assert "CapBnd:\t0000000000000000" in facts and "Seccomp:\t2" in facts
        assert machine.run("stat", "-c", "%U", f"/proc/{state['pid']}").stdout.strip() == "cupola"
    assert machine.cupola("service", "uninstall").stdout.endswith("add --user.\n")
    assert machine.cupola("service", "uninstall", "--receive").returncode == 0
    assert machine.cupola("service", "status").returncode == 1
    assert machine.run("ls", f"/var/lib/cupola-archive/roof/{name}").returncode == 0
    assert machine.run("ls", "/etc/systemd/system/cupola-receive.service").returncode != 0


def test_a_user_without_root_has_a_service_of_their_own(machine: Systemd) -> None:
    machine.cupola("service", "uninstall")
    machine.run("useradd", "--home-dir", "/srv/ann", "--create-home", "ann")
    machine.run("install", "-d", "-o", "ann", "-m", "700", "/run/user/ann")
    manager = ["systemd-run", "--unit=ann", "--property=User=ann", "--property=Delegate=yes", "--setenv=XDG_RUNTIME_DIR=/run/user/ann"]
    started = machine.run(*manager, "/lib/systemd/systemd", "--user", "--unit=basic.target")
    assert started.returncode == 0, started.stderr
    machine.run("tee", "/srv/ann/cupola.yaml", text=f"web: {{port: {free_port()}}}\ncameras: [{{name: sky, driver: simulator}}]\n")
    machine.run("chown", "ann", "/srv/ann/cupola.yaml")
    as_ann = [
        "setpriv",
        "--reuid=ann",
        "--regid=ann",
        "--init-groups",
        "env",
        "-u",
        "SYSTEMD_UNIT_PATH",
        "HOME=/srv/ann",
        "XDG_RUNTIME_DIR=/run/user/ann",
    ]

    def cupola(*arguments: str) -> subprocess.CompletedProcess[str]:
        return machine.run(*as_ann, PYTHON, "-m", "cupola", *arguments)

    eventually(lambda: machine.run("test", "-S", "/run/user/ann/systemd/private").returncode == 0)
    refused = cupola("service", "install", "--config", "/srv/ann/cupola.yaml")
    assert refused.returncode == 1 and "this needs root. Run: sudo" in refused.stderr and "--user" in refused.stderr
    done = cupola("service", "install", "--user", "--config", "/srv/ann/cupola.yaml")
    assert done.returncode == 0, done.stderr
    assert "loginctl enable-linger ann" in done.stdout  # nobody keeps logins in there: it says what is left to do
    assert cupola("connect", "sky").returncode == 0
    state = json.loads(cupola("service", "status", "--user", "--json").stdout)
    assert state["unit"] == "/srv/ann/.config/systemd/user/cupola.service" and state["state"] == "active"
    assert "Seccomp:\t2" in machine.run("cat", f"/proc/{state['pid']}/status").stdout
    assert cupola("service", "uninstall", "--user").returncode == 0
    assert machine.run("pgrep", "-f", "cupola.camera.process").returncode == 1
