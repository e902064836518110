"""A door to the LAN for a quarter of an hour, so that a machine without screen and browser can be claimed from another.

It opens further sockets beside the one on loopback. What answers there is what answers anybody before the claim: the gate
sees to that. It closes after its time, or as soon as the station is claimed.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Protocol

from cupola.core.errors import CupolaError


class Closable(Protocol):
    """What listens."""

    def close(self) -> None: ...


Listen = Callable[[socket.socket], Awaitable[Closable]]


class NoLan(CupolaError):
    """This machine has no address another could reach, or the port is taken there: check the network."""


class LanWindow:
    """Given its way to listen by `cupola.web.server`, before any request."""

    def __init__(self) -> None:
        self.listen: Listen | None = None
        self.port = 0
        self.tls = False
        self._servers: list[tuple[str, Closable]] = []
        self._closing: asyncio.TimerHandle | None = None

    @property
    def urls(self) -> list[str]:
        scheme = "https" if self.tls else "http"
        return [f"{scheme}://[{address}]:{self.port}" if ":" in address else f"{scheme}://{address}:{self.port}" for address, _ in self._servers]

    async def open(self, seconds: float) -> None:
        """Again: for so long from now. Raises NoLan."""
        if self.listen is None:
            raise NoLan("The server does not listen yet.")
        if not self._servers:
            for address in lan_addresses():
                sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
                try:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    sock.bind((address, self.port))
                    sock.setblocking(False)
                    self._servers.append((address, await self.listen(sock)))
                except OSError:
                    sock.close()
        if not self._servers:
            raise NoLan(f"No address of this machine could be opened on port {self.port}. Is it in a network?")
        if self._closing is not None:
            self._closing.cancel()
        self._closing = asyncio.get_running_loop().call_later(seconds, self.close)

    def close(self) -> None:
        """Takes nobody new; who claims at this moment gets the answer."""
        if self._closing is not None:
            self._closing.cancel()
        self._closing = None
        for _, server in self._servers:
            server.close()
        self._servers = []


def lan_addresses() -> list[str]:
    """Addresses of this machine that others can reach: IPv4, and IPv6 that needs no interface name."""
    import psutil

    found: list[str] = []
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family not in (socket.AF_INET, socket.AF_INET6):
                continue
            parsed = ip_address(address.address.partition("%")[0])
            if not (parsed.is_loopback or parsed.is_link_local or parsed.is_multicast):
                found.append(str(parsed))
    return sorted(found, key=lambda address: (":" in address, address))
