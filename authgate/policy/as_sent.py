"""What a route that takes paths as sent asks of the rest of the policy: that all below it is its own.

Such a path may mean any other one below the route to the service. Where a more specific route, or the gateway itself,
has one of those, the path would pass its rule by.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from authgate.policy.errors import PolicyError
from authgate.policy.pace import Pace
from authgate.policy.places import RESERVED, own_host_of
from authgate.policy.schema import PolicyDocument, Route
from authgate.wire.target import careless_path, fold_case

# By host as routes name it, and path with its case folded: the routes that take paths as sent.
_Takers = dict[tuple[str, str], list[Route]]


def as_sent_problems(route: Route, own_hosts: Collection[str]) -> Iterator[str]:
    """Of the route by itself; its host and path are valid."""
    if route.paths != "as_sent":
        return
    if route.match == "exact":
        yield "as_sent has no effect with match: exact, whose one path has one spelling; use match: prefix"
    elif route.path == "/" and (host := own_host_of(route, own_hosts)):
        yield f"{RESERVED[0]} and others on {host} belong to the gateway itself: give the route another host, or a path"


def check_nothing_below(document: PolicyDocument, pace: Pace) -> Iterator[PolicyError]:
    """Every other route that could be meant by a path which one of these takes. Both names are in the message."""
    takers: _Takers = {}
    for route in document.routes:
        if route.paths == "as_sent":
            takers.setdefault((route.host, _folded(route.path)), []).append(route)
    if not takers:
        return
    for other in pace(document.routes):
        for taker in _takers_above(other, takers):
            yield PolicyError(
                ("routes", taker.name, "paths"),
                f"route {other.name!r} at {other.host}{other.path} lies below it, and a path as sent could be meant "
                "for that one; give one of the two another host or path",
            )


def _takers_above(other: Route, takers: _Takers) -> Iterator[Route]:
    path = _folded(other.path)
    for host in _covering_hosts(other.host):
        for above in _prefixes(path):
            for taker in takers.get((host, above), ()):
                if above != path or _takes_from(other, taker):
                    yield taker


def _takes_from(other: Route, taker: Route) -> bool:
    """At the very path of the taker: another route for other methods or for a narrower host is found letter by letter.
    One for this path alone, or for another spelling of it, is what the service could read instead.
    """
    return other is not taker and (other.match == "exact" or other.path != taker.path)


def _covering_hosts(host: str) -> Iterator[str]:
    """As routes can name them: those whose requests this host's route would take away."""
    yield host
    dot = host.find(".", 1)
    while dot != -1:
        if host[dot - 1] != "*":
            yield f"*{host[dot:]}"
        dot = host.find(".", dot + 1)
    if host:
        yield ""


def _prefixes(path: str) -> Iterator[str]:
    """Of "/a/b": "", "/a" and "/a/b"."""
    slash = path.find("/")
    while slash != -1:
        yield path[:slash]
        slash = path.find("/", slash + 1)
    yield path


def _folded(path: str) -> str:
    """As it reads to whoever decodes, trims and folds all they can."""
    return fold_case(careless_path(path)).rstrip("/")
