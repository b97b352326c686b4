"""All places where maps and lists do not fit the schema; msgspec itself stops at the first."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Literal, get_args, get_origin

import msgspec

from authgate.policy.errors import Place, PolicyError, did_you_mean
from authgate.policy.schema import Grant, PolicyDocument, RateLimit, Role, Route, Strict, Upstream

_NAMED: dict[str, type[Strict]] = {"upstreams": Upstream, "roles": Role, "rate_limits": RateLimit}
_EXPECTED = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "nothing"
}  # fmt: skip
_MOST_NAMED = 4  # keys that a message lists


def find_faults(value: Any) -> Iterator[PolicyError]:
    if not isinstance(value, dict):
        yield PolicyError((), "must be a map")
        return
    for key, item in value.items():
        if key in _NAMED and isinstance(item, dict):
            for name, entry in item.items():
                yield from entry_faults(entry, _NAMED[key], (key, str(name)))
        elif key == "routes" and isinstance(item, (list, tuple)):
            for index, entry in enumerate(item):
                yield from entry_faults(entry, Route, ("routes", _route_name(entry, index)))
        elif key == "grants" and isinstance(item, (list, tuple)):
            for index, entry in enumerate(item):
                yield from entry_faults(entry, Grant, ("grants", index))
        else:
            yield from entry_faults({key: item}, PolicyDocument, ())


def _route_name(entry: Any, index: int) -> str | int:
    name = entry.get("name") if isinstance(entry, dict) else None
    return name if isinstance(name, str) and name else index


def entry_faults(value: Any, shape: type[Strict], place: Place) -> Iterator[PolicyError]:
    if not isinstance(value, dict):
        yield PolicyError(place, f"must be a map (an empty one is {{}}), not {_shown(value)}")
        return
    fields = {field.name: field for field in msgspec.structs.fields(shape)}
    for key in value:
        if key not in fields:
            yield PolicyError((*place, str(key)), f"unknown key{_instead(str(key), fields)}")
    for name, field in fields.items():
        if name not in value:
            if field.required:
                yield PolicyError((*place, name), "missing")
        else:
            yield from _field_faults(value[name], field.type, (*place, name))


def _instead(key: str, fields: Collection[str]) -> str:
    few = len(fields) <= _MOST_NAMED
    return did_you_mean(key, fields) or (f"; the keys here are {', '.join(fields)}" if few else "")


def _field_faults(value: Any, wanted: Any, place: Place) -> Iterator[PolicyError]:
    options = get_args(wanted)
    if _is_struct(wanted):
        yield from entry_faults(value, wanted, place)
    elif (entry := _entry_type(wanted)) is not None and isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from entry_faults(item, entry, (*place, index))
    elif get_origin(wanted) is dict and isinstance(value, dict):
        for key, item in value.items():
            yield from _field_faults(item, options[1], (*place, str(key)))
    elif get_origin(wanted) is tuple:
        yield from _value_faults(value, wanted, place)
    elif isinstance(value, dict) and (struct := next(filter(_is_struct, options), None)) is not None:
        yield from entry_faults(value, struct, place)
    else:
        yield from _value_faults(value, wanted, place)


def _is_struct(wanted: Any) -> bool:
    return isinstance(wanted, type) and issubclass(wanted, Strict)


def _entry_type(wanted: Any) -> type[Strict] | None:
    """Of a list of maps."""
    entry = get_args(wanted)[0] if get_origin(wanted) is tuple else None
    return entry if _is_struct(entry) else None


def _value_faults(value: Any, wanted: Any, place: Place) -> Iterator[PolicyError]:
    try:
        msgspec.convert(value, wanted)
    except msgspec.ValidationError:
        yield PolicyError(place, f"must be {_expected(wanted)}, not {_shown(value)}")


def _expected(wanted: Any) -> str:
    options = get_args(wanted)
    if get_origin(wanted) is Literal:
        return "one of " + ", ".join(map(str, options)) if len(options) > 1 else str(options[0])
    if get_origin(wanted) is tuple:
        of = "maps" if _entry_type(wanted) is not None else "whole numbers" if options[0] is int else "texts"
        return f"a list of {of}"
    if get_origin(wanted) is dict:
        return "a map"
    if options:
        return " or ".join(_expected(option) for option in options if option is not type(None))
    return "a map" if _is_struct(wanted) else _EXPECTED[wanted]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
