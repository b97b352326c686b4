"""Checks for routes that take paths as sent: nothing else may lie below such a route.

To the service, such a path may mean any other path below the route. If a more specific route, or the gateway itself,
had one of those, the request would bypass its rule.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from authgate.own_pages import RESERVED
from authgate.policy.errors import PolicyError
from authgate.policy.pace import Pace
from authgate.policy.places import own_host_of
from authgate.policy.schema import PolicyDocument, Route
from authgate.wire.target import careless_path, fold_case

# The routes that take paths as sent, by host as routes name it and by path with its case folded.
_Takers = dict[tuple[str, str], list[Route]]


def as_sent_problems(route: Route, own_hosts: Collection[str]) -> Iterator[str]:
    """Problems of the route by itself, whose host and path are valid."""
    if route.paths != "as_sent":
        return
    if route.match == "exact":
        yield "as_sent has no effect with match: exact, whose one path has one spelling; use match: prefix"
    elif route.path == "/" and (host := own_host_of(route, own_hosts)):
        yield f"{RESERVED[0]} and others on {host} belong to the gateway itself: give the route another host, or a path"


def check_nothing_below(document: PolicyDocument, pace: Pace) -> Iterator[PolicyError]:
    """An error for every other route that a path as sent could be meant for. The message names both routes."""
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
                if _takes_from(other, taker):
                    yield taker


def _takes_from(other: Route, taker: Route) -> bool:
    """Whether `other`, at the taker's path or below it, could be meant by one of its paths.

    At that very path, a route for other methods or for a narrower host is found letter by letter. But a route for
    that path alone, or for another spelling of it, is one that the service could read instead.
    """
    return other is not taker and (other.match == "exact" or other.path != taker.path)


def _covering_hosts(host: str) -> Iterator[str]:
    """The hosts, as routes can name them, whose requests a route for this host would take away."""
    yield host
    dot = host.find(".", 1)
    while dot != -1:
        if host[dot - 1] != "*":
            yield f"*{host[dot:]}"
        dot = host.find(".", dot + 1)
    if host:
        yield ""


def _prefixes(path: str) -> Iterator[str]:
    """The prefixes of a path: for "/a/b" these are "", "/a" and "/a/b"."""
    slash = path.find("/")
    while slash != -1:
        yield path[:slash]
        slash = path.find("/", slash + 1)
    yield path


def _folded(path: str) -> str:
    """The path as a service reads it that decodes, trims and folds all it can."""
    return fold_case(careless_path(path)).rstrip("/")
