"""The differences between two policies, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from authgate.policy.document import Grant, PolicyDocument, Strict, Timeouts

_TIMEOUTS = frozenset(Timeouts.__struct_fields__)
_EMPTY = {"host": "any", "methods": "all"}


def describe_changes(old: PolicyDocument, new: PolicyDocument) -> list[str]:
    """One line per change; empty if both policies decide alike."""
    return [
        *_changes("upstream", old.upstreams, new.upstreams),
        *_changes("role", old.roles, new.roles),
        *_grant_changes(old.grants, new.grants),
        *_changes("rate limit", old.rate_limits, new.rate_limits),
        *_changes("route", {route.name: route for route in old.routes}, {route.name: route for route in new.routes}),
    ]


def _changes(noun: str, before: Mapping[str, Strict], after: Mapping[str, Strict]) -> Iterator[str]:
    for name in before:
        if name not in after:
            yield f"{noun} {name} removed"
    for name, item in after.items():
        if name not in before:
            yield f"{noun} {name} added"
        elif item != before[name]:
            yield f"{noun} {name}: " + ", ".join(_fields(before[name], item))


def _fields(before: Strict, after: Strict) -> Iterator[str]:
    for field in before.__struct_fields__:
        old, new = getattr(before, field), getattr(after, field)
        if old == new:
            continue
        if isinstance(old, Strict) and isinstance(new, Strict):
            yield from (f"{field}.{line}" for line in _fields(old, new))
        else:
            yield f"{field} {_shown(field, old)} → {_shown(field, new)}"


def _grant_changes(before: Iterable[Grant], after: Iterable[Grant]) -> Iterator[str]:
    # Compared as text: in Python a grant for true equals one for 1, in a policy it does not.
    old, new = ({_grant(grant): None for grant in grants} for grants in (before, after))
    yield from (f"grant {line} removed" for line in old if line not in new)
    yield from (f"grant {line} added" for line in new if line not in old)


def _grant(grant: Grant) -> str:
    when = grant.when
    of = f" at {when.provider}" if when.provider else ""
    if when.authenticated:
        return f"{grant.role} to everybody signed in{of}"
    verb, value = ("contains", when.contains) if when.contains is not None else ("equals", when.equals)
    return f"{grant.role} when {when.claim}{of} {verb} {msgspec.json.encode(value).decode()}"


def _shown(field: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple) and value:
        return f"[{', '.join(map(_item, value))}]"
    if value is None:
        return "default" if field in _TIMEOUTS else "none"
    if isinstance(value, (dict, Strict)) and value:
        return msgspec.json.encode(value).decode()
    return str(value) if value or value == 0 else _EMPTY.get(field, "none")


def _item(value: Any) -> str:
    return msgspec.json.encode(value).decode() if isinstance(value, Strict) else str(value)
