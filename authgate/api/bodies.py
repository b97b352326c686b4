"""Bodies as structs: every unknown, missing and unfitting field is named."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from authgate.api.problems import invalid, policy_errors
from authgate.api.schema import FieldError
from authgate.policy.errors import PolicyInvalid
from authgate.policy.schema import Strict
from authgate.policy.shape import entry_faults

S = TypeVar("S", bound=Strict)


def read_body(value: Any, shape: type[S]) -> S:
    """Raises Problem."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        found = policy_errors(PolicyInvalid(entry_faults(value, shape, ()))) or [FieldError("", str(error))]
        raise invalid(found) from error


def read_map(value: Any) -> dict[str, Any]:
    """Raises Problem."""
    if not isinstance(value, dict):
        raise invalid([FieldError("", "must be an object")])
    return value


def show(item: Any) -> Any:
    """A struct with the fields that have their defaults, too."""
    if isinstance(item, msgspec.Struct):
        return {name: show(getattr(item, name)) for name in item.__struct_fields__}
    return [show(part) for part in item] if isinstance(item, tuple) else item


def plain(value: Any) -> Any:
    """As a column of JSON has it."""
    return list(value) if isinstance(value, tuple) else value
