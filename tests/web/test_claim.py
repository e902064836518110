"""The ways to claim a station that has no screen: a window to the LAN, and a QR code on a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import selectors
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import cv2
import httpx
import numpy as np
import pytest
from tests.support.station import RunningStation, cupola, environment, eventually, free_port, running_station

from cupola.web.access.claim import LAN_S
from cupola.web.access.rights import PAGE, RULES
from cupola.web.access.who import Role
from cupola.web.lan import LanWindow, lan_addresses

PASSPHRASE = "clear sky over the dome"
needs_lan = pytest.mark.skipif(not lan_addresses(), reason="this machine has no address besides loopback")


class _Clock(asyncio.SelectorEventLoop):
    """An event loop whose time can be put forward."""

    ahead_s = 0.0

    def __init__(self) -> None:
        super().__init__(selectors.SelectSelector())

    def time(self) -> float:
        return super().time() + self.ahead_s


def _reachable(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=5).close()
        return True
    except OSError:
        return False


def _window(port: int) -> LanWindow:
    async def listen(sock: socket.socket) -> asyncio.Server:
        return await asyncio.start_server(lambda _reader, writer: writer.close(), sock=sock)

    window = LanWindow()
    window.listen, window.port = listen, port
    return window


@needs_lan
def test_the_window_to_the_lan_is_open_for_fifteen_minutes_and_not_a_second_longer() -> None:
    port, loop = free_port(), _Clock()

    async def reachable() -> list[bool]:
        return [await loop.run_in_executor(None, _reachable, address, port) for address in lan_addresses()]

    async def through() -> None:
        window = _window(port)
        assert not any(await reachable())
        await window.open(LAN_S)
        assert len(window.urls) == len(lan_addresses())
        loop.ahead_s += 15 * 60 - 5
        assert all(await reachable())
        await window.open(LAN_S)  # asked for again: for so long from now
        loop.ahead_s += 15 * 60 - 5
        assert all(await reachable())
        loop.ahead_s += 6
        for _ in range(3):
            await asyncio.sleep(0)  # a turn of the loop, in which it looks at its timers
        assert not any(await reachable()) and window.urls == []

    try:
        loop.run_until_complete(through())
    finally:
        loop.close()


@pytest.fixture
def station(tmp_path: Path):
    with running_station(tmp_path) as station:
        yield station


@needs_lan
async def test_to_the_lan_only_the_claim_page_answers_until_the_station_is_claimed(station: RunningStation) -> None:
    address = lan_addresses()[0]
    assert not _reachable(address, station.port)
    printed = station.cupola("claim", "--lan").stdout
    link = next(line for line in printed.split() if address in line)
    base, code = re.fullmatch(r"(http://.+)/#claim=(\S+)", link).groups()  # type: ignore[union-attr]
    token = station.json("token", "create", "early", "--scope", "admin", "--json")["token"]
    for headers in ({}, station.owner, {"Authorization": f"Bearer {token}"}, {"X-Forwarded-For": "127.0.0.1"} | station.owner):
        with httpx.Client(base_url=base, headers=headers, trust_env=False) as lan:
            answered: set[str] = set()
            for key, rule in RULES.items():
                if key == PAGE or key.startswith(("WS", "MSG")) or key == "POST /api/claim":
                    continue
                method, path = key.split(" ", 1)
                answer = lan.request(
                    method, path.format(cam="sky", camera="sky", date="2026-11-21", streak=1, number=1, name="admin", session="x"), json={}
                )
                if answer.status_code != 403:
                    answered.add(key)
                assert answer.status_code == 403 or rule.least == Role.NONE, key
            assert answered == {"GET /", "GET /health", "GET /api/health", "GET /api/me"}
            assert lan.get("/api/health").json()["cameras"] is None
            assert lan.post("/api/claim", json={"passphrase": PASSPHRASE}).status_code in (400, 403), "not without the code"
        async with aiohttp.ClientSession(base, headers=headers) as session:
            for key in RULES:
                if key.startswith("WS "):
                    async with session.ws_connect(key[3:].format(cam="sky")) as refused:
                        assert (await refused.receive(timeout=10)).data == 4403
    with httpx.Client(base_url=base, trust_env=False) as lan:
        assert "<" in lan.get("/").text
        assert lan.post("/api/claim", json={"code": code, "passphrase": PASSPHRASE}).json()["user"] == "admin"
    eventually(lambda: not _reachable(address, station.port))
    again = station.cupola("claim", "--lan")
    assert again.returncode == 1 and "claimed already" in again.stderr


def _on_a_terminal(folder: Path, *arguments: str) -> str:
    """What a command prints to a terminal."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cupola", *arguments], cwd=folder, env=environment(folder) | {"PYTHONIOENCODING": "utf-8"}, stdout=its
    )
    os.close(its)
    printed = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # the terminal has no writer left
            break
        if not chunk:
            break
        printed += chunk
    os.close(ours)
    assert process.wait(20) == 0
    return printed.decode()


def _scanned(printed: str) -> str:
    """What a phone reads from a QR code of half blocks, light ones on a dark terminal."""
    lines = [line for line in re.sub(r"\x1b\[[0-9;]*m", "", printed).splitlines() if line and set(line) <= set(" ▀▄█")]
    upper = [[character in "▀█" for character in line] for line in lines]
    lower = [[character in "▄█" for character in line] for line in lines]
    width = max(map(len, upper))
    rows = [row + [False] * (width - len(row)) for pair in zip(upper, lower, strict=True) for row in pair]
    code = np.pad(np.array(rows, np.uint8) * 255, 4, constant_values=255)
    scanned = (cv2.QRCodeDetector().detectAndDecode(np.kron(code, np.ones((size, size), np.uint8)))[0] for size in range(3, 12))
    return next(filter(None, scanned), "")  # OpenCV does not read every size; nor does a phone


def test_on_a_terminal_the_link_comes_as_a_qr_code_that_a_phone_can_read(station: RunningStation) -> None:
    printed = _on_a_terminal(station.folder, "claim")
    link = re.search(r"http\S+/#claim=\S+", printed)
    assert link is not None and _scanned(printed) == re.sub(r"\x1b.*", "", link[0])
    assert "█" not in station.cupola("claim").stdout, "not into a pipe"
    assert "█" not in (station.folder / "output").read_text()


def test_a_generated_passphrase_is_shown_once_and_works(tmp_path: Path) -> None:
    with running_station(tmp_path) as station:
        made = cupola(tmp_path, "claim", "--terminal", "--generate", "--user", "vera")
        passphrase = made.stdout.split()[-1]
        answer = httpx.post(f"{station.url}/api/login", json={"user": "vera", "passphrase": passphrase}, trust_env=False)
        assert answer.json()["role"] == "admin"
        kept = json.dumps(station.http.get("/api/users").json()) + "".join(path.read_text() for path in (tmp_path / "logs").glob("*.log"))
        assert passphrase not in kept and passphrase not in (tmp_path / "output").read_text()
