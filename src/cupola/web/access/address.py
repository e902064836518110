"""Where a request comes from, and whether the name it asks for is ours.

X-Forwarded-For and X-Forwarded-Proto count only from the proxies that the configuration names.
"""

from __future__ import annotations

import functools
import re
import socket
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_network
from urllib.parse import urlsplit

from starlette.types import Scope

from cupola.web.access.desk import Client
from cupola.web.access.place import parsed

HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::[0-9]{0,5})?")  # what browsers and proxies could read differently is not taken


@functools.cache
def names_of_this_machine() -> frozenset[str]:
    """Its host name, alone, with `.local`, and as the resolver knows it; `localhost`."""
    name = socket.gethostname().lower()
    short = name.partition(".")[0]
    return frozenset({"localhost", name, short, f"{short}.local"})


class Addresses:
    """`hosts`: further names of this machine; `trusted`: addresses or networks of proxies."""

    def __init__(self, hosts: Collection[str], trusted: Collection[str]) -> None:
        self._hosts = frozenset(host.lower().rstrip(".") for host in hosts) | names_of_this_machine()
        self._trusted = [ip_network(text, strict=False) for text in trusted]

    def ours(self, host: str, scope: Scope) -> bool:
        """Whether a Host header means this machine. An address must be the one that was connected to, or loopback. Raises ValueError."""
        if HOST.fullmatch(host) is None:
            raise ValueError("no name or address, with or without a port")
        parts = urlsplit(f"//{host}")
        name = (parts.hostname or "").rstrip(".").lower()
        if parts.port == 0:
            raise ValueError("no port")
        if name in self._hosts:
            return True
        found = parsed(name)
        if found is None:
            return False
        server = scope.get("server")
        return found.is_loopback or (server is not None and found == parsed(str(server[0])))

    def client(self, scope: Scope, headers: dict[bytes, str]) -> Client:
        """The nearest address that is no trusted proxy."""
        peer = scope.get("client")
        address = parsed(str(peer[0])) if peer else None
        forwarded = headers.get(b"x-forwarded-for")
        local = address is not None and address.is_loopback and forwarded is None and b"forwarded" not in headers
        if address is not None and forwarded is not None and self._is_trusted(address):
            for hop in reversed(forwarded.split(",")):
                found = parsed(hop)
                if found is None:
                    break
                address = found
                if not self._is_trusted(found):
                    break
        return Client(str(address or "unknown"), local, headers.get(b"user-agent", ""))

    def secure(self, scope: Scope, headers: dict[bytes, str]) -> bool:
        """Whether the way to the browser is encrypted."""
        if scope["scheme"] in ("https", "wss"):
            return True
        peer = scope.get("client")
        address = parsed(str(peer[0])) if peer else None
        return address is not None and self._is_trusted(address) and headers.get(b"x-forwarded-proto", "").lower() == "https"

    def proxied(self, address: str) -> bool:
        """Whether connections from there are those of many people."""
        found = parsed(address)
        return found is not None and self._is_trusted(found)

    def _is_trusted(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._trusted)
