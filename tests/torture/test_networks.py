"""Three stations and two receivers, each in a network namespace of its own, around one Redis; networks that fail: nothing lost, the archive complete.

CUPOLA_NETWORK_CUT_S says for how long networks are cut.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.support.receiving import Stored, readings
from tests.support.redis_server import RedisServer
from tests.support.station import eventually
from tests.torture.streams import DRAINED_S, all_taken, catalogued, light_station, receiver

CUT_S = float(os.environ.pop("CUPOLA_NETWORK_CUT_S", "5"))  # programs that are started here know no such key
pytestmark = [pytest.mark.torture, pytest.mark.timeout(600 + 2 * CUT_S)]

# Redis listens on a bridge; each station and receiver has a namespace with one leg on it.
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
    """One station is unplugged and comes back, one loses 5 % of its packets, as does one receiver, which is cut off for a while, too; the other is killed for good."""
    names, places = ("roof", "dome", "yard"), ("house", "office")
    into = {place: tmp_path / f"archive-{place}" for place in places}
    archive = {name: [Stored(into[place] / name) for place in places] for name in names}
    with ExitStack() as stack:
        net = stack.enter_context(network())
        redis = stack.enter_context(RedisServer(tmp_path / "redis", ["appendfsync no", "protected-mode no"], host=net.host))
        inside = {name: net.member(name) for name in (*names, *places)}
        for name in ("dome", "house"):
            net.lose(name, 5)
        house, office = (stack.enter_context(receiver(redis.url, into[place], tmp_path / f"at-{place}", inside[place])) for place in places)
        load = ("--events-per-s", "20", "--stills-per-s", "4")
        stations = [stack.enter_context(light_station(tmp_path / name, redis.url, *load, inside=inside[name])) for name in names]
        eventually(lambda: all(one.listed for name in names for one in archive[name]), 90)
        net.plug("roof", plugged=False)
        net.plug("house", plugged=False)
        time.sleep(CUT_S)
        office.kill()  # for good: what it was handed waits for whoever takes it over
        net.plug("house", plugged=True)
        net.plug("roof", plugged=True)
        for station in stations:
            station.finish()
        for name in names:  # what is left in their spools
            stack.enter_context(light_station(tmp_path / name, redis.url, "--events-per-s", "0.001", "--stills-per-s", "0", inside=inside[name]))
        for name in names:
            eventually(lambda name=name: all_there(archive[name], tmp_path / name) and all_taken(redis, name), DRAINED_S)
        house.finish()
    for name in names:
        at_house, at_office = archive[name]
        pictures = catalogued(tmp_path / name)
        assert at_house.files == at_house.listed
        # what died between the renaming of a file and its row left that file, and the other one has the record
        assert at_office.listed.items() <= at_office.files.items() <= pictures.items()
        assert at_house.set_aside == at_office.set_aside == []
        assert at_house.listed | at_office.listed == pictures
        for one in archive[name]:
            values = readings(one)
            assert values == sorted(set(values)) and one.listed
            order = [row["path"] for row in one.query("SELECT path FROM received_image ORDER BY incarnation, sequence")]
            assert order == sorted(set(order)), "stills out of order"
            assert [row[0] for row in one.query("PRAGMA integrity_check")] == ["ok"]


def all_there(stored: list[Stored], folder: Path) -> bool:
    """All that the station has told to anybody. In two folders a record may be twice: stored by a receiver that was killed before it could say so."""
    told = {int(number) for number in (folder / "events").read_text().split()}
    values = {value for one in stored for value in readings(one)}
    return told <= values and {name for one in stored for name in one.listed} == catalogued(folder).keys()
