"""What the server tells a service manager, heard on a socket such as systemd's."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.station import config, environment, free_port

from cupola.watchdog import ServiceManager

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(40)
        yield sock


def drained(sock: socket.socket) -> list[str]:
    sock.setblocking(False)
    heard: list[str] = []
    try:
        while True:
            heard.append(sock.recv(4096).decode())
    except BlockingIOError:
        return heard
    finally:
        sock.settimeout(40)


def test_a_station_is_ready_when_its_port_answers_alive_while_it_runs_and_says_when_it_ends(tmp_path: Path, manager: socket.socket) -> None:
    port = free_port()
    (tmp_path / "home").mkdir()
    (tmp_path / "cupola.yaml").write_text(config(port))
    told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
    command = [sys.executable, "-m", "cupola", "run", "--config", "cupola.yaml"]
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment(tmp_path) | told, stdout=output, stderr=output)
    try:
        assert manager.recv(4096) == b"READY=1"
        assert httpx.get(f"http://127.0.0.1:{port}/api/health", trust_env=False).status_code == 200
        assert [manager.recv(4096) for _ in range(3)] == [b"WATCHDOG=1"] * 3

        process.send_signal(signal.SIGSTOP)
        drained(manager)
        manager.settimeout(1.0)  # the manager's patience
        with pytest.raises(TimeoutError):
            manager.recv(4096)
        process.send_signal(signal.SIGCONT)
        manager.settimeout(20)
        assert manager.recv(4096) == b"WATCHDOG=1"

        process.send_signal(signal.SIGTERM)
        process.wait(20)
        heard = drained(manager)
        assert heard[-1] == "STOPPING=1" and heard.count("STOPPING=1") == 1
    finally:
        process.kill()
        process.wait(5)


def test_child_processes_do_not_inherit_the_managers_variables() -> None:
    given = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid()), "PATH": "/bin"}
    manager = ServiceManager(given)
    assert given == {"PATH": "/bin"} and manager.watchdog_s == 30
    manager.tell("READY=1")  # nobody listens there: no reason to fail


def test_a_watchdog_meant_for_another_process_is_not_fed() -> None:
    assert ServiceManager({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}).watchdog_s is None


def test_an_abstract_socket_is_spoken_to() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0cupola-test-{os.getpid()}")
        sock.settimeout(5)
        ServiceManager({"NOTIFY_SOCKET": f"@cupola-test-{os.getpid()}"}).tell("READY=1")
        assert sock.recv(100) == b"READY=1"


async def test_the_watchdog_is_fed_while_a_hanging_camera_is_recovered_but_not_when_nobody_does(
    rig: Any, tmp_path: Path, manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cupola.watchdog.OVERDUE_S", 1.0)
    said: list[str] = []
    async with rig() as station:
        await station.until(lambda: station.camera.state == "running")
        feeding = asyncio.create_task(
            ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}).keep(
                lambda: True, [station.camera], lambda level, text, **_: said.append(text)
            )
        )
        try:
            first = station.camera._child.pid
            os.kill(first, signal.SIGSTOP)
            await station.until(lambda: station.camera.restarts == 1, 20)
            await station.until(lambda: station.camera.state == "running", 20)
            assert not said  # it was restarted in time, and fed all along

            # The fault: a supervisor that does not see the deadline any more.
            monkeypatch.setattr(station.camera, "_expired", lambda: False)
            second = station.camera._child.pid
            os.kill(second, signal.SIGSTOP)
            await station.until(lambda: said, 20)
            drained(manager)
            await asyncio.sleep(1.0)  # ten times as long as between two words
            assert drained(manager) == []
            assert said == ["Nobody looks after camera card any more: systemd will restart Cupola."]

            os.kill(second, signal.SIGCONT)
            await station.until(lambda: "WATCHDOG=1" in drained(manager), 20)
        finally:
            feeding.cancel()


@asynccontextmanager
async def fed(camera: Any, folder: Path) -> AsyncIterator[list[str]]:
    """Feeding for one camera; what was said meanwhile."""
    said: list[str] = []
    manager = ServiceManager({"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "400000"})
    feeding = asyncio.create_task(manager.keep(lambda: True, [camera], lambda level, text, **_: said.append(text)))
    try:
        yield said
    finally:
        feeding.cancel()


async def test_feeding_stops_while_the_event_loop_stands_still(rig: Any, tmp_path: Path, manager: socket.socket) -> None:
    async with rig() as station:
        await station.until(lambda: station.camera.state == "running")
        async with fed(station.camera, tmp_path):
            await station.until(lambda: "WATCHDOG=1" in drained(manager))
            drained(manager)
            time.sleep(1.0)  # the fault: something blocks the loop
            assert drained(manager) == []
            await station.until(lambda: "WATCHDOG=1" in drained(manager))


async def test_feeding_stops_when_the_supervisor_looks_no_more(
    rig: Any, tmp_path: Path, manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The camera is well, but the task that should look after it waits for ever."""
    monkeypatch.setattr("cupola.watchdog.OVERDUE_S", 0.5)
    async with rig() as station:
        await station.until(lambda: station.camera.state == "running")
        async with fed(station.camera, tmp_path) as said:
            await station.until(lambda: "WATCHDOG=1" in drained(manager))
            free = asyncio.Event()
            monkeypatch.setattr(station.camera, "_expired", lambda: False)
            monkeypatch.setattr("cupola.camera.supervisor.asyncio.wait", lambda *_, **__: free.wait())
            await station.until(lambda: said)
            drained(manager)
            for _ in range(5):
                await asyncio.sleep(0.1)
            assert drained(manager) == [] and "looks after camera card" in said[0]
            monkeypatch.undo()
            free.set()
            await station.until(lambda: "WATCHDOG=1" in drained(manager))


async def test_feeding_stops_when_frames_stop_and_nobody_recovers_the_camera(
    rig: Any, tmp_path: Path, manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The camera process beats on, but its frame does not come. As long as that is recovered, the watchdog is fed."""
    monkeypatch.setattr("cupola.watchdog.OVERDUE_S", 0.5)
    async with rig(hang_on=(3,)) as station:
        await station.until(lambda: station.camera.state == "running")
        async with fed(station.camera, tmp_path) as said:
            viewer = station.camera.hub.join("jpeg")  # frames are wanted
            await station.until(lambda: station.camera.restarts == 1, 30)
            assert not said  # the third frame of the first process: ended in time, and started anew
            monkeypatch.setattr(station.camera, "_expired", lambda: False)  # the fault
            await station.until(lambda: said, 30)
            assert station.camera.beat_at > time.monotonic() - 1.0  # it beats still
            drained(manager)
            for _ in range(5):
                await asyncio.sleep(0.1)
            assert drained(manager) == []
            monkeypatch.undo()
            station.camera.hub.leave(viewer)
