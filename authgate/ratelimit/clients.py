from __future__ import annotations

import functools
import ipaddress


@functools.lru_cache(maxsize=16384)
def client_key(address: str) -> str:
    """What counts as one client: an IPv4 address or an IPv6 /64, of which one host owns every address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address  # the peer of a unix socket has none
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
