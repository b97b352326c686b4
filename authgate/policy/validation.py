"""The only validator of policies: import, admin and the API refuse exactly the same things."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from authgate.policy.as_sent import as_sent_problems, check_nothing_below
from authgate.policy.errors import Place, PolicyError, did_you_mean
from authgate.policy.mcp_problems import mcp_problems
from authgate.policy.pace import Pace, at_once
from authgate.policy.places import host_problem, method_problem, path_problem, reserved_problem
from authgate.policy.redirects import redirect_problems
from authgate.policy.schema import Grant, PolicyDocument, RateLimit, Route, Timeouts, When
from authgate.policy.shaping_problems import shaping_problems
from authgate.policy.told_problems import check_told, told_problems
from authgate.policy.upstreams import upstream_problems
from authgate.wire.identity_headers import IDENTITY_HEADERS, route_may_pass

MAX_SECONDS = 86400
MAX_COUNT = 1_000_000
MAX_INTEGER = 2**63 - 1

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_RATE = re.compile(r"([1-9][0-9]{0,6})/[smh]")
_SLUG = re.compile(r"[A-Za-z0-9_-]{1,40}")
_SCOPE = re.compile(r"[!#-\[\]-~]{1,200}")  # RFC 6749 3.3
MAX_AUDIENCE = 400
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def validate(
    document: PolicyDocument, *, own_hosts: Collection[str], auth_prefix: str, pace: Pace = at_once
) -> list[PolicyError]:
    """All faults, in the order of the document. `pace` may slow down the walk over the routes."""
    errors = [*_check_upstreams(document), *_check_roles(document), *_check_grants(document)]
    errors += _check_rate_limits(document)
    for index, route in enumerate(pace(document.routes)):
        place: Place = ("routes", route.name or index)
        for field, problem in _check_route(document, route):
            errors.append(PolicyError((*place, *_parts(field)), problem))
        for field, problem in _check_place(route, own_hosts, auth_prefix):
            errors.append(PolicyError((*place, field), problem))
    errors += check_told(document, pace)
    return [*errors, *_check_ties(document, pace), *check_nothing_below(document, pace)]


Problems = Iterator[tuple[str, str]]  # field, message


def _parts(field: str) -> Place:
    return tuple([int(part) if part.isdecimal() else part for part in field.split(".")])


def _check_upstreams(document: PolicyDocument) -> Iterator[PolicyError]:
    for name, upstream in document.upstreams.items():
        place: Place = ("upstreams", name)
        yield from _check_name(name, place)
        for field, problem in upstream_problems(upstream):
            yield PolicyError((*place, *_parts(field)), problem)
        for field, problem in _check_timeouts(upstream.timeouts):
            yield PolicyError((*place, "timeouts", field), problem)
        if upstream.timeouts.total is not None:
            yield PolicyError((*place, "timeouts", "total"), "only a route has a total time")


def _check_roles(document: PolicyDocument) -> Iterator[PolicyError]:
    for name, role in document.roles.items():
        yield from _check_name(name, ("roles", name))
        if _CONTROL.search(role.description) or len(role.description) > 500:
            yield PolicyError(("roles", name, "description"), "at most 500 characters and no control characters")


def _check_grants(document: PolicyDocument) -> Iterator[PolicyError]:
    for index, grant in enumerate(document.grants):
        if grant.role not in document.roles:
            yield PolicyError(
                ("grants", index, "role"), f"unknown role {grant.role!r}{did_you_mean(grant.role, document.roles)}"
            )
        for field, problem in _check_when(grant.when):
            yield PolicyError(("grants", index, "when", *((field,) if field else ())), problem)
    for index, first in _repeated(document.grants):
        yield PolicyError(("grants", index), f"the same as grants[{first}]")


def _repeated(grants: tuple[Grant, ...]) -> Iterator[tuple[int, int]]:
    seen: dict[object, int] = {}
    for index, grant in enumerate(grants):
        when = grant.when
        # The key includes the type: `equals: true` and `equals: 1` are two different grants.
        key = (grant.role, when.provider, when.authenticated, when.claim, type(when.contains), when.contains)
        first = seen.setdefault((*key, type(when.equals), when.equals), index)
        if first != index:
            yield index, first


def _check_when(when: When) -> Problems:
    # The provider need not exist: the policy may come first, and removing a provider must not break it.
    if when.provider and not _SLUG.fullmatch(when.provider):
        yield "provider", f"{when.provider!r} is not the slug of an identity provider: letters, digits, '-' and '_'"
    values = [value for value in (when.contains, when.equals) if value is not None]
    if when.authenticated and (when.claim or values):
        yield "", "either authenticated: true or a claim, not both"
    elif not when.authenticated and len(values) != 1:
        yield "", "needs authenticated: true, or claim with exactly one of contains and equals"
    elif values and not when.claim.strip():
        yield "claim", "the name of a claim is needed"
    if len(when.claim) > 200 or _CONTROL.search(when.claim):
        yield "claim", "at most 200 characters and no control characters"
    for field, value in (("contains", when.contains), ("equals", when.equals)):
        if problem := _value_problem(value):
            yield field, problem


def _value_problem(value: str | int | bool | None) -> str | None:
    if isinstance(value, str):
        # Identity providers send empty entries; a grant for one would match people whom nobody intended.
        if not value.strip():
            return "an empty value is not allowed"
        return "no control characters" if _CONTROL.search(value) else None
    if value is not None and not -MAX_INTEGER <= value <= MAX_INTEGER:
        return "the number is too large"
    return None


def _check_rate_limits(document: PolicyDocument) -> Iterator[PolicyError]:
    for name, limit in document.rate_limits.items():
        yield from _check_name(name, ("rate_limits", name))
        for field, problem in _check_rate_limit(limit):
            yield PolicyError(("rate_limits", name, field), problem)


def _check_rate_limit(limit: RateLimit) -> Problems:
    if not _RATE.fullmatch(limit.rate):
        yield "rate", f"must look like 10/s, 300/m or 1000/h, not {limit.rate!r}"
    if not 0 <= limit.burst <= MAX_COUNT:
        yield "burst", f"must be from 0 to {MAX_COUNT}"


def _check_name(name: str, place: Place) -> Iterator[PolicyError]:
    if not _NAME.fullmatch(name):
        yield PolicyError(place, name_problem(name))


def name_problem(name: str) -> str:
    return (
        f"{name!r} is not a name: letters, digits, '.', '_' and '-', beginning with a letter or digit, "
        "at most 100 characters"
    )


def _check_route(document: PolicyDocument, route: Route) -> Problems:
    if not _NAME.fullmatch(route.name):
        yield "name", name_problem(route.name)
    if not route.upstream and route.redirect is None:
        yield "upstream", "missing; only a route with redirect has none"
    elif route.upstream and route.upstream not in document.upstreams:
        yield "upstream", f"unknown upstream {route.upstream!r}{did_you_mean(route.upstream, document.upstreams)}"
    if route.rate_limit and route.rate_limit not in document.rate_limits:
        near = did_you_mean(route.rate_limit, document.rate_limits)
        yield "rate_limit", f"unknown rate limit {route.rate_limit!r}{near}"
    yield from _check_access(document, route)
    yield from _check_pass_headers(route.pass_headers)
    yield from told_problems(route)
    yield from shaping_problems(route)
    yield from redirect_problems(route)
    yield from _check_tokens(route)
    yield from mcp_problems(document, route)
    for field, problem in _check_timeouts(route.timeouts):
        yield f"timeouts.{field}", problem


def _check_access(document: PolicyDocument, route: Route) -> Problems:
    if route.access == "roles" and not route.roles:
        yield "roles", "access roles needs at least one role"
    if route.access != "roles" and route.roles:
        yield "roles", f"roles have no effect with access {route.access}; use access: roles"
    if len(set(route.roles)) != len(route.roles):
        yield "roles", "a role is named twice"
    for role in route.roles:
        if role not in document.roles:
            unknown = f"unknown role {role!r}{did_you_mean(role, document.roles)}"
            yield "roles", unknown if role.strip() else "an empty role is not allowed"


def _check_tokens(route: Route) -> Problems:
    for field, values in (("issuers", route.issuers), ("scopes", route.scopes)):
        if len(set(values)) != len(values):
            yield field, "one is named twice"
    for slug in route.issuers:
        if not _SLUG.fullmatch(slug):
            yield "issuers", f"{slug!r} is not the name of a token issuer: letters, digits, '_' and '-'"
    for scope in route.scopes:
        if not _SCOPE.fullmatch(scope):
            yield "scopes", f"{scope!r} is not a scope: visible characters without space, quotes and backslash"
    if (
        len(route.audience) > MAX_AUDIENCE
        or _CONTROL.search(route.audience)
        or route.audience != route.audience.strip()
    ):
        yield "audience", f"at most {MAX_AUDIENCE} characters, no control characters, no space around it"
    if route.access == "public":
        for field in ("issuers", "scopes", "audience"):
            if getattr(route, field):
                yield field, "has no effect with access public, which asks for no credential"


def _check_pass_headers(names: tuple[str, ...]) -> Problems:
    if len({name.lower() for name in names}) != len(names):
        yield "pass_headers", "a header is named twice"
    for name in names:
        if problem := _pass_problem(name):
            yield "pass_headers", problem


def _pass_problem(name: str) -> str | None:
    plain = name.lower().encode()
    if len(name) <= 100 and route_may_pass(plain):
        return None
    if plain == b"authorization":
        return "for Authorization there is pass_authorization: true"
    if plain in IDENTITY_HEADERS:
        return f"{name} is always set by the gateway itself"
    return (
        f"{name!r} cannot be let through: only headers by which other gateways say who is there are removed and can "
        "be, such as X-Remote-User, and never those of forwarding"
    )


def _check_timeouts(timeouts: Timeouts) -> Problems:
    for field in ("connect", "response", "idle", "total"):
        value: float | None = getattr(timeouts, field)
        if value is not None and not 0 < value <= MAX_SECONDS:  # also true of NaN
            yield field, f"must be more than 0 and at most {MAX_SECONDS} seconds"


def _check_place(route: Route, own_hosts: Collection[str], auth_prefix: str) -> Problems:
    if problem := host_problem(route.host):
        yield "host", problem
    problem = path_problem(route.path, route.match) or reserved_problem(route, own_hosts, auth_prefix)
    if problem:
        yield "path", problem
    else:
        yield from (("paths", problem) for problem in as_sent_problems(route, own_hosts))
    for method in route.methods:
        if problem := method_problem(method):
            yield "methods", problem
    if len(set(route.methods)) != len(route.methods):
        yield "methods", "a method is named twice"


def _check_ties(document: PolicyDocument, pace: Pace) -> list[PolicyError]:
    errors: list[PolicyError] = []
    names: set[str] = set()
    slots: dict[tuple[str, str, str, str], str] = {}
    for route in pace(document.routes):
        if route.name in names:
            errors.append(PolicyError(("routes", route.name, "name"), "two routes have this name"))
        names.add(route.name)
        others = {
            slots.setdefault((route.host, route.path, route.match, method), route.name)
            for method in served_methods(route)
        }
        for other in sorted(others - {route.name}):
            errors += _tie(other, route.name)
    return errors


def served_methods(route: Route) -> frozenset[str]:
    """The methods of a route: with GET also HEAD (RFC 9110 9.3.2). An empty name stands for all."""
    methods = route.methods or ("",)
    return frozenset((*methods, "HEAD")) if "GET" in methods else frozenset(methods)


def _tie(one: str, two: str) -> Iterator[PolicyError]:
    # Both are at fault and both must deny: the gateway must not guess which one wins.
    for name, other in ((one, two), (two, one)):
        yield PolicyError(
            ("routes", name, "path"),
            f"same host, path, match and methods as route {other!r}; neither would win",
        )
