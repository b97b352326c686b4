"""Where COPY and MOVE lead (RFC 4918 9.8, 9.9): a second path of the request, for which the policy counts as well."""

from __future__ import annotations

from authgate.policy.table import RouteEntry
from authgate.request import RequestFacts
from authgate.state.snapshot import Snapshot
from authgate.wire.authority import HostRefused, parse_authority
from authgate.wire.target import TargetRefused, canonical_path

DESTINED = frozenset(("COPY", "MOVE", "BCOPY", "BMOVE"))  # B: of several at once, in WebDAV as Exchange has it


def leads_away(facts: RequestFacts, snapshot: Snapshot, entry: RouteEntry) -> str:
    """The rule that its Destination breaks; empty for one on the same route. Nobody is asked by that route whether
    they may write where another one leads.
    """
    if not facts.headers.values(b"destination"):
        return ""
    path = destination_of(facts)
    if path is None:
        return "its Destination is no plain path of this host"
    found, has_second_reading = snapshot.table.find(facts.authority.host, path, facts.method)
    return "" if found is entry and not has_second_reading else "its Destination is on another route"


def destination_of(facts: RequestFacts) -> str | None:
    """The canonical path. None for a Destination that is elsewhere, repeated or ambiguous, and without one."""
    values = facts.headers.values(b"destination")
    if len(values) != 1:
        return None
    scheme, colon, rest = values[0].partition(b"://")
    path = values[0]
    if colon and scheme.isalpha():
        netloc, slash, path = rest.partition(b"/")
        path = slash + path
        try:
            authority = parse_authority(netloc)
        except HostRefused:
            return None
        own = facts.authority
        # Behind a proxy that ends TLS, clients may know another scheme.
        if authority.host != own.host or authority.port not in (own.port, None, 80, 443):
            return None
    try:
        return canonical_path(path)
    except TargetRefused:
        return None
