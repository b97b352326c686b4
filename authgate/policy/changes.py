"""What differs between two policies, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from authgate.policy.document import PolicyDocument, to_plain

Plain = Mapping[str, Any]

_SECTIONS = {"upstreams": "upstream", "roles": "role", "rate_limits": "rate limit"}


def describe_changes(old: PolicyDocument, new: PolicyDocument) -> list[str]:
    """One line per change; empty when both decide alike."""
    before, after = to_plain(old), to_plain(new)
    lines: list[str] = []
    for section, noun in _SECTIONS.items():
        lines += _changes(noun, before[section], after[section])
    lines += _grant_changes(before["grants"], after["grants"])
    routes = ({route["name"]: route for route in plain["routes"]} for plain in (before, after))
    return [*lines, *_changes("route", *routes)]


def _changes(noun: str, before: Plain, after: Plain) -> Iterator[str]:
    for name in before:
        if name not in after:
            yield f"{noun} {name} removed"
    for name, item in after.items():
        if name not in before:
            yield f"{noun} {name} added"
        elif item != before[name]:
            yield f"{noun} {name}: " + ", ".join(_fields(_flat(before[name]), _flat(item)))


def _fields(before: Plain, after: Plain) -> Iterator[str]:
    for field in dict.fromkeys((*before, *after)):
        if before.get(field) != after.get(field):
            yield f"{field} {_shown(before.get(field))} → {_shown(after.get(field))}"


def _flat(item: Plain) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in item.items():
        flat |= {f"{key}.{inner}": v for inner, v in value.items()} if isinstance(value, dict) else {key: value}
    return flat


def _grant_changes(before: list[Plain], after: list[Plain]) -> Iterator[str]:
    old, new = [_grant(grant) for grant in before], [_grant(grant) for grant in after]
    yield from (f"grant {line} removed" for line in old if line not in new)
    yield from (f"grant {line} added" for line in new if line not in old)


def _grant(grant: Plain) -> str:
    when = grant["when"]
    if when.get("authenticated"):
        return f"{grant['role']} to everybody signed in"
    verb = "contains" if "contains" in when else "equals"
    return f"{grant['role']} when {when['claim']} {verb} {when[verb]!r}"


def _shown(value: Any) -> str:
    """What is absent from a document is at its default."""
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "[" + ", ".join(map(str, value)) + "]" if isinstance(value, list) else str(value)
