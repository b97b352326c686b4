"""Cross-site request forgery: may this unsafe request use what the caller's browser sends by itself?"""

from __future__ import annotations

from authgate.request import RequestFacts
from authgate.wire.authority import HostRefused, parse_authority

_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))


def is_cross_site(facts: RequestFacts) -> bool:
    """Fetch Metadata first, then Origin against our own; a caller that sends neither is not a browser.

    The algorithm of Go 1.25's CrossOriginProtection, with scheme and port compared as well. A WebSocket, which any page
    may open to any host, and then read and write, must say that it is our own (RFC 6455 10.2).
    """
    if facts.method in _SAFE_METHODS and not facts.wants_upgrade:
        return False
    site = facts.headers.values(b"sec-fetch-site")
    origin = facts.headers.values(b"origin")
    if len(site) > 1 or len(origin) > 1:
        return True
    if site:
        return site[0] not in (b"same-origin", b"none")
    return not _is_own_origin(origin[0], facts) if origin else facts.wants_upgrade


def _is_own_origin(origin: bytes, facts: RequestFacts) -> bool:
    scheme, _, rest = origin.partition(b"://")
    if scheme != facts.scheme.encode("ascii"):
        return False
    try:
        authority = parse_authority(rest)
    except HostRefused:
        return False
    own = facts.authority
    return (authority.host, authority.effective_port(facts.scheme)) == (own.host, own.effective_port(facts.scheme))
