"""How a route changes the heads of requests and responses: its options, ready to use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from authgate.policy.schema import HeaderRules, Route

Pair = tuple[bytes, bytes]
_NO_RULES = HeaderRules()


class ResponseRules(NamedTuple):
    """Compared by value: equal ones share what is worked out from them. Names in lower case."""

    defaults: tuple[tuple[bytes, bytes | None], ...]  # security headers other than the gateway's; None: left out
    removed: frozenset[bytes]  # of what the service sends
    added: tuple[Pair, ...]


class RequestRules(NamedTuple):
    removed: frozenset[bytes]  # of what the client sends
    lines: bytes  # added to what the service receives


def response_rules(route: Route) -> ResponseRules | None:
    """None: responses are finished as everywhere."""
    rules = route.response_headers or _NO_RULES
    defaults = tuple(
        [(key_of(name), None if value is None else value.encode()) for name, value in route.security_headers.items()]
    )
    made = ResponseRules(defaults, _removed(rules), (*_pairs(rules.set), *_pairs(rules.add)))
    return made if any(made) else None


def request_rules(route: Route) -> RequestRules | None:
    rules = route.request_headers
    if rules is None:
        return None
    pairs = (*_pairs(rules.set), *_pairs(rules.add))
    return RequestRules(_removed(rules), b"".join(b"%b: %b\r\n" % pair for pair in pairs))


def key_of(name: str) -> bytes:
    return name.lower().encode("utf-8", "replace")


def _removed(rules: HeaderRules) -> frozenset[bytes]:
    """What is set replaces what was there."""
    return frozenset(map(key_of, (*rules.remove, *rules.set)))


def _pairs(values: Mapping[str, str]) -> list[Pair]:
    return [(key_of(name), value.encode("latin-1", "replace")) for name, value in values.items()]
