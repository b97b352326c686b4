"""How a route changes the heads of requests and responses: its options, ready to use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from authgate.policy.schema import Cors, HeaderRules, Route

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
    removed = _removed(rules) if not isinstance(route.cors, Cors) else _removed(rules) | CORS_RESPONSE
    made = ResponseRules(defaults, removed, (*_pairs(rules.set), *_pairs(rules.add)))
    return made if any(made) else None


def request_rules(route: Route) -> RequestRules | None:
    rules = route.request_headers
    if rules is None:
        return None
    pairs = (*_pairs(rules.set), *_pairs(rules.add))
    return RequestRules(_removed(rules), b"".join(b"%b: %b\r\n" % pair for pair in pairs))


class CorsRules(msgspec.Struct, frozen=True, eq=False, gc=False):
    """`origins` is None where the service decides about other origins itself."""

    origins: frozenset[bytes] | None
    is_any: bool
    credentials: bool
    preflight: tuple[Pair, ...]  # of the answer to a preflight, besides the origin
    actual: tuple[Pair, ...]  # of every other answer

    def headers_for(self, origin: bytes | None, *, is_preflight: bool = False) -> list[Pair]:
        """For an answer to a request with this Origin. Nothing that was not named is ever repeated."""
        if self.origins is None:
            return []
        if self.is_any:
            allowed = [(_ALLOW_ORIGIN, b"*")]
        else:
            allowed = [(_ALLOW_ORIGIN, origin)] if origin is not None and origin in self.origins else []
        more = [*allowed, *(self.preflight if is_preflight else self.actual)] if allowed else []
        return more if self.is_any else [*more, (b"vary", b"Origin")]


_ALLOW_ORIGIN = b"access-control-allow-origin"
# What a service may send of it, which would contradict the gateway's.
CORS_RESPONSE = frozenset(
    (
        _ALLOW_ORIGIN, b"access-control-allow-methods", b"access-control-allow-headers", b"access-control-max-age",
        b"access-control-allow-credentials", b"access-control-expose-headers",
    )
)  # fmt: skip
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def cors_rules(route: Route) -> CorsRules | None:
    if route.cors is None:
        return None
    if isinstance(route.cors, str):
        return CorsRules(None, False, False, (), ())
    cors = route.cors
    credentials = [(b"access-control-allow-credentials", b"true")] if cors.credentials else []
    methods = cors.methods or tuple(method for method in route.methods if method != "OPTIONS") or _METHODS
    preflight = [*credentials, (b"access-control-allow-methods", _listed(methods))]
    if cors.headers:
        preflight.append((b"access-control-allow-headers", _listed(cors.headers)))
    preflight.append((b"access-control-max-age", b"%d" % cors.max_age))
    expose = [(b"access-control-expose-headers", _listed(cors.expose))] if cors.expose else []
    return CorsRules(
        frozenset(origin.encode("utf-8", "replace") for origin in cors.origins), "*" in cors.origins, cors.credentials,
        tuple(preflight), (*credentials, *expose),
    )  # fmt: skip


def _listed(words: Iterable[str]) -> bytes:
    return ", ".join(words).encode("utf-8", "replace")


def key_of(name: str) -> bytes:
    return name.lower().encode("utf-8", "replace")


def _removed(rules: HeaderRules) -> frozenset[bytes]:
    """What is set replaces what was there."""
    return frozenset(map(key_of, (*rules.remove, *rules.set)))


def _pairs(values: Mapping[str, str]) -> list[Pair]:
    return [(key_of(name), value.encode("latin-1", "replace")) for name, value in values.items()]
