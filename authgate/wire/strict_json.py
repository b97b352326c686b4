"""JSON that has one reading: every strict reader and every lenient one find the same in it."""

from __future__ import annotations

import json
from typing import Any, NoReturn


class NotStrictJson(ValueError):
    """Not JSON, or JSON that others may read differently. Its text says why, and holds nothing of the input."""


def read_json(raw: bytes, max_depth: int) -> Any:
    """A JSON value in UTF-8 without duplicate members. Raises NotStrictJson."""
    try:
        text = raw.decode("utf-8")
        value = _DECODER.decode(text)
        if "\\u" in text:
            # Half a surrogate pair decodes, and then breaks whatever encodes it again.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except NotStrictJson:
        raise
    except (ValueError, RecursionError) as error:
        raise NotStrictJson("not JSON") from error
    _check_depth(value, max_depth)
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    # Which of two members counts differs between readers.
    if len(members) != len(pairs):
        raise NotStrictJson("a member is there twice")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise NotStrictJson(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_refuse_constant)


def _check_depth(value: Any, allowed: int) -> None:
    if not isinstance(value, dict | list):
        return
    if not allowed:
        raise NotStrictJson("nested too deeply")
    for inner in value.values() if isinstance(value, dict) else value:
        _check_depth(inner, allowed - 1)
