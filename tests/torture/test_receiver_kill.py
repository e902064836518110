"""`cupola receive` killed again and again while stations publish, receivers that share the work, and networks that fail: nothing lost, nothing twice.

CUPOLA_RECEIVER_KILLS and CUPOLA_NETWORK_CUT_S say how often and how long, 3 and 5 s if unset.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.receiving import Stored
from tests.support.redis_server import RedisServer
from tests.support.station import environment, eventually

pytestmark = pytest.mark.torture

KILLS = int(os.environ.pop("CUPOLA_RECEIVER_KILLS", "3"))  # programs that are started here know no such key
CUT_S = float(os.environ.pop("CUPOLA_NETWORK_CUT_S", "5"))
DRAINED_S = 300.0


def receiver(url: str, into: Path, folder: Path, inside: list[str] | None = None) -> subprocess.Popen[bytes]:
    """`inside`: what runs a command in a network namespace."""
    folder.mkdir(exist_ok=True)
    command = [*(inside or []), sys.executable, "-m", "cupola", "receive", "--into", str(into), "--claim-after", "3"]
    with (folder / "output").open("ab") as output:
        return subprocess.Popen(command, env=environment(folder) | {"CUPOLA_RECEIVE_REDIS": url}, stdout=output, stderr=subprocess.STDOUT)


def publisher(url: str, station: str, seconds: float, output: Path, inside: list[str] | None = None) -> subprocess.Popen[bytes]:
    command = [*(inside or []), sys.executable, "-m", "tests.support.redis_station", url, station, "--seconds", str(seconds)]
    with output.open("wb") as file:
        return subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=file)


def made(output: Path) -> dict[str, Any]:
    return json.loads(output.read_text())


def ended(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> int:
    process.send_signal(how)
    try:
        return process.wait(60)
    finally:
        process.kill()
        process.wait(10)


def told(folder: Path) -> list[dict[str, Any]]:
    """What receivers that ran there printed; the last line of a killed one may be cut."""
    lines = (folder / "output").read_text(errors="replace").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def complete(stored: list[Stored], everything: dict[str, Any]) -> bool:
    """All of it is there, once: in catalogue and events; whether the disk agrees is looked at when all is over."""
    listed = [name for one in stored for name in one.listed]
    numbers = [number for one in stored for number in one.numbers]
    assert len(set(listed)) == len(listed) and len(set(numbers)) == len(numbers), "stored twice"
    return len(listed) == len(everything["files"]) and len(numbers) == len(everything["events"])


def is_whole(stored: Stored) -> None:
    assert stored.files == stored.listed
    assert stored.numbers == sorted(stored.numbers)
    assert [row[0] for row in stored.query("PRAGMA integrity_check")] == ["ok"]


def test_a_receiver_killed_under_load_loses_nothing_and_stores_nothing_twice(tmp_path: Path) -> None:
    dice = random.Random(KILLS)
    into = tmp_path / "archive"
    with RedisServer(tmp_path / "redis", ["appendfsync no"]) as redis:
        publishing = publisher(redis.url, "roof", 2.0 * KILLS, tmp_path / "made")
        process = receiver(redis.url, into, tmp_path / "receiver")
        try:
            stored = Stored(into / "roof")
            for _ in range(KILLS):
                before = len(stored.listed)
                eventually(lambda before=before: len(stored.listed) > before or publishing.poll() is not None, 60)
                time.sleep(dice.uniform(0, 0.3))  # anywhere in its work
                process.kill()
                process.wait(10)
                process = receiver(redis.url, into, tmp_path / "receiver")
            assert publishing.wait(120) == 0
            everything = made(tmp_path / "made")
            eventually(lambda: complete([stored], everything), DRAINED_S)
            assert ended(process) == 0
        finally:
            for one in (process, publishing):
                one.kill()
                one.wait(10)
        client = redis.client()
        assert all(client.xpending(f"cupola:{{roof}}:{stream}", "archive")["pending"] == 0 for stream in ("log", "images"))
        assert len(client.xinfo_consumers("cupola:{roof}:images", "archive")) == 1  # the same name after each start
    is_whole(stored)
    assert stored.listed == everything["files"] and stored.events == everything["events"]
    assert stored.arriving == [] and stored.set_aside == []
    ends = [line for line in told(tmp_path / "receiver") if line["event"] == "ended"]
    assert ends and ends[-1]["gone"] == ends[-1]["set_aside"] == 0


# Networks. Redis listens on a bridge; each station and receiver has a namespace with one leg on it.

_BRIDGE, _NET = "cupolabr0", "10.94.77"


def why_not() -> str | None:
    """What this machine lacks for networks of one's own."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    if not shutil.which("ip") or not shutil.which("nft"):
        return "no ip or nft on this machine"
    probe = "ip link add name cupprobe0 type bridge && ip link del cupprobe0 && nft list tables"
    done = subprocess.run(["unshare", "--net", "sh", "-c", probe], capture_output=True, text=True)
    return None if done.returncode == 0 else f"this kernel gives no bridge or no nft in a network namespace ({done.stderr.strip()[:100]})"


class Network:
    """Namespaces around a bridge in this one; `host` is this machine's address for them."""

    host = f"{_NET}.1"

    def __init__(self) -> None:
        self._members: list[str] = []
        _run("ip", "link", "add", "name", _BRIDGE, "type", "bridge")
        _run("ip", "address", "add", f"{self.host}/24", "dev", _BRIDGE)
        _run("ip", "link", "set", _BRIDGE, "up")

    def member(self, name: str) -> list[str]:
        """A namespace of its own; what runs a command in it."""
        self._members.append(name)
        leg = f"cup{len(self._members)}"
        _run("ip", "netns", "add", f"cupola-{name}")
        _run("ip", "link", "add", leg, "type", "veth", "peer", "name", "eth0", "netns", f"cupola-{name}")
        _run("ip", "link", "set", leg, "master", _BRIDGE, "up")
        inside = ["ip", "netns", "exec", f"cupola-{name}"]
        _run(*inside, "ip", "address", "add", f"{_NET}.{len(self._members) + 1}/24", "dev", "eth0")
        _run(*inside, "ip", "link", "set", "lo", "up")
        _run(*inside, "ip", "link", "set", "eth0", "up")
        return inside

    def plug(self, name: str, *, plugged: bool) -> None:
        _run("ip", "link", "set", f"cup{self._members.index(name) + 1}", "up" if plugged else "down")

    def lose(self, name: str, percent: int) -> None:
        """Of what comes in there, so much is dropped by chance: TCP sends it again, later and slower."""
        rules = f"add table inet lossy; add chain inet lossy in {{ type filter hook input priority 0; }}; add rule inet lossy in numgen random mod 100 < {percent} drop"
        _run("ip", "netns", "exec", f"cupola-{name}", "nft", rules)

    def close(self) -> None:
        for name in self._members:
            subprocess.run(["ip", "netns", "del", f"cupola-{name}"], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", _BRIDGE], capture_output=True, check=False)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


@contextmanager
def network() -> Iterator[Network]:
    net = Network()
    try:
        yield net
    finally:
        net.close()


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_three_stations_and_two_receivers_on_networks_that_fail_lose_nothing(tmp_path: Path) -> None:
    """One station is unplugged and comes back, one loses 5 % of its packets, one receiver is cut off for a while, the other killed for good."""
    names = ("roof", "dome", "yard")
    with ExitStack() as stack:
        net = stack.enter_context(network())
        redis = stack.enter_context(RedisServer(tmp_path / "redis", ["appendfsync no", "protected-mode no"], host=net.host))
        inside = {name: net.member(name) for name in (*names, "house", "office")}
        for name in ("dome", "house"):
            net.lose(name, 5)
        processes: list[subprocess.Popen[bytes]] = []
        try:
            into = {name: tmp_path / f"archive-{name}" for name in ("house", "office")}
            house, office = (receiver(redis.url, into[name], tmp_path / name, inside[name]) for name in into)
            processes += [house, office]
            publishers = [publisher(redis.url, name, 6.0 + CUT_S, tmp_path / f"made-{name}", inside[name]) for name in names]
            processes += publishers
            eventually(lambda: all((into[place] / name / ".cupola").is_dir() for place in into for name in names), 60)
            eventually(lambda: all(Stored(into[place] / "yard").listed for place in into), 60)
            net.plug("roof", plugged=False)
            net.plug("house", plugged=False)
            time.sleep(CUT_S)
            office.kill()  # for good: what it was handed waits for whoever takes it over
            office.wait(10)
            net.plug("house", plugged=True)
            net.plug("roof", plugged=True)
            for one in publishers:
                assert one.wait(DRAINED_S) == 0
            for name in names:
                everything = made(tmp_path / f"made-{name}")
                stored = [Stored(into[place] / name) for place in into]
                eventually(lambda stored=stored, everything=everything: all_there(stored, everything), DRAINED_S)
            assert ended(house) == 0
        finally:
            for one in processes:
                one.kill()
                one.wait(10)
    for name in names:
        everything = made(tmp_path / f"made-{name}")
        stored = [Stored(into[place] / name) for place in into]
        is_whole(stored[0])
        # what died between the renaming of a file and its row left that file, and the other one has the record
        assert stored[1].listed.items() <= stored[1].files.items() <= everything["files"].items()
        assert [one.set_aside for one in stored] == [[], []]
        assert stored[0].listed | stored[1].listed == everything["files"]
        assert sorted({*stored[0].numbers, *stored[1].numbers}) == list(range(len(everything["events"])))
        assert stored[0].files and stored[1].files


def all_there(stored: list[Stored], everything: dict[str, Any]) -> bool:
    """In two folders a record may be twice: stored by one that was killed before it could say so, and again by the one that took over."""
    listed = {name for one in stored for name in one.listed}
    return listed == everything["files"].keys() and len({number for one in stored for number in one.numbers}) == len(everything["events"])
