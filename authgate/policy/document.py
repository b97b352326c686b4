"""The policy as one typed, immutable document: what admin compiles to, what files hold, what workers run."""

from __future__ import annotations

from typing import Literal

import msgspec

Access = Literal["public", "authenticated", "roles"]
Match = Literal["prefix", "exact"]
LimitKey = Literal["client", "subject", "route"]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Unknown keys are errors: a misspelt restriction must never be silently absent."""


class Timeouts(Strict):
    """Seconds: to connect, until the response head, and between two pieces of a body."""

    connect: float | None = None
    response: float | None = None
    idle: float | None = None


class Upstream(Strict):
    targets: tuple[str, ...]
    timeouts: Timeouts = Timeouts()


class Role(Strict):
    description: str = ""


class When(Strict):
    """Either `authenticated: true`, or `claim` with exactly one of `contains` and `equals`."""

    authenticated: bool = False
    claim: str = ""
    contains: str | int | None = None
    equals: str | int | bool | None = None


class Grant(Strict):
    role: str
    when: When


class RateLimit(Strict):
    """`rate` is N/s, N/m or N/h; `burst` requests are served at once before the rate applies."""

    rate: str
    burst: int = 0
    per: LimitKey = "client"


class Route(Strict):
    name: str
    path: str
    access: Access
    upstream: str
    host: str = ""  # any
    match: Match = "prefix"
    methods: tuple[str, ...] = ()  # all
    roles: tuple[str, ...] = ()
    rate_limit: str = ""  # none
    strip_prefix: bool = False
    preserve_host: bool = False
    pass_authorization: bool = False
    timeouts: Timeouts = Timeouts()
    enabled: bool = True


class PolicyDocument(Strict, omit_defaults=False):
    version: Literal[1] = 1
    upstreams: dict[str, Upstream] = {}
    roles: dict[str, Role] = {}
    grants: tuple[Grant, ...] = ()
    rate_limits: dict[str, RateLimit] = {}
    routes: tuple[Route, ...] = ()
