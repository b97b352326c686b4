"""What is wrong with the identity headers that routes set."""

from __future__ import annotations

import re
from collections.abc import Iterator

from authgate.policy.errors import PolicyError, did_you_mean
from authgate.policy.pace import Pace
from authgate.policy.schema import IDENTITY_WORDS, IdentityValue, PolicyDocument, Route
from authgate.policy.shaping import key_of
from authgate.policy.told import sets_authorization, targets_of, told_names
from authgate.wire.identity_headers import IDENTITY_HEADERS, route_may_tell

_MAX_HEADERS = 50
_MAX_CLAIM = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_JOIN = re.compile(r"[ -/:-@\[-`{-~]{1,5}")


def told_problems(route: Route) -> Iterator[tuple[str, str]]:
    """Pairs of a field and a message."""
    names = route.identity_headers
    if len(names) > _MAX_HEADERS:
        yield "identity_headers", f"at most {_MAX_HEADERS} headers"
    if len({name.lower() for name in names}) != len(names):
        yield "identity_headers", "a header is named twice"
    for name, value in names.items():
        problem = _name_problem(name) or _value_problem(name, value)
        if problem:
            yield "identity_headers", f"{name!r}: {problem}"
    if route.pass_authorization and sets_authorization(route):
        yield "pass_authorization", "this route sets Authorization itself (identity_headers)"


def check_told(document: PolicyDocument, pace: Pace) -> Iterator[PolicyError]:
    """No route may let a client say what another one tells."""
    told = {name: route.name for route in document.routes for name in told_names(route)}
    believing = {
        target: route.name
        for route in document.routes
        if sets_authorization(route)
        for target in targets_of(document, route)
    }
    if not told and not believing:
        return
    for route in pace(document.routes):
        for name in route.pass_headers:
            if (other := told.get(key_of(name))) is not None:
                problem = f"{name} is set by the route {other!r} (identity_headers), so no client may send it"
                yield PolicyError(("routes", route.name, "pass_headers"), problem)
        others = {believing[target] for target in targets_of(document, route) if target in believing}
        if route.pass_authorization and others - {route.name}:
            problem = f"the route {min(others)!r} sets Authorization for the same service: clients could send it here"
            yield PolicyError(("routes", route.name, "pass_authorization"), problem)


def _name_problem(name: str) -> str | None:
    plain = key_of(name)
    if len(name) <= 100 and route_may_tell(plain):
        return None
    if plain in IDENTITY_HEADERS:
        return "is always set by the gateway itself"
    if "_" in name:
        return "write it with hyphens: many services read both alike, and names with _ are removed from every client"
    return "cannot be set: only names that are free for statements about the caller, such as X-WebAuth-User"


def _value_problem(name: str, value: str | IdentityValue) -> str | None:
    if name.lower() == "authorization":
        is_basic = isinstance(value, IdentityValue) and value.basic_from
        return _source_problem(value) if is_basic else "only {basic_from: …} can be sent there"
    if isinstance(value, str):
        if value in IDENTITY_WORDS:
            return None
        near = did_you_mean(value, IDENTITY_WORDS)
        return f"{value!r} is none of {', '.join(IDENTITY_WORDS)}{near or '; a claim is {claim: NAME}'}"
    return "only Authorization takes basic_from" if value.basic_from else _source_problem(value)


def _source_problem(value: str | IdentityValue) -> str | None:
    if isinstance(value, str):
        return None
    if sum(map(bool, (value.claim, value.roles, value.basic_from))) != 1:
        return "needs exactly one of claim, roles: true and basic_from"
    if value.basic_from in ("roles", "access_token"):
        return f"a user name cannot be made from {value.basic_from}"
    for claim in (value.claim, value.basic_from):
        if len(claim) > _MAX_CLAIM or _CONTROL.search(claim) or claim != claim.strip():
            return f"a claim has at most {_MAX_CLAIM} characters, none of them a control character"
    if value.join and (value.basic_from or not _JOIN.fullmatch(value.join)):
        return "join: one to five characters, no letters or digits" if not value.basic_from else "join has no effect"
    return None
