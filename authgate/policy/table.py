"""Which route a request belongs to: the compiled, immutable form of the document's routes."""

from __future__ import annotations

from dataclasses import dataclass

from authgate.policy.document import RateLimit, Route, Timeouts, Upstream


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate limit ready for arithmetic (GCRA): seconds per request and seconds of credit."""

    name: str
    interval: float
    burst: int
    per: str


@dataclass(frozen=True, slots=True, eq=False)
class RouteEntry:
    """A route with everything a request needs resolved. Compared by identity: caches may key on it."""

    name: str
    path: str
    access: str
    roles: frozenset[str]
    upstream: Upstream
    upstream_name: str
    limit: Limit | None
    timeouts: Timeouts  # every field set: the route's, else the upstream's, else the default
    strip_prefix: bool
    preserve_host: bool
    pass_authorization: bool
    enabled: bool
    problem: str = ""  # why it no longer validates; then it denies
