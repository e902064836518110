"""The unit that `cupola service install` writes, judged by systemd's own tools."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.station import cupola

from cupola.cli import main
from cupola.config.load import load
from cupola.core.errors import ConfigError
from cupola.service import system
from cupola.service.receiver import install
from cupola.service.unit import HOMES, RECEIVER, RULES, SERVER, STATUS, TEST, TIMER, ReceiverUnit, Unit, udev_rules, unit_for

analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")
HOME_CONFIG = Path("/home/pi/cupola.yaml")


def unit(**changes: object) -> Unit:
    facts = {
        "station": "roof",
        "config": Path("/etc/cupola/cupola.yaml"),
        "python": Path("/bin/sh"),  # systemd-analyze looks whether it is there
        "readable": (Path("/etc/cupola/cupola.yaml"), Path("/opt/cupola")),
        "writable": (Path("/srv/images"),),
        "user": "daemon",
        "groups": ("video", "plugdev"),
    }
    return Unit(**(facts | changes))  # type: ignore[arg-type]


def receiver(**changes: object) -> ReceiverUnit:
    facts = {
        "python": Path("/bin/sh"),
        "into": Path("/srv/archive"),
        "environment": Path("/etc/cupola/receive.env"),
        "readable": (),
        "user": "daemon",
    }
    return ReceiverUnit(**(facts | changes))  # type: ignore[arg-type]


def values(text: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


def analyzed(folder: Path, text: str, *arguments: str, name: str = SERVER) -> subprocess.CompletedProcess[str]:
    file = folder / name
    file.write_text(text)
    if name == TIMER:  # what it starts has to be there
        (folder / TEST).write_text(unit().text(TEST))
    return subprocess.run(["systemd-analyze", *arguments, str(file)], capture_output=True, text=True, timeout=60)


@analyze
@pytest.mark.parametrize("config", [Path("/etc/cupola/cupola.yaml"), HOME_CONFIG])
def test_the_exposure_that_systemd_counts_is_two_at_most(tmp_path: Path, config: Path) -> None:
    text = unit(config=config, readable=(config,)).text()
    done = analyzed(tmp_path, text, "security", "--offline=true", "--threshold=20", "--no-pager")
    assert done.returncode == 0, done.stdout[-200:]


@analyze
@pytest.mark.parametrize("name", [SERVER, STATUS, TEST, TIMER])
@pytest.mark.parametrize("user", ["daemon", None])
def test_systemd_finds_nothing_to_complain_about(tmp_path: Path, user: str | None, name: str) -> None:
    done = analyzed(tmp_path, unit(user=user).text(name), "verify", "--man=no", name=name)
    assert (done.returncode, done.stderr) == (0, "")


@analyze
@pytest.mark.parametrize("user", ["daemon", None])
def test_systemd_finds_nothing_to_complain_about_in_the_receivers_unit(tmp_path: Path, user: str | None) -> None:
    text = receiver(user=user, environment=Path("/dev/null")).text()
    done = analyzed(tmp_path, text, "verify", "--man=no", name=RECEIVER)
    assert (done.returncode, done.stderr) == (0, "")


@analyze
def test_the_receiver_is_closed_in_more_tightly_still(tmp_path: Path) -> None:
    text = receiver().text()
    done = analyzed(tmp_path, text, "security", "--offline=true", "--threshold=15", "--no-pager", name=RECEIVER)
    assert done.returncode == 0, done.stdout[-200:]
    assert [values(text, key) for key in ("User", "ReadWritePaths", "PrivateDevices", "ProtectHome", "EnvironmentFile")] == [
        ["daemon"], ['"/srv/archive"'], ["yes"], ["yes"], ["/etc/cupola/receive.env"],
    ]  # fmt: skip
    assert values(receiver(into=Path("/srv/my sky/100%h")).text(), "ExecStart")[0].endswith('receive --into "/srv/my sky/100%%h"')


@analyze
def test_the_status_server_is_closed_in_more_tightly_still(tmp_path: Path) -> None:
    text = unit().text(STATUS)
    done = analyzed(tmp_path, text, "security", "--offline=true", "--threshold=17", "--no-pager", name=STATUS)
    assert done.returncode == 0, done.stdout[-200:]
    assert [values(text, key) for key in ("Nice", "CPUQuota", "MemoryMax")] == [["19"], ["5%"], ["32M"]]
    assert values(text, "PrivateDevices") == ["yes"] and not values(text, "ReadWritePaths") and not values(text, "SupplementaryGroups")


@analyze
def test_the_self_test_is_closed_in_more_tightly_still(tmp_path: Path) -> None:
    text = unit().text(TEST)
    done = analyzed(tmp_path, text, "security", "--offline=true", "--threshold=17", "--no-pager", name=TEST)
    assert done.returncode == 0, done.stdout[-200:]
    assert [values(text, key) for key in ("Type", "PrivateDevices", "PrivateNetwork", "ReadWritePaths")] == [["oneshot"], ["yes"], ["yes"], []]
    assert values(text, "ExecStart")[0].endswith("-m cupola selftest")


def test_the_status_server_listens_where_the_configuration_says(tmp_path: Path) -> None:
    file = tmp_path / "cupola.yaml"
    file.write_text("monitoring: {status_host: 0.0.0.0, status_port: 9090}\n")
    assert unit_for(load(file, {}), user="daemon").text(STATUS).count("cupola status-server --host 0.0.0.0 --port 9090\n") == 1


def test_what_the_status_server_reads_outlives_the_server() -> None:
    assert values(unit().text(), "RuntimeDirectoryPreserve") == ["yes"]
    assert "RuntimeDirectory" not in unit().text(STATUS)  # it would be removed with it


UDEV = pytest.mark.skipif(os.geteuid() != 0 or shutil.which("udevadm") is None, reason="no udevadm, or not root")


def udev_says(folder: Path, rules: str) -> str:
    """What udev has to say of rules, which it finds in place of the machine's own."""
    (folder / RULES).write_text(rules)
    inside = 'mount --make-rprivate / && mount -t tmpfs tmpfs /etc/udev/rules.d && cp "$0" /etc/udev/rules.d/ && udevadm test --action=add /sys/class/mem/null'
    done = subprocess.run(["unshare", "--mount", "sh", "-c", inside, str(folder / RULES)], capture_output=True, text=True, timeout=60)
    return "\n".join(line for line in (done.stdout + done.stderr).splitlines() if RULES in line)


@UDEV
def test_udev_reads_the_rules_without_a_complaint(tmp_path: Path) -> None:
    said = udev_says(tmp_path, udev_rules())
    assert f"Reading rules file: /etc/udev/rules.d/{RULES}" in said and len(said.splitlines()) == 1, said
    assert len(udev_says(tmp_path, udev_rules().replace('GROUP="plugdev"', 'GRUOP="plugdev"')).splitlines()) > 1  # a mistake would be noticed


@analyze
def test_a_mistake_in_the_unit_would_be_noticed(tmp_path: Path) -> None:
    assert "Unknown key" in analyzed(tmp_path, unit().text().replace("WatchdogSec", "WatchDogSec"), "verify", "--man=no").stderr
    assert analyzed(tmp_path, unit(user=None).text(), "security", "--offline=true", "--threshold=20", "--no-pager").returncode != 0


def test_it_may_use_cameras_and_sensors_and_no_other_device() -> None:
    text = unit().text()
    assert values(text, "DevicePolicy") == ["closed"]
    kinds = ("usb_device", "video4linux", "media", "dma_heap", "ttyUSB", "ttyACM", "ttyAMA", "gpiochip")
    assert values(text, "DeviceAllow") == [f"char-{kind} rw" for kind in kinds]
    assert values(text, "SupplementaryGroups") == ["video plugdev"]
    assert "PrivateDevices" not in text


def test_a_unit_of_ones_own_asks_for_nothing_only_root_may_give() -> None:
    text = unit(user=None).text()
    for key in ("User", "SupplementaryGroups", "DeviceAllow", "ProtectSystem", "CapabilityBoundingSet", "StateDirectory"):
        assert not values(text, key)
    assert values(text, "WantedBy") == ["default.target"] and values(text, "NoNewPrivileges") == ["yes"]
    assert "@" not in text.replace("@system-service", "").replace("@privileged", "").replace("@resources", "")


def test_homes_are_closed_unless_something_lies_in_one() -> None:
    assert values(unit().text(), "ProtectHome") == ["yes"]
    assert values(unit(readable=(Path("/home/pi/.venv"),)).text(), "ProtectHome") == ["read-only"]
    for home in HOMES:
        assert values(unit(writable=(home / "images",)).text(), "ProtectHome") == ["read-only"]


@pytest.mark.parametrize(
    ("path", "command", "list_"),
    [
        ("/srv/my sky/c.yaml", '"/srv/my sky/c.yaml"', '"/srv/my sky"'),
        ("/srv/100%h/c.yaml", '"/srv/100%%h/c.yaml"', '"/srv/100%%h"'),
        ("/srv/$HOME/c.yaml", '"/srv/$$HOME/c.yaml"', '"/srv/$HOME"'),
        ('/srv/a"b\\c/c.yaml', '"/srv/a\\"b\\\\c/c.yaml"', '"/srv/a\\"b\\\\c"'),
    ],
)
def test_nothing_in_a_path_is_expanded_or_split(path: str, command: str, list_: str) -> None:
    text = unit(config=Path(path), writable=(Path(path).parent,)).text()
    assert values(text, "ExecStart")[0].endswith(f" --config {command}")
    assert values(text, "ReadWritePaths") == [list_]
    assert values(text, "WorkingDirectory") == [str(Path(path).parent).replace("%", "%%")]


def test_a_path_with_a_line_break_is_refused() -> None:
    with pytest.raises(ConfigError, match="Rename it"):
        unit(config=Path("/srv/a\nUser=root/c.yaml")).text()


def test_it_may_write_the_folders_of_the_configuration_and_usb_ports_only_for_a_reset(tmp_path: Path) -> None:
    file = tmp_path / "cupola.yaml"
    file.write_text("storage: {root: images}\nlogging: {folder: /var/log/sky}\ncameras: [{name: sky, driver: simulator}]\n")
    assert unit_for(load(file, {}), user="daemon").writable == (tmp_path / "images", Path("/var/log/sky"))
    file.write_text("storage: {root: images, state: state}\ncameras: [{name: sky, driver: simulator, recovery: {usb_reset: auto, usb_port: 1-1}}]\n")
    assert unit_for(load(file, {}), user="daemon").writable == (*(tmp_path / name for name in ("images", "state", "logs")), Path("/sys/devices"))


def test_the_command_prints_the_unit_without_changing_anything(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "cupola.yaml").write_text("cameras: [{name: sky, driver: simulator}]\n")
    done = cupola(tmp_path, "service", "install", "--print")
    assert done.returncode == 0 and f"--config {tmp_path}/cupola.yaml" in done.stdout
    assert "status-server" in done.stdout and "OnCalendar" in done.stdout and "03c3" in done.stdout
    own = cupola(tmp_path, "service", "install", "--print", "--user", "--config", "cupola.yaml")
    assert own.returncode == 0 and "WantedBy=default.target" in own.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cupola.yaml", "home"]


def test_the_receivers_unit_needs_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    done = cupola(tmp_path, "service", "install", "--receive", "--into", "archive", "--print")
    assert done.returncode == 0 and f"cupola receive --into {tmp_path}/archive\n" in done.stdout and "cupola run" not in done.stdout
    own = cupola(tmp_path, "service", "install", "--receive", "--print", "--user")
    assert f"EnvironmentFile={tmp_path}/home/cupola/receive.env" in own.stdout and f"--into {tmp_path}/home/cupola-archive" in own.stdout
    mixed = cupola(tmp_path, "service", "install", "--into", "archive")
    assert mixed.returncode == 2 and "--into for --receive" in mixed.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_receivers_url_of_redis_is_its_owners_only_and_has_to_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr("cupola.service.receiver.require_systemd", lambda: None)
    file = tmp_path / "cupola" / "receive.env"
    with pytest.raises(ConfigError, match="install -m 600 /dev/stdin") as told:
        install(tmp_path / "archive", own=True)
    command = str(told.value).partition("Write it by: ")[2]
    subprocess.run(["bash", "-c", command], check=True)
    assert file.read_text() == "CUPOLA_RECEIVE_REDIS=rediss://archive:PASSWORD@HOST:6379\n"
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        install(tmp_path / "archive", own=True)


def test_without_a_configuration_it_says_how_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    done = cupola(tmp_path, "service", "install")
    assert done.returncode == 1 and "cupola init" in done.stderr


@pytest.mark.parametrize(
    "arguments", [("status",), ("status", "--user", "--json"), ("uninstall",), ("install", "--config", "cupola.yaml"), ("install", "--receive")]
)
def test_without_systemd_it_says_what_to_do_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    """Also where systemd runs: this machine is looked at as if it did not."""
    (tmp_path / "cupola.yaml").write_text("cameras: [{name: sky, driver: simulator}]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(system, "BOOTED", tmp_path / "run" / "systemd" / "system")
    monkeypatch.setattr(sys, "argv", ["cupola", "service", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (1, "")
    assert "systemd does not run this machine" in err and "SIGTERM" in err
