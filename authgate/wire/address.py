"""The one canonical text of a client's address, whatever wrote it: a socket, a header, an operator."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Azure's and Microsoft's proxies write the client's port behind its address.
_WITH_PORT = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<v4>[0-9.]+))(?::[0-9]{1,5})?")
_LONGEST = 80  # with brackets, zone and port; clients may write longer texts, which are not worth remembering
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def canonical_address(text: str) -> str:
    """Empty for what is no address: the peer of a unix socket, `unknown`, a name."""
    return _canonical_text(text) if len(text) <= _LONGEST else ""


def parse_address(text: str) -> Address | None:
    """Without port, brackets and zone; IPv4 for an IPv4-mapped IPv6 address."""
    match = _WITH_PORT.fullmatch(text)
    try:
        address = ipaddress.ip_address(text if match is None else match["v6"] or match["v4"])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return address
    # A zone ("fe80::1%eth0") means something only to the machine that wrote it, and may hold any characters.
    return address.ipv4_mapped or ipaddress.IPv6Address(int(address))


def canonical_network(network: Network) -> Network:
    """IPv4 for a network of IPv4-mapped addresses, so that it contains what `parse_address` returns."""
    if isinstance(network, ipaddress.IPv4Network) or not network.subnet_of(_MAPPED):
        return network
    return ipaddress.IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))


@lru_cache(maxsize=16384)
def _canonical_text(text: str) -> str:
    address = parse_address(text)
    return "" if address is None else str(address)
