"""The shape of the policy: one typed, immutable document that admin makes, files hold and workers run."""

from __future__ import annotations

from typing import Literal

import msgspec

Access = Literal["public", "authenticated", "roles"]
Match = Literal["prefix", "exact"]
Paths = Literal["canonical", "as_sent"]
LimitKey = Literal["client", "subject", "route"]
AdminAccess = Literal["none", "staff", "superuser"]


# Nothing here can form a cycle; without gc=False every collection would walk tens of thousands of routes.
class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, gc=False):
    """Unknown keys are errors: a misspelt restriction must never be silently absent."""


class Timeouts(Strict, frozen=True):
    """Seconds: to connect, until the response head, and between two pieces of a body."""

    connect: float | None = None
    response: float | None = None
    idle: float | None = None


class Upstream(Strict, frozen=True):
    targets: tuple[str, ...]
    timeouts: Timeouts = Timeouts()


class Role(Strict, frozen=True):
    description: str = ""
    admin: AdminAccess = "none"  # what people who sign in with this role may do in /admin/


class When(Strict, frozen=True):
    """Either `authenticated: true`, or `claim` with exactly one of `contains` and `equals`.

    With `provider`, only of people who signed in there: another provider may name its groups alike.
    """

    provider: str = ""  # slug of an identity provider; empty for every credential
    authenticated: bool = False
    claim: str = ""
    contains: str | int | None = None
    equals: str | int | bool | None = None


class Grant(Strict, frozen=True):
    role: str
    when: When


class RateLimit(Strict, frozen=True):
    """`rate` is N/s, N/m or N/h; `burst` requests are served at once before the rate applies."""

    rate: str
    burst: int = 0
    per: LimitKey = "client"


class Route(Strict, frozen=True):
    name: str
    path: str
    access: Access
    upstream: str
    host: str = ""  # any
    match: Match = "prefix"
    paths: Paths = "canonical"  # as_sent: also those that have no one spelling
    methods: tuple[str, ...] = ()  # all
    roles: tuple[str, ...] = ()
    rate_limit: str = ""  # none
    strip_prefix: bool = False
    preserve_host: bool = False
    pass_authorization: bool = False
    pass_headers: tuple[str, ...] = ()  # identity headers of other gateways, as the client sent them
    timeouts: Timeouts = Timeouts()
    enabled: bool = True


class PolicyDocument(Strict, frozen=True, omit_defaults=False):
    version: Literal[1] = 1
    upstreams: dict[str, Upstream] = {}
    roles: dict[str, Role] = {}
    grants: tuple[Grant, ...] = ()
    rate_limits: dict[str, RateLimit] = {}
    routes: tuple[Route, ...] = ()
