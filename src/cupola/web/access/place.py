"""What is counted as one place in a network, so that nobody is many by having many addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

SUBNET_BITS = 64  # of IPv6: what one household or one machine is given to choose addresses from (RFC 6177)


def parsed(text: str) -> IPv4Address | IPv6Address | None:
    """An address as proxies, sockets and Host headers write it; None for what is none. An IPv4 address in IPv6 is one of IPv4."""
    try:
        found = ip_address(text.strip().partition("%")[0].strip("[]"))
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def place_of(address: str) -> str:
    """The address itself, or of IPv6 its /64 network. What is no address is a place of its own."""
    found = parsed(address)
    if not isinstance(found, IPv6Address) or found.is_loopback:
        return address if found is None else str(found)
    host_bits = 128 - SUBNET_BITS
    return f"{IPv6Address(int(found) >> host_bits << host_bits)}/{SUBNET_BITS}"


def is_this_machine(address: str) -> bool:
    """Whether it is one of loopback's."""
    found = parsed(address)
    return found is not None and found.is_loopback
