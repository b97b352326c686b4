"""The policy as text: parsing, writing, and the places where it does not fit the schema."""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec

from authgate.policy import yaml_text
from authgate.policy.errors import PolicyError, PolicyInvalid
from authgate.policy.pace import Pace, at_once
from authgate.policy.schema import (
    Access,
    AdminAccess,
    Cors,
    Grant,
    HeaderRules,
    HealthCheck,
    IdentityValue,
    LimitKey,
    Match,
    McpRule,
    Paths,
    PolicyDocument,
    RateLimit,
    Redirect,
    Role,
    RoleAdmin,
    Route,
    Strict,
    Timeouts,
    Upstream,
    When,
)
from authgate.policy.shape import find_faults
from authgate.policy.validation import validate

__all__ = [
    "Access", "AdminAccess", "Cors", "Grant", "HeaderRules", "IdentityValue", "LimitKey", "Match", "McpRule", "Paths",
    "PolicyDocument", "PolicyError", "PolicyInvalid", "RateLimit", "Redirect", "Role", "RoleAdmin", "Route", "Strict",
    "Timeouts", "Upstream", "When", "from_plain", "parse_json", "parse_plain", "parse_stored", "parse_yaml",
    "to_json", "to_plain", "to_yaml", "validate",
]  # fmt: skip


def parse_yaml(text: str) -> PolicyDocument:
    return from_plain(_versioned(yaml_text.parse(text)))


def parse_json(text: str) -> PolicyDocument:
    """Parses strictly: a repeated key is an error. Raises PolicyInvalid."""
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise PolicyInvalid([PolicyError((), f"not JSON: {error}")]) from error
    return from_plain(_versioned(value))


def parse_plain(value: Any) -> PolicyDocument:
    """The whole policy as maps and lists that somebody wrote. Raises PolicyInvalid."""
    return from_plain(_versioned(value))


def parse_stored(text: str, *, pace: Pace = at_once) -> PolicyDocument:
    """Parses the output of to_json(), piece by piece. Raises PolicyInvalid."""
    try:
        stored = _stored.decode(text)
        routes = tuple(_route.decode(raw) for raw in pace(stored.routes))
    except msgspec.MsgspecError:
        return parse_json(text)  # slower, but it names the fault and its place
    return PolicyDocument(
        upstreams=stored.upstreams,
        roles=stored.roles,
        grants=stored.grants,
        rate_limits=stored.rate_limits,
        routes=routes,
    )


def to_json(document: PolicyDocument) -> str:
    return msgspec.json.encode(document).decode()


def to_yaml(document: PolicyDocument) -> str:
    return yaml_text.write(to_plain(document))


def to_plain(document: PolicyDocument) -> dict[str, Any]:
    """Maps and lists, without the values that are defaults."""
    plain: dict[str, Any] = msgspec.to_builtins(document)
    for item in plain["upstreams"].values():
        _drop_defaults(item, Upstream)
        _drop_defaults(item.get("health", {}), HealthCheck)
    for item in (*plain["upstreams"].values(), *plain["routes"]):
        for part in ("timeouts", "health", "tls"):
            if not item.get(part, True):
                del item[part]
    return plain


def _drop_defaults(item: dict[str, Any], shape: type[Strict]) -> None:
    """msgspec leaves out a default that is the same object, and a float that was read is another one."""
    for field in msgspec.structs.fields(shape):
        if isinstance(field.default, float) and item.get(field.name) == field.default:
            del item[field.name]


def from_plain(value: Any) -> PolicyDocument:
    """The document of maps and lists. Raises PolicyInvalid with every fault of shape and its place."""
    try:
        return msgspec.convert(value, PolicyDocument)
    except msgspec.ValidationError as error:
        found = list(find_faults(value)) or [PolicyError((), str(error))]
        raise PolicyInvalid(found) from error


class _Stored(Strict, frozen=True):
    version: Literal[1]
    upstreams: dict[str, Upstream]
    roles: dict[str, Role]
    grants: tuple[Grant, ...]
    rate_limits: dict[str, RateLimit]
    routes: tuple[msgspec.Raw, ...]


_stored = msgspec.json.Decoder(_Stored)
_route = msgspec.json.Decoder(Route)


def _versioned(value: Any) -> Any:
    # An empty or truncated file must not count as a policy without routes.
    if not isinstance(value, dict):
        raise PolicyInvalid([PolicyError((), "not a policy: it must be a map that begins with version: 1")])
    if "version" not in value:
        raise PolicyInvalid([PolicyError(("version",), "missing; this format is version: 1")])
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is given twice")
    return value
