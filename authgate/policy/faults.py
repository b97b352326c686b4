"""All faults of a policy file at once, each with its line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from authgate.policy import yaml_text
from authgate.policy.errors import Place, PolicyError, PolicyInvalid
from authgate.policy.schema import Grant, PolicyDocument, RateLimit, Role, Route, Strict, Upstream

Check = Callable[[PolicyDocument], Sequence[PolicyError]]

# Stand-ins for entries that cannot be read: references to these entries are not at fault.
_SOUND: dict[str, Strict] = {
    "upstreams": Upstream(targets=("http://127.0.0.1:1",)), "roles": Role(), "rate_limits": RateLimit(rate="1/s"),
}  # fmt: skip


def all_faults(text: str, invalid: PolicyInvalid, check: Check) -> PolicyInvalid:
    """All faults. `invalid` has those found first in the YAML; if they are about its shape, `check` has not run yet."""
    try:
        value, lines = yaml_text.parse(text), yaml_text.find_lines(text)
    except PolicyInvalid:
        return invalid
    found = dict.fromkeys([*invalid.errors, *check_readable(value, check)])
    located = [fault._replace(line=_line(fault.place, value, lines)) for fault in found]
    return PolicyInvalid(sorted(located, key=lambda fault: fault.line))


def check_readable(value: Any, check: Check) -> Iterator[PolicyError]:
    """Faults of those entries that fit the schema."""
    if not isinstance(value, dict):
        return
    named = {key: dict(_named(value.get(key), key)) for key in _SOUND}
    grants, routes = list(_listed(value.get("grants"), Grant)), list(_listed(value.get("routes"), Route))
    document = msgspec.structs.replace(
        PolicyDocument(),
        grants=tuple(entry for _, entry in grants),
        routes=tuple(entry for _, entry in routes),
        **named,
    )
    indexes = {"grants": [index for index, _ in grants], "routes": [index for index, _ in routes]}
    for fault in check(document):
        yield fault._replace(place=_restored(fault.place, indexes))


def _named(entries: Any, key: str) -> Iterator[tuple[str, Strict]]:
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        try:
            yield name, msgspec.convert(entry, type(_SOUND[key]))
        except msgspec.ValidationError:
            yield name, _SOUND[key]


def _listed(entries: Any, shape: type[Strict]) -> Iterator[tuple[int, Any]]:
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        try:
            yield index, msgspec.convert(entry, shape)
        except msgspec.ValidationError:
            continue


def _restored(place: Place, indexes: dict[str, list[int]]) -> Place:
    """The place with its index in the file, since entries before it may have been left out."""
    if len(place) > 1 and isinstance(place[1], int) and place[0] in indexes:
        return (place[0], indexes[str(place[0])][place[1]], *place[2:])
    return place


def _line(place: Place, value: Any, lines: dict[Place, int]) -> int:
    """The line of the nearest enclosing entry that the file has; 0 for the file as a whole."""
    if place[:1] == ("routes",) and len(place) > 1 and isinstance(place[1], str):
        # The last route of that name: it is the duplicate.
        named = [
            i for i, route in enumerate(value["routes"]) if isinstance(route, dict) and route.get("name") == place[1]
        ]
        place = ("routes", named[-1], *place[2:]) if named else ("routes",)
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 0)
