"""Requests for a folder with all that is in it, such as WebDAV's: nobody may reach by them what another route keeps
from them. The service knows no routes, and takes along whatever lies below the path.
"""

from __future__ import annotations

from collections.abc import Iterator

from authgate.gate.cross_site import is_cross_site
from authgate.gate.destination import DESTINED, destination_of
from authgate.gate.preflight import may_use_session
from authgate.policy.rules import evaluate_access
from authgate.policy.table import RouteEntry, RouteTable
from authgate.policy.validation import served_methods
from authgate.reason import LETTING_IN, Reason
from authgate.request import Identity, RequestFacts
from authgate.state.snapshot import Snapshot

# They name what they act on in their bodies, which are not read (RFC 5323, RFC 5842, RFC 3253; Exchange's of several).
_NAMING_IN_BODY = frozenset((
    "SEARCH", "BIND", "UNBIND", "REBIND", "MERGE", "BCOPY", "BMOVE", "BDELETE", "BPROPFIND", "BPROPPATCH",
))  # fmt: skip
WHOLE_TREE = _NAMING_IN_BODY | DESTINED | {"DELETE", "PROPFIND", "LOCK", "REPORT", "ACL", "UPDATE", "LABEL"}
# The values of Depth that keep a request to the path itself, or to the names in it, as any listing has them.
_SHALLOW = {"PROPFIND": (b"0", b"1"), "LOCK": (b"0",)}
# A walk through more would cost more than a service needs to answer.
_MOST = 1000


def takes_too_much(facts: RequestFacts, snapshot: Snapshot, entry: RouteEntry, identity: Identity | None) -> str:
    """The rule that it breaks; empty if this caller would be let in to all that lies below."""
    depths = facts.headers.values(b"depth")
    if len(depths) == 1 and depths[0] in _SHALLOW.get(facts.method, ()):
        return ""
    for number, other in enumerate(_others_below(facts, snapshot, entry)):
        if number == _MOST:
            return f"more than {_MOST} routes lie below"
        if other is None or not _lets_in(other, identity, facts):
            return "nobody may ask for what lies below" if other is None else f"{other.route.name!r} lies below"
    return ""


def _others_below(facts: RequestFacts, snapshot: Snapshot, entry: RouteEntry) -> Iterator[RouteEntry | None]:
    """None: no route leads there."""
    host, table = facts.authority.host, snapshot.table
    path = entry.route.path if facts.method in _NAMING_IN_BODY else facts.path
    if entry.route.match == "exact" and facts.method != "DELETE":
        yield table.match(host, f"{path.rstrip('/')}/-", facts.method)  # of what lies below, it leads to nothing
    destination = destination_of(facts) if facts.method in DESTINED else None
    for each in (path, destination):
        if each is not None:
            for number in table.below.find(host, each):
                other = table.entries[number]
                if other is not entry and _is_found(other, host, table):
                    yield other


def _is_found(entry: RouteEntry, host: str, table: RouteTable) -> bool:
    """Whether no route of a more specific host has all its requests."""
    return any(table.match(host, entry.route.path, each) is entry for each in served_methods(entry.route))


def _lets_in(entry: RouteEntry, identity: Identity | None, facts: RequestFacts) -> bool:
    """By the credential that was verified for another route."""
    if identity is not None and entry.reason is not Reason.PUBLIC:
        if identity.terms is not None and identity.terms.refusal(facts.client, entry.route.name) is not None:
            return False
        if identity.is_ambient and is_cross_site(facts) and not may_use_session(facts, entry):
            return False
    return evaluate_access(entry, identity) in LETTING_IN
