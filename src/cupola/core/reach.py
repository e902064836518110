"""Which addresses Cupola's own requests may go to, so that a URL in the configuration is no way into what only this machine may ask.

Pure: names are looked up, and requests sent, by `net.outgoing`.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_LOCAL_LINK = "is a link-local address: cloud metadata services are reached by these"
# Metadata services at other addresses than link-local ones: AWS over IPv6, Alibaba Cloud, Oracle Cloud.
_METADATA = frozenset(map(ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192")))
_CARRIES_IPV4 = ip_network("64:ff9b::/96")  # NAT64 (RFC 6052)


def why_refused(address: str, *, loopback: bool) -> str | None:
    """Why nothing is sent to an IP address, in words that go behind it; None where it may be. `loopback`: this machine itself is allowed."""
    ip = _inner(ip_address(address.partition("%")[0]))
    if ip.is_loopback or ip.is_unspecified:
        return None if loopback else "is this machine itself"
    if ip.is_link_local:
        return _LOCAL_LINK
    if ip in _METADATA:
        return "is the address of a cloud metadata service"
    if ip.is_multicast or ip == ip_address("255.255.255.255"):
        return "is no address of one machine"
    return None


def _inner(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one stands for, else itself."""
    if isinstance(ip, IPv4Address):
        return ip
    if ip in _CARRIES_IPV4:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip
