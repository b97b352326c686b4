"""Where a claim stands: under a name, or inside of another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def claim_at(claims: Mapping[str, Any], where: str) -> Any:
    """Under the name as it stands, or along a path ("realm_access.roles"). None without one.

    Names may hold dots themselves ("https://…", "kubernetes.io.namespace"): the longest that is there is meant.
    """
    if where in claims:
        return claims[where]
    steps = where.split(".")
    for length in range(len(steps) - 1, 0, -1):
        inner = claims.get(".".join(steps[:length]))
        if isinstance(inner, Mapping):
            return claim_at(inner, ".".join(steps[length:]))
    return None
