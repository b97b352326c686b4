from __future__ import annotations

import functools
import ipaddress

from authgate.wire.address import parse_address


@functools.lru_cache(maxsize=16384)
def client_key(address: str) -> str:
    """The key of one client: an IPv4 address or an IPv6 /64, since one host owns all addresses of a /64."""
    parsed = parse_address(address)
    if parsed is None:
        return address  # the peer of a unix socket has no address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
