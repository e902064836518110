"""The owner's shell reaches the server on its own machine, wherever that listens; nobody else is taken for it."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.support.station import as_owner, config, cupola, environment, eventually, free_port, station_at

from cupola.web.lan import lan_addresses

PASSPHRASE = "clear sky over the dome"
needs_lan = pytest.mark.skipif(not lan_addresses(), reason="this machine has no address besides loopback")


@pytest.fixture
def claimed(tmp_path: Path) -> tuple[Path, int]:
    """Folder and port of a station that has an owner and does not run."""
    port = free_port()
    (tmp_path / "home").mkdir()
    (tmp_path / "cupola.yaml").write_text(config(port))
    made = cupola(tmp_path, "claim", "--terminal", "--stdin", text=PASSPHRASE + "\n")
    assert made.returncode == 0, made.stderr
    return tmp_path, port


def _told(folder: Path) -> str:
    """Where the commands are told to find the server."""
    return json.loads((folder / "runtime" / "server.json").read_text())["url"]


@needs_lan
def test_commands_work_beside_a_server_that_listens_on_an_address_of_the_lan(claimed: tuple[Path, int]) -> None:
    folder, port = claimed
    lan = lan_addresses()[0]
    base = f"http://[{lan}]:{port}" if ":" in lan else f"http://{lan}:{port}"
    with station_at(folder, "--host", lan) as printed:
        assert f"Open {base}/" in printed.read_text()
        status = cupola(folder, "status", "--json")
        assert status.returncode == 0 and json.loads(status.stdout)["station"] == "teststation", status.stderr
        assert cupola(folder, "token", "create", "script").returncode == 0
        owner = as_owner(folder)
        for path in ("/api/cameras", "/api/users", "/api/status"):
            # over the network, this machine's own address is one of many: nobody is the owner there
            assert httpx.get(base + path, headers=owner, trust_env=False).status_code == 401, path
        assert httpx.post(f"{base}/api/login", json={"user": "admin", "passphrase": PASSPHRASE}, trust_env=False).status_code == 200


@needs_lan
def test_where_another_program_has_the_port_on_loopback_commands_are_told_another_one(claimed: tuple[Path, int]) -> None:
    folder, port = claimed
    with socket.create_server(("127.0.0.1", port)), station_at(folder, "--host", lan_addresses()[0]):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", _told(folder)) and not _told(folder).endswith(f":{port}")
        assert cupola(folder, "status").returncode == 0


def test_a_server_that_listens_everywhere_or_on_loopback_has_no_second_socket(claimed: tuple[Path, int]) -> None:
    folder, port = claimed
    for host in ("0.0.0.0", "127.0.0.1"):
        with station_at(folder, "--host", host):
            assert _told(folder) == f"http://127.0.0.1:{port}"
            assert cupola(folder, "status").returncode == 0


def test_after_a_crash_commands_that_need_no_server_do_not_look_for_the_one_that_was(claimed: tuple[Path, int]) -> None:
    folder, _ = claimed
    process = subprocess.Popen([sys.executable, "-m", "cupola", "run"], cwd=folder, env=environment(folder), stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: (folder / "runtime" / "server.json").is_file() and cupola(folder, "status").returncode == 0, 40)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    assert (folder / "runtime" / "server.json").is_file(), "it had no time to withdraw"
    done = cupola(folder, "passwd", "--stdin", text="another one for the dome\n")
    assert done.returncode == 0 and "new passphrase" in done.stdout, done.stderr
    refused = cupola(folder, "status")
    assert refused.returncode == 1 and "not running" in refused.stderr
