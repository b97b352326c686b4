"""Where a claim stands: under a name, or inside of another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def claim_at(claims: Mapping[str, Any], where: str) -> Any:
    """Under the name as it stands, as that may hold dots ("https://…"), or along a path ("a.b"). None without one."""
    if where in claims:
        return claims[where]
    value: Any = claims
    for step in where.split("."):
        if not isinstance(value, Mapping) or step not in value:
            return None
        value = value[step]
    return value
